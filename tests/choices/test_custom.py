"""A user's own activation module: found, checked before torch is there, and tried out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lenet_bench.choices.custom import check_custom_path, load_custom
from lenet_bench.common.errors import UserError

MODULES = """
import torch
from torch import nn

class Snake(nn.Module):
    def __init__(self, frequency=1.0):
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor(frequency))
    def forward(self, x):
        return x + (self.frequency * x).sin() ** 2 / self.frequency

class Needy(nn.Module):
    def __init__(self, slope):
        super().__init__()

class Halving(nn.Module):
    def forward(self, x):
        return x[:, : x.shape[1] // 2]

class Widening(nn.Module):
    def forward(self, x):
        return x.double()

class Soft(nn.Module):
    def forward(self, x):
        return x.softmax(1)

class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("needs 7 channels\\nsecond line")

class Pair(nn.Module):
    def forward(self, x):
        return x, x

class MeanInTraining(nn.Module):
    def forward(self, x):
        return x - x.mean() if self.training else x.relu()

class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean()

class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
    def forward(self, x):
        return x.relu() + self.weight * x.mean()

class MeanLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = 0
    def forward(self, x):
        self.steps += 1
        return x.relu() if self.steps < 3 else x - x.mean()

class MeanAndMemory(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
            return x.relu() - x.mean()
        return x.relu() - self.mean

class SeenNow(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))
    def forward(self, x):
        if self.training:
            self.largest = torch.maximum(self.largest, x.detach().max())
        return x * self.largest

class SeenBefore(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.ones(()))
    def forward(self, x):
        y = x.clamp(max=self.largest.clone())
        if self.training:
            self.largest = torch.maximum(self.largest, x.detach().max())
        return y

class SecondOfTwo(nn.Module):
    def forward(self, x):
        return x.relu() + x.flatten()[1]

class Positives(nn.Module):
    def forward(self, x):
        return x * (x > 0).float().mean()

class EveryOther(nn.Module):
    def forward(self, x):
        factors = torch.arange(x.numel()).remainder(2) + 1
        return x.relu() * factors.view_as(x)

class Alone(nn.Module):
    def forward(self, x):
        return x.relu() / len(x.flatten())

class NaNInCompany(nn.Module):
    def forward(self, x):
        return x * float("nan") if x.abs().max() > 4 else x

class NoNumber(nn.Module):
    def forward(self, x):
        return (x - x.mean()).sqrt()

class Sqrt(nn.Module):
    def forward(self, x):
        return x.sqrt()

class Alternating(nn.Module):
    calls = 0
    def forward(self, x):
        Alternating.calls += 1
        return x if Alternating.calls % 2 else -x

class PythonsNoise(nn.Module):
    def forward(self, x):
        import random
        return x + random.random() if self.training else x

class MixedNoise(nn.Module):
    def forward(self, x):
        return x + x.mean() * torch.rand_like(x) if self.training else x

class OwnMixedNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)
    def forward(self, x):
        if self.training:
            return x - x.mean() + torch.empty(x.shape).uniform_(generator=self.generator)
        return x

class MixedGradient(nn.Module):
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()
        @staticmethod
        def backward(ctx, gradient):
            return gradient / gradient.norm()
    def forward(self, x):
        return self.Function.apply(x)

class ClampingWithGradient(nn.Module):
    def forward(self, x):
        return x.clamp_(min=0) if x.requires_grad else x.clamp(min=0)

class Uncopyable(nn.Module):
    def __init__(self):
        super().__init__()
        import threading
        self.lock = threading.Lock()
    def forward(self, x):
        return x.relu()

class Meta(nn.Module):
    def __init__(self):
        super().__init__()
        torch.set_default_device("meta")
        self.slope = nn.Parameter(torch.ones(()))
    def forward(self, x):
        return x * self.slope

class Elsewhere(nn.Module):
    def forward(self, x):
        return x.to("meta")

class Settings(nn.Module):
    def forward(self, x):
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.mkldnn.enabled = False
        torch.set_flush_denormal(True)
        torch.autograd.set_detect_anomaly(True)
        return x.relu()

class Clamping(nn.Module):
    def forward(self, x):
        return x.clamp_(min=0)

class FailingLater(nn.Module):
    def forward(self, x):
        if x.requires_grad:
            raise RuntimeError("no gradients here")
        return x.relu()

class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x) if self.training else x

class OwnNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)
    def forward(self, x):
        if self.training:
            return x + torch.empty(x.shape).uniform_(generator=self.generator)
        return x

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
    def forward(self, x):
        if self.training:
            self.steps += 1
        return x.relu() * (1 + self.steps)

class Keeping(nn.Module):
    def forward(self, x):
        self.last = x.relu()
        return self.last

class Threads(nn.Module):
    def forward(self, x):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return x.relu()

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
    def forward(self, x):
        return x.relu()

class Step(nn.Module):
    def forward(self, x):
        return (x > 0).to(x.dtype)

class Plain:
    pass

def function(x):
    return x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, holding a user's modules."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    for module in ("users_activations", "users_package"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "users_activations.py").write_text(MODULES)
    return tmp_path


def test_a_users_module_is_found_in_the_current_directory(folder: Path) -> None:
    assert check_custom_path("users_activations:Snake") is None
    snake = load_custom("users_activations:Snake")
    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    torch.testing.assert_close(snake()(x), x + x.sin() ** 2)


@pytest.mark.parametrize(
    "path", ["", "users_activations", "users_activations:", ":Snake", "a-b:C", "a..b:C", "a:b:c"]
)
def test_a_malformed_path_is_told(path: str, folder: Path) -> None:
    problem = check_custom_path(path)
    assert problem is not None
    assert f"activation.path={path!r} is not of the form package.module:Class" in problem
    with pytest.raises(UserError, match="not of the form"):
        load_custom(path)


def test_a_missing_module_is_told_with_the_folder_searched(folder: Path) -> None:
    problem = check_custom_path("users_activation:Snake")
    assert problem is not None
    assert f"no module 'users_activation' in {folder}" in problem
    problem = check_custom_path("users_activations.deeper.still:Snake")
    assert problem is not None
    assert "no module 'users_activations.deeper'" in problem


def test_checking_a_path_runs_no_code_of_the_user(folder: Path) -> None:
    (folder / "users_package").mkdir()
    (folder / "users_package" / "__init__.py").write_text("raise RuntimeError('ran\\nhere')")
    (folder / "users_package" / "inner.py").write_text("class Snake: ...")
    assert check_custom_path("users_package.inner:Snake") is None
    with pytest.raises(
        UserError, match=r"importing users_package.inner failed: RuntimeError: ran$"
    ):
        load_custom("users_package.inner:Snake")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Snek", "has no class 'Snek'; did you mean Snake?"),
        ("Xyzzy", "has no class 'Xyzzy'; its classes are Alone, Alternating, "),
        ("Plain", "Plain is the class Plain, not a torch.nn.Module class"),
        ("function", "function is a function, not a torch.nn.Module class"),
        ("Needy", "cannot be built without arguments (TypeError: "),
        ("Halving", "turns shape (2, 3, 4, 4) and torch.float32 into (2, 1, 4, 4)"),
        ("Widening", "and torch.float64; an activation keeps both"),
        ("Soft", "does not map each element by itself"),
        ("Failing", "failed on an input of shape (2, 3, 4, 4): RuntimeError: needs 7 channels"),
        ("Pair", "returns a tuple, not a tensor"),
        ("Mean", "does not map each element by itself: a result depends on other elements"),
        (
            "MeanInTraining",
            "while it trains does not map each element by itself: a result depends",
        ),
        ("Learned", "does not map each element by itself: a result depends on other elements"),
        ("MeanLater", "does not map each element by itself: a result depends on other"),
        ("MeanAndMemory", "while it trains does not map each element by itself: a result depends"),
        ("SeenNow", "while it trains does not map each element by itself: a result depends"),
        ("SecondOfTwo", "does not map each element by itself: a result depends on other elements"),
        ("Positives", "does not map each element by itself: a result depends on other elements"),
        ("EveryOther", "does not map each element by itself: a result depends on where its"),
        ("Alone", "does not map each element by itself: a result depends on how many elements"),
        ("NaNInCompany", "does not map each element by itself: a result depends on other elements"),
        ("NoNumber", "does not map each element by itself: a result depends on other elements"),
        ("Alternating", "gives other results for the same values in the same state"),
        ("PythonsNoise", "while it trains gives other results for the same values"),
        ("MixedNoise", "while it trains does not map each element by itself: a result depends"),
        ("OwnMixedNoise", "while it trains does not map each element by itself: a result depends"),
        ("MixedGradient", "does not map each element by itself: a gradient depends on other"),
        ("ClampingWithGradient", "changes its input in place, which training needs again"),
        ("Uncopyable", "holds what cannot be copied, so that it cannot be tried out: TypeError"),
        ("Meta", "changes torch's default device, which every run of this machine shares"),
        ("Elsewhere", "moves its input from cpu to meta"),
        (
            "Settings",
            "changes torch's search for anomalies and deterministic algorithms and use of oneDNN "
            "and rounding of very small numbers, which",
        ),
        ("Clamping", "changes its input in place, which training needs again; return a new ten"),
        ("Threads", "changes torch's number of threads, which every run of this machine shares"),
        ("Double", "changes torch's default dtype and gradient mode, which every run of this"),
        ("FailingLater", "failed in a step of training: RuntimeError: no gradients here"),
    ],
)
def test_a_class_that_cannot_serve_is_told(name: str, message: str, folder: Path) -> None:
    with pytest.raises(UserError) as raised:
        load_custom(f"users_activations:{name}")
    assert message in str(raised.value)
    assert f"users_activations:{name}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_checking_a_path_leaves_torch_alone() -> None:
    code = (
        "import sys; from lenet_bench.choices.custom import check_custom_path;"
        "check_custom_path('torch.nn:ReLU'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "name", ["Snake", "Noisy", "OwnNoise", "Counting", "Keeping", "SeenBefore", "Sqrt", "Step"]
)
def test_what_learns_draws_noise_or_counts_may_serve(name: str, folder: Path) -> None:
    """The trial draws nothing from torch's generator, and trains another module than its result."""
    before = torch.get_rng_state()
    module = load_custom(f"users_activations:{name}")()
    assert torch.equal(torch.get_rng_state(), before)
    if name == "Snake":
        assert dict(module.named_parameters())["frequency"].item() == 1


@pytest.mark.parametrize("name", ["ReLU", "RReLU", "PReLU", "Dropout", "AlphaDropout", "Softsign"])
def test_modules_of_torch_may_serve(name: str) -> None:
    """Those that draw noise in training, or only for some elements, included."""
    assert load_custom(f"torch.nn:{name}") is getattr(torch.nn, name)


def _settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
        torch.get_default_device(), torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(), torch.is_anomaly_enabled(),
        torch.backends.mkldnn.enabled, (torch.tensor([1e-38]) * 1e-3).item(),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Threads", "Double", "Meta", "Settings"])
def test_settings_of_torch_are_put_back_after_a_refusal(name: str, folder: Path) -> None:
    before = _settings()
    with pytest.raises(UserError):
        load_custom(f"users_activations:{name}")
    assert _settings() == before


def test_settings_that_a_module_changes_when_imported_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changing_settings.py").write_text(
        "import torch\ntorch.set_default_dtype(torch.float64)\n"
        "torch.set_num_threads(torch.get_num_threads() + 1)\ntorch.set_grad_enabled(False)\n"
        "class Wave(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x.sin()\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    before = _settings()
    load_custom("changing_settings:Wave")
    assert _settings() == before
