"""A folder of one's own: each picture as a person sees it, nothing left out in silence, nothing read twice."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mlbook import evaluate, fit, load
from mlbook.data import pictures
from mlbook.data.descriptions import split_combinations
from mlbook.data.problems import Classifiers
from mlbook.episodes import Batches
from mlbook.metric import PrototypicalNetwork

SIDE = 64  # pixels of the drawings
Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MLBOOK_CACHE", str(cache))
    yield cache


def drawing() -> Pixels:
    """Grey, `[64, 64]`: a ramp from left to right, a black bar at the top, a white square below on the left."""
    x = np.mgrid[:SIDE, :SIDE][1]
    grey = np.rint(x * 255 / (SIDE - 1)).astype(np.uint8)
    grey[:12, 8:56] = 0
    grey[40:56, 4:20] = 255
    return grey


def coloured() -> Pixels:
    """Red, green, blue, `[64, 64, 3]`, in soft and in full colours."""
    y, x = np.mgrid[:SIDE, :SIDE] * 255 // (SIDE - 1)
    rgb = np.stack([x, y, 255 - x], -1).astype(np.uint8)
    rgb[8:24, 8:24] = 200, 30, 40
    rgb[40:56, 30:60] = 250
    return rgb


def small(image: Image.Image, size: int = 28) -> torch.Tensor:
    """What it should become, `[C, size, size]`."""
    array = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(array.reshape(size, size, -1).copy()).permute(2, 0, 1).float()


def loaded(folder: Path, file: bytes | Image.Image, ending: str, **options: int) -> torch.Tensor:
    """The picture as the only one of class a, `[C, H, W]`; class b has another file of the same kind."""
    for name in ("a", "b"):
        path = folder / name / f"x.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file, bytes):
            path.write_bytes(file)
        else:
            file.save(path)
    data = load(f"folder:{folder}", **options)
    assert data.images.shape[:2] == (2, 1)
    return data.images[0, 0].float()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(pixels: NDArray[np.integer], depth: int, colour: int, clear: tuple[int, ...] = ()) -> bytes:
    """A PNG of any depth and kind, `[h, w, channels]`, with a transparent colour; Pillow writes few of them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    h, w, c = pixels.shape
    bits = np.unpackbits(pixels.astype(">u2").view(np.uint8).reshape(h, w * c, 2), axis=2)
    rows = np.packbits(bits[:, :, 16 - depth :].reshape(h, -1), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
        + (chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b"")
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def tiff(
    pixels: NDArray[np.generic], white_is_zero: bool = False, bits: int | None = None
) -> bytes:
    """A grey TIFF of any kind of number, little-endian, one strip; `bits` if they are packed more tightly."""
    h, w = pixels.shape
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.tobytes()
    if bits == 12:
        even, odd = pixels.reshape(-1, 2).astype(int).T
        data = (
            np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], 1)
            .astype(np.uint8)
            .tobytes()
        )
    tags = {
        256: w,
        257: h,
        258: bits or 8 * pixels.itemsize,
        259: 1,
        262: 0 if white_is_zero else 1,
    }
    tags |= {273: 8, 277: 1, 278: h, 279: len(data), 339: form}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + table + struct.pack("<I", 0)


# --- every mode -----------------------------------------------------------------------------------


def skip_what_an_old_pillow_cannot(kind: str) -> None:
    if kind in ("L, AVIF", "YCbCr, TIFF") and int(PIL.__version__.split(".")[0]) < 12:
        pytest.skip("Pillow 11 opens grey AVIF as RGB, and not the YCbCr TIFF that it writes")


GREY = Image.fromarray(drawing())
RGB = Image.fromarray(coloured())
DEEP = drawing().astype(np.uint16) * 257


def with_alpha(image: Image.Image, mode: str) -> Image.Image:
    image = image.convert(mode)
    image.putalpha(255)
    return image


GREYS: dict[str, tuple[str, bytes | Image.Image]] = {
    "L": ("png", GREY),
    "L, JPEG": ("jpg", saved(GREY, "JPEG", quality=97)),
    "L, GIF": ("gif", GREY),
    "L, BMP": ("bmp", GREY),
    "L, AVIF": ("avif", saved(GREY, "AVIF", quality=100)),
    "L, JPEG 2000": ("jp2", GREY),
    "L, PGM": ("pgm", saved(GREY, "PPM")),
    "LA": ("png", with_alpha(GREY, "LA")),
    "LA, 16 bits": ("png", png(np.stack([DEEP, np.full_like(DEEP, 65535)], -1), 16, 4)),
    "P of greys": ("png", GREY.convert("P")),
    "PA of greys": ("tif", GREY.convert("PA")),
    "I;16, PNG": ("png", png(DEEP[..., None], 16, 0)),
    "I;16, TIFF": ("tif", tiff(DEEP)),
    "I;16, TIFF, 0 is white": ("tif", tiff(65535 - DEEP, white_is_zero=True)),
    "I;16, JPEG 2000": ("jp2", Image.fromarray(DEEP)),
    "I;16B": ("tif", Image.frombytes("I;16B", (SIDE, SIDE), DEEP.astype(">u2").tobytes())),
    "I;16, PGM": ("pgm", b"P5 64 64 65535\n" + DEEP.astype(">u2").tobytes()),
    "12 bits, TIFF": ("tif", tiff(np.rint(drawing() * (4095 / 255)).astype(np.uint16), bits=12)),
    "I of 16 bits, signed": ("tif", tiff(np.rint(drawing() * (32767 / 255)).astype(np.int16))),
    "I of 8 bits": ("tif", tiff(drawing().astype(np.int32))),
    "I of 16 bits": ("tif", tiff(DEEP.astype(np.int32))),
    "I of 32 bits": ("tif", tiff(np.rint(drawing() * ((2**31 - 1) / 255)).astype(np.int32))),
    "I of 32 bits, unsigned": (
        "tif",
        tiff(np.rint(drawing() * ((2**32 - 1) / 255)).astype(np.uint32)),
    ),
    "F to 1": ("tif", Image.fromarray((drawing() / 255).astype(np.float32))),
    "F to 255": ("tif", Image.fromarray(drawing().astype(np.float32))),
    "F to 65535": ("tif", Image.fromarray(DEEP.astype(np.float32))),
    "F, PFM": ("pfm", Image.fromarray((drawing() / 255).astype(np.float32))),
    "F, 0 is white": ("tif", tiff((1 - drawing() / 255).astype(np.float32), white_is_zero=True)),
    "4 bits": ("png", png(np.rint(drawing()[..., None] / 17).astype(int), 4, 0)),
}


@pytest.mark.parametrize("kind", GREYS)
def test_every_way_to_store_a_grey_picture_gives_that_picture(kind: str, tmp_path: Path) -> None:
    skip_what_an_old_pillow_cannot(kind)
    ending, file = GREYS[kind]
    found = loaded(tmp_path, file, ending)
    assert found.shape == (1, 28, 28), "stored as grey: one channel"
    far = (found - small(GREY)).abs()
    assert far.max() <= (10 if kind == "4 bits" else 4)
    assert far.mean() <= (5 if kind == "4 bits" else 0.7)
    colours = loaded(tmp_path, file, ending, channels=3)
    assert colours.shape == (3, 28, 28)
    assert (colours == found).all()


COLOURS: dict[str, tuple[str, bytes | Image.Image]] = {
    "RGB": ("png", RGB),
    "RGB, 16 bits": ("png", png(coloured().astype(int) * 257, 16, 2)),
    "RGB, JPEG": ("JPEG", saved(RGB, "JPEG", quality=97, subsampling=0)),
    "RGB, WebP": ("webp", saved(RGB, "WEBP", lossless=True)),
    "RGB, AVIF": ("avif", saved(RGB, "AVIF", quality=100, subsampling="4:4:4")),
    "RGB, JPEG 2000": ("jp2", RGB),
    "RGB, TGA": ("tga", RGB),
    "RGB, PCX": ("pcx", RGB),
    "RGB, SGI": ("sgi", RGB),
    "RGBA": ("png", with_alpha(RGB, "RGBA")),
    "RGBX": ("tif", RGB.convert("RGBX")),
    "CMYK, TIFF": ("tif", RGB.convert("CMYK")),
    "CMYK, JPEG": ("jpg", saved(RGB.convert("CMYK"), "JPEG", quality=97)),
    "YCbCr, TIFF": ("tif", RGB.convert("YCbCr")),
    "P": ("png", RGB.quantize(256)),
    "P, GIF": ("gif", RGB.quantize(256)),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_every_way_to_store_a_coloured_picture_gives_that_picture(
    kind: str, tmp_path: Path
) -> None:
    skip_what_an_old_pillow_cannot(kind)
    ending, file = COLOURS[kind]
    found = loaded(tmp_path, file, ending)
    assert found.shape == (3, 28, 28)
    far = (found - small(RGB)).abs()
    assert far.mean() <= (3 if kind.startswith("P") else 1.5)
    assert far.max() <= (30 if kind.startswith("P") else 12)
    grey = loaded(tmp_path, file, ending, channels=1)
    assert grey.shape == (1, 28, 28)
    assert (grey - small(RGB.convert("L"))).abs().mean() <= 3


@pytest.mark.parametrize("mode", ["LAB", "HSV", "RGBa", "La"])
def test_modes_that_few_files_have(mode: str, tmp_path: Path) -> None:
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        lab = ImageCms.profileToProfile(RGB, *profiles, outputMode="LAB")
        found = loaded(tmp_path, lab, "tif")
        assert (found - small(RGB)).abs().mean() < 3
    elif mode == "HSV":
        assert (small(pictures.seen(RGB.convert("HSV"))) - small(RGB)).abs().mean() < 3
    else:  # multiplied by their transparency, here one half
        plain = GREY if mode == "La" else RGB
        half = plain.convert(mode.upper())
        half.putalpha(128)
        seen = pictures.seen(half.convert(mode))
        expected = (np.asarray(plain).astype(int) * 128 + 255 * 127) / 255
        assert seen.mode == plain.mode
        assert np.abs(np.asarray(seen) - expected).max() <= 2


# --- transparency, orientation, several pictures in one file --------------------------------------


def on_nothing() -> dict[str, tuple[str, bytes | Image.Image, int]]:
    """A black bar on transparency that is black as well, in all ways; it should be black on white."""
    bar = np.zeros((SIDE, SIDE), bool)
    bar[:12, 8:56] = True
    alpha = Image.fromarray(np.where(bar, 255, 0).astype(np.uint8))
    rgba, la = Image.new("RGBA", (SIDE, SIDE)), Image.new("LA", (SIDE, SIDE))
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    index = Image.fromarray(np.where(bar, 1, 0).astype(np.uint8)).convert("P")
    index.putpalette([0, 0, 0] * 2)
    palette_alpha = index.convert("PA")
    palette_alpha.putalpha(alpha)
    levels: dict[str, tuple[str, bytes | Image.Image, int]] = {}
    for depth, clear in ((1, 1), (2, 2), (4, 5), (8, 77), (16, 777)):  # one grey is transparent
        levels[f"{depth} bits"] = (
            "png",
            png(np.where(bar, 0, clear)[..., None], depth, 0, (clear,)),
            1,
        )
    for depth, clear in ((8, (0, 0, 7)), (16, (0, 0x1234, 0))):
        rows = np.where(bar[..., None], 0, np.array(clear))
        levels[f"RGB of {depth} bits"] = "png", png(rows, depth, 2, clear), 3
    return levels | {
        "RGBA": ("png", rgba, 3),
        "RGBA, WebP": ("webp", saved(rgba, "WEBP", lossless=True), 3),
        "RGBA, TIFF": ("tif", rgba, 3),
        "RGBA, ICO": ("ico", saved(rgba, "ICO", sizes=[(SIDE, SIDE)]), 3),
        "LA": ("png", la, 1),
        "P, an index": ("png", saved(index, "PNG", transparency=0), 1),
        "P, bytes": ("png", saved(index, "PNG", transparency=b"\x00\xff"), 1),
        "P, GIF": ("gif", saved(index, "GIF", transparency=0), 1),
        "PA": ("tif", palette_alpha, 1),
    }


@pytest.mark.parametrize("kind", on_nothing())
def test_what_is_transparent_is_white(kind: str, tmp_path: Path) -> None:
    ending, file, channels = on_nothing()[kind]
    bar = np.full((SIDE, SIDE), 255, np.uint8)
    bar[:12, 8:56] = 0
    found = loaded(tmp_path, file, ending)
    assert len(found) == channels
    assert (found - small(Image.fromarray(bar))).abs().max() <= 2


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 51))
    found = loaded(tmp_path, half, "png")
    assert (found - torch.tensor([255.0, 204, 204])[:, None, None]).abs().max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation: int, ending: str, tmp_path: Path) -> None:
    moves = Image.Transpose
    back = {  # how the camera held it, so that turning it as told gives it upright
        2: moves.FLIP_LEFT_RIGHT,
        3: moves.ROTATE_180,
        4: moves.FLIP_TOP_BOTTOM,
        5: moves.TRANSPOSE,
        6: moves.ROTATE_90,
        7: moves.TRANSVERSE,
        8: moves.ROTATE_270,
    }
    wide = RGB.resize((96, 64))
    held = wide.transpose(back[orientation]) if orientation > 1 else wide
    exif = Image.Exif()
    exif[274] = orientation
    kwargs = {"quality": 97} if ending in ("jpg", "avif") else {}
    path = tmp_path / f"x.{ending}"
    held.save(path, exif=exif, **kwargs)
    found = loaded(tmp_path / "set", path.read_bytes(), ending)
    assert (found - small(wide)).abs().mean() < 3


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    for broken in (b"Exif\0\0XX", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
        found = loaded(tmp_path, saved(RGB, "PNG", exif=broken), "png")
        assert torch.equal(found, small(RGB))


def test_the_first_of_several_pictures(tmp_path: Path) -> None:
    others = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("blue", "white")]
    few = RGB.quantize(64).convert("RGB")
    for ending, format, kwargs in (
        ("gif", "GIF", {"disposal": 2}),
        ("png", "PNG", {}),
        ("apng", "PNG", {}),
        ("webp", "WEBP", {"lossless": True}),
        ("tif", "TIFF", {}),
    ):
        moving = saved(few, format, save_all=True, append_images=others, **kwargs)
        assert (loaded(tmp_path / ending, moving, ending) - small(few)).abs().max() <= 8, ending
    pages = saved(
        Image.fromarray(DEEP), "TIFF", save_all=True, append_images=[Image.new("I;16", (9, 9))]
    )
    assert (loaded(tmp_path / "deep", pages, "tif") - small(GREY)).abs().max() <= 2


def test_a_large_jpeg_is_the_same_though_it_is_decoded_in_fewer_pixels(tmp_path: Path) -> None:
    y, x = np.mgrid[:600, :800]
    waves = (127 + 120 * np.sin(x / 19) * np.cos(y / 23)).astype(np.uint8)
    waves[200:300, 100:500] = 30
    large = Image.merge("RGB", [Image.fromarray(np.roll(waves, k, 1)) for k in (0, 60, 120)])
    file = saved(large, "JPEG", quality=95)
    for size in (28, 84):
        with Image.open(io.BytesIO(file)) as whole:
            expected = small(whole, size)
        far = (loaded(tmp_path, file, "jpg", size=size) - expected).abs()
        assert far.mean() < 1
        assert far.max() < 16


# --- one or three channels, size ------------------------------------------------------------------


def paint(path: Path, value: int, mode: str = "L", size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size), value if mode == "L" else (value,) * 3).save(path)
    return path


def three(folder: Path, samples: int = 3) -> Path:
    for k, name in enumerate(("ant", "bee", "cat")):
        for i in range(samples):
            paint(folder / name / f"{i}.png", 50 * k + i)
    return folder


def test_channels(tmp_path: Path) -> None:
    three(tmp_path)
    assert load(f"folder:{tmp_path}").images.shape[2] == 1
    assert load(f"folder:{tmp_path}", channels=3).images.shape[2] == 3
    paint(tmp_path / "ant/0.png", 9, "RGB")  # equal channels, but stored as colours
    data = load(f"folder:{tmp_path}")
    assert data.images.shape[2] == 3
    assert data.images[2, 1].unique().tolist() == [101]
    assert load(f"folder:{tmp_path}", channels=1).images.shape[2] == 1


def test_size(tmp_path: Path) -> None:
    image = Image.fromarray(drawing())
    found = loaded(tmp_path, image, "png", size=84)
    assert torch.equal(found, small(image, 84))
    assert load(f"folder:{tmp_path}", size=np.int64(84)).images.shape[-2:] == (84, 84)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0"),
        ({"size": -3}, "size=-3"),
        ({"size": 28.5}, "size=28.5"),
        ({"size": 10**9}, "size=1000000000"),
        ({"size": True}, "size=True"),
        ({"size": "28"}, "size='28'"),
        ({"channels": 2}, "channels=2: must be 1"),
        ({"channels": True}, "channels=True"),
        ({"min_samples": 0}, "min_samples=0"),
        ({"min_samples": 1.5}, "min_samples=1.5"),
    ],
)
def test_odd_arguments_are_named(options: dict[str, int], message: str, tmp_path: Path) -> None:
    three(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(f"folder:{tmp_path}", **options)


@pytest.mark.parametrize("option", ["size", "channels", "min_samples"])
def test_what_is_for_folders_is_refused_for_other_sets(option: str) -> None:
    for name in ("glyphs", "omniglot"):
        with pytest.raises(ValueError, match=rf"load\('{name}'\).*{option}=3.*for 'folder:PATH'"):
            load(name, **{option: 3})


# --- what lies in a folder ------------------------------------------------------------------------


def test_leftovers_are_passed_over(tmp_path: Path) -> None:
    three(tmp_path)
    expected = load(f"folder:{tmp_path}")
    for hidden in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "lost+found"):
        paint(tmp_path / hidden / "0-checkpoint.png", 3)
        paint(tmp_path / "ant" / hidden / "0-checkpoint.png", 3)
    (tmp_path / "bee" / ".empty").mkdir()
    for name in ("._0.png", ".0.png", "~$0.png", ".DS_Store"):
        (tmp_path / "ant" / name).write_bytes(b"not a picture")
        (tmp_path / name).write_bytes(b"not a picture")
    for name in ("Thumbs.db", "desktop.ini", "0.png~", "0.png.tmp", "notes.txt", "0.xml", "x.part"):
        (tmp_path / "ant" / name).write_bytes(b"not a picture")
        (tmp_path / name).write_bytes(b"not a picture")
    (tmp_path / "ant" / "boxes").mkdir()
    (tmp_path / "ant" / "boxes" / "0.json").write_text("{}")
    data = load(f"folder:{tmp_path}")
    assert data.classes == ["ant", "bee", "cat"]
    assert torch.equal(data.images, expected.images)


def test_endings_in_capitals_and_rarer_ones(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for ending in ("PNG", "JPEG", "jfif", "Tif", "JPG", "apng", "bmp"):
            path = tmp_path / name / f"x.{ending}"
            path.parent.mkdir(exist_ok=True)
            format = {"jfif": "JPEG", "Tif": "TIFF", "JPG": "JPEG"}.get(ending)
            GREY.save(path, format)
    assert load(f"folder:{tmp_path}").images.shape[1] == 7


@pytest.mark.parametrize("ending", ["HEIC", "heif", "svg", "dng"])
def test_pictures_that_pillow_does_not_read_are_named(ending: str, tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / "bee" / f"9.{ending}").write_bytes(b"....ftypheic")
    with pytest.raises(
        ValueError, match=rf"bee.9\.{ending}: Pillow does not read .*save it as PNG"
    ):
        load(f"folder:{tmp_path}")


def test_groups_and_classes_of_the_same_names_stay_apart(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for at, value in (("cat", 10), ("pets/cat", 20), ("pets/dog", 30), ("wild/cat", 40)):
        paint(root / at / "0.png", value)
    data = load(f"folder:{root}")
    assert data.classes == ["cat", "pets/cat", "pets/dog", "wild/cat"]
    assert data.images[:, 0, 0, 0, 0].tolist() == [10, 20, 30, 40]
    assert len(set(data.groups)) == 3
    assert data.groups[1:] == ["pets", "pets", "wild"]


def test_pictures_beside_folders_of_pictures_are_named(tmp_path: Path) -> None:
    three(tmp_path / "root")
    extra = paint(tmp_path / "root" / "stray.png", 0)
    with pytest.raises(ValueError, match=r"root holds both pictures and .*ant.*must lie in"):
        load(f"folder:{tmp_path / 'root'}")
    extra.unlink()
    paint(tmp_path / "root" / "ant" / "young" / "0.png", 0)
    with pytest.raises(ValueError, match=r"ant holds both pictures and .*young"):
        load(f"folder:{tmp_path / 'root'}")


def test_folders_that_are_too_deep_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint(tmp_path / "more" / "group" / name / "0.png", 0)
    with pytest.raises(ValueError, match=r"more.group.a is too deep: .*PATH/group/class"):
        load(f"folder:{tmp_path}")
    assert load(f"folder:{tmp_path / 'more'}").classes == ["group/a", "group/b"]


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("Training", "validation"), ("train", "val", "test")]
)
def test_a_division_of_the_pictures_is_refused(parts: tuple[str, ...], tmp_path: Path) -> None:
    for part in parts:
        for name in ("cat", "dog"):
            paint(tmp_path / "outer" / part / name / "0.png", 0)
            paint(tmp_path / "inner" / name / part / "0.png", 0)
        paint(tmp_path / "flat" / part / "0.png", 0)
    for layout in ("outer", "inner", "flat"):
        with pytest.raises(ValueError, match=r"Load one part, such as .*train|into one folder"):
            load(f"folder:{tmp_path / layout}")
    assert load(f"folder:{tmp_path / 'outer' / parts[0]}").classes == ["cat", "dog"]


def test_a_division_of_the_classes_is_welcome(tmp_path: Path) -> None:
    for at in ("train/ant", "train/bee", "test/cat", "val/dog"):
        paint(tmp_path / at / "0.png", 0)
    assert load(f"folder:{tmp_path}").groups == ["test", "train", "train", "val"]


# --- how many pictures ----------------------------------------------------------------------------


def uneven(folder: Path, **counts: int) -> Path:
    for k, (name, count) in enumerate(counts.items()):
        for i in range(count):
            paint(folder / name / f"{i:02d}.png", 10 * k + i)
    return folder


def test_classes_keep_all_their_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uneven(tmp_path, ant=5, bee=6, cat=1)
    for _ in range(2):
        data = load(f"folder:{tmp_path}")
        assert data.counts == [5, 6, 1]
        assert data.images.shape == (3, 6, 1, 28, 28)
        for c, n in enumerate(data.counts):
            assert data.images[c, :n, 0, 0, 0].tolist() == [10 * c + i for i in range(n)]
        monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("read again"))
    assert capsys.readouterr().out == "", "nothing is left out, so nothing is said"
    monkeypatch.undo()
    assert "1 to 6 samples each" in repr(data)
    part = data.subset([2, 0])
    assert part.counts == [1, 5]
    (tmp_path / "bee" / "05.png").unlink()
    for i in range(1, 5):
        paint(tmp_path / "cat" / f"{i:02d}.png", 20 + i)
    data = load(f"folder:{tmp_path}")
    assert data.counts is None, "equally many: a set as it always was"
    assert data.images[:, :, 0, 0, 0].tolist() == [[10 * c + i for i in range(5)] for c in range(3)]


def test_classes_with_few_pictures_are_left_out_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uneven(tmp_path, ant=1, bee=10, cat=9, dog=4)
    assert load(f"folder:{tmp_path}").counts == [1, 10, 9, 4]
    assert capsys.readouterr().out == ""
    data = load(f"folder:{tmp_path}", min_samples=9)
    assert (data.classes, data.counts) == (["bee", "cat"], [10, 9])
    (left,) = capsys.readouterr().out.splitlines()
    assert left.endswith("left out, with fewer pictures than min_samples=9: ant (1), dog (4)")
    assert len(load(f"folder:{tmp_path}", min_samples=1)) == 4
    with pytest.raises(ValueError, match="holds 1 classes"):
        load(f"folder:{tmp_path}", min_samples=10)


def test_episodes_of_uneven_classes_draw_every_picture_and_no_other(tmp_path: Path) -> None:
    uneven(tmp_path, ant=2, bee=7, cat=4)
    data = load(f"folder:{tmp_path}")
    assert data.counts is not None
    there = {10 * c + i for c, n in enumerate(data.counts) for i in range(n)}
    source, seen = data.episodes(3, 1, 1), set()
    for k in range(60):
        x = torch.cat([source[k].support_x, source[k].query_x], 1)
        seen |= {round(255 * v) for v in x[:, :, 0, 0, 0].flatten().tolist()}
    assert seen == there
    with pytest.raises(
        ValueError, match=r"but folder:.* has 2 of 'ant' \(2\), 'cat' \(4\): .*n >= 5 for n in"
    ):
        data.episodes(2, 2, 3)
    large = data.subset([n >= 4 for n in data.counts])  # as the message says
    assert large.episodes(2, 2, 2)[0].query_x.shape == (1, 4, 1, 28, 28)
    shop = data.subset([1, 2])
    with pytest.raises(ValueError, match=r"queries=5 a class, but .* has 4 of 'cat' \(4\): ask"):
        large.episodes(2, 2, 5, queries_from=shop)
    with pytest.raises(ValueError, match=r"= 9 pictures a class, but folder:\S+ has 2$"):
        data.episodes(2, 4, 5)  # no class has so many


def test_what_stands_behind_a_smaller_class_is_never_drawn(tmp_path: Path) -> None:
    """In episodes that train and evaluate, in batches of a baseline, and in problems to optimise."""
    data = load(f"folder:{uneven(tmp_path, ant=2, bee=7, cat=4)}")
    data.images[data.images.amax((2, 3, 4)) == 0] = 1  # the first picture of ant is black
    assert data.counts is not None
    for c, n in enumerate(data.counts):
        data.images[c, n:] = 0
    seen: list[Tensor] = []

    model = PrototypicalNetwork(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 4)))
    model.embed.register_forward_hook(lambda net, x, out: seen.append(x[0]))
    fit(model, data.episodes(3, 1, 1, tasks=2), steps=10)
    evaluate(model, data.episodes(2, (1, 1), 1), n=10)
    seen += [Batches(data, 50)[k][0] for k in range(3)]
    seen += [Classifiers(data, (49, 5, 3), pictures=2)[k][1] for k in range(9)]
    assert min(x.flatten(1 if x.dim() == 4 else 2).amax(-1).min() for x in seen) > 0
    with pytest.raises(ValueError, match="3 classes of 3 pictures: the data have 3 of 2"):
        Classifiers(data, (49, 5, 3), pictures=3)
    with pytest.raises(ValueError, match=r"2 to 7 samples each.* all need as many"):
        split_combinations(data, seen=1, scripts=("Latin",))


def test_a_class_of_thousands_beside_small_ones_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uneven(tmp_path, ant=1, bee=3)

    def full(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", full)
    with pytest.raises(
        ValueError, match=r"2 classes of up to 3 pictures \(bee\) do not fit .*smaller size"
    ):
        load(f"folder:{tmp_path}")


# --- what is not a picture ------------------------------------------------------------------------


def test_pipes_links_and_folders_in_place_of_pictures(tmp_path: Path) -> None:
    three(tmp_path)
    odd = tmp_path / "bee" / "a.png"
    os.mkfifo(odd)
    with pytest.raises(ValueError, match=r"bee.a\.png is a pipe or device and no file"):
        load(f"folder:{tmp_path}")
    odd.unlink()
    odd.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"bee.a\.png cannot be read \(No such file"):
        load(f"folder:{tmp_path}")
    odd.unlink()
    odd.symlink_to(odd)
    with pytest.raises(ValueError, match=r"bee.a\.png cannot be read \(Too many levels"):
        load(f"folder:{tmp_path}")
    odd.unlink()
    odd.mkdir()  # a folder of this name, without pictures in it
    (tmp_path / "bee" / "round").symlink_to(tmp_path / "ant")
    with pytest.raises(ValueError, match=r"bee holds both pictures and .*round"):
        load(f"folder:{tmp_path}")
    (tmp_path / "bee" / "round").unlink()
    assert load(f"folder:{tmp_path}").images.shape[:2] == (3, 3)
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"loop.* is too deep"):
        load(f"folder:{tmp_path}")


def test_links_to_pictures_and_to_folders_are_followed(tmp_path: Path) -> None:
    three(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "ant").symlink_to(tmp_path / "real" / "ant")
    (tmp_path / "linked" / "bee").mkdir()
    for i in range(3):
        (tmp_path / "linked" / "bee" / f"{i}.png").symlink_to(tmp_path / "real/bee" / f"{i}.png")
    data = load(f"folder:{tmp_path / 'linked'}")
    assert torch.equal(data.images, load(f"folder:{tmp_path / 'real'}").images[:2])


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path)
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "bee":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"bee cannot be read \(Permission denied\)"):
        load(f"folder:{tmp_path}")
    monkeypatch.undo()
    opened = Image.open

    def locked(file: Path, *args: object, **kwargs: object) -> object:
        if Path(file).name == "2.png":
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", locked)
    with pytest.raises(ValueError, match=r"ant.2\.png cannot be read as a picture .*Permission"):
        load(f"folder:{tmp_path}")


def test_every_damaged_picture_is_named(tmp_path: Path) -> None:
    three(tmp_path)
    path = tmp_path / "bee" / "1.png"
    whole = saved(RGB, "PNG")
    header = bytearray(whole)
    header[60] ^= 4
    kinds = [b"", b"\x89PNG", whole[:60], whole[: len(whole) // 2], bytes(header), b"<html></html>"]
    kinds += [saved(RGB, "JPEG")[:500], saved(RGB, "TIFF")[:3000], saved(RGB, "BMP")[:900]]
    kinds += [saved(RGB, "WEBP")[:200], saved(RGB, "GIF")[:900], b"GIF89a", b"II*\0", b"BM"]
    for k, content in enumerate(kinds):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bee.1\.png cannot be read as a picture \(.+\)") as e:
            load(f"folder:{tmp_path}")
        assert "repair or remove it" in str(e.value), k


@pytest.mark.parametrize("format", ["PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG"])
def test_flipped_bits_give_a_picture_or_a_named_error(format: str, tmp_path: Path) -> None:
    whole = saved(RGB, format)
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(whole)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        path = tmp_path / "a" / "0.png"
        path.write_bytes(damaged)
        try:
            images = load(f"folder:{tmp_path}", channels=3).images
            assert images.shape == (2, 1, 3, 28, 28)
            if format == "PNG":  # the only one of them with checksums
                assert torch.equal(images[0], images[1])
        except ValueError as error:
            assert str(path) in str(error)


def test_a_picture_with_too_many_pixels_is_named_and_a_large_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path)
    paint(tmp_path / "bee" / "1.png", 7, size=40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 1,600 are more, but not twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(f"folder:{tmp_path}")
    assert data.images[1, 1].unique().tolist() == [7]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"bee.1\.png cannot be read as a picture .*1600 pixels"):
        load(f"folder:{tmp_path}", size=29)


# --- names and paths ------------------------------------------------------------------------------


def test_home_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path / "pics")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    expected = load(f"folder:{tmp_path / 'pics'}")
    for path in ("~/pics", "pics", "./pics/", "pics/../pics"):
        data = load(f"folder:{path}")
        assert torch.equal(data.images, expected.images)
        assert data.groups == ["pics"] * 3
    monkeypatch.chdir(tmp_path / "pics")
    assert load("folder:.").groups == ["pics"] * 3


def test_names_that_are_not_utf8_and_long_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        odd = tmp_path / os.fsdecode(b"caf\xe9")
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    picture = odd / os.fsdecode(b"\xff.png")
    picture.write_bytes(saved(GREY, "PNG"))
    paint(tmp_path / ("n" * 250) / ("é" * 100 + ".png"), 1)
    for _ in range(2):
        data = load(f"folder:{tmp_path}")
        assert data.classes == ["caf\\xe9", "n" * 250]
        print(data.classes[0].encode("utf-8"))
    picture.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be read as a picture") as caught:
        load(f"folder:{tmp_path}")
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "~nobody-of-this-name/x", "/dev/null"])
def test_paths_that_are_no_folder(path: str) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        load(f"folder:{path}")


# --- the cache ------------------------------------------------------------------------------------


def cached_files(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir())


def test_the_second_time_no_picture_is_opened(
    tmp_path: Path, _own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path)
    first = load(f"folder:{tmp_path}")
    assert len(cached_files(_own_cache)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda *_: pytest.fail("read again"))
        again = load(f"folder:{tmp_path}")
        for options in ({"size": 20}, {"channels": 3}):  # each of these is another set
            with pytest.raises(BaseException, match="read again"):
                load(f"folder:{tmp_path}", **options)
    assert torch.equal(first.images, again.images)
    assert (first.classes, first.groups, first.name) == (again.classes, again.groups, again.name)
    load(f"folder:{tmp_path}", size=20)
    assert len(cached_files(_own_cache)) == 2


def test_every_change_of_the_folder_is_noticed(tmp_path: Path, _own_cache: Path) -> None:
    three(tmp_path)
    path = tmp_path / "ant" / "1.png"

    def values() -> list[int]:
        return load(f"folder:{tmp_path}").images[0, :, 0, 0, 0].tolist()

    assert values() == [0, 1, 2]
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    for value in (200, 201, 202):  # of the same length, at once
        paint(path, value)
        assert values() == [0, value, 2]
    paint(path, 203)
    os.utime(path, ns=times)  # and with the time of the picture that was there before
    assert values() == [0, 203, 2]
    path.rename(tmp_path / "ant" / "3.png")
    assert values() == [0, 2, 203]
    paint(tmp_path / "ant" / "0a.png", 99)
    assert values() == [0, 99, 2, 203]
    (tmp_path / "ant" / "0.png").unlink()
    assert values() == [99, 2, 203]
    (tmp_path / "cat").rename(tmp_path / "dog")
    assert load(f"folder:{tmp_path}").classes == ["ant", "bee", "dog"]
    paint(tmp_path / "eel" / "0.png", 1)
    assert len(load(f"folder:{tmp_path}", min_samples=1)) == 4
    assert len(cached_files(_own_cache)) == 1, "what the folder was before is removed"


def test_folders_that_are_gone_leave_nothing_in_the_cache(tmp_path: Path, _own_cache: Path) -> None:
    load(f"folder:{three(tmp_path / 'a')}")
    load(f"folder:{three(tmp_path / 'b')}")
    assert len(cached_files(_own_cache)) == 2
    (tmp_path / "a").rename(tmp_path / "c")
    load(f"folder:{tmp_path / 'c'}")
    assert len(cached_files(_own_cache)) == 2


def test_many_pictures_have_a_progress_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(f"folder:{three(tmp_path / 'few')}")
    assert capsys.readouterr().err == ""
    load(f"folder:{three(tmp_path / 'many', samples=100)}")
    assert "300/300" in capsys.readouterr().err
