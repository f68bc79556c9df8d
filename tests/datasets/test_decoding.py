"""From image files to pixels: transparency, orientation, number formats, frames, broken files.

The expected pixels are computed with NumPy from the values that were stored.
"""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lenet_bench.datasets import DatasetError
from lenet_bench.datasets.decoding import MAX_PIXELS, UnfitError, decode
from tests.datasets.conftest import from_folder, picture

Pixels = NDArray[np.uint8]
RGBA = np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8)
RGBA[:4, :, 3], RGBA[4:8, :, 3] = 0, 255  # some rows are fully transparent, some opaque
GREY, ALPHA = RGBA[..., 0], RGBA[..., 3]


PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    size, check = struct.pack(">I", len(content)), zlib.crc32(kind + content)
    return size + kind + content + struct.pack(">I", check)


def decoded(path: Path) -> Pixels:
    """The pixels, (H, W) if grey, else (H, W, 3)."""
    return np.asarray(decode(path).image)


def on_white(colour: NDArray[np.generic], alpha: NDArray[np.generic]) -> Pixels:
    """Composed by the definition: alpha of the colour, the rest white; rounded to the nearest."""
    share = alpha.astype(np.float64) / 255
    if colour.ndim == 3:
        share = share[..., None]
    return np.rint(share * colour.astype(np.float64) + (1 - share) * 255).astype(np.uint8)


# --- transparency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_colour_with_alpha_is_laid_on_white(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(RGBA).save(path, lossless=True, exact=True)
    assert np.array_equal(decoded(path), on_white(RGBA[..., :3], ALPHA))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_grey_with_alpha_stays_grey_on_white(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.stack([GREY, ALPHA], -1), "LA").save(path)
    assert np.array_equal(decoded(path), on_white(GREY, ALPHA))


def test_black_shapes_on_transparent_are_seen(folder: Path) -> None:
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[2 : 5 + number % 9, 2:9, 3] = 255
        Image.fromarray(pixels).save(path)
    data = from_folder(folder)
    assert data.test
    expected = np.full((16, 16), 255, np.uint8)
    expected[2:5, 2:9] = 0
    assert np.array_equal(data.test.images[0, 0].numpy(), expected)


def test_a_fully_transparent_image_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decoded(tmp_path / "a.png") == 255).all()


INDICES = np.random.default_rng(2).integers(0, 4, (16, 16), dtype=np.uint8)
COLOURS = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 255]], np.uint8)


def palette_image() -> Image.Image:
    image = Image.fromarray(INDICES, "P")
    image.putpalette(COLOURS.tobytes())
    return image


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128, 255])])
def test_a_palette_with_transparency_is_laid_on_white(
    tmp_path: Path, transparency: int | bytes
) -> None:
    palette_image().save(tmp_path / "a.png", transparency=transparency)
    alphas = np.array([255, 0, 255 if transparency == 1 else 128, 255], np.uint8)
    assert np.array_equal(decoded(tmp_path / "a.png"), on_white(COLOURS[INDICES], alphas[INDICES]))


def test_a_palette_without_transparency_keeps_its_colours(tmp_path: Path) -> None:
    palette_image().save(tmp_path / "a.png")
    assert np.array_equal(decoded(tmp_path / "a.png"), COLOURS[INDICES])


def test_a_palette_with_an_alpha_channel(tmp_path: Path) -> None:
    """Mode PA: the alpha of each pixel is stored beside its index."""
    both = np.stack([INDICES, ALPHA], -1)
    image = Image.frombytes("PA", (16, 16), both.tobytes())
    image.putpalette(COLOURS.tobytes())
    image.convert("RGBA").save(tmp_path / "a.png")
    assert np.array_equal(decoded(tmp_path / "a.png"), on_white(COLOURS[INDICES], ALPHA))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_a_transparent_colour_is_white(tmp_path: Path, mode: str) -> None:
    """PNG's tRNS chunk names one value that is transparent."""
    values = {
        "L": INDICES * 60,
        "1": INDICES > 1,
        "RGB": COLOURS[INDICES],
        "I;16": INDICES.astype(np.uint16) * 20_000,
    }[mode]
    key = {"L": 60, "1": 0, "RGB": (0, 200, 0), "I;16": 20_000}[mode]
    Image.fromarray(values).save(tmp_path / "a.png", transparency=key)
    index = INDICES.astype(int)
    seen = {
        "L": np.where(index == 1, 255, index * 60),
        "1": np.full((16, 16), 255),  # 0 is transparent, 1 is white
        "RGB": np.where((INDICES == 2)[..., None], 255, COLOURS[INDICES]),
        "I;16": np.where(INDICES == 1, 255, np.rint(index * 20_000 / 257)),
    }[mode]
    assert np.array_equal(decoded(tmp_path / "a.png"), seen)


# --- orientation ----------------------------------------------------------------------------------

# The EXIF standard: where the stored image's first row and first column are, for the viewer.
SIDES = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def upright(stored: Pixels, orientation: int) -> Pixels:
    """Lay every pixel where the standard says that the viewer sees it."""
    row_side, column_side = SIDES[orientation]
    height, width = stored.shape[:2]
    turned = row_side in ("left", "right")
    seen = np.zeros((width, height, 3) if turned else stored.shape, np.uint8)
    for row in range(height):
        for column in range(width):
            place = {
                row_side: row if row_side in ("top", "left") else -1 - row,
                column_side: column if column_side in ("top", "left") else -1 - column,
            }
            down = place.get("top", place.get("bottom"))
            across = place.get("left", place.get("right"))
            seen[down, across] = stored[row, column]
    return seen


def with_orientation(value: object) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_cameras_is_applied(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    stored = picture(orientation, 16, 24)
    Image.fromarray(stored).save(tmp_path / f"plain.{ending}", lossless=True)
    Image.fromarray(stored).save(
        tmp_path / f"a.{ending}", lossless=True, exif=with_orientation(orientation)
    )
    pixels = decoded(tmp_path / f"plain.{ending}")
    if ending != "jpg":
        assert np.array_equal(pixels, stored)
    assert np.array_equal(decoded(tmp_path / f"a.{ending}"), upright(pixels, orientation))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_is_passed_over(tmp_path: Path, value: object) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png", exif=with_orientation(value))
    assert np.array_equal(decoded(tmp_path / "a.png"), picture(1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_passed_over(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff??")
    assert np.array_equal(decoded(tmp_path / "a.png"), picture(1))


def test_a_turned_photograph_is_resized_upright(folder: Path) -> None:
    """Its sides change places before it is resized: as if it had been stored upright."""
    stored = picture(5, 16, 40)
    path = folder / "test/cat/0.png"
    Image.fromarray(upright(stored, 6)).save(path)
    before = from_folder(folder).test
    Image.fromarray(stored).save(path, exif=with_orientation(6))
    after = from_folder(folder).test
    assert before
    assert after
    assert np.array_equal(before.images.numpy(), after.images.numpy())


# --- number formats -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_from_their_whole_range(tmp_path: Path, ending: str) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    expected = np.rint(values / 65535 * 255)
    assert np.array_equal(decoded(tmp_path / f"a.{ending}"), expected)
    assert expected.max() == 255


def change_tag(path: Path, tag: int, value: int) -> None:
    """Give a TIFF's tag of one short number another value."""
    content = path.read_bytes()
    start = content.index(struct.pack("<HHI", tag, 3, 1))
    path.write_bytes(content[: start + 8] + struct.pack("<I", value) + content[start + 12 :])


def test_a_negative_of_sixteen_bits_is_inverted(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    change_tag(tmp_path / "a.tif", 262, 0)  # photometric interpretation: 0 is white
    assert np.array_equal(decoded(tmp_path / "a.tif"), np.rint((65535 - values) / 257))


def test_colour_of_sixteen_bits(tmp_path: Path) -> None:
    """Pillow keeps the upper eight."""
    values = np.random.default_rng(3).integers(0, 65536, (16, 16, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    (tmp_path / "a.png").write_bytes(
        PNG
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    assert np.array_equal(decoded(tmp_path / "a.png"), values >> 8)


def png(bits: int, colour_type: int, line: bytes, *chunks: bytes) -> bytes:
    """A PNG whose lines are all the same, as wide as high."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    side = len(line) * 8 // (bits * channels)
    header = struct.pack(">IIBBBBB", side, side, bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + line) * side))
    return PNG + chunk(b"IHDR", header) + b"".join(chunks) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "line", "transparent", "seen"),
    [
        (1, b"\x55", 0, [255] * 8),
        (2, b"\x1b", 1, [0, 255, 170, 255]),  # 0 1 2 3
        (4, b"\x5a", 5, [255, 170]),
        (8, b"\x05\x0a", 5, [255, 10]),
        (16, struct.pack(">HH", 300, 514), 300, [255, 2]),
    ],
)
def test_a_transparent_grey_of_every_depth(
    tmp_path: Path, bits: int, line: bytes, transparent: int, seen: list[int]
) -> None:
    """PNG, 11.3.2.1: the value is told in the image's own depth."""
    key = chunk(b"tRNS", struct.pack(">H", transparent))
    (tmp_path / "a.png").write_bytes(png(bits, 0, line, key))
    assert decoded(tmp_path / "a.png")[0].tolist() == seen


def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Pillow keeps the upper eight, which several colours share."""
    key = chunk(b"tRNS", struct.pack(">3H", 300, 301, 302))
    line = struct.pack(">6H", 300, 301, 302, 256, 257, 258)
    (tmp_path / "a.png").write_bytes(png(16, 2, line, key))
    with pytest.raises(UnfitError, match="a transparent colour of 16 bits a channel: convert it"):
        decode(tmp_path / "a.png")


def test_grey_of_sixteen_bits_with_alpha_stays_grey(tmp_path: Path) -> None:
    line = struct.pack(">4H", 300, 0, 40_000, 65_535)
    (tmp_path / "a.png").write_bytes(png(16, 4, line))
    assert decoded(tmp_path / "a.png").tolist() == [[255, 40_000 >> 8]] * 2


def test_colour_of_sixteen_bits_with_alpha(tmp_path: Path) -> None:
    line = struct.pack(">8H", 300, 301, 302, 0, 40_000, 514, 65_535, 65_535)
    (tmp_path / "a.png").write_bytes(png(16, 6, line))
    assert decoded(tmp_path / "a.png")[0].tolist() == [[255] * 3, [156, 2, 255]]


def test_a_negative_of_floats_is_inverted(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    change_tag(tmp_path / "a.tif", 262, 0)  # photometric interpretation: 0 is white
    assert np.array_equal(decoded(tmp_path / "a.tif"), 255 - np.arange(256).reshape(16, 16))


def test_floats_from_0_to_1_are_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(decoded(tmp_path / "a.tif"), np.arange(256).reshape(16, 16))


def test_cmyk(tmp_path: Path) -> None:
    ink = np.random.default_rng(4).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    Image.frombytes("CMYK", (16, 16), ink.tobytes()).save(tmp_path / "a.tif")
    light = 255 - ink.astype(np.float64)
    expected = light[..., :3] * light[..., 3:] / 255
    assert np.abs(decoded(tmp_path / "a.tif") - expected).max() <= 1


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(INDICES > 1).save(tmp_path / "a.png")
    assert np.array_equal(decoded(tmp_path / "a.png"), np.where(INDICES > 1, 255, 0))


# --- frames and shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp"])
def test_of_several_frames_the_first_is_used(folder: Path, ending: str) -> None:
    """Whatever the file is called."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    content = io.BytesIO()
    frames[0].save(
        content, ending, save_all=True, append_images=frames[1:], lossless=True, duration=100
    )
    path = folder / "test/cat/0.png"
    path.write_bytes(content.getvalue())
    assert decode(path).several_frames
    assert (decoded(path) == (255, 0, 0)).all()


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp", "jpeg", "bmp", "ppm"])
def test_a_single_frame_is_nothing_to_mention(tmp_path: Path, ending: str) -> None:
    Image.fromarray(picture(1)).save(tmp_path / f"a.{ending}")
    assert not decode(tmp_path / f"a.{ending}").several_frames


def test_the_preview_behind_a_photograph_is_nothing_to_mention(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert not decode(tmp_path / "a.jpg").several_frames


def test_a_very_long_image_is_squeezed(folder: Path) -> None:
    """2 x 40,000 pixels, the left half black: 16 x 16, the left half black."""
    pixels = np.zeros((2, 40_000), np.uint8)
    pixels[:, 20_000:] = 255
    for path in folder.rglob("*.png"):
        Image.fromarray(pixels).save(path)
    data = from_folder(folder)
    expected = np.zeros((16, 16), np.uint8)
    expected[:, 8:] = 255
    assert (
        np.abs(
            data.train.images[0, 0].numpy()[:, [0, 6, 9, 15]].astype(int)
            - expected[:, [0, 6, 9, 15]]
        ).max()
        == 0
    )


# --- files that cannot be used --------------------------------------------------------------------


def tiff(values: NDArray[np.generic]) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).save(path, "TIFF")


def declare_size(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes whose header says that it is enormous."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")))


def compressed_text(path: Path) -> None:
    """A PNG with a comment of 64 MB in 64 kB."""
    content = io.BytesIO()
    Image.fromarray(picture(1)).save(content, "PNG")
    whole = content.getvalue()
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9))
    path.write_bytes(whole[:33] + comment + whole[33:])


def signed(path: Path) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(path, "TIFF", tiffinfo={339: 2})


def no_number(path: Path) -> None:
    values = np.zeros((16, 16), np.float32)
    values[3, 4] = np.nan
    tiff(values)(path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


UNFIT: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b""), "not an image that can be read"),
    (lambda path: path.write_text("a cat, in words"), "not an image that can be read"),
    (lambda path: path.write_bytes(PNG), "not an image that can be read"),
    (lambda path: path.write_bytes(bytes(100)), "not an image that can be read"),
    (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n"),
        "not an image that can be read",  # or Ghostscript would be started
    ),
    (
        lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "not an image that can be read",
    ),
    (truncated, "image file is truncated"),
    (
        tiff(np.arange(256, dtype=np.int32).reshape(16, 16) * 1000),
        "integers of 32 bits, whose range is not defined: convert it to 8 or 16 bits without sign",
    ),
    (
        signed,
        "integers of 16 bits, whose range is not defined: convert it to 8 or 16 bits without sign",
    ),
    (
        tiff(np.linspace(-0.5, 255, 256, dtype=np.float32).reshape(16, 16)),
        "floating-point values from -0.5 to 255, allowed are 0 to 1: convert it to 8 or 16 bits",
    ),
    (no_number, "it holds values that are not finite: convert it to 8 or 16 bits"),
    (
        lambda path: declare_size(path, 10_000, 10_000),
        f"10000x10000 pixels, more than the {MAX_PIXELS:,} allowed",
    ),
    (
        lambda path: declare_size(path, 100_000, 100_000),
        f"more than the {MAX_PIXELS:,} pixels allowed: it may be a decompression bomb",
    ),
    (
        lambda path: declare_size(path, 2**31 - 1, 2**31 - 1),
        f"more than the {MAX_PIXELS:,} pixels allowed: it may be a decompression bomb",
    ),
    (lambda path: declare_size(path, 0, 16), "not an image that can be read"),
    (compressed_text, "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"),
]


@pytest.mark.parametrize(("change", "reason"), UNFIT)
def test_a_file_that_cannot_be_used_is_named(
    folder: Path, change: Callable[[Path], object], reason: str
) -> None:
    path = folder / "train/dog/3.png"
    change(path)
    start = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        from_folder(folder)
    assert str(caught.value).startswith(f"1 of 36 images cannot be used: {path} ({reason}")
    assert str(caught.value).endswith("); replace or remove them")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("height", "width"), [(16, 20), (20, 16), (6, 6), (15, 15), (600, 600)])
def test_without_a_size_images_must_fit_the_network(folder: Path, height: int, width: int) -> None:
    Image.fromarray(picture(1, height, width)).save(folder / "train/cat/0.png")
    with pytest.raises(DatasetError) as caught:
        from_folder(folder, size=None)
    assert str(caught.value) == (
        f"{folder}/train/cat/0.png ({width}x{height} pixels; without dataset.size, images must be "
        "square, with 16 to 512 pixels a side): replace or remove it"
    )
