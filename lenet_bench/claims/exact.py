"""Tests of claims that are mathematics: formulas and networks in, findings out.

They are computed on random inputs, with the formulas of this project and the plain LeNet. Nothing
is trained. Numbers that differ by rounding only count as equal.
"""

from __future__ import annotations

from lenet_bench.claims.evidence import Evidence
from lenet_bench.claims.kinds import Test
from lenet_bench.claims.rules import Finding, Verdict

NETWORKS = 5
ROUNDING = 1e-12  # relative, in float64, after some ten thousand additions
NOTICEABLE = 0.01


def linear_without_nonlinearity() -> Test:
    """Test `linear_without_nonlinearity`: an identity LeNet maps mean images to mean logits."""

    def evaluate(_: Evidence) -> Finding:
        deviations = {pool: [_non_affinity(pool, n) for n in range(NETWORKS)] for pool in _POOLS}
        largest = {pool: max(values) for pool, values in deviations.items()}
        affine = {pool: value < ROUNDING for pool, value in largest.items()}
        verdict: Verdict = "inconclusive"
        if all(affine.values()):
            verdict = "supported"
        elif deviations["max"] and min(deviations["max"]) > NOTICEABLE:
            verdict = "refuted"
        mean = sum(deviations["max"]) / NETWORKS
        note = (
            f"relative deviation from an affine map, {NETWORKS} random networks: max pooling (the "
            f"default) {mean:.3g}, it is a non-linearity itself; average pooling at most "
            f"{largest['avg']:.1g}, {'affine' if affine['avg'] else 'not affine'}"
        )
        low, high = min(deviations["max"]), max(deviations["max"])
        return Finding(verdict, mean, low, high, seeds=NETWORKS, note=note)

    return Test(
        "|f((x + y) / 2) - (f(x) + f(y)) / 2| over |f|, logits of LeNet with activation=identity",
        f"supported if it is rounding (below {ROUNDING:g}) with max and with average pooling; "
        f"refuted if it is above {NOTICEABLE:g} in every network with max pooling, LeNet's default",
        evaluate,
    )


def max_pool_commutes() -> Test:
    """Test `max_pool_commutes`: compare pool(f(x)) with f(pool(x)) for every activation."""

    def evaluate(_: Evidence) -> Finding:
        from lenet_bench.choices.activations import ACTIVATIONS

        gaps = {name: _pooling_gap(name) for name in ACTIVATIONS}
        never_falls = [name for name, entry in ACTIVATIONS.items() if entry.non_decreasing]
        others = {name: gap for name, gap in gaps.items() if name not in never_falls}
        largest = max(gaps[name] for name in never_falls)
        holds = largest < ROUNDING and gaps["swish"] > NOTICEABLE
        listed = ", ".join(f"{name} {gap:.2g}" for name, gap in others.items())
        note = (
            f"{len(never_falls)} non-decreasing activations differ by at most {largest:.1g}; the "
            f"others: {listed} (prelu, rrelu: as initialised and without noise)"
        )
        return Finding("supported" if holds else "refuted", largest, note=note)

    return Test(
        "largest |pool(f(x)) - f(pool(x))|",
        "supported if it is rounding for every non-decreasing activation of the list and "
        f"above {NOTICEABLE:g} for swish, else refuted",
        evaluate,
    )


def relu_twice() -> Test:
    """Test `relu_twice`: values and gradients, for every bfloat16 number and many of float32."""

    def evaluate(_: Evidence) -> Finding:
        import torch
        from torch import nn

        generator = torch.Generator().manual_seed(0)
        every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
        some = torch.randint(-(2**31), 2**31, (10**6,), generator=generator)
        differing = total = 0
        for numbers in (every, some.to(torch.int32).view(torch.float32)):
            bits = torch.int16 if numbers.dtype == torch.bfloat16 else torch.int32
            results = []
            for function in (nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU())):
                x = numbers.clone().requires_grad_()
                y = function(x)
                (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
                results.append((y.detach().view(bits), gradient.view(bits)))
            once, twice = results
            different = (once[0] != twice[0]) | (once[1] != twice[1])
            differing += int(different.sum())
            total += len(numbers)
        note = f"{differing:,} of {total:,} numbers differ in a bit of value or gradient"
        verdict: Verdict = "supported" if not differing else "refuted"
        return Finding(verdict, float(differing), note=note)

    return Test(
        "numbers whose ReLU, or its gradient, differs in a bit after a second ReLU",
        "supported if there is none among all bfloat16 numbers and a million of float32, "
        "else refuted",
        evaluate,
    )


_POOLS = ("max", "avg")


def _non_affinity(pool: str, seed: int) -> float:
    """Relative deviation of a random identity LeNet's logits from those of an affine map."""
    import torch
    from torch import nn

    from lenet_bench.model.lenet import LeNet

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = LeNet(
            in_channels=1,
            image_size=32,
            classes=10,
            activation=lambda units: nn.Identity(),
            pool="max" if pool == "max" else "avg",
        ).double()
        x, y = torch.randn(2, 64, 1, 32, 32, dtype=torch.float64)
        between, ends = network((x + y) / 2), (network(x) + network(y)) / 2
        return float((between - ends).norm() / ends.norm())


def _pooling_gap(name: str) -> float:
    """Largest |pool(f(x)) - f(pool(x))| on random feature maps."""
    import torch
    from torch.nn.functional import max_pool2d

    from lenet_bench.choices.activations import ACTIVATIONS

    entry = ACTIVATIONS[name]
    arguments = entry.arguments()
    generator = torch.Generator().manual_seed(0)
    maps = 4 * torch.randn(8, 16, 28, 28, dtype=torch.float64, generator=generator)
    after = max_pool2d(entry.function(maps, **arguments), 2)
    before = entry.function(max_pool2d(maps, 2), **arguments)
    return float((after - before).abs().max())
