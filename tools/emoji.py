"""Make `mlbook/data/emoji.safetensors`: what four open sets draw for the same concept. Not run by CI.

    npm pack @iconify-json/twemoji@1.2.5 @iconify-json/noto@1.2.9 @iconify-json/fluent-emoji-flat@1.2.6 \
             @iconify-json/emojione@1.2.3
    pip install resvg-py==0.5.0 pillow
    python tools/emoji.py FOLDER_WITH_THE_FOUR_TGZ

A concept is what all four draw: matched by code point where a set says it, else by name or alias. Left out
are skin tones, and, of concepts that look alike in some style, all but the first (`LIKE`).
Each picture, 48 x 48 on white, is reduced to `COLOURS` tones of its own: with all of them the file had three times as
many bytes, and nobody sees the difference at this size.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mlbook.data.files import write_tensors

STYLES = ("twemoji", "noto", "fluent-emoji-flat", "emojione")
SIZE = 48
COLOURS = 32
LIKE = 1.0  # mean difference of bytes below which two drawings of one style are the same
TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
)
GROUPS += ("Activities", "Objects", "Symbols", "Flags")  # Unicode's, in its order


def read(folder: Path, style: str) -> dict[str, dict[str, Any]]:
    (path,) = folder.glob(f"iconify-json-{style}-[0-9]*.tgz")
    with tarfile.open(path) as archive:
        return {
            name: json.load(archive.extractfile(f"package/{name}.json"))
            for name in ("icons", "chars", "metadata")
        }


def concepts(sets: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Group, name and what each style calls it, in the order of groups and code points."""
    code: dict[str, str] = {}  # of a name or alias
    by_code: dict[str, dict[str, str]] = {}
    for style in STYLES[:3]:
        by_code[style] = {c.replace("-fe0f", ""): n for c, n in sets[style]["chars"].items()}
        for c, name in by_code[style].items():
            code.setdefault(name, c)
    for style in STYLES[:3]:
        for alias, of in sets[style]["icons"].get("aliases", {}).items():
            if of["parent"] in code:
                code.setdefault(alias, code[of["parent"]])
    icons = sets["emojione"]["icons"]
    by_code["emojione"] = {}
    for name in icons["icons"]:
        if name in code:
            by_code["emojione"].setdefault(code[name], name)
    for alias, of in icons.get("aliases", {}).items():
        if alias in code:
            by_code["emojione"].setdefault(code[alias], of["parent"])
    categories = sets["twemoji"]["metadata"]["categories"]
    group = {name: g for g, names in categories.items() for name in names}
    found = []
    for c in set.intersection(*(set(names) for names in by_code.values())):
        names = [by_code[style][c] for style in STYLES]
        if names[0] in group and not any(tone in c for tone in TONES):
            found.append((GROUPS.index(group[names[0]]), [int(x, 16) for x in c.split("-")], names))
    return [(GROUPS[g], names[0].replace("-", " "), names) for g, _, names in sorted(found)]


def render(icons: dict[str, Any], name: str) -> Image.Image:
    import resvg_py

    while name in icons.get("aliases", {}) and name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    one = icons["icons"][name]
    w, h = one.get("width", icons.get("width", 16)), one.get("height", icons.get("height", 16))
    box = f"{one.get('left', 0)} {one.get('top', 0)} {w} {h}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{one["body"]}</svg>'
    svg = svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=4 * SIZE, height=4 * SIZE))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture.thumbnail((SIZE, SIZE), Image.Resampling.BOX)  # four by four samples a pixel
    paper = Image.new("RGBA", (SIZE, SIZE), "white")
    paper.alpha_composite(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    return paper.convert("RGB")


def reduced(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Which tone each pixel has, `[48, 48]`, and the tones from dark to light, `[COLOURS, 3]`."""
    few = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    tones = np.zeros((COLOURS, 3), np.uint8)
    given = np.array(few.getpalette(), np.uint8).reshape(-1, 3)[:COLOURS]
    tones[: len(given)] = given
    order = np.argsort(tones.astype(int) @ [3, 6, 1], kind="stable")
    return np.argsort(order)[np.asarray(few)].astype(np.uint8), tones[order]


def main() -> None:
    folder = Path(sys.argv[1])
    out = Path(__file__).parents[1] / "mlbook" / "data" / "emoji.safetensors"
    sets = {style: read(folder, style) for style in STYLES}
    found = concepts(sets)
    drawn = [
        [render(sets[s]["icons"], n) for s, n in zip(STYLES, names, strict=True)]
        for _, _, names in found
    ]
    pixels = np.stack([[np.asarray(p, np.int16) for p in row] for row in drawn])
    # of averages over squares the difference is never larger: most pairs need no closer look
    small = pixels.reshape(len(found), len(STYLES), 8, SIZE // 8, 8, SIZE // 8, 3).mean((3, 5))
    kept: list[int] = []
    for i in range(len(found)):
        near = np.abs(small[kept] - small[i]).mean((2, 3, 4)).min(1)
        closer = [kept[k] for k in (near < LIKE).nonzero()[0]]
        like = [
            found[k][1]
            for k in closer
            if np.abs(pixels[k] - pixels[i]).mean((1, 2, 3)).min() < LIKE
        ]
        if like:
            print(f"left out: {found[i][1]} (like {', '.join(like)})")
        else:
            kept.append(i)
    tones = [[reduced(picture) for picture in drawn[i]] for i in kept]
    which = np.array([[one for one, _ in row] for row in tones])
    palettes = np.array([[one for _, one in row] for row in tones])
    packed = {
        name: torch.frombuffer(bytearray(zlib.compress(array.tobytes(), 9)), dtype=torch.uint8)
        for name, array in (("which", which), ("palettes", palettes))
    }
    facts = {"classes": [found[i][1] for i in kept], "groups": [found[i][0] for i in kept]}
    facts |= {"styles": list(STYLES), "size": SIZE, "colours": COLOURS}
    write_tensors(out, packed, facts)
    print(f"{len(kept)} concepts of {len(found)}, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
