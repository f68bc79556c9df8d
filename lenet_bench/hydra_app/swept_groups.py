"""Keys that only some choices of a swept group have: which of a job's overrides are for its choice.

In: what a sweep chooses from groups, and the overrides of a job. Out: the overrides without those
that belong to other choices. So `activation=relu,leaky_relu activation.negative_slope=0.1` asks for
the same ReLU run as `activation=relu` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


@dataclass(frozen=True)
class SweptGroups:
    """The groups that a sweep varies.

    Attributes:
        keys: By group and choice, the keys of the choice; None where only composing would tell.
    """

    keys: Mapping[str, Mapping[str, frozenset[str] | None]]

    @classmethod
    def of(cls, overrides: Iterable[Override], repository: IConfigRepository) -> SweptGroups:
        """The groups that these overrides of a sweep vary."""
        keys: dict[str, dict[str, frozenset[str] | None]] = {}
        for override in overrides:
            group = override.key_or_group
            keys.pop(group, None)  # the last one wins
            if override.is_choice_sweep() and repository.group_exists(group):
                choices = [str(choice) for choice in override.sweep_string_iterator()]
                keys[group] = {choice: _keys(f"{group}/{choice}", repository) for choice in choices}
        return cls(keys)

    def applicable(self, overrides: Sequence[Override]) -> list[Override]:
        """The overrides of a job, without those of keys that its choices lack and others have."""
        chosen = {
            override.key_or_group: str(override.value())
            for override in overrides
            if override.key_or_group in self.keys
        }
        return [item for item in overrides if not self._is_for_others(item.key_or_group, chosen)]

    def _is_for_others(self, key: str, chosen: Mapping[str, str]) -> bool:
        group, _, rest = key.partition(".")
        choices = self.keys.get(group, {})
        own = choices.get(chosen.get(group, ""))
        name = rest.partition(".")[0]
        if not rest or own is None or name in own:
            return False
        return any(keys is not None and name in keys for keys in choices.values())


def _keys(path: str, repository: IConfigRepository) -> frozenset[str] | None:
    found = repository.load_config(path)
    # A file with a defaults list takes keys from others.
    if found is None or not isinstance(found.config, DictConfig) or found.defaults_list:
        return None
    return frozenset(str(key) for key in found.config)
