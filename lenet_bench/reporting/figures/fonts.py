"""Letters that the font of the figures lacks: drawn with another font of the machine, else escaped.

In: a text that names of others may be part of. Out: the text that can be drawn, and the fonts to
draw it with. Text in the letters of the figures' own font is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FONT = "DejaVu Sans"
"""The font of the style sheet."""

# Boxes in place of letters, and parts of formulas.
_NO_LETTERS = ("Last Resort", "STIXNonUnicode", "STIXSize", "cm")


def drawable(text: str) -> str:
    """The text, with letters that no font has escaped: a figure without them would show boxes."""
    if text.isascii():
        return text
    return "".join(letter if _family(letter) else escaped(letter) for letter in text)


def families(text: str) -> list[str]:
    """The fonts that a drawable text needs; the font of the figures comes first."""
    return list(dict.fromkeys([FONT, *(_family(letter) or FONT for letter in text)]))


def prepare(text: Text) -> None:
    """Make what a figure holds drawable."""
    content = text.get_text()
    if not content.isascii():
        text.set_text(drawable(content))
        if len(fonts := families(content)) > 1:
            text.set_fontfamily(fonts)


def letters_without_font(texts: Iterable[str]) -> str:
    """The letters of these texts that figures show escaped."""
    return "".join(sorted({letter for text in texts for letter in text if not _family(letter)}))


def escaped(letter: str) -> str:
    """The letter as Python escapes it, backslash, u and its number."""
    return letter.encode("unicode_escape").decode()


@cache
def _family(letter: str) -> str | None:
    """The font that a letter is drawn with."""
    if letter.isascii() or ord(letter) in _letters(findfont(FontProperties(family=FONT))):
        return FONT
    for family, path in _others():
        if ord(letter) in _letters(path):
            return family
    return None


@cache
def _others() -> list[tuple[str, str]]:
    """The fonts of this machine, those without serifs first."""
    upright = {
        (entry.name, entry.fname)
        for entry in fontManager.ttflist
        if (entry.style, entry.variant, entry.weight) == ("normal", "normal", 400)
        and not entry.name.startswith(_NO_LETTERS)
    }
    return sorted(upright, key=lambda font: ("Sans" not in font[0], font))


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # a file that has gone, or is no font that can be read
        return frozenset()
    # Fonts of pictures, such as emoji, cannot be drawn.
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
