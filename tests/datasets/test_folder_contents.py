"""What lies in an image folder: what is taken, passed over, said and refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lenet_bench.choices.image_files import (
    DEFAULT_VALIDATION_SIZE,
    IMG_EXTENSIONS,
    check_folder,
    find_root_problem,
    scan,
)
from lenet_bench.datasets import DatasetError, load
from tests.datasets.conftest import counts, from_folder, picture, rows

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)


@contextlib.contextmanager
def as_nobody(*folders: Path) -> Iterator[None]:
    """Have the rights of a user who owns nothing; these folders can be walked through."""
    for folder in folders:
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def save(path: Path, seed: int = 99) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(path)


SYSTEM = (
    "@eaDir", "@EADIR", "__MACOSX", "lost+found", "$RECYCLE.BIN", "#recycle", "#snapshot",
    "System Volume Information", ".thumbnails", "@Recycle",
)  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
def test_folders_of_the_system_are_passed_over(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a class, inside a class, and beside train: 24 training images, as without them."""
    before = from_folder(folder).fingerprint
    for place in (folder, folder / "train", folder / "train" / "cat", folder / "test"):
        save(place / name / "0.png" / "THUMB_M.jpg")
    data = from_folder(folder)
    assert len(data.train) + len(data.validation) == 30
    assert data.fingerprint == before
    check_folder(folder)
    assert said(caplog) == []


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png", "Icon\r"]
)
def test_files_of_the_system_are_passed_over(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = from_folder(folder).fingerprint
    for place in (folder, folder / "train", folder / "train" / "cat"):
        (place / name).write_bytes(b"no image")
    assert from_folder(folder).fingerprint == before
    assert said(caplog) == []


def nest(root: Path) -> None:
    save(root / "train/dog/more/a.png")
    save(root / "train/dog/more/deep/b.png")


def keep_notes(root: Path) -> None:
    (root / "train/cat/notes.txt").write_text("of the photographer")
    (root / "test/eel/x.gif").write_bytes(b"GIF89a")


def lay_beside(root: Path) -> None:
    save(root / "train/forgotten.png")


def add_splits(root: Path) -> None:
    for name in ("testing", "extra"):
        shutil.copytree(root / "test", root / name)


def differ_in_case(root: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(root / split / "cat", root / split / "Cat")


def animate(root: Path) -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    frames[0].save(root / "train/cat/0.png", save_all=True, append_images=frames[1:])


def paint_red(root: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(root / "test/eel/1.png")


def blacken(root: Path) -> None:
    for path in root.rglob("*.png"):
        Image.new("RGB", (16, 16)).save(path)


def repeat(root: Path) -> None:
    for path in root.rglob("*.png"):
        save(path, seed=7)


ENDINGS = ", ".join(IMG_EXTENSIONS)
NOTICES: list[tuple[Callable[[Path], object], int, str]] = [
    (
        nest, 38,
        "{root}: 2 of 38 images lie in folders inside class folders, such as "
        "{root}/train/dog/more/a.png; they belong to that class",
    ),
    (
        keep_notes, 36,
        "{root}: 2 files in class folders passed over, such as {root}/train/cat/notes.txt "
        f"(an image ends in {ENDINGS})",
    ),
    (
        lay_beside, 36,
        "{root}/train: 1 image beside the class folders not used, such as forgotten.png",
    ),
    (
        add_splits, 36,
        "{root}: not used: extra, testing (the folders of the splits are train, val, valid, "
        "validation and test)",
    ),
    (
        differ_in_case, 48,
        "{root}/train: 'Cat' and 'cat', are different classes although their names differ in upper "
        "and lower case only",
    ),
    (
        animate, 36,
        "{root}: 1 image file with several frames or pages, such as {root}/train/cat/0.png; the "
        "first of each is used",
    ),
    (
        paint_red, 36,
        "{root}: 1 of 36 images have one colour only, such as {root}/test/eel/1.png",
    ),
    (
        blacken, 36,
        "{root}: all 36 images are alike once they are decoded and resized; there is nothing to "
        "learn",
    ),
    (
        repeat, 36,
        "{root}: all 36 images are alike once they are decoded and resized; there is nothing to "
        "learn",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "images", "notice"), NOTICES)
def test_the_unexpected_is_said_in_a_line(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], object],
    images: int,
    notice: str,
) -> None:
    """When the images are decoded, and when they come from the cache."""
    change(folder)
    for _ in range(2):
        caplog.clear()
        data = from_folder(folder)
        assert data.test
        assert len(data.train) + len(data.validation) + len(data.test) == images
        assert said(caplog) == [notice.format(root=folder)]


def rename_raw(folder: Path, old: str, new: bytes) -> None:
    (folder / old).rename(folder / os.fsdecode(new))


def link(path: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / path).symlink_to(root / target)


def bind_socket(root: Path) -> None:
    # A short relative name: the address of a socket has about a hundred bytes.
    before = Path.cwd()
    os.chdir(root / "train/cat")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("zz.png")
    finally:
        os.chdir(before)


def make_device(root: Path) -> None:
    try:
        os.mknod(root / "train/cat/zz.png", 0o020600, os.makedev(1, 5))  # /dev/zero: it never ends
    except PermissionError:
        pytest.skip("only root can make a device")


def two_forms(root: Path) -> None:
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / COMPOSED)
        (root / split / "dog").rename(root / split / DECOMPOSED)


def another_case(root: Path) -> None:
    (root / "test/cat").rename(root / "test/Cat")


def hostile_class(root: Path) -> None:
    rename_raw(root / "train", "cat", b"c\xff\n\x1b[31mt")


def empty_class(root: Path) -> None:
    (root / "train/ape").mkdir()
    save(root / "test/ape/0.png")


def several_validations(root: Path) -> None:
    for name in ("val", "valid"):
        shutil.copytree(root / "test", root / name)


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda root: os.mkfifo(root / "train/cat/zz.png"),
        "{root}/train/cat/zz.png: is a named pipe (FIFO), not a file; remove it",
    ),
    (bind_socket, "{root}/train/cat/zz.png: is a socket, not a file; remove it"),
    (make_device, "{root}/train/cat/zz.png: is a device, not a file; remove it"),
    (
        link("test/eel/zz.png", "gone.png"),
        "{root}/test/eel/zz.png: a link to {root}/gone.png, which does not exist; remove it",
    ),
    (
        link("test/eel/zz.png", "test/eel/zz.png"),
        "{root}/test/eel/zz.png: cannot be read (Too many levels of symbolic links)",
    ),
    (
        link("train/cat/again", "train/cat"),
        "{root}/train/cat/again: a link to a folder that it lies in itself; remove this link",
    ),
    (
        link("train/cat/all", "train"),
        "{root}/train/cat/all/cat: a link to a folder that it lies in itself; remove this link",
    ),
    (
        two_forms,
        r"{root}/train: the class folders 'Cafe\u0301' and 'Caf\xe9' have the same name in two "
        "Unicode forms; merge them or rename one",
    ),
    (
        another_case,
        "{root}/test/cat: missing class folder; train has 'cat' that test lacks (test has 'Cat': "
        "upper and lower case differ): both must have the same classes",
    ),
    (
        lambda root: save(root / "test/fox/0.png"),
        "{root}/train/fox: missing class folder; test has 'fox' that train lacks: both must have "
        "the same classes",
    ),
    (
        hostile_class,
        r"{root}/test/c\udcff\n\x1b[31mt: missing class folder; train has 'c\udcff\n\x1b[31mt' "
        "that test lacks: both must have the same classes",
    ),
    (
        empty_class,
        "{root}/train/ape: no image in this class folder (an image ends in "
        f"{ENDINGS}); add some, or remove the class from every split",
    ),
    (
        several_validations,
        "dataset.root={root}: it holds val and valid, but there is one validation split; rename or "
        "remove all but one of these folders",
    ),
    (
        lambda root: (root / "validation").mkdir(),
        "{root}/validation/cat: missing class folder; train has 'cat' and 2 more that validation "
        "lacks: both must have the same classes",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_by_name(
    folder: Path, change: Callable[[Path], object], message: str
) -> None:
    change(folder)
    with pytest.raises(DatasetError) as caught:
        from_folder(folder)
    # Not format(): the messages hold braces' best friends, backslashes, but names may hold braces.
    assert str(caught.value) == message.replace("{root}", str(folder))


def test_a_pipe_that_comes_after_the_listing_is_not_waited_for(folder: Path) -> None:
    """It takes the place of a file between listing and reading."""
    from lenet_bench.datasets.decoding import decode, describe_problem

    path = folder / "train/cat/0.png"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="a named pipe") as caught:
        decode(path)
    assert describe_problem(caught.value) == "a named pipe (FIFO), not a file"


def test_links_to_files_and_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    """To files outside too: links are how large data sets are put together."""
    before = from_folder(folder)
    elsewhere = tmp_path / "elsewhere"
    (folder / "train/cat").rename(elsewhere)
    (folder / "train/cat").symlink_to(elsewhere)
    (folder / "train/dog/3.png").rename(tmp_path / "3.png")
    (folder / "train/dog/3.png").symlink_to(tmp_path / "3.png")
    assert from_folder(folder).fingerprint == before.fingerprint


@pytest.mark.parametrize("swap", [False, True])
def test_a_class_may_be_spelled_in_two_unicode_forms(folder: Path, swap: bool) -> None:
    before = from_folder(folder)
    train, test = (DECOMPOSED, COMPOSED) if swap else (COMPOSED, DECOMPOSED)
    (folder / "train/dog").rename(folder / "train" / train)
    (folder / "test/dog").rename(folder / "test" / test)
    data = from_folder(folder)
    assert data.classes == (COMPOSED, "cat", "eel")
    assert counts(data.train, 3) == [8, 8, 8]
    assert before.test
    assert data.test
    order = {"cat": 0, "dog": 1, "eel": 2}
    assert sorted(rows(data.test)) == sorted(rows(before.test))
    expected = {picture(30 + 2 * order["dog"]).transpose(2, 0, 1).tobytes()}
    assert expected <= {rows(data.test)[index] for index in (0, 1)}


def test_the_form_of_a_file_name_changes_nothing(folder: Path) -> None:
    """As after a copy from another operating system: same order, same splits."""
    prints = []
    for form in ("NFC", "NFD"):
        for number, letter in enumerate("éfzà"):
            path = folder / "train/cat" / f"{unicodedata.normalize(form, letter)}.png"
            save(path, seed=200 + number)
        prints.append(from_folder(folder).fingerprint)
        for path in (folder / "train/cat").glob("[!0-9]*.png"):
            path.unlink()
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_the_validation_split(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for index, label in enumerate(("cat", "dog", "eel")):
        save(folder / name / label / "v.png", seed=300 + index)
    data = from_folder(folder, validation_size=DEFAULT_VALIDATION_SIZE)
    assert sorted(
        zip(rows(data.validation), data.validation.labels.tolist(), strict=True)
    ) == sorted((picture(300 + index).transpose(2, 0, 1).tobytes(), index) for index in range(3))
    assert sorted(rows(data.train)) == sorted(
        picture(seed).transpose(2, 0, 1).tobytes() for seed in range(30)
    )
    assert rows(data.train) != [picture(s).transpose(2, 0, 1).tobytes() for s in range(30)]
    assert data.test
    assert len(data.test) == 6
    assert said(caplog) == [
        f"{folder / name}: these 3 images are the validation split; none are held out of train"
    ]


def test_a_validation_folder_contradicts_a_size(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "val")
    message = (
        f"dataset.validation_size=6: nothing is held out of train, because {folder / 'val'} is the "
        "validation split; leave the key out, or rename the folder"
    )
    with pytest.raises(DatasetError) as caught:
        from_folder(folder, validation_size=6)
    assert str(caught.value) == message
    assert find_root_problem(str(folder), 6) == message


def test_the_default_of_validation_size_is_that_of_the_configuration() -> None:
    file = Path(__file__).parents[2] / "conf/dataset/image_folder.yaml"
    assert yaml.safe_load(file.read_text())["validation_size"] == DEFAULT_VALIDATION_SIZE


def test_train_size_with_a_validation_folder(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "val")
    data = from_folder(folder, validation_size=DEFAULT_VALIDATION_SIZE, train_size=9)
    assert counts(data.train, 3) == [3, 3, 3]
    assert counts(data.validation, 3) == [2, 2, 2]


def test_thousands_of_classes(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for number in range(2_000):
        place = tmp_path / "root/train" / f"{number:04d}"
        place.mkdir(parents=True)
        for copy in range(2):
            os.link(tmp_path / "a.png", place / f"{copy}.png")
    data = load(
        name="image_folder", root=tmp_path / "root", size=16, validation_size=2_000, split_seed=0
    )
    assert len(data.classes) == 2_000
    assert counts(data.train, 2_000) == [1] * 2_000


# --- permissions and roots ------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("path", "mode", "message"),
    [
        (".", 0o000, "{root}: cannot be read (Permission denied)"),
        ("train", 0o000, "{root}/train: cannot be read (Permission denied)"),
        ("train/dog", 0o000, "{root}/train/dog: cannot be read (Permission denied)"),
        ("test", 0o000, "{root}/test: cannot be read (Permission denied)"),
        (
            "test/eel/1.png", 0o000,
            "1 of 36 images cannot be used: {root}/test/eel/1.png (Permission denied); replace or "
            "remove them",
        ),
    ],
)  # fmt: skip
def test_what_may_not_be_read_is_named(
    folder: Path, tmp_path: Path, path: str, mode: int, message: str
) -> None:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    with as_nobody(tmp_path):
        pass  # opens the way for them
    (folder / path).chmod(mode)
    with as_nobody(), pytest.raises(DatasetError) as caught:
        from_folder(folder)
    (folder / path).chmod(0o755)
    assert str(caught.value) == message.replace("{root}", str(folder))


ROOTS: list[tuple[Any, str]] = [
    ("{root}/train/cat/0.png", "dataset.root={root}/train/cat/0.png: is not a folder"),
    ("{root}/gone", "dataset.root={root}/gone: there is no such folder"),
    ("{root}/gone=1", "dataset.root={root}/gone=1: there is no such folder"),
    (
        "{root}/test",
        "dataset.root={root}/test: the folder holds no train/ folder; it must hold "
        "train/<class>/<images>",
    ),
    (
        "~nobody_of_this_name/photos",
        "dataset.root=~nobody_of_this_name/photos: this home folder is not known; give the whole "
        "path",
    ),
    (
        "{root}/" + 300 * "a",
        "dataset.root={root}/" + 300 * "a" + ": cannot be read (File name too long)",
    ),
    ("{root}/\x1b[31m\n\udcff", r"dataset.root={root}/\x1b[31m\n\udcff: there is no such folder"),
    ("{root}/loop", "dataset.root={root}/loop: there is no such folder"),
]


@pytest.mark.parametrize(("root", "message"), ROOTS)
def test_roots_that_are_none(folder: Path, root: str, message: str) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    assert find_root_problem(root.replace("{root}", str(folder)), 0.1) == message.replace(
        "{root}", str(folder)
    )


@pytest.mark.parametrize(
    "spelling", ["{root}/", "{root}/.", "{root}/train/..", "images", "./images", "~/images"]
)
def test_one_folder_has_one_fingerprint(
    folder: Path, spelling: str, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    """However its path is written; and one cache."""
    first = from_folder(folder).fingerprint
    decoded.clear()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    root = spelling.replace("{root}", str(folder))
    assert find_root_problem(root, 0.1) is None
    assert from_folder(Path(root) if "." in root else root).fingerprint == first  # type: ignore[arg-type]
    assert decoded == []


@pytest.mark.parametrize(
    "name", ["a=b", "=1+1", "Bücher und mehr", "波", "$HOME", "a\nb", "x" * 255]
)
def test_a_root_may_have_any_name(folder: Path, name: str) -> None:
    first = from_folder(folder).fingerprint
    other = folder.rename(folder.with_name(name))
    assert find_root_problem(str(other), 0.1) is None
    assert from_folder(other).fingerprint == first


def test_counts_of_a_listing(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "valid")
    listing = scan(folder)
    assert (listing.train_images, listing.validation_images, listing.test_images) == (30, 6, 6)
    assert np.bincount(listing.labels).tolist() == [14, 14, 14]
    assert torch.equal(torch.tensor(listing.labels[30:36]), torch.tensor([0, 0, 1, 1, 2, 2]))
