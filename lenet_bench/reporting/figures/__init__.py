"""Figures: tidy frames go in, matplotlib Figures come out; no file is read here.

One file per figure. Each gathers what is to be drawn into a frozen dataclass and then draws it.
What the figures share lies beside them: `stylesheet` (sizes, saving), `fonts` (of which letter),
`layout` (which lines and panels), `curves` (means and intervals), `gathering` and `panels` (curves
against the iteration), `legends`, `labels`, `captions`. May import `analysis` and the rooms below
it.
"""

from __future__ import annotations

from lenet_bench.reporting.figures.dead_fraction import dead_fraction
from lenet_bench.reporting.figures.fonts import escaped, fonts_to_install, letters_without_font
from lenet_bench.reporting.figures.learning_rate import has_learning_rates, learning_rate
from lenet_bench.reporting.figures.phase_diagram import phase_diagram, phase_key
from lenet_bench.reporting.figures.stylesheet import alternative_text, save, style
from lenet_bench.reporting.figures.training_loss import training_loss
from lenet_bench.reporting.figures.validation_accuracy import validation_accuracy

__all__ = [
    "alternative_text",
    "dead_fraction",
    "escaped",
    "fonts_to_install",
    "has_learning_rates",
    "learning_rate",
    "letters_without_font",
    "phase_diagram",
    "phase_key",
    "save",
    "style",
    "training_loss",
    "validation_accuracy",
]
