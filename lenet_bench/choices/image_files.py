"""The files of a user's own images: `root/train/<class>/*` and, if present, `root/test/<class>/*`.

In: the folder. Out: its classes and image files, or what it lacks. Nothing here needs torch or
opens an image, so that a mistake is reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.common.errors import DatasetError

# What torchvision's ImageFolder takes for an image.
IMG_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder of images.

    Attributes:
        classes: Their names, sorted.
        files: Training images first, class by class, sorted by name.
        labels: The index of each file's class.
        train_images: How many of the files are training images.
        has_test: Whether the others are test images, or there are none.
    """

    classes: tuple[str, ...]
    files: list[os.DirEntry[str]]
    labels: list[int]
    train_images: int
    has_test: bool


def check_folder(root: Path) -> None:
    """Check that a folder holds classes with images, without listing them all.

    Raises:
        DatasetError: The folder or one of its class folders is missing or empty.
    """
    classes, splits = _layout(root)
    for split in splits:
        for name in classes:
            if next(_image_files(root / split / name), None) is None:
                raise _no_image(root / split / name)


def scan(root: Path) -> Folder:
    """List the images of a folder.

    Raises:
        DatasetError: The folder or one of its class folders is missing or empty.
    """
    classes, splits = _layout(root)
    files: list[os.DirEntry[str]] = []
    labels: list[int] = []
    train_images = 0
    for split in splits:
        for label, name in enumerate(classes):
            members = list(_image_files(root / split / name))
            if not members:
                raise _no_image(root / split / name)
            files += members
            labels += [label] * len(members)
        train_images = train_images or len(files)
    return Folder(classes, files, labels, train_images, "test" in splits)


def _layout(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes, and which of train and test there are."""
    layout = "images are expected as train/<class>/* and, optionally, test/<class>/*"
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "no such folder"
        raise DatasetError(f"dataset.root={root}: {problem}; {layout} in it")
    if not (root / "train").is_dir():
        others = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
        raise DatasetError(f"dataset.root={root}: no folder train in it, but {others}; {layout}")
    classes = _class_folders(root / "train")
    if not classes:
        raise DatasetError(f"{root / 'train'}: no class folder in it; {layout}")
    if len(classes) == 1:
        raise DatasetError(
            f"{root / 'train'}: only one class, {classes[0]!r}; at least two are needed"
        )
    if not (root / "test").is_dir():
        return classes, ("train",)
    _compare_classes(root, classes, _class_folders(root / "test"))
    return classes, ("train", "test")


def _no_image(folder: Path) -> DatasetError:
    return DatasetError(
        f"{folder}: no image in this class folder (an image ends in {', '.join(IMG_EXTENSIONS)}); "
        "add some, or remove the class from train and test"
    )


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(
        sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    )


def _compare_classes(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    for here, there, missing in (
        ("train", "test", sorted(set(train) - set(test))),
        ("test", "train", sorted(set(test) - set(train))),
    ):
        if missing:
            raise DatasetError(
                f"{root / there / missing[0]}: missing class folder; {here} has {missing[0]!r}"
                f"{f' and {len(missing) - 1} more' * (len(missing) > 1)} that {there} lacks: both "
                "must have the same classes"
            )


def _image_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _image_files(Path(entry.path))
            elif entry.name.lower().endswith(IMG_EXTENSIONS):
                yield entry
