"""Makes files that lie outside `docs/` part of the site, for MkDocs.

In: the pages, whose links lead through the checkout, as a reader on GitHub needs them. Out: the
same pages with links that lead through the site; the files they link to become part of it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# From a page's place in the checkout to its place in the site.
PAGES = {"CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
PICTURES = "runs/reference"

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the top of the checkout and the pictures of the reference results."""
    pictures = [path.relative_to(ROOT) for path in (ROOT / PICTURES).rglob("*.png")]
    for name in [*map(Path, PAGES), *pictures]:
        files.append(File.generated(config, name.as_posix(), abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links through the checkout into links through the site."""
    folder = "" if page.file.src_uri in PAGES else "docs"

    def through_the_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        return target.removeprefix("docs/")

    return _LINK.sub(through_the_site, markdown)
