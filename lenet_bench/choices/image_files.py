"""The files of a user's own images: `root/train/<class>/*`, and validation and test if present.

In: the folder. Out: its classes and image files, what is worth saying about them, or what it lacks.
Nothing here needs torch or opens an image, so that a mistake is reported at once.

Names of classes are compared in Unicode's composed form (NFC): a folder that was copied from one
operating system to another may spell the same name in two ways.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lenet_bench.common.errors import DatasetError
from lenet_bench.common.text import printable

# What torchvision's ImageFolder takes for an image.
IMG_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip

VALIDATION_NAMES = ("val", "valid", "validation")
DEFAULT_VALIDATION_SIZE = 0.1  # of conf/dataset/image_folder.yaml

# What operating systems and storage devices put into folders by themselves, in lower case. Hidden
# files and folders, whose names begin with a dot, are passed over too.
SYSTEM_NAMES = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # network storage
    "__macosx", "icon\r",
    "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "lost+found",
})  # fmt: skip

_LAYOUT = "images are expected as train/<class>/* and, optionally, test/<class>/*"
_MAX_NAMED = 5  # names that a message lists


@dataclass(frozen=True)
class Folder:
    """A folder of images.

    Attributes:
        classes: Their names, sorted, composed (NFC).
        files: Training images first, then validation and test images, if there are any; class by
            class, sorted by name.
        labels: The index of each file's class.
        train_images: How many of the files are training images.
        validation_images: How many lie in a validation folder; None if there is no such folder.
        test_images: How many lie in `test`; None if there is no such folder.
        notices: What the user may not expect, a line each.
    """

    classes: tuple[str, ...]
    files: list[os.DirEntry[str]]
    labels: list[int]
    train_images: int
    validation_images: int | None
    test_images: int | None
    notices: tuple[str, ...]


@dataclass
class _Tally:
    """How many paths are of a kind, and the first of them."""

    count: int = 0
    first: str = ""

    def add(self, path: str) -> None:
        self.first = self.first or path
        self.count += 1


@dataclass
class _Remarkable:
    """Files that the user may not expect to be taken, or passed over."""

    nested: _Tally = field(default_factory=_Tally)
    not_images: _Tally = field(default_factory=_Tally)


@dataclass(frozen=True)
class _Layout:
    """The folders of a root.

    Attributes:
        classes: The names of the classes.
        splits: The folder of each split: `train`, and `validation` and `test` if present.
        class_folders: The folder of each class, by split.
        notices: What the user may not expect.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Path]
    class_folders: Mapping[str, Mapping[str, Path]]
    notices: tuple[str, ...]


def expand_home(root: str | Path) -> Path:
    """Replace `~` by the home folder.

    Raises:
        DatasetError: The home folder is not known.
    """
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise DatasetError(
            f"dataset.root={printable(root)}: this home folder is not known; give the whole path"
        ) from error


def find_root_problem(root: str, validation_size: float) -> str | None:
    """Say what is wrong with `dataset.root` itself, before its classes are looked at."""
    name = f"dataset.root={printable(root)}"
    try:
        folder = expand_home(root)
        if not folder.is_dir():
            return f"{name}: " + (
                "is not a folder" if folder.exists() else "there is no such folder"
            )
        if not (folder / "train").is_dir():
            return f"{name}: the folder holds no train/ folder; it must hold train/<class>/<images>"
        _, validation, _ = _folders_in(folder)
        check_validation_size(validation, validation_size)
    except DatasetError as error:
        return str(error)
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror})"
    return None


def holds_train(root: str) -> bool:
    """Whether `find_root_problem` had nothing to say about the folder itself."""
    return find_root_problem(root, DEFAULT_VALIDATION_SIZE) is None


def check_validation_size(folder: Path | None, validation_size: float) -> None:
    """Check that no validation images are to be held out if there is a folder of them.

    Args:
        folder: The validation folder, None if there is none.
        validation_size: The value of the key.

    Raises:
        DatasetError: The key contradicts the folder.
    """
    if folder is not None and validation_size != DEFAULT_VALIDATION_SIZE:
        raise DatasetError(
            f"dataset.validation_size={validation_size}: nothing is held out of train, because "
            f"{printable(folder)} is the validation split; leave the key out, or rename the folder"
        )


def check_folder(root: Path) -> None:
    """Check that a folder holds classes with images, without listing them all.

    Raises:
        DatasetError: The folder or one of its class folders is missing, empty or unreadable.
    """
    layout = _layout(root)
    for folders in layout.class_folders.values():
        for name in layout.classes:
            if next(_image_files(folders[name], _Remarkable()), None) is None:
                raise _no_image(folders[name])


def scan(root: Path) -> Folder:
    """List the images of a folder.

    Raises:
        DatasetError: The folder or one of its class folders is missing, empty or unreadable, or
            something in them is no file.
    """
    layout = _layout(root)
    files: list[os.DirEntry[str]] = []
    labels: list[int] = []
    counts: dict[str, int] = {}
    remarkable = _Remarkable()
    for split, folders in layout.class_folders.items():
        before = len(files)
        for label, name in enumerate(layout.classes):
            members = list(_image_files(folders[name], remarkable))
            if not members:
                raise _no_image(folders[name])
            files += members
            labels += [label] * len(members)
        counts[split] = len(files) - before
    notices = [*layout.notices, *_notices(root, remarkable, len(files))]
    if "validation" in counts:
        notices.append(
            f"{printable(layout.splits['validation'])}: these {counts['validation']:,} images are "
            "the validation split; none are held out of train"
        )
    return Folder(
        classes=layout.classes,
        files=files,
        labels=labels,
        train_images=counts["train"],
        validation_images=counts.get("validation"),
        test_images=counts.get("test"),
        notices=tuple(notices),
    )


def _notices(root: Path, remarkable: _Remarkable, images: int) -> Iterator[str]:
    if nested := remarkable.nested.count:
        yield (
            f"{printable(root)}: {nested:,} of {images:,} images lie in folders inside class "
            f"folders, such as {printable(remarkable.nested.first)}; they belong to that class"
        )
    if others := remarkable.not_images.count:
        yield (
            f"{printable(root)}: {others:,} file{'s' * (others != 1)} in class folders passed "
            f"over, such as {printable(remarkable.not_images.first)} (an image ends in "
            f"{', '.join(IMG_EXTENSIONS)})"
        )


def _layout(root: Path) -> _Layout:
    """Find the splits and their classes."""
    if not _is_folder(root):
        problem = "is not a folder" if root.exists() else "no such folder"
        raise DatasetError(f"dataset.root={printable(root)}: {problem}; {_LAYOUT} in it")
    splits, _, notices = _folders_in(root)
    if "train" not in splits:
        names = sorted(entry.name for entry in _entries(root))[:_MAX_NAMED]
        others = ", ".join(map(printable, names)) or "nothing"
        raise DatasetError(
            f"dataset.root={printable(root)}: no folder train in it, but {others}; {_LAYOUT}"
        )
    class_folders: dict[str, Mapping[str, Path]] = {}
    for split, folder in splits.items():
        class_folders[split], more = _class_folders(folder)
        notices += more
    classes = tuple(sorted(class_folders["train"]))
    if not classes:
        raise DatasetError(f"{printable(splits['train'])}: no class folder in it; {_LAYOUT}")
    if len(classes) == 1:
        raise DatasetError(
            f"{printable(splits['train'])}: only one class, {classes[0]!r}; at least two are needed"
        )
    for split, folder in splits.items():
        _compare_classes(splits["train"], classes, folder, sorted(class_folders[split]))
    notices += _alike_but_for_case(splits["train"], classes)
    return _Layout(classes, splits, class_folders, tuple(notices))


def _folders_in(root: Path) -> tuple[dict[str, Path], Path | None, list[str]]:
    """The folder of each split, the validation folder among them, and what is not used."""
    folders = [entry.name for entry in _entries(root) if _leads_to_folder(entry)]
    found = [name for name in VALIDATION_NAMES if name in folders]
    if len(found) > 1:
        raise DatasetError(
            f"dataset.root={printable(root)}: it holds {' and '.join(found)}, but there is one "
            "validation split; rename or remove all but one of these folders"
        )
    names = {"train": "train", "validation": (*found, "")[0], "test": "test"}
    splits = {split: root / name for split, name in names.items() if name in folders}
    notices = []
    if others := [name for name in folders if name not in names.values()]:
        more = f" and {len(others) - _MAX_NAMED:,} more" if len(others) > _MAX_NAMED else ""
        notices.append(
            f"{printable(root)}: not used: {', '.join(map(printable, others[:_MAX_NAMED]))}{more} "
            f"(the folders of the splits are train, {', '.join(VALIDATION_NAMES)} and test)"
        )
    return splits, splits.get("validation"), notices


def _class_folders(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The class folders of a split by the composed forms of their names, and what is not used."""
    folders: dict[str, Path] = {}
    beside = _Tally()
    for entry in _entries(folder):
        if not _leads_to_folder(entry):
            if _is_named_as_image(entry):
                beside.add(entry.name)
            continue
        name = _composed(entry.name)
        if name in folders:
            raise DatasetError(
                f"{printable(folder)}: the class folders {folders[name].name!a} and "
                f"{entry.name!a} have the same name in two Unicode forms; merge them or "
                "rename one"
            )
        folders[name] = folder / entry.name
    if not beside.count:
        return folders, []
    return folders, [
        f"{printable(folder)}: {beside.count:,} image{'s' * (beside.count != 1)} beside the class "
        f"folders not used, such as {printable(beside.first)}"
    ]


def _compare_classes(
    train: Path, train_classes: Sequence[str], other: Path, other_classes: Sequence[str]
) -> None:
    for here, there, has, lacks in (
        (train, other, train_classes, other_classes),
        (other, train, other_classes, train_classes),
    ):
        missing = sorted(set(has) - set(lacks))
        if not missing:
            continue
        similar = [name for name in lacks if name.casefold() == missing[0].casefold()]
        hint = f" ({there.name} has {similar[0]!r}: upper and lower case differ)" if similar else ""
        raise DatasetError(
            f"{printable(there / missing[0])}: missing class folder; {here.name} has {missing[0]!r}"
            f"{f' and {len(missing) - 1} more' * (len(missing) > 1)} that {there.name} lacks{hint}:"
            " both must have the same classes"
        )


def _alike_but_for_case(train: Path, classes: Sequence[str]) -> Iterator[str]:
    first: dict[str, str] = {}
    pairs = [
        (other, name)
        for name in classes
        if (other := first.setdefault(name.casefold(), name)) != name
    ]
    if pairs:
        more = f", and {len(pairs) - 1:,} more pairs" if len(pairs) > 1 else ""
        yield (
            f"{printable(train)}: {pairs[0][0]!r} and {pairs[0][1]!r}{more}, are different classes "
            "although their names differ in upper and lower case only"
        )


def _no_image(folder: Path) -> DatasetError:
    return DatasetError(
        f"{printable(folder)}: no image in this class folder (an image ends in "
        f"{', '.join(IMG_EXTENSIONS)}); add some, or remove the class from every split"
    )


def _image_files(
    folder: Path, remarkable: _Remarkable, inside: tuple[tuple[int, int], ...] = ()
) -> Iterator[os.DirEntry[str]]:
    """The images of a class folder and of the folders in it.

    Args:
        folder: The folder.
        remarkable: Where unexpected files are counted.
        inside: The folders that it lies in, from the class folder on, to recognise a loop of links.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    here = (status.st_dev, status.st_ino)
    if here in inside:
        raise DatasetError(
            f"{printable(folder)}: a link to a folder that it lies in itself; remove this link"
        )
    for entry in _entries(folder):
        if _leads_to_folder(entry):
            yield from _image_files(Path(entry.path), remarkable, (*inside, here))
        elif not _is_named_as_image(entry):
            remarkable.not_images.add(entry.path)
        elif not entry.is_file():
            raise DatasetError(f"{printable(entry.path)}: {_not_a_file(entry)}; remove it")
        else:
            if inside:
                remarkable.nested.add(entry.path)
            yield entry


def _not_a_file(entry: os.DirEntry[str]) -> str:
    try:
        return f"is {describe_kind(entry.stat().st_mode)}, not a file"
    except FileNotFoundError:
        return f"a link to {printable(Path(entry.path).readlink())}, which does not exist"


def describe_kind(mode: int) -> str:
    """Say what a path is that is no file, by its `st_mode`."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe (FIFO)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something special")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, but for hidden files and those of the system, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry for entry in entries if not _is_of_the_system(entry.name)),
                key=lambda entry: (_composed(entry.name), entry.name),
            )
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is_of_the_system(name: str) -> bool:
    return name[0] == "." or name.casefold() in SYSTEM_NAMES


def _is_named_as_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(IMG_EXTENSIONS)


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from error


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link that leads in a circle, or behind a folder without permission
        raise _unreadable(entry.path, error) from error


def _unreadable(path: str | Path, error: OSError) -> DatasetError:
    return DatasetError(f"{printable(path)}: cannot be read ({error.strerror})")
