"""Letters that the font of the figures lacks: drawn with another font of the machine, else escaped.

In: a text that names of others may be part of. Out: the text that can be drawn, and the fonts to
draw it with. Text in the letters of the figures' own font is not changed.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FONT = "DejaVu Sans"
"""The font of the style sheet."""

# Boxes in place of letters, and parts of formulas.
_NO_LETTERS = ("Last Resort", "STIXNonUnicode", "STIXSize", "cm")

# By the first word of a letter's name in Unicode. No font has the letters of all scripts.
_CJK = "BOPOMOFO CJK FULLWIDTH HALFWIDTH HANGUL HIRAGANA IDEOGRAPHIC KATAKANA"
_NOTO_SANS = (
    "ARABIC ARMENIAN BENGALI CHEROKEE DEVANAGARI ETHIOPIC GEORGIAN GUJARATI GURMUKHI HEBREW "
    "JAVANESE KANNADA KHMER LAO MALAYALAM MONGOLIAN MYANMAR ORIYA SINHALA SYRIAC TAMIL TELUGU "
    "THAANA THAI"
)
_FONT_OF_SCRIPT = {
    **dict.fromkeys(_CJK.split(), "Noto Sans CJK"),
    **{script: f"Noto Sans {script.title()}" for script in _NOTO_SANS.split()},
    **dict.fromkeys(("CYRILLIC", "GREEK", "LATIN"), "Noto Sans"),
    "TIBETAN": "Noto Serif Tibetan",
}


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


def fonts_to_install(letters: str) -> list[str]:
    """Free fonts that have these letters, as far as they are of a script that is in wide use.

    Emoji count as a script: matplotlib cannot draw fonts of coloured pictures, but Symbola.
    """
    found = []
    for letter in letters:
        script = unicodedata.name(letter, "").partition(" ")[0]
        if unicodedata.category(letter) == "So" and ord(letter) > 0xFFFF:
            found.append("Symbola")
        elif script in _FONT_OF_SCRIPT:
            found.append(_FONT_OF_SCRIPT[script])
    return list(dict.fromkeys(found))


def escaped(letter: str) -> str:
    r"""The letter as Python writes it in ASCII: `\u6ce2` for U+6CE2, `\U0001f600` above U+FFFF."""
    return letter.encode("unicode_escape").decode()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether matplotlib says more than that a font has one weight, as many have."""
    return "Failed to find font weight" not in str(record.msg)


logging.getLogger("matplotlib.font_manager").addFilter(_is_news)


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
