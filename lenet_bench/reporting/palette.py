"""One colour per activation, the same in every figure.

Activation names go in, line styles come out. The colours are Okabe and Ito's (2008), chosen to
survive colour blindness; their yellow, too pale for a line on white, is replaced by a brown. Eight
colours are fewer than the activations, so dash and marker distinguish those that share one, and
the activations most often compared (sigmoid, tanh, ReLU and its kin) also differ in lightness, for
print in grey. An activation without an entry in `PALETTE` gets a combination that no other one has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from lenet_bench.choices.activations import ACTIVATIONS

Dash = tuple[float, ...]

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, BROWN = "#0072B2", "#D55E00", "#CC79A7", "#7A5230"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE, SKY, BROWN)

SOLID: Dash = ()
DASHED: Dash = (4.0, 1.6)
DOTTED: Dash = (1.2, 1.2)
DASH_DOT: Dash = (5.0, 1.4, 1.2, 1.4)
DASHES = (SOLID, DASHED, DOTTED, DASH_DOT)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")


@dataclass(frozen=True)
class Style:
    """How one line is drawn: colour (hex), dash (points on and off; empty is solid), marker."""

    colour: str
    dash: Dash = SOLID
    marker: str = "o"

    @property
    def linestyle(self) -> Literal["-"] | tuple[float, Dash]:
        """The dash as matplotlib takes it."""
        return (0.0, self.dash) if self.dash else "-"

    @property
    def text_colour(self) -> str:
        """The colour, darkened until small type reads on white (luminance at most 0.25)."""
        red, green, blue = to_rgb(self.colour)
        luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
        shade = min(1.0, (0.25 / luminance) ** (1 / 2.2)) if luminance > 0 else 1.0
        return to_hex((red * shade, green * shade, blue * shade))


PALETTE = {
    "sigmoid": Style(VERMILLION, SOLID, "s"),
    "tanh": Style(ORANGE, SOLID, "^"),
    "relu": Style(BLUE, SOLID, "o"),
    "leaky_relu": Style(SKY, SOLID, "D"),
    "elu": Style(GREEN, SOLID, "v"),
    "selu": Style(PURPLE, SOLID, "P"),
    "swish": Style(BLACK, SOLID, "X"),
    "mish": Style(BROWN, SOLID, "p"),
    "hard_sigmoid": Style(VERMILLION, DASHED, "D"),
    "hard_tanh": Style(ORANGE, DASHED, "v"),
    "relu6": Style(BLUE, DASHED, "s"),
    "leaky_relu6": Style(SKY, DASHED, "^"),
    "celu": Style(GREEN, DASHED, "o"),
    "gelu": Style(PURPLE, DASHED, "X"),
    "hard_swish": Style(BLACK, DASHED, "P"),
    "square": Style(BROWN, DASHED, "<"),
    "binary_step": Style(VERMILLION, DOTTED, "o"),
    "softsign": Style(ORANGE, DOTTED, "p"),
    "prelu": Style(BLUE, DOTTED, "P"),
    "rrelu": Style(SKY, DOTTED, "X"),
    "softplus": Style(GREEN, DOTTED, "s"),
    "identity": Style(BLACK, DOTTED, "v"),
    "custom": Style(PURPLE, DOTTED, "D"),
}


def activation_style(name: str, variant: int = 0) -> Style:
    """The style of an activation; `variant` counts its parameter settings from 0.

    Variants keep the colour and step through dashes and markers; after four they also darken.
    A name that is no entry of `ACTIVATIONS` is drawn as `custom`.
    """
    base = _base_style(name)
    if variant == 0:
        return base
    dash = DASHES[(DASHES.index(base.dash) + variant) % len(DASHES)]
    marker = MARKERS[(MARKERS.index(base.marker) + variant) % len(MARKERS)]
    shade = 0.72 ** (variant // len(DASHES))
    red, green, blue = (shade * part for part in to_rgb(base.colour))
    return replace(base, colour=to_hex((red, green, blue)), dash=dash, marker=marker)


def ordered_styles(count: int) -> list[Style]:
    """Styles for `count` ascending numbers, such as learning rates: dark to light."""
    colours = colormaps["viridis"]
    span = max(count - 1, 1)
    return [
        Style(to_hex(colours(0.85 * i / span)), DASHES[i % 2], MARKERS[i % len(MARKERS)])
        for i in range(count)
    ]


def unordered_styles(count: int) -> list[Style]:
    """Styles for `count` names without an order (inits, optimizers)."""
    return [
        Style(COLOURS[i % 8], DASHES[i // 8 % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i in range(count)
    ]


def _base_style(name: str) -> Style:
    """The style in `PALETTE`, else the free one that falls to this activation, else `custom`."""
    if name in PALETTE or name not in ACTIVATIONS:
        return PALETTE.get(name, PALETTE["custom"])
    # The order of the table decides, not what a figure happens to show.
    unstyled = [entry for entry in ACTIVATIONS if entry not in PALETTE]
    return dict(zip(unstyled, _free_styles(), strict=False))[name]


def _free_styles() -> Iterator[Style]:
    """Combinations that `PALETTE` does not use: first other dashes, then other markers only.

    Neighbours in the order differ in colour and marker, so that a few new activations look
    different at a glance.
    """
    lines = {(style.colour, style.dash) for style in PALETTE.values()}
    combinations = [
        Style(colour, dash, MARKERS[(shift + i) % len(MARKERS)])
        for shift, dash in product(range(len(MARKERS)), DASHES[::-1])
        for i, colour in enumerate(COLOURS)
    ]
    new_lines = [s for s in combinations[: len(DASHES) * 8] if (s.colour, s.dash) not in lines]
    yield from new_lines
    taken = {*PALETTE.values(), *new_lines}
    yield from (style for style in combinations if style not in taken)
