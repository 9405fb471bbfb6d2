"""Put the drawings of `book/assets/figures/` into the notebooks that show them.

    python tools/drawings.py                                  # write those that are missing or old
    python tools/drawings.py book/metric/prototypical.ipynb   # of some notebooks
    python tools/drawings.py --check                          # say which are old, write nothing
    python tools/drawings.py --all                            # draw anew even what is not old

A notebook shows `book/assets/figures/name.svg` by `![description][name]`. The last line of the cell says
what `name` is: a JPEG as a data address, which Colab, JupyterLab, Notebook, VS Code and GitHub all show.
(Colab shows no attachments, JupyterLab none that is SVG, and GitHub and VS Code no SVG in an address.) It is
drawn by Chromium on paper, since ink alone cannot be read in a dark theme, with two dots for a pixel; its
EXIF says so, and browsers show it as wide as the SVG asks to be. That they heed in a JPEG only. The digest
of the SVG stands in the JPEG's comment, so that a test can tell without a browser whether it is old.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import ExifTags, Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script sees its folder only

from tools.browser import NONE, installed
from tools.notebooks import BOOK, of_the_book

DRAWINGS = BOOK / "assets" / "figures"
PAPER = "#fdfcf9"  # as in mlbook.css
DENSITY = 2
MARGIN = 12  # pixels of paper around the ink
QUALITY = 70
PICTURE = re.compile(r"(?m)^!\[.+\]\[([a-z0-9_]+)\]$")
DEFINITION = re.compile(r"(?m)^\[([a-z0-9_]+)\]: data:image/jpeg;base64,(\S+)\n?")


def digest(name: str) -> str:
    """What a JPEG says of the SVG that it was drawn from."""
    return hashlib.sha256((DRAWINGS / f"{name}.svg").read_bytes()).hexdigest()


def size(name: str) -> tuple[float, float]:
    """Width and height in pixels, as the SVG asks to be shown."""
    root = ElementTree.parse(DRAWINGS / f"{name}.svg").getroot()
    if "width" not in root.attrib:
        raise ValueError(
            f"{name}.svg says no width: put the pixels it is to be shown at into <svg>"
        )
    _, _, across, down = map(float, root.attrib["viewBox"].split())
    width = float(root.attrib["width"])
    return width, width * down / across


def opened(data: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    image.load()
    return image


def is_old(name: str, data: str) -> bool:
    return opened(data).info.get("comment") != digest(name).encode()


def jpeg(image: Image.Image, name: str) -> bytes:
    """The picture with the digest, and with its density as browsers look for it."""
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 72.0 * DENSITY
    exif[ExifTags.Base.ResolutionUnit] = 2  # dots in an inch
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.ExifImageWidth] = image.width // DENSITY
    inner[ExifTags.Base.ExifImageHeight] = image.height // DENSITY
    out = io.BytesIO()
    image.convert("RGB").save(
        out,
        "JPEG",
        quality=QUALITY,
        optimize=True,
        progressive=True,
        comment=digest(name),
        exif=exif.tobytes(),
    )
    return out.getvalue()


def draw(names: list[str]) -> dict[str, str]:
    """The drawings as JPEG in base64, by name."""
    from playwright.sync_api import sync_playwright

    chromium = installed()
    if chromium is None:
        sys.exit(f"error: {NONE}")
    drawn = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(device_scale_factor=DENSITY)
        for name in names:
            width, height = size(name)
            full = {"width": round(width) + 2 * MARGIN, "height": round(height) + 2 * MARGIN}
            page.set_viewport_size(full)
            svg = (DRAWINGS / f"{name}.svg").read_text(encoding="utf-8")
            page.set_content(
                f"<style>body {{ margin: {MARGIN}px; background: {PAPER}; color: #1f2933 }}"
                f"svg {{ display: block; width: {width}px; height: {height}px }}</style>{svg}"
            )
            image = Image.open(io.BytesIO(page.screenshot()))
            drawn[name] = base64.b64encode(jpeg(image, name)).decode()
        browser.close()
    return drawn


def shown(notebook: dict[str, Any]) -> list[str]:
    """The names of the drawings that a notebook shows."""
    sources = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return [name for source in sources for name in PICTURE.findall(source)]


def old(notebook: dict[str, Any]) -> set[str]:
    """The names of the drawings that are missing or old in a notebook."""
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            there = dict(DEFINITION.findall(source))
            names = set(PICTURE.findall(source))
            found |= {name for name in names if name not in there or is_old(name, there[name])}
    return found


def renew(notebook: dict[str, Any], drawn: dict[str, str]) -> None:
    """Write the drawings below the text of their cells, in place; those of no picture go."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        names = PICTURE.findall(source)
        if cell["cell_type"] != "markdown" or not (names or DEFINITION.search(source)):
            continue
        there = {**dict(DEFINITION.findall(source)), **drawn}
        text = DEFINITION.sub("", source).rstrip("\n")
        lines = "\n".join(f"[{name}]: data:image/jpeg;base64,{there[name]}" for name in names)
        cell["source"] = f"{text}\n\n{lines}".rstrip("\n").splitlines(keepends=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every notebook of book/")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if one is old")
    parser.add_argument("--all", action="store_true", help="draw anew even what is not old")
    arguments = parser.parse_args()
    texts = {p: p.read_text("utf-8") for p in arguments.notebooks or of_the_book()}
    notebooks = {path: json.loads(text) for path, text in texts.items()}
    wanted = {
        path: set(shown(notebook)) if arguments.all else old(notebook)
        for path, notebook in notebooks.items()
    }
    names = sorted(set().union(*wanted.values()))
    if arguments.check:
        for path, missing in wanted.items():
            for name in sorted(missing):
                print(f"{path}: {name} is missing or old: make texts")
        return 1 if names else 0
    drawn = draw(names) if names else {}
    for path, notebook in notebooks.items():
        renew(notebook, drawn)
        after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if after != texts[path]:
            path.write_text(after, encoding="utf-8")
            print(f"{path}: {', '.join(shown(notebook))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
