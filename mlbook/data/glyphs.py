"""Glyphs: the embedded data set, drawn from the typefaces that matplotlib carries.

Nothing is downloaded: every picture is a printed letter, slightly bent, in the format of Omniglot
(script / character / 20 pictures of 28x28, strokes bright on dark).

**Characters.** The letters of 15 scripts that DejaVu Sans contains: Unicode category Lu, Ll, Lt or
Lo (also after NFKC normalisation, which leaves out vowel signs and tatweel forms), with a name that
begins with the script's and says LETTER, LIGATURE or SYLLABICS. Each is drawn only with typefaces
whose character map really holds it, so that no empty box ever stands in for a missing letter.

**Base picture.** The letter in upright DejaVu Sans, no bending: its ink, and not its place on the
line, is centred in the picture and scaled until its longer side is 20 pixels, but never beyond the
scale at which half an em is 20 pixels, so that a Hebrew yod stays shorter than a vav.

**Look-alikes.** Two letters are *alike* when the base pictures p and q (pixels 0 to 255) fulfil
sum |p - q| < 0.06 sum (p + q). Letters joined by a chain of alike pairs become one class, which
takes the name, the script and the pictures of its lowest code point. So Latin A, Greek Alpha,
Cyrillic A and Lisu Ga are one class, as are letters whose accents this size blurs (A with acute,
grave, tilde, ...). A capital and its small letter of the same shape (C and c) stay two classes:
scaled to one height, the small one has the heavier stroke. No two classes have alike base
pictures, so a split by script shares no class and no such picture.

**Pictures.** Variant k of a letter uses its typeface number k, modulo the number of typefaces (out
of 16, in the order of `TYPEFACES`) that hold it. Its base picture is then stretched (each axis by
0.75 to 1.05), sheared (up to 0.2), turned (up to 12 degrees) and moved (up to 2 pixels), all drawn
uniformly, and kept one pixel away from the border. The numbers come from Python's own generator,
seeded by the code point: same bytes for the same versions of matplotlib and Pillow, whatever the
global random state, the number of threads, or the other letters.
"""

from __future__ import annotations

import math
import random
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from PIL import Image

SCRIPTS = {  # how the Unicode names of a script's letters begin -> the script
    "LATIN": "Latin",
    "GREEK": "Greek",
    "COPTIC": "Coptic",
    "CYRILLIC": "Cyrillic",
    "ARMENIAN": "Armenian",
    "GEORGIAN": "Georgian",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic",
    "NKO": "N'Ko",
    "LAO": "Lao",
    "CANADIAN SYLLABICS": "Canadian syllabics",
    "OGHAM": "Ogham",
    "TIFINAGH": "Tifinagh",
    "LISU": "Lisu",
    "OLD ITALIC": "Old Italic",
}
TYPEFACES = (  # in the order of the variants; the first decides what exists and what merges
    *("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"),
    *("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol"),
    *("DejaVuSans-Oblique", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique", "STIXGeneralItalic"),
    *("DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique"),
    "STIXGeneralBolIta",
)
VARIANTS = 20  # pictures of each letter
SIDE = 28  # pixels, as Omniglot
BOX = 20  # pixels, the longer side of the ink in a base picture
ALIKE = 0.06  # base pictures that differ by less than this share of their ink are one class
_EM = 64  # pixels to the em when the ink of a letter is drawn
_FINE = 2  # supersampling: letters are bent on a canvas of 56x56, then reduced with Lanczos
_IDENTITY = (1.0, 0.0, 0.0, 1.0)


def make() -> tuple[torch.Tensor, list[str], list[str]]:
    """Draws the whole data set: some fifteen seconds on one core. `load("glyphs")` caches it.

    Returns:
        The pictures, `uint8 [classes, 20, 1, 28, 28]`, strokes 255 on 0, more than 2,000 classes;
        the Unicode name of each class, as `"LATIN CAPITAL LETTER A"`; and the script of each, one
        of the 15 values of `SCRIPTS`. Classes are ordered by script, then by code point.

    Raises:
        FileNotFoundError: matplotlib came without one of its typefaces.
    """
    faces = _typefaces()
    order = {title: k for k, title in enumerate(SCRIPTS.values())}
    classes = sorted(_merge(faces[0]), key=lambda code: (order[_script(code)], code))
    images = torch.stack([_pictures(code, faces) for code in classes])
    names = [unicodedata.name(chr(code)) for code in classes]
    return images, names, [_script(code) for code in classes]


def look_alikes() -> dict[str, str]:
    """The letters behind each class (some seconds).

    Returns:
        Name of the class -> its letters in the order of their code points, the one that is drawn
        first. Most classes hold a single letter; `LATIN CAPITAL LETTER A` holds A, Alpha, ...
    """
    merged = _merge(_typefaces()[0])
    return {unicodedata.name(chr(code)): "".join(map(chr, all_)) for code, all_ in merged.items()}


class _Typeface:
    """One font file: which code points it holds, and their ink."""

    def __init__(self, path: Path) -> None:
        from matplotlib.ft2font import FT2Font
        from PIL import ImageFont

        if not path.is_file():
            raise FileNotFoundError(
                f"matplotlib's typeface {path} is missing: install matplotlib afresh "
                "(pip install --force-reinstall matplotlib) to draw the glyphs"
            )
        # Pillow's other layout engine is not on every machine and may join or reorder letters.
        basic = ImageFont.Layout.BASIC
        self.font = ImageFont.truetype(str(path), _EM, layout_engine=basic)
        self.codes = frozenset(FT2Font(str(path)).get_charmap())

    @cached_property
    def letters(self) -> list[int]:
        return [c for c in sorted(self.codes) if _is_letter(c) and self.ink(c) is not None]

    def ink(self, code: int) -> Image.Image | None:
        """The letter cut out along its ink, 64 pixels to the em; None if it has none."""
        from PIL import Image, ImageDraw

        left, top, right, bottom = self.font.getbbox(chr(code))
        page = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 4))
        ImageDraw.Draw(page).text((2 - left, 2 - top), chr(code), fill=255, font=self.font)
        box = page.getbbox()
        return page.crop(box) if box else None


def _typefaces() -> list[_Typeface]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [_Typeface(folder / f"{name}.ttf") for name in TYPEFACES]


def _script(code: int) -> str:
    """The script of a code point, empty if it is none of ours."""
    name = unicodedata.name(chr(code), "")
    return next((title for start, title in SCRIPTS.items() if name.startswith(start + " ")), "")


def _is_letter(code: int) -> bool:
    char = chr(code)
    plain = unicodedata.normalize("NFKC", char)[0]
    name = unicodedata.name(char, "")
    return (
        {unicodedata.category(char), unicodedata.category(plain)} <= {"Lu", "Ll", "Lt", "Lo"}
        and any(word in name for word in ("LETTER", "LIGATURE", "SYLLABICS"))
        and _script(code) != ""
    )


def _picture(
    ink: Image.Image,
    bend: tuple[float, float, float, float] = _IDENTITY,
    move: tuple[float, float] = (0.0, 0.0),
) -> Image.Image:
    """The ink scaled to the box, bent by a 2x2 matrix, moved by pixels: 28x28."""
    from PIL import Image

    wide, tall = ink.size
    scale = BOX / max(wide, tall, _EM / 2)
    a, b, c, d = (scale * v for v in bend)
    # Half the width and height that the bent ink takes, and what the border leaves.
    reach = (abs(a) * wide + abs(b) * tall) / 2, (abs(c) * wide + abs(d) * tall) / 2
    room = SIDE / 2 - 1
    shrink = min(1.0, room / max(reach))
    free = [room - shrink * r for r in reach]
    x, y = (SIDE / 2 + min(max(m, -f), f) for m, f in zip(move, free, strict=True))
    # Pillow wants the way back, from the fine canvas to the ink.
    a, b, c, d, x, y = (_FINE * v for v in (*(shrink * v for v in (a, b, c, d)), x, y))
    det = a * d - b * c
    a, b, c, d = d / det, -b / det, -c / det, a / det
    back = (a, b, wide / 2 - a * x - b * y, c, d, tall / 2 - c * x - d * y)
    fine = (_FINE * SIDE, _FINE * SIDE)
    bent = ink.transform(fine, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    return bent.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _tensor(pictures: list[Image.Image]) -> torch.Tensor:
    """`uint8 [n, 1, 28, 28]`."""
    raw = bytearray(b"".join(picture.tobytes() for picture in pictures))
    return torch.frombuffer(raw, dtype=torch.uint8).view(len(pictures), 1, SIDE, SIDE)


def _bases(codes: list[int], face: _Typeface) -> torch.Tensor:
    """Base pictures, `uint8 [letters, 1, 28, 28]`."""
    return _tensor([_picture(ink) for code in codes if (ink := face.ink(code)) is not None])


def _merge(face: _Typeface) -> dict[int, list[int]]:
    """Code point that stands for a class -> all of the class, both in ascending order."""
    codes = face.letters
    flat = _bases(codes, face).flatten(1).int()
    total = flat.sum(1)
    parent = list(range(len(codes)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(codes)):
        # Ink that differs by so much in amount alone cannot be alike: skip most of the work.
        near = (total - total[i]).abs() < ALIKE * (total + total[i])
        near[: i + 1] = False
        others = near.nonzero()[:, 0]
        gap = (flat[others] - flat[i]).abs().sum(1)
        for j in others[gap < ALIKE * (total[others] + total[i])].tolist():
            low, high = sorted((root(i), root(j)))
            parent[high] = low
    classes: dict[int, list[int]] = {}
    for i, code in enumerate(codes):
        classes.setdefault(codes[root(i)], []).append(code)
    return classes


def _pictures(code: int, faces: list[_Typeface]) -> torch.Tensor:
    """The variants of one letter, `uint8 [20, 1, 28, 28]`."""
    inks = [ink for face in faces if code in face.codes and (ink := face.ink(code)) is not None]
    generator = random.Random(code)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * generator.random()

    pictures = []
    for k in range(VARIANTS):
        turn, shear = math.radians(uniform(-12, 12)), uniform(-0.2, 0.2)
        wide, tall = uniform(0.75, 1.05), uniform(0.75, 1.05)
        cos, sin = math.cos(turn), math.sin(turn)
        # turn @ shear @ stretch
        bend = cos * wide, (cos * shear - sin) * tall, sin * wide, (sin * shear + cos) * tall
        move = uniform(-2, 2), uniform(-2, 2)
        pictures.append(_picture(inks[k % len(inks)], bend, move))
    return _tensor(pictures)
