"""Decodes one image file to eight bits a channel, as a viewer would show it.

In: a path. Out: a Pillow image of mode L or RGB, or why the file cannot be used.

Only the formats that image files are expected in are tried, whatever a file is called. Transparent
images are laid on white. The orientation that cameras write into EXIF is applied. Numbers with more
than eight bits are scaled to eight where their range is defined: integers of up to 16 bits, and
floating-point numbers from 0 to 1. Of several frames or pages, the first is used.
"""

from __future__ import annotations

from io import BufferedReader, BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from lenet_bench.common.text import printable
from lenet_bench.datasets.preloaded import open_preloaded

MIN_SIDE = 2  # pixels
MAX_PIXELS = 89_478_485  # of an image; Pillow warns from here on

# Tried in this order, whatever a file is called, the others only if none of the first fits: Pillow
# loads them with all its formats, which takes longer than decoding a thousand small images.
_FIRST_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM")
_OTHER_FORMATS = ("TIFF", "WEBP", "AVIF", "JPEG2000")

_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}

# From the EXIF orientation to what turns the stored image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1

_STRETCHED = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the grey of such a PNG by


class UnfitError(Exception):
    """An image can be decoded but not used."""


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        image: Of mode L if it is stored as greyscale, else RGB.
        several_frames: Whether the file holds more frames or pages than this one.
    """

    image: Image.Image
    several_frames: bool


def decode(path: str | Path) -> Picture:
    """Decode an image file.

    Raises:
        UnfitError: It can be decoded but not used.
        Exception: It cannot be opened or decoded; Pillow's decoders raise exceptions of every kind.
    """
    with open_preloaded(path) as file, _open(file) as stored:
        _check_size(stored.width, stored.height)
        # MPO is a photograph with others, such as its preview, behind it.
        several_frames = stored.format != "MPO" and getattr(stored, "is_animated", False)
        plain = _to_eight_bits(stored)
        turn = _turn(stored)
    return Picture(plain if turn is None else plain.transpose(turn), several_frames)


def describe_problem(error: Exception) -> str:
    """Say in a few words why a file was not decoded."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels allowed: it may be a decompression bomb"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(reason or type(error).__name__)


def _open(file: BufferedReader | BytesIO) -> ImageFile.ImageFile:
    try:
        return Image.open(file, formats=_FIRST_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(file, formats=[name for name in _OTHER_FORMATS if name in Image.OPEN])


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise UnfitError(f"{width}x{height} pixels, at least {MIN_SIDE}x{MIN_SIDE} needed")
    if width * height > MAX_PIXELS:
        raise UnfitError(f"{width}x{height} pixels, more than the {MAX_PIXELS:,} allowed")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright; EXIF that is damaged, or that makes no sense, says nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as many kinds as there are ways to damage it
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return _from_floats(image)
    if image.mode.startswith("I"):
        return _from_integers(image)
    raw = _raw_mode(image)  # asked before the pixels are loaded
    mode = "L" if image.mode in _GREY_MODES or raw == "LA;16B" else "RGB"
    transparent = image.info.get("transparency")
    if raw == "RGB;16B" and transparent is not None:
        raise UnfitError("a transparent colour of 16 bits a channel: convert it to 8 bits")
    if isinstance(transparent, int) and raw in _STRETCHED:
        # Pillow stretches the pixels to eight bits, but not the value that is transparent.
        image.info["transparency"] = transparent * _STRETCHED[raw]
    if not image.has_transparency_data:
        return image.convert(mode)
    layer = image.convert("LA" if mode == "L" else "RGBA")
    white = Image.new(mode, layer.size, "white")
    white.paste(layer.convert(mode), mask=layer.getchannel("A"))
    return white


def _raw_mode(image: Image.Image) -> str:
    """How a PNG holds its pixels, in Pillow's words; empty where that does not matter."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if image.format == "PNG" and tiles else ""


def _from_integers(image: Image.Image) -> Image.Image:
    largest, inverted = 65535, False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(_TIFF_BITS, (1,))[0]
        if bits > 16 or tags.get(_TIFF_SAMPLE_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED:
            raise UnfitError(
                f"integers of {bits} bits, whose range is not defined: convert it to 8 or 16 bits "
                "without sign"
            )
        largest, inverted = 2**bits - 1, _is_inverted(image)
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > largest:
        raise UnfitError("more than 16 bits a pixel: convert it to 8 bits")
    if inverted:
        values = largest - values
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = largest
    return Image.fromarray(((values * 255 + largest // 2) // largest).astype(np.uint8))


def _is_inverted(image: Image.Image) -> bool:
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _from_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnfitError("it holds values that are not finite: convert it to 8 or 16 bits")
    if values.min() < 0 or values.max() > 1:
        raise UnfitError(
            f"floating-point values from {values.min():.4g} to {values.max():.4g}, allowed are 0 "
            "to 1: convert it to 8 or 16 bits"
        )
    if image.format == "TIFF" and _is_inverted(image):
        values = 1 - values
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
