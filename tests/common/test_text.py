"""Text of others before it is printed."""

from __future__ import annotations

import unicodedata

import pytest

from lenet_bench.common.errors import UserError, in_one_line
from lenet_bench.common.text import printable, printable_lines
from lenet_bench.config.errors import ConfigError


def test_no_character_that_acts_is_left() -> None:
    """Of all of Unicode: controls, turned directions, lone halves of characters, ends of lines."""
    for number in range(0x110000):
        letter = chr(number)
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert printable(letter).isascii() or letter in "\u200c\u200d", hex(number)
            assert printable(letter).isprintable() or letter in "\u200c\u200d", hex(number)


@pytest.mark.parametrize(
    "text",
    [
        "relu",
        "Bücher",
        "波",
        "\N{ARABIC LETTER MEEM}\u200c\N{ARABIC LETTER HEH}",
        "全角\u3000空白",
        "\U0001f469\u200d\U0001f52c",
        r"C:\a",
    ],
)
def test_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def test_what_is_escaped_can_be_read_and_is_escaped_once() -> None:
    text = "a\x1b[31mb\u202ec\nd\udcff"
    assert printable(text) == r"a\x1b[31mb\u202ec\nd\udcff"
    assert printable(printable(text)) == printable(text)
    assert printable_lines(text) == "a\\x1b[31mb\\u202ec\nd\\udcff"


def test_errors_for_the_user_are_escaped_whoever_prints_them() -> None:
    assert str(UserError("a\x1b[2J\nb")) == "a\\x1b[2J\nb"
    assert in_one_line(ValueError("a\x1b[2J\nb")) == r"ValueError: a\x1b[2J"
    mistakes = ConfigError(["lr=1\nlenet-bench: all is well: no number"])
    assert mistakes.problems == [r"lr=1\nlenet-bench: all is well: no number"]
