"""`report.html`: one file that holds all it shows, from words, tables and figures.

It opens from a disk without network, in light or dark; the figures keep their white ground.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping, Sequence
from html import escape

CSS = """
:root { color-scheme: light dark; --ink: #222; --soft: #5a5a5a; --line: #d8d8d8; --ground: #fff;
        --stripe: #f6f6f6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a8a8a8; --line: #444; --ground: #17181a; --stripe: #1f2124; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
       max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.soft, caption { color: var(--soft) } caption { text-align: left; padding-bottom: .4rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; white-space: nowrap;
         border-bottom: 1px solid var(--line) }
th.number, td.number { text-align: right }
td.sentence { white-space: normal; min-width: 16rem; max-width: 30rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
figure { margin: 1.2rem 0 } figure img { max-width: 100%; height: auto; background: #fff;
         border-radius: 6px }
li { overflow-wrap: anywhere }
summary { cursor: pointer; margin: .8rem 0 }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole document from a title and ready-made sections."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def subtitle(text: str) -> str:
    """A quiet line under the title."""
    return f'<p class="soft">{escape(text)}</p>'


def section(heading: str, body: str) -> str:
    """A heading and what stands under it."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{body}\n</section>"


def facts(pairs: Mapping[str, str]) -> str:
    """Names and values."""
    items = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
    return f"<dl>\n{items}\n</dl>"


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: int,
    caption: str,
    sentences: Container[int] = (),
) -> str:
    """A table whose first `words` columns are text and the others numbers.

    Only the columns of `sentences` wrap.
    """

    def cell(tag: str, number: int, text: str) -> str:
        name = "number" if number >= words else "sentence" if number in sentences else ""
        kind = f' class="{name}"' if name else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(cell(tag, i, text) for i, text in enumerate(cells)) + "</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n<thead>'
        f"{line('th', headers)}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def listing(lines: Sequence[str]) -> str:
    """A list, an item a line."""
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in lines) + "\n</ul>"


def folded(label: str, body: str) -> str:
    """Something long that opens on a click."""
    return f"<details><summary>{escape(label)}</summary>\n{body}\n</details>"


def image(png: bytes, alternative: str) -> str:
    """A figure, embedded."""
    data = base64.b64encode(png).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alternative)}"></figure>'
