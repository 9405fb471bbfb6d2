"""The glyphs: what is drawn, what is merged, and that it is the same every time."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import torch

from mlbook.data import glyphs

Made = tuple[torch.Tensor, list[str], list[str]]

BLOCKS = {  # script -> code points, from the Unicode charts and not from names
    "Latin": [
        *[(0x41, 0x24F), (0x250, 0x2AF), (0x1D00, 0x1DBF), (0x1E00, 0x1EFF)],
        *[(0x2184, 0x2184), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFB00, 0xFB06)],
    ],
    "Greek": [(0x370, 0x3E1), (0x3F0, 0x3FF), (0x1D26, 0x1D2A), (0x1F00, 0x1FFF)],
    "Coptic": [(0x3E2, 0x3EF)],
    "Cyrillic": [(0x400, 0x52F), (0x1D2B, 0x1D2B), (0xA640, 0xA69F)],
    "Armenian": [(0x530, 0x58F), (0xFB13, 0xFB17)],
    "Georgian": [(0x10A0, 0x10FF), (0x2D00, 0x2D2F)],
    "Hebrew": [(0x590, 0x5FF), (0xFB1D, 0xFB4F)],
    "Arabic": [(0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)],
    "N'Ko": [(0x7C0, 0x7FF)],
    "Lao": [(0xE80, 0xEFF)],
    "Canadian syllabics": [(0x1400, 0x167F), (0x18B0, 0x18FF)],
    "Ogham": [(0x1680, 0x169F)],
    "Tifinagh": [(0x2D30, 0x2D7F)],
    "Lisu": [(0xA4D0, 0xA4FF)],
    "Old Italic": [(0x10300, 0x1032F)],
}


@pytest.fixture(scope="module")
def made() -> Made:
    return glyphs.make()


@pytest.fixture(scope="module")
def faces() -> list[glyphs._Typeface]:
    return glyphs._typefaces()


@pytest.fixture(scope="module")
def merged() -> dict[str, str]:
    return glyphs.look_alikes()


@pytest.fixture(scope="module")
def bases(made: Made, faces: list[glyphs._Typeface]) -> torch.Tensor:
    codes = [ord(unicodedata.lookup(name)) for name in made[1]]
    return glyphs._bases(codes, faces[0])


def test_shape(made: Made) -> None:
    images, names, groups = made
    assert images.dtype == torch.uint8
    assert images.shape == (len(names), 20, 1, 28, 28)
    assert len(groups) == len(names) >= 1200
    assert images.is_contiguous()


def test_fifteen_scripts_each_enough_for_an_episode(made: Made) -> None:
    assert set(made[2]) == set(BLOCKS) and len(BLOCKS) == 15
    assert all(made[2].count(script) >= 5 for script in BLOCKS)


def test_names_are_unique_and_of_the_right_script(made: Made) -> None:
    _, names, groups = made
    assert len(set(names)) == len(names)
    for name, script in zip(names, groups, strict=True):
        code = ord(unicodedata.lookup(name))
        assert any(low <= code <= high for low, high in BLOCKS[script]), (name, script)
        assert unicodedata.category(chr(code)) in ("Lu", "Ll", "Lt", "Lo")


def test_classes_are_ordered_by_script_and_code_point(made: Made) -> None:
    scripts = list(glyphs.SCRIPTS.values())
    keys = [
        (scripts.index(script), unicodedata.lookup(name))
        for name, script in zip(made[1], made[2], strict=True)
    ]
    assert keys == sorted(keys)


def test_strokes_are_bright_on_dark_and_inside_the_picture(made: Made) -> None:
    images = made[0]
    strongest = images.flatten(2).amax(2)
    assert strongest.min() > 120
    assert strongest.float().mean() > 245
    ink = images.float().mean((-1, -2)) / 255
    assert ink.min() > 0.01 and ink.max() < 0.5
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
    assert border.max() <= 40  # the pixel beyond the ink takes a trace from the reduction


def test_letters_stand_upright_and_unmirrored(faces: list[glyphs._Typeface]) -> None:
    ell, eff = glyphs._bases([ord("L"), ord("F")], faces[0])[:, 0].float()
    assert ell[14:].sum() > 1.5 * ell[:14].sum() and ell[:, :14].sum() > ell[:, 14:].sum()
    assert eff[:14].sum() > 1.5 * eff[14:].sum() and eff[:, :14].sum() > eff[:, 14:].sum()


def test_base_pictures_are_centred_and_fill_their_box(bases: torch.Tensor) -> None:
    inked = bases[:, 0] > 32
    for axis in (1, 2):
        used = inked.any(axis)  # [classes, 28]
        first = used.int().argmax(1)
        last = 27 - used.flip(1).int().argmax(1)
        assert (first - (27 - last)).abs().max() <= 1
        assert (last - first).max() <= 21
    longer = torch.stack([inked.any(axis).sum(1) for axis in (1, 2)]).amax(0)
    assert longer.float().quantile(0.5) >= 20


def test_no_letter_is_the_empty_box(made: Made, faces: list[glyphs._Typeface]) -> None:
    """No typeface draws a letter as it draws a code point that it does not have."""
    codes = [ord(unicodedata.lookup(name)) for name in made[1]]
    for face in faces:
        assert 0x10FFFF not in face.codes
        box = face.ink(0x10FFFF)
        missing = None if box is None else (box.size, box.tobytes())
        for code in face.codes.intersection(codes):
            ink = face.ink(code)
            assert ink is not None, (face.font.path, hex(code))
            assert (ink.size, ink.tobytes()) != missing, (face.font.path, hex(code))
    # A letter that only the first two typefaces hold is drawn with these alone.
    few = next(c for c in codes if sum(c in face.codes for face in faces) == 2)
    having = [face for face in faces if few in face.codes]
    assert torch.equal(glyphs._pictures(few, faces), glyphs._pictures(few, having))


def test_the_twenty_variants_differ(made: Made) -> None:
    for name, row in zip(made[1], made[0], strict=True):
        assert len({bytes(picture) for picture in row.flatten(1).numpy()}) == 20, name


def test_no_two_classes_have_alike_base_pictures(bases: torch.Tensor) -> None:
    flat = bases.flatten(1).float()
    ink = flat.sum(1)
    # Sums over 4x4 blocks differ by at most what the pixels do: few pairs need the pixels.
    coarse = 16 * torch.nn.functional.avg_pool2d(bases.float(), 4).flatten(1)
    near = torch.cdist(coarse, coarse, p=1) < glyphs.ALIKE * (ink[:, None] + ink)
    i, j = near.triu(1).nonzero(as_tuple=True)
    assert len(i) > 100  # the bound is loose enough to leave pairs to compare
    assert ((flat[i] - flat[j]).abs().sum(1) >= glyphs.ALIKE * (ink[i] + ink[j])).all()


def test_every_merged_letter_is_near_another_of_its_class(
    merged: dict[str, str], faces: list[glyphs._Typeface]
) -> None:
    for letters in merged.values():
        if len(letters) > 1:
            flat = glyphs._bases([ord(c) for c in letters], faces[0]).flatten(1).float()
            ink = flat.sum(1)
            share = torch.cdist(flat, flat, p=1) / (ink[:, None] + ink)
            share.fill_diagonal_(1)
            assert share.amin(1).max() < glyphs.ALIKE, letters


def test_look_alikes_cover_all_letters_once(made: Made, merged: dict[str, str]) -> None:
    assert set(merged) == set(made[1])
    everything = "".join(merged.values())
    assert len(set(everything)) == len(everything)
    for name, letters in merged.items():
        assert unicodedata.lookup(name) == letters[0] == min(letters)


@pytest.mark.parametrize(
    "alike",
    [  # Latin, Greek, Cyrillic, Armenian, Lisu, Tifinagh
        "AΑАꓮ",
        "BΒВꓐ",
        "EΕЕⴹꓰ",
        "HΗНꓧ",
        "IΙІⵏꓲ",
        "MΜМꓟ",
        "OΟОՕꓳ",
        "PΡРꓑ",
        "TΤТꓔ",
        "XΧХⵝꓫ",
        "oοоօ",
        "jϳј",
        "vᴠ",
    ],
)
def test_look_alikes_of_several_scripts_are_one_class(merged: dict[str, str], alike: str) -> None:
    assert set(alike) <= set(merged[unicodedata.name(alike[0])])


@pytest.mark.parametrize(
    "different",
    ["EF", "Cc", "IT", "OQ", "Oⵔ", "Ee", "Ii", "bd", "pq", "ΓТ", "шщ", "בכ", "ᐁᐃ", "uü"],
)
def test_different_letters_stay_apart(merged: dict[str, str], different: str) -> None:
    home = {letter: name for name, letters in merged.items() for letter in letters}
    assert home[different[0]] != home[different[1]]


def test_names_compose(made: Made) -> None:
    """`X WITH ACUTE` is the letter X and a mark: the parts that describe an unseen class."""
    composed = 0
    for name in made[1]:
        parts = unicodedata.normalize("NFD", unicodedata.lookup(name))
        if len(parts) == 1 or " WITH " not in name or "STROKE AND" in name:
            continue
        base = name.split(" WITH ")[0]
        assert unicodedata.lookup(base) == parts[0], name
        assert all(unicodedata.combining(mark) for mark in parts[1:]), name
        composed += 1
    assert composed > 300


SUBSET = [ord(c) for c in "AgΩЖשجⵣᐁ"]


def _digest(faces: list[glyphs._Typeface]) -> str:
    pictures = torch.stack([glyphs._pictures(code, faces) for code in SUBSET])
    return hashlib.sha256(pictures.numpy().tobytes()).hexdigest()


def test_same_pictures_whatever_the_state_threads_and_order(
    made: Made, faces: list[glyphs._Typeface]
) -> None:
    once = _digest(faces)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        torch.manual_seed(1)
        random.seed(1)
        before = random.getstate(), torch.get_rng_state()
        assert _digest(glyphs._typefaces()) == once
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])
    finally:
        torch.set_num_threads(threads)
    for code in reversed(SUBSET):  # alone and in another order, as in the whole set
        row = made[1].index(unicodedata.name(chr(code)))
        assert torch.equal(glyphs._pictures(code, faces), made[0][row])


def test_same_pictures_in_another_process(faces: list[glyphs._Typeface]) -> None:
    script = (
        "import hashlib, torch; from mlbook.data import glyphs as g; f = g._typefaces();"
        f"x = torch.stack([g._pictures(c, f) for c in {SUBSET}]);"
        "print(hashlib.sha256(x.numpy().tobytes()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == _digest(faces)


def test_as_hard_for_pixels_as_intended(made: Made) -> None:
    """Nearest neighbour on pixels, 5-way 1-shot: far above chance, far below a learner."""
    generator = torch.Generator().manual_seed(0)
    pictures = made[0].flatten(2).float()
    right = 0.0
    for _ in range(300):
        ways = torch.randperm(len(pictures), generator=generator)[:5]
        samples = torch.randperm(20, generator=generator)[:16]
        task = pictures[ways[:, None], samples]
        nearest = torch.cdist(task[:, 1:].flatten(0, 1), task[:, 0]).argmin(1)
        right += (nearest == torch.arange(5).repeat_interleave(15)).float().mean().item()
    assert 0.45 < right / 300 < 0.62


def test_missing_typeface_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"DejaVuSans\.ttf is missing: install matplotlib"):
        glyphs.make()
