"""Every activation has a look of its own."""

from __future__ import annotations

import numpy as np
import pytest

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.reporting import palette
from lenet_bench.reporting.palette import PALETTE, activation_style


def test_every_activation_has_a_look_of_its_own() -> None:
    assert set(PALETTE) == {*ACTIVATIONS, "custom"}
    assert len({(s.colour, s.dash) for s in PALETTE.values()}) == len(PALETTE)
    variants = {(s.colour, s.dash) for s in (activation_style("leaky_relu", i) for i in range(8))}
    assert len(variants) == 8


def test_the_main_three_differ_in_lightness_too() -> None:
    def lightness(name: str) -> float:
        colour = PALETTE[name].colour
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return (0.299 * red + 0.587 * green + 0.114 * blue) / 255

    levels = sorted(map(lightness, ("sigmoid", "tanh", "relu")))
    assert min(np.diff(levels)) > 0.05


def test_new_activations_get_looks_that_no_other_has(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: activation_style(name) for name in (*ACTIVATIONS, "custom")}
    names = [f"new_{number}" for number in range(40)]
    entry = ACTIVATIONS["tanh"]
    monkeypatch.setattr(palette, "ACTIVATIONS", {**ACTIVATIONS, **dict.fromkeys(names, entry)})
    styles = [activation_style(name) for name in names]
    assert len({*styles, *before.values()}) == len(before) + len(names)
    lines = {(style.colour, style.dash) for style in before.values()}
    first = {(style.colour, style.dash) for style in styles[:2]}
    assert len(first - lines) == 2, "the 23rd and the 24th are new lines, not only new markers"
    assert {name: activation_style(name) for name in before} == before
    assert activation_style(names[1]) == styles[1], "whatever was asked for before"
    assert activation_style("somebody's own") == PALETTE["custom"]
