"""What lets a page be found and shared: what a search engine, a chat or a browser asks of the site besides its text.

- a description of each page, its own first sentences, for search engines and for whoever is sent a link;
- a picture of each page, drawn from its title, which chats and networks show beside the link;
- one address for each page, whatever copy of it was opened, a list of all of them, and leave to read them;
- the first page at the site's own address, and not a page that sends on to it;
- a page for addresses that lead nowhere.

The addresses are those of `Book` in pyproject.toml, which `make repository` renews.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from PIL import Image, ImageDraw, ImageFont

from tools.plain import SITE

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CARDS = "_static/cards"
SIZE = (1200, 630)  # what networks ask for
PAPER, INK, SOFT, BLUE, WASH, ORANGE = (
    "#fdfbf7",
    "#1f2933",
    "#4d5965",
    "#0067a5",
    "#dce9f2",
    "#b84a00",
)
TILES = "ⵣЖΨⴼÞ"  # one support example each, and the query is the second of them
LEAST, MOST = 60, 200  # characters of a description
WHAT = "a book on meta-learning that runs"  # stands behind the first page's title, which is the book's own


def description(doctree: nodes.document | None) -> str:
    """The first sentences of a page that stand in no box, up to a formula, at most 200 characters of them."""
    boxed = (
        nodes.Admonition,
        nodes.block_quote,
        nodes.definition,
        nodes.figure,
        nodes.footnote,
        nodes.list_item,
        nodes.table,
    )
    for paragraph in doctree.findall(nodes.paragraph) if doctree is not None else ():
        up = paragraph.parent
        while up is not None and not isinstance(up, boxed):
            up = up.parent
        words = "".join(
            "\0" if isinstance(child, nodes.math) else child.astext() for child in paragraph
        )
        text = shortened(" ".join(words.split()).partition("\0")[0], whole="\0" not in words)
        if up is None and len(text) >= LEAST:
            return text
    return ""


def shortened(text: str, whole: bool = True) -> str:
    """As many sentences as 200 characters hold, or else as many words; of a text that is not whole, its sentences.

    >>> shortened("One. " + "Two, " * 60)
    'One.'
    >>> shortened("word, " * 60)[-11:]
    'word, word…'
    >>> shortened("One. And two where", whole=False)
    'One.'
    """
    if len(text) <= MOST and whole:
        return text
    end = max((m.end() for m in re.finditer(r"[.!?](?= )", text[:MOST])), default=0)
    if end or not whole:
        return text[:end]
    return text[: text.rfind(" ", 0, MOST - 1)].rstrip(",;:") + "…"


def card(book: str, title: str, path: Path) -> None:
    """Draw a page's picture: its title, below that of the book, above five tiles and a query."""
    from matplotlib import get_data_path  # its typefaces are on every machine that builds the book

    fonts = Path(get_data_path()) / "fonts" / "ttf"

    def font(name: str, size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(fonts / f"{name}.ttf", size)

    picture = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 18, SIZE[1]), fill=BLUE)
    draw.text((80, 62), book, SOFT, font("DejaVuSans", 34))
    size = 84
    while len(lines := _wrapped(title, face := font("DejaVuSerif-Bold", size))) > 3 and size > 40:
        size -= 6
    for i, line in enumerate(lines):
        draw.text((80, 130 + 1.25 * size * i), line, INK, face)
    glyph, (top, side) = font("DejaVuSans", 62), (454, 104)

    def tile(x: int, character: str, line: str, fill: str) -> None:
        draw.rounded_rectangle((x, top, x + side, top + side), 14, fill, line, 5)
        draw.text((x + side / 2, top + side / 2), character, INK, glyph, anchor="mm")

    for i, character in enumerate(TILES):
        tile(80 + 124 * i, character, BLUE, WASH)
    tile(860, TILES[1], ORANGE, PAPER)
    draw.text((990, top + side / 2), "?", ORANGE, font("DejaVuSerif-Bold", 72), anchor="lm")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def _wrapped(title: str, face: ImageFont.FreeTypeFont) -> list[str]:
    lines: list[str] = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) > SIZE[0] - 160 and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _title(context: dict[str, Any]) -> str:
    """The page's title without markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or "")).strip()


def address(pagename: str, root: str) -> str:
    """The public address of a page; that of the first page is the site's own."""
    return SITE if pagename == root else f"{SITE}{pagename}.html"


def _tell(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Put into a page's head what others show of it."""
    root = app.config.root_doc
    where, title, said = address(pagename, root), _title(context), description(doctree)
    book = app.config.html_title
    tags = {"link": [("canonical", where)], "name": [], "property": []}
    if pagename == root:
        context["docstitle"] = WHAT
        title = f"{title}, {WHAT}"
    if doctree is None:  # an index, or the search
        tags["name"].append(("robots", "noindex"))
    else:
        picture = f"{CARDS}/{pagename}.png"
        card(book, title, Path(app.outdir) / picture)
        tags["name"] += [("description", said), ("twitter:card", "summary_large_image")]
        tags["property"] += [
            ("og:type", "book" if pagename == root else "article"),
            ("og:site_name", book),
            ("og:title", title),
            ("og:description", said),
            ("og:url", where),
            ("og:image", SITE + picture),
            ("og:image:width", str(SIZE[0])),
            ("og:image:height", str(SIZE[1])),
            ("og:image:alt", f"{title}, above five tiles with one character each and a query"),
        ]
    lines = [f'<link rel="{k}" href="{html.escape(v)}" />' for k, v in tags["link"]]
    lines += [
        f'<meta {kind}="{k}" content="{html.escape(v)}" />'
        for kind in ("name", "property")
        for k, v in tags[kind]
        if v
    ]
    context["metatags"] = "\n".join([context.get("metatags") or "", *lines])


NOWHERE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="robots" content="noindex" /><title>No such page: {book}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1.15rem/1.6 charter, Cambria, "Noto Serif", serif; max-width: 36rem; margin: 18vh auto 0;
  padding: 0 1.2rem; background: light-dark(#fdfbf7, #14181d); color: light-dark(#1f2933, #e4e1da) }}
a {{ color: light-dark(#00598c, #7cc0ec) }}
</style></head>
<body><main><h1>There is no such page</h1>
<p>Pages move when the book grows. <a href="{site}">The first page</a> has the table of contents, and
<a href="{site}search.html">the search</a> finds words in all of them.</p></main></body></html>
"""


def first_page(text: str, folder: str) -> str:
    """A page of `folder` as it reads one level up: links that lead from there lead from here to the same places.

    >>> first_page('<a href="../_static/x.css"><a href="lab.html#draw"><a href="#here"><a href="https://x">', "book")
    '<a href="_static/x.css"><a href="book/lab.html#draw"><a href="#here"><a href="https://x">'
    """

    def moved(match: re.Match[str]) -> str:
        attribute, target = match.groups()
        if re.match(r"[a-z]+:|#|/|$", target):
            return match[0]
        return f'{attribute}="{target[3:] if target.startswith("../") else f"{folder}/{target}"}"'

    text = re.sub(r'\b(href|src|action)="([^"]*)"', moved, text)
    return text.replace('data-content_root="../"', 'data-content_root="./"')


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out, root = Path(app.outdir), app.config.root_doc
    pages = sorted(app.env.found_docs, key=lambda page: (page != root, page))
    urls = "".join(f"<url><loc>{html.escape(address(page, root))}</loc></url>\n" for page in pages)
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{urls}</urlset>\n",
        encoding="utf-8",
    )
    (out / "robots.txt").write_text(
        f"User-agent: *\nAllow: /\nSitemap: {SITE}sitemap.xml\n", encoding="utf-8"
    )
    (out / "404.html").write_text(
        NOWHERE.format(book=app.config.html_title, site=SITE), encoding="utf-8"
    )
    first = out / f"{root}.html"
    (out / "index.html").write_text(
        first_page(first.read_text(encoding="utf-8"), first.parent.relative_to(out).as_posix()),
        encoding="utf-8",
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks."""
    app.connect("html-page-context", _tell, priority=950)
    app.connect("build-finished", _finish, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
