"""The documentation says nothing that is not so, and its site builds without a warning."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from docs.site.reference import PARTS, up_to_date, write_pages
from lenet_bench.common.errors import UserError
from tests.conftest import Lenet

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")), *DOCS.glob("*.md")]


def code_blocks(page: Path, language: str = "") -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [
        block[1]
        for block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if block[0] == language
    ]


def commands() -> list[str]:
    """Every `lenet-bench KEY=VALUE ...` of the pages that a newcomer reads."""
    lines = [
        line.partition("  #")[0].strip()
        for page in (README, DOCS / "index.md")
        for block in code_blocks(page)
        for line in block.splitlines()
    ]
    return sorted({line for line in lines if re.match(r"lenet-bench( \S*=|$)", line)})


# --- what the pages say ---------------------------------------------------------------------------


def test_the_readme_is_at_most_12_kb() -> None:
    assert README.stat().st_size <= 12_000


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documentation_is_understood(
    command: str, lenet: Lenet, tmp_path: Path
) -> None:
    """By the program itself, which only plans; `mine.py` is the one that the page shows."""
    for page in (README, DOCS / "index.md"):
        (module,) = [code for code in code_blocks(page, "python") if "class Wave" in code]
        (tmp_path / "mine.py").write_text(module, encoding="utf-8")
    for name in ("a", "b"):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for index in range(100):
            Image.new("RGB", (2, 2)).save(folder / f"{index}.png")
    done = lenet(*shlex.split(command)[1:], "plan=true")
    assert done.code == 0
    assert not done.sweeps


def test_there_are_commands_in_the_documentation() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_map_of_the_readme_shows_every_room_and_names_files_that_are_there() -> None:
    text = README.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|(.*)$", text, re.MULTILINE)
    package = ROOT / "lenet_bench"
    rooms = {path.name for path in package.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert {room for room, _ in rows} == rooms
    for room, words in rows:
        for name in re.findall(r"`([\w/]+\.py)`", words):
            other_room = name.partition("/")[0] in rooms
            path = package / name if other_room else package / room / name
            assert path.is_file(), f"{room}: {name}"


def test_the_architecture_lists_every_file_of_the_package_and_no_other() -> None:
    """Read from the page as a reader does; only files that say what a folder is are left out."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listed = set()
    for section in text.split("\n### ")[1:]:
        room = section.partition("/\n")[0]
        listed |= {f"{room}/{name}" for name in re.findall(r"^\| `([\w./]+)` \|", section, re.M)}
    package = ROOT / "lenet_bench"
    real = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    outside = {name for name in real if name.startswith("plugins/") or "/" not in name}
    assert outside - {"__main__.py", "py.typed", "__init__.py"} == {
        "plugins/hydra_plugins/lenet_bench_launcher/__init__.py",
        "plugins/hydra_plugins/lenet_bench_launcher/stacked.py",
    }
    assert listed == {name for name in real - outside if not name.endswith("/__init__.py")}


# --- generated parts ------------------------------------------------------------------------------


def test_the_generated_parts_are_those_of_the_present_code() -> None:
    assert write_pages(DOCS, check=True) == []


def test_an_outdated_part_is_found_and_written_anew(tmp_path: Path) -> None:
    for page in DOCS.glob("*.md"):
        shutil.copy(page, tmp_path)
    page = tmp_path / "activations.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("max(0, x)", "max(0, -x)"), encoding="utf-8")
    wrong = page.read_text(encoding="utf-8")
    assert wrong != right
    assert write_pages(tmp_path, check=True) == [page]
    assert page.read_text(encoding="utf-8") == wrong
    assert write_pages(tmp_path) == [page]
    assert page.read_text(encoding="utf-8") == right


def test_a_part_that_no_page_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no page holds the generated part activation"):
        write_pages(tmp_path)
    with pytest.raises(UserError, match="generated:nothing -->: no such part"):
        up_to_date("<!-- generated:nothing -->\n<!-- /generated:nothing -->\n")
    assert "columns-layers" in PARTS


# --- the site -------------------------------------------------------------------------------------


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("--config-file", str(DOCS / "site" / "mkdocs.yml"), "--site-dir", str(tmp_path)),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.glob("*.html"))
    names = {page.stem for page in pages}
    assert {"index", "configuration", "CONTRIBUTING", "CHANGELOG", "LOG", "RESULTS"} <= names
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"?(?:https?:)?//|<link[^>]*href=\"?https?:"
    )
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not loads.search(text), page.name
        for source in re.findall(r'<img[^>]*src="([^"]+)"', text):
            assert (tmp_path / source).is_file(), f"{page.name}: {source}"
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8"))
