"""Runs a job of a sweep as Hydra does, about five times as fast.

In: a job's configuration and the function to call with it. Out: the job's directory with Hydra's
three files in `.hydra/`, its callbacks called, and a `JobReturn`. `hydra.core.utils.run_job` copies
the configuration four times and writes all of it as YAML, although most of it is the same in every
job of a sweep. Here it is copied only where somebody could change the copy, and text is kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import (
    JobReturn,
    JobRuntime,
    JobStatus,
    _flush_loggers,
    configure_log,
    env_override,
    run_job,
)
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper

from lenet_bench.hydra_app.fast_copies import duplicate
from lenet_bench.hydra_app.known_versions import knows_run_job


class JobRunner:
    """Runs the jobs of one sweep, one after another, in this process.

    Args:
        context: Holds the callbacks.
        task: Called with the configuration of each job.
    """

    def __init__(self, context: HydraContext, task: TaskFunction) -> None:
        self._context = context
        self._task = task
        self._sections: dict[tuple[str, Any], tuple[str, str]] = {}  # content and text of the last

    def run(self, config: DictConfig) -> JobReturn:
        """Run a job.

        Args:
            config: As Hydra composed it, with `hydra.job.id` and `.num`.

        Returns:
            What Hydra's `run_job` returns; an exception of the task is in it.
        """
        if not knows_run_job(config):
            return run_job(
                hydra_context=self._context,
                task_function=self._task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        with _hydra_config_restored():
            shown: Any = _set_config(config)
            output = _output_directory(config)
            for each in (config, shown):
                with read_write(each.hydra.runtime), open_dict(each.hydra.runtime):
                    each.hydra.runtime.output_dir = os.path.abspath(output)  # noqa: PTH100
            hydra_config: Any = duplicate(shown)
            overrides: Any = OmegaConf.to_container(config.hydra.overrides.task)
            result = JobReturn(overrides, duplicate(config, without="hydra"), hydra_config)
            Path(output).mkdir(parents=True, exist_ok=True)
            change = hydra_config.hydra.job.chdir
            with contextlib.chdir(output) if change else contextlib.nullcontext():
                result.working_dir = output if change else str(Path.cwd())
                configure_log(config.hydra.job_logging, config.hydra.verbose)
                self._save(config, result)
                with env_override(hydra_config.hydra.job.env_set):
                    self._call(config, result)
        return result

    def _call(self, config: DictConfig, result: JobReturn) -> None:
        callbacks = self._context.callbacks
        callbacks.on_job_start(config=config, task_function=self._task)
        try:
            result.return_value = self._task(result.cfg)
            result.status = JobStatus.COMPLETED
        except Exception as error:
            result.return_value = error
            result.status = JobStatus.FAILED
        result.task_name = JobRuntime.instance().get("name")
        _flush_loggers()
        callbacks.on_job_end(config=config, job_return=result)

    def _save(self, config: DictConfig, result: JobReturn) -> None:
        """Write the files of `.hydra/`."""
        if config.hydra.output_subdir is None:
            return
        folder = Path(config.hydra.runtime.output_dir) / config.hydra.output_subdir
        folder.mkdir(parents=True, exist_ok=True)
        of_hydra: Any = _container(result.hydra_cfg)
        texts = {
            "config": self._yaml(_container(result.cfg)),
            "hydra": self._yaml(of_hydra["hydra"], "hydra"),
            "overrides": OmegaConf.to_yaml(config.hydra.overrides.task),
        }
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def _yaml(self, content: Any, above: str = "") -> str:
        """What `OmegaConf.to_yaml` writes of a mapping, or of one below a key.

        YAML's block style writes the items of a mapping one below the other, each as if it were
        the only one; so a section that is the same as in the job before need not be written anew.
        """
        if not isinstance(content, dict) or not content:
            return _dump({above: content} if above else content)
        texts = [f"{above}:\n"] if above else []
        for key, value in content.items():
            now = repr(value)
            then, text = self._sections.get((above, key), ("", ""))
            if now != then:
                text = _dump({above: {key: value}} if above else {key: value})
                self._sections[above, key] = now, text
            texts.append(text.removeprefix(f"{above}:\n") if above else text)
        return "".join(texts)


def _set_config(config: DictConfig) -> DictConfig:
    """What `HydraConfig.set_config` does: show a copy of Hydra's node, which can refer to the rest.

    Returns:
        The copy, below a root of its own.
    """
    OmegaConf.set_readonly(config.hydra, True)
    shown = OmegaConf.create({})
    shown.__dict__["_content"]["hydra"] = duplicate(config.hydra)  # its parent is `config`
    HydraConfig.instance().cfg = shown  # type: ignore[assignment]
    return shown


def _container(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)


def _dump(content: Any) -> str:
    """A container as `OmegaConf.to_yaml` writes it."""
    text: str = yaml.dump(
        content,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=get_omega_conf_dumper(),
    )
    return text


def _output_directory(config: DictConfig) -> str:
    folder = str(OmegaConf.select(config, "hydra.sweep.dir"))
    return os.path.join(folder, str(OmegaConf.select(config, "hydra.sweep.subdir")))  # noqa: PTH118


@contextlib.contextmanager
def _hydra_config_restored() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before
