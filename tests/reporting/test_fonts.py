"""Names in letters that the font of the figures lacks."""

from __future__ import annotations

from pathlib import Path

import matplotlib.font_manager
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import TextPath

from lenet_bench.records.loading import load_sweep
from lenet_bench.reporting.figures.fonts import (
    drawable,
    families,
    fonts_to_install,
    letters_without_font,
)
from lenet_bench.reporting.report import write_report
from tests.fabricate import descent, write_run
from tests.reporting.drawing import all_text, every_figure

NOWHERE = "\U0010fffd"  # no font gives it a shape
WAVE = "\N{CJK UNIFIED IDEOGRAPH-6CE2}"


def charmap(family: str) -> set[int]:
    """The letters of a font, as FreeType lists them."""
    path = matplotlib.font_manager.findfont(family)
    return set(FT2Font(path).get_charmap())


def test_a_letter_is_drawn_with_another_font_or_escaped() -> None:
    own, stix = charmap("DejaVu Sans"), charmap("STIXGeneral")
    letter = chr(max(number for number in stix - own if 0x1D400 <= number < 0x1D800))
    assert drawable(f"a{letter}\n") == f"a{letter}\n"
    first, other = families(f"a{letter}")
    assert first == "DejaVu Sans"
    assert ord(letter) in charmap(other)
    assert drawable(f"a{NOWHERE}") == r"a\U0010fffd"
    assert letters_without_font(["a", f"{NOWHERE}b{NOWHERE}"]) == NOWHERE
    assert drawable("±é λ") == "±é λ"
    assert families("±é λ") == ["DejaVu Sans"]


def test_a_right_to_left_name_is_drawn_right_to_left() -> None:
    """The shapes of two Hebrew letters, each drawn alone, lie in the order of their reading."""
    first, second = "\N{HEBREW LETTER ALEF}", "\N{HEBREW LETTER BET}"
    both = TextPath((0, 0), drawable(f"{first}{second}")).vertices
    left, right = (TextPath((0, 0), letter).vertices for letter in (second, first))
    assert len(both) == len(left) + len(right)
    np.testing.assert_allclose(both[: len(left)], left)
    moved = both[len(left) :] - right
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)
    assert moved[0][0] > left[:, 0].max() - left[:, 0].min()


@pytest.mark.parametrize(
    ("letters", "fonts"),
    [
        (f"{WAVE}\N{HANGUL SYLLABLE HAN}", ["Noto Sans CJK"]),
        ("\N{DEVANAGARI LETTER KA}\N{THAI CHARACTER KO KAI}",
         ["Noto Sans Devanagari", "Noto Sans Thai"]),
        ("\N{TIBETAN LETTER SA}", ["Noto Serif Tibetan"]),
        ("\N{GRINNING FACE}", ["Symbola"]),
        (NOWHERE, []),
    ],
)  # fmt: skip
def test_a_font_is_named_that_has_the_letters(letters: str, fonts: list[str]) -> None:
    assert fonts_to_install(letters) == fonts


def test_a_font_of_one_weight_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """STIX has no weight of 900; matplotlib would say so on standard error."""
    matplotlib.font_manager.findfont(FontProperties(family="STIXSizeOneSym", weight=900))
    assert "findfont" not in caplog.text


@pytest.mark.filterwarnings("error")  # of matplotlib, about glyphs that are missing
def test_a_report_in_any_script_is_drawn_without_boxes(
    tmp_path: Path,
) -> None:
    """The shape of the ideograph where the machine has a font for it, else its number."""
    names = (f"mine:Z{WAVE}", "mine:Größe")
    for number, path in enumerate(names):
        for seed in range(2):
            write_run(
                tmp_path / "s", f"{number}-{seed}", descent(60, seed, rate=20), seed=seed,
                activation={"name": "custom", "path": path},
            )  # fmt: skip
    sweep = load_sweep(tmp_path / "s")
    missing = letters_without_font(names)
    for figure in every_figure(sweep):
        text = all_text(figure)
        assert "Größe" in text
        assert (r"Z\u6ce2" if missing else f"Z{WAVE}") in text
    report = write_report(tmp_path / "s", tmp_path / "s")
    notes = [note for note in report.notes if "no font on this machine has" in note]
    assert len(notes) == bool(missing)
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert f"Z{WAVE}" in page
