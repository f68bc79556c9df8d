"""Jobs composed and run the short way: the same as Hydra's, to the last flag and byte."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
import omegaconf
import pytest
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, run_job, setup_globals
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf, open_dict, read_write

from lenet_bench.hydra_app.fast_composition import SweepLoader
from lenet_bench.hydra_app.fast_copies import duplicate
from lenet_bench.hydra_app.fast_jobs import JobRunner
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.hydra_app.names import register_resolvers

# What a command line may give to a job, mistakes included.
OURS = (
    "lr=0.1", "lr=1e-3", "lr=5", "lr='0.1'", "lr=null", "lr=", "lr=???", "lr=${seed}", "lr=[1,2]",
    "lr={a:1}", "lr=a,b", "lr.x=1", "+lr=2", "++lr=3", "~lr", "~lr=0.01", "~lr=7", "seed=0",
    "seed=17", "seed=true", "seed='x: y'", "epochs=3", "epochs=null", "model.hidden=[8]",
    "model.hidden=[]", "model.hidden.0=7", "model={width: 2}", "model=lenet_caffe", "model=null",
    "model.pool=avg", "+model.pool=avg", "model.none=1", "+model.none=1", "++model.none={a:[1]}",
    "activation=tanh", "activation=prelu", "activation=custom", "activation=none", "activation=[]",
    "activation={name: relu}", "activation.name=odd", "activation.path=mine:Wave", "~schedule",
    "~schedule=constant", "schedule=cosine", "schedule.warmup=5", "experiment=sigmoid_tanh_relu",
    "iterations=7", "evaluate.every=auto", "evaluate.every=10", "probe=null", "probe.every=0",
    "dataset=image_folder", "dataset.root='a folder/ä=1'", "dataset.root=\\${x}", "none=1",
    "+note=${lr}", "+note=x", "note=y", "+a.b.c=1", "++a.b.d=2", "a.b=3", "optimizer@second=sgd",
    "+optimizer@second=adam", "hydra.job.name=x", "hydra/job_logging=default", "hydra={a: 1}",
    "+hydra.note=1", "=1", "lr", "init=zeros", "init.gain=auto", "+init=zeros", "++init=zeros",
)  # fmt: skip

# An application of another kind, whose values refer to each other and have types.
FILES = {
    "config": """
defaults: [typed, group: one, _self_, optional more: null]
base: 1
twice: ${base}
section: {deep: {x: "${base}", y: 2}, mirror: "${group}"}
list: [1, "${base}", {z: 3}]
absent: ???
hydra:
  job:
    env_copy: [COPIED]
    config: {override_dirname: {exclude_keys: [base], kv_sep: ":", item_sep: ";"}}
""",
    "group/one": "v: 1\nsame: ${.v}\n",
    "group/two": "# @package _global_\nbase: 22\ngroup: {v: 2}\n",
    "more/all": "w: 4\n",
}
OTHERS = (
    "base=3", "base=x", "twice=4", "twice.a=4", "section.deep.x=5", "section.deep.y=6", "+twice=1",
    "section.deep=null", "section.mirror.v=7", "section.mirror=8", "list=[9]", "list.0=9",
    "list.1=9", "list.2.z=9", "absent=10", "absent.a=10", "~absent", "~twice=1", "group=two",
    "+section.deep={x: 1, q: 2}", "group=one", "group.v=11", "group.same=12", "more=all",
    "more.w=13", "typed.number=14", "typed.number='15'", "typed.number=1.5", "typed.number=no",
    "+typed.number=16", "typed.colour=red", "typed.words.a=b", "+typed.words.c=d", "++group=two",
    "typed.words={e: f}", "typed.number=null", "typed=null", "typed.words.c=d",
)  # fmt: skip


@dataclass
class Typed:
    """Values with types, which Hydra converts or refuses."""

    number: int = 1
    words: dict[str, str] = field(default_factory=lambda: {"a": "a"})


@dataclass(frozen=True)
class Loaders:
    """Hydra's loader and ours, and the configuration of a sweep."""

    master: DictConfig
    hydras: ConfigLoaderImpl
    ours: SweepLoader
    quick: list[bool]  # of each job composed by ours: whether Hydra was spared


def loaders(folder: Path, *overrides: str) -> Loaders:
    """Both loaders for a folder of configuration."""
    register_resolvers()
    setup_globals()
    ConfigStore.instance().store(name="typed", node=Typed, package="typed", provider="test")
    JobRuntime.instance().set("name", "test")
    os.environ["COPIED"] = "from the environment"
    search_path = create_config_search_path(str(folder))
    hydras = ConfigLoaderImpl(search_path)
    master = hydras.load_configuration("config", [*overrides], run_mode=RunMode.MULTIRUN)
    quick: list[bool] = []
    ours = SweepLoader(search_path)
    by_hydra = ours.load_configuration

    def load(**arguments: Any) -> DictConfig:
        quick[-1] = False
        return by_hydra(**arguments)

    ours.load_configuration = load  # type: ignore[assignment,method-assign]
    return Loaders(master, hydras, ours, quick)


@pytest.fixture(scope="module")
def lenet() -> Iterator[Loaders]:
    """This program's configuration, in a sweep into a folder of its own."""
    with restored():
        version.setbase("1.3")
        yield loaders(CONF, "hydra.sweep.dir='a sweep'")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaders]:
    """The other application's."""
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    with restored():
        version.setbase("1.3")
        yield loaders(folder)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Give Hydra's global state back as it was."""
    state = Singleton.get_state()
    try:
        yield
    finally:
        Singleton.set_state(state)
        os.environ.pop("COPIED", None)


def anatomy(node: Any) -> Any:
    """Everything about a configuration that can be told apart, as plain values."""
    about = {**vars(node._metadata)}
    about["flags"] = dict(about.get("flags") or {})
    about.pop("resolver_cache", None)
    content = node._content if isinstance(node, (DictConfig, ListConfig)) else node._value()
    if isinstance(content, dict):
        assert all(child._get_parent() is node for child in content.values())
        content = {key: anatomy(child) for key, child in content.items()}
    elif isinstance(content, list):
        assert all(child._get_parent() is node for child in content)
        content = [anatomy(child) for child in content]
    return type(node), str(sorted(about.items(), key=str)), type(content), content


def attempt(compose: Callable[[], DictConfig]) -> tuple[DictConfig | None, str]:
    """A configuration, or what is wrong with its overrides."""
    try:
        return compose(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error} <- {error.__cause__}"


def assert_same(found: Loaders, overrides: list[str]) -> DictConfig | None:
    """Compose the long and the short way, and compare all there is."""
    long, says = attempt(lambda: found.hydras.load_sweep_config(found.master, list(overrides)))
    short, also = attempt(lambda: found.ours.load_sweep_config(found.master, list(overrides)))
    assert also == says
    if long is None or short is None:
        assert short is long
        return None
    assert short == long
    assert OmegaConf.to_yaml(short) == OmegaConf.to_yaml(long)
    assert anatomy(short) == anatomy(long)
    assert OmegaConf.get_cache(short) == OmegaConf.get_cache(long)
    return short


# Mostly few mistakes at once, or nearly every example would be refused.
def some(overrides: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """A job's overrides, some of a key more than once."""
    return st.lists(st.sampled_from(overrides), max_size=5)


@settings(max_examples=60, deadline=None)
@given(overrides=some(OURS))
def test_a_job_is_composed_as_by_hydra(lenet: Loaders, overrides: list[str]) -> None:
    """The whole configuration, Hydra's own node and flags included; the same errors."""
    lenet.quick.append(True)
    assert_same(lenet, overrides)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(overrides=some(OTHERS))
def test_a_job_of_another_kind_is_composed_as_by_hydra(
    other: Loaders, overrides: list[str]
) -> None:
    """With types, references between values, a global package and copied variables."""
    other.quick.append(True)
    assert_same(other, overrides)


@pytest.mark.parametrize("override", [*OURS])
def test_each_override_alone_is_composed_as_by_hydra(lenet: Loaders, override: str) -> None:
    lenet.quick.append(True)
    assert_same(lenet, [override])
    assert_same(lenet, ["seed=3", override, "lr=0.5"])


@pytest.mark.parametrize("override", [*OTHERS])
def test_each_override_of_the_other_alone_is_too(other: Loaders, override: str) -> None:
    other.quick.append(True)
    assert_same(other, [override])
    assert_same(other, ["base=3", override, "group.v=5"])


def test_hydra_composes_each_combination_of_choices_once(lenet: Loaders) -> None:
    """However many values there are beside."""
    found = loaders(CONF)
    swept = [
        [f"activation={name}", f"seed={seed}", "model.hidden=[4]", f"+note={seed}"]
        for seed in range(4)
        for name in ("tanh", "relu")
    ]
    for overrides in swept:
        found.quick.append(True)
        config = found.ours.load_sweep_config(found.master, overrides)
        assert (config.seed, config.note) == (int(overrides[1][5:]), int(overrides[1][5:]))
    assert found.quick == [False, False, *6 * [True]]


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["activation=relu", "activation.negative_slope=0.1", "seed=3"], [0, 2]),
        (["activation=relu", "++activation.negative_slope=0.1", "seed=3"], [0, 2]),
        (["activation=leaky_relu", "activation.negative_slope=0.1", "seed=3"], [0, 1, 2]),
    ],
)
def test_overrides_for_other_choices_of_a_swept_group_are_left_out(
    overrides: list[str], kept: list[int]
) -> None:
    """What is left is composed as by Hydra, before and after a journey to another process."""
    found = loaders(CONF, "activation=relu,leaky_relu", "++activation.negative_slope=0.1")
    left = [overrides[index] for index in kept]
    long = found.hydras.load_sweep_config(found.master, left)
    travelled: SweepLoader = pickle.loads(pickle.dumps(SweepLoader(found.ours.get_search_path())))
    found.quick.append(True)
    for ours in (found.ours, travelled):
        short = ours.load_sweep_config(found.master, overrides)
        assert anatomy(short) == anatomy(long)
        assert OmegaConf.to_yaml(short) == OmegaConf.to_yaml(long)
        assert list(short.hydra.overrides.task) == left


def test_the_working_directory_and_the_environment_are_those_of_the_moment(
    other: Loaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may have changed them since the last."""
    other.quick.append(True)
    assert_same(other, ["base=1"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPIED", "changed")
    config = assert_same(other, ["base=1"])
    assert config is not None
    assert config.hydra.runtime.cwd == str(tmp_path)
    assert config.hydra.job.env_set.COPIED == "changed"


# --- copies ---------------------------------------------------------------------------------------


@dataclass
class Kinds:
    """A value of every kind of node."""

    text: str = "a"
    path: Path = Path("a")
    raw: bytes = b"a"
    mode: RunMode = RunMode.RUN
    either: int | str = 3
    maybe: float | None = None
    numbers: list[int] = field(default_factory=lambda: [1, 2])
    nested: dict[str, Typed] = field(default_factory=lambda: {"a": Typed()})
    referring: str = "${text}"
    absent: int = MISSING
    none: Typed | None = None


def test_a_copy_is_as_deepcopy_makes_it(lenet: Loaders, other: Loaders) -> None:
    """Every kind of node, with flags and what resolvers remembered."""
    kinds = OmegaConf.create(
        {"kinds": Kinds(), "node": "${kinds.nested}", "list": ["${node}", [1]]}
    )
    OmegaConf.set_readonly(kinds.kinds.nested, True)
    OmegaConf.set_struct(kinds, True)
    kinds._metadata.resolver_cache["now"]["x"] = [1]
    for config in (kinds, kinds.kinds, lenet.master, lenet.master.hydra, other.master):
        made, expected = duplicate(config), deepcopy(config)
        assert made == expected
        assert anatomy(made) == anatomy(expected)
        assert made._get_parent() is config._get_parent()
        assert OmegaConf.get_cache(made) == OmegaConf.get_cache(expected)
    part = deepcopy(kinds)
    with open_dict(part):
        del part["list"]
    assert anatomy(duplicate(kinds, without="list")) == anatomy(part)


def test_a_copy_shares_nothing_that_changes() -> None:
    """Neither values nor flags nor what resolvers remembered."""
    config = OmegaConf.create({"kinds": Kinds(), "list": [{"a": 1}, [2]], "extra": {"b": {}}})
    config._metadata.resolver_cache["now"]["x"] = [1]
    before = anatomy(config)
    made = duplicate(config)
    made.list[0].a = made.list[1][0] = made.kinds.numbers[0] = 9
    made.kinds.nested.a.number = 9
    made.kinds.either = "nine"
    made.extra.b.c = 9
    made.list.append(9)
    del made.extra
    for node in (made, made.kinds, made.list, made.kinds._get_node("text")):
        OmegaConf.set_readonly(node, True)
    made._metadata.resolver_cache["now"]["x"].append(9)
    assert anatomy(config) == before
    assert config._metadata.resolver_cache["now"]["x"] == [1]
    made = duplicate(config)
    OmegaConf.set_readonly(config, True)
    assert not OmegaConf.is_readonly(made.kinds.nested.a)  # nothing of the flags is remembered


def test_nodes_of_another_version_are_copied_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is inside them is not known."""
    config = OmegaConf.create({"a": [1], "b": {"c": 2}})
    monkeypatch.setattr(omegaconf, "__version__", "2.4.0")
    made = duplicate(config)
    assert anatomy(made) == anatomy(config)
    made.a.append(9)
    assert config.a == [1]
    assert duplicate(config, without="a") == {"b": {"c": 2}}


# --- running --------------------------------------------------------------------------------------


class Witness(Callback):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Remember the configuration."""
        self.seen.append(("start", anatomy(config), str(Path.cwd())))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Remember how it ended."""
        self.seen.append(("end", anatomy(config), job_return.status, job_return.task_name))


@dataclass(frozen=True)
class Ran:
    """What a job left behind."""

    files: dict[str, bytes]
    result: dict[str, Any]
    told: list[Any]
    held: Any


def ran(
    how: Callable[[HydraContext, Any, DictConfig], JobReturn],
    found: Loaders,
    configs: list[DictConfig],
    folder: Path,
) -> list[Ran]:
    """Run jobs from a folder; its own name is cut out of what they left."""
    witness = Witness()
    callbacks = Callbacks()
    callbacks.callbacks = [witness]
    folder.mkdir()
    done = []
    for config in configs:
        witness.seen.clear()
        held: list[Any] = []

        def task(given: DictConfig, held: list[Any] = held) -> object:
            held += [anatomy(given), anatomy(HydraConfig.get()), str(Path.cwd())]
            if given.get("seed") == 17:
                raise ArithmeticError("17")
            return given.get("seed")

        before = HydraConfig.instance().cfg
        with contextlib.chdir(folder):
            with read_write(config.hydra.runtime):
                config.hydra.runtime.cwd = "."
            result = how(HydraContext(found.hydras, callbacks), task, config)
            assert Path.cwd() == folder
        assert HydraConfig.instance().cfg is before
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        kept = {**vars(result), "cfg": anatomy(result.cfg), "hydra_cfg": anatomy(result.hydra_cfg)}
        done.append(Ran(files, kept, list(witness.seen), held))
    return done


def hydras_way(context: HydraContext, task: Any, config: DictConfig) -> JobReturn:
    """What Hydra's basic launcher does."""
    return run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@example(jobs=[["seed=17"], [], ["activation=tanh", "+note='a: b'", "seed=3"]], chdir=True)
@given(jobs=st.lists(some(OURS), min_size=1, max_size=4), chdir=st.booleans())
def test_a_job_runs_as_by_hydra(
    lenet: Loaders, tmp_path_factory: pytest.TempPathFactory, jobs: list[list[str]], chdir: bool
) -> None:
    """Files byte for byte, callbacks, what the task and the launcher get."""
    folder = tmp_path_factory.mktemp("jobs")
    found: dict[str, list[Ran]] = {}
    for name in ("long", "short"):
        configs = []
        for number, overrides in enumerate(jobs):
            config, _ = attempt(
                lambda overrides=overrides: lenet.hydras.load_sweep_config(  # type: ignore[misc]
                    lenet.master, [*overrides]
                )
            )
            if config is None:
                continue
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
                config.hydra.job.chdir = chdir
                config.hydra.sweep.subdir = "${hydra:job.num}"
                config.hydra.job.env_set = {"SET": "yes"}
            configs.append(config)
        runner: list[JobRunner] = []

        def our_way(
            context: HydraContext,
            task: Any,
            config: DictConfig,
            runner: list[JobRunner] = runner,
        ) -> JobReturn:
            runner.append(JobRunner(context, task))
            runner[-1]._sections = runner[0]._sections  # as in one sweep
            return runner[-1].run(config)

        how = hydras_way if name == "long" else our_way
        found[name] = ran(how, lenet, configs, folder / name)
    for long, short in zip(found["long"], found["short"], strict=True):
        # The folders' names have different lengths, which YAML may fold differently.
        assert without(folder, short.files) == without(folder, long.files)
        assert without(folder, short.result) == without(folder, long.result)
        assert without(folder, short.told) == without(folder, long.told)
        assert without(folder, short.held) == without(folder, long.held)


def without(folder: Path, content: Any) -> str:
    """A text of anything, without where it was."""
    return repr(content).replace(str(folder / "short"), "").replace(str(folder / "long"), "")


def test_another_hydra_runs_its_own_way(
    lenet: Loaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this version's `run_job` does is not known of the next."""
    called = []
    monkeypatch.setattr(hydra, "__version__", "1.4.0")
    monkeypatch.setattr(
        "lenet_bench.hydra_app.fast_jobs.run_job", lambda **arguments: called.append(arguments)
    )
    config = lenet.hydras.load_sweep_config(lenet.master, ["seed=1"])
    JobRunner(HydraContext(lenet.hydras, Callbacks()), print).run(config)
    assert called[0]["config"] is config
    assert not list(tmp_path.iterdir())
