"""Picture files as a person sees them: upright, on white, 8 bits deep."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mlbook.data.files import printable
from mlbook.progress import progress_bar


def read_pictures(
    files: Sequence[Path | io.BytesIO], size: int, channels: int | None, name: str
) -> NDArray[np.uint8]:
    """Pictures of `size` x `size` pixels, `[files, size, size, channels]`, with a progress bar if they are many.

    Args:
        files: What to read; what is in memory has its name in `name`.
        size: Pixels along a side, to which a picture is stretched.
        channels: 1, 3, or None: 1 if all files are stored as grey, else 3.
        name: What the progress bar says.

    Raises:
        ValueError: If a file cannot be read; names it.
    """
    read = partial(_read, size=size, channels=channels)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # of Pillow, about large pictures and odd metadata
        # Pillow decodes and resizes outside of Python's lock, so threads are as good as processes
        done = pool.map(read, files)
        arrays = list(
            progress_bar(done, name, len(files), unit=" pictures", disable=len(files) < 300)
        )
    depth = max(array.shape[2] for array in arrays)
    pictures = np.empty((len(files), size, size, depth), np.uint8)
    for picture, array in zip(pictures, arrays, strict=True):
        picture[:] = array
    return pictures


def _read(file: Path | io.BytesIO, size: int, channels: int | None) -> NDArray[np.uint8]:
    """`[size, size, 1]` if the file is stored as grey or grey is asked for, else `[size, size, 3]`."""
    return _small(seen(file, size), size, channels)


def read_picture(
    picture: Path | str | Image.Image | NDArray[Any], size: int, channels: int | None
) -> NDArray[np.uint8]:
    """One picture, `[size, size, channels]`, from a file or from memory, in which it stays as it is.

    Args:
        picture: A path, a picture of Pillow, or an array as `checked` takes it.
        size: Pixels along a side, to which it is stretched.
        channels: 1, 3, or None: 1 if it is stored as grey, else 3.

    Raises:
        ValueError: If it cannot be read as a picture.
    """
    if isinstance(picture, np.ndarray):
        array = checked(picture)
        if array.dtype != np.uint8:
            array = np.rint(array * 255).astype(np.uint8)
        return _small(
            _seen(Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)), size, channels
        )
    return _small(seen(picture, size), size, channels)


def seen(picture: Path | str | io.BytesIO | Image.Image, size: int | None = None) -> Image.Image:
    """A picture as a person sees it, upright, on white, 8 bits deep: `"L"` if it is stored as grey, else `"RGB"`.

    Args:
        picture: A path, a file in memory whose `name` errors give, or a picture of Pillow, which stays as it is.
        size: If it is to become so many pixels along a side, a JPEG is decoded at the least part of its own size that
            has twice as many, which is quicker. None decodes all of it.

    Raises:
        ValueError: If it cannot be read as a picture; names it.
    """
    try:
        if isinstance(picture, Image.Image):
            return _seen_in_memory(picture)
        with Image.open(picture) as opened:
            if opened.format == "PNG":  # its checksums, which nothing else looks at
                with Image.open(picture) as again:
                    again.verify()
            if size is not None:
                opened.draft(None, (2 * size, 2 * size))
            return _seen(opened)
    except Exception as error:  # damaged files make decoders raise nearly everything
        name: Any = picture
        if not isinstance(picture, str | Path):
            name = getattr(picture, "name", None) or getattr(picture, "filename", None) or picture
        name = printable(name) if isinstance(name, str | Path) else repr(name)
        raise ValueError(
            f"{name} cannot be read as a picture ({error or type(error).__name__}); repair or remove it"
        ) from error


def _seen_in_memory(picture: Image.Image) -> Image.Image:
    # what is looked at is a copy, with what a copy leaves behind
    tile = getattr(picture, "tile", None)
    raw = tile[0][3] if tile and picture.format == "PNG" else ""
    picture.load()
    mine = picture.copy()
    with contextlib.suppress(Exception):  # EXIF that cannot be read turns nothing
        if turn := picture.getexif().get(274):
            mine.getexif()[274] = turn
    return _seen(mine, raw if isinstance(raw, str) else "", getattr(picture, "tag_v2", {}))


def checked(array: NDArray[Any]) -> NDArray[Any]:
    """A picture that came as an array, `[H, W, C]` of bytes or of floats in [0, 1].

    Args:
        array: `[H, W]` or `[H, W, C]`, channels grey, grey and opacity, three colours, or these and opacity; of bools,
            8 or 16 bits, or floats in [0, 1].

    Raises:
        ValueError: If it is something else.
    """
    shape, kind = list(array.shape), array.dtype
    if array.ndim not in (2, 3) or 0 in shape or shape[2:] not in ([], [1], [2], [3], [4]):
        channels = f", not {shape[2]} channels" if array.ndim == 3 else ""
        raise ValueError(
            f"an array {shape} is no picture: it is [H, W], or [H, W, C] with 1 to 4 channels last{channels} "
            "(array.transpose(1, 2, 0) puts them there)"
        )
    array = np.atleast_3d(array).astype(kind.newbyteorder("="), copy=False)
    if array.dtype == np.uint16:
        array = array / 65_535
    elif array.dtype == np.bool_:
        array = array.astype(np.float64)
    if array.dtype != np.uint8 and (
        array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1)
    ):
        raise ValueError(
            f"a picture of {kind} from {array.min()} to {array.max()} does not say what is white: give bytes "
            "(uint8) in 0..255 or floats in [0, 1]"
        )
    return array


def _small(plain: Image.Image, size: int, channels: int | None) -> NDArray[np.uint8]:
    if channels == 1:
        plain = plain.convert("L")
    small = plain.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(small.convert("RGB") if channels == 3 else small).reshape(size, size, -1)


def _seen(picture: Image.Image, raw: str = "", tags: Any = None) -> Image.Image:
    """What a person sees, in mode `"L"` if the file is stored as grey, else `"RGB"`."""
    # how a PNG is stored; Pillow's mode does not say everything
    if picture.format == "PNG":
        raw = picture.tile[0][3]  # type: ignore[attr-defined]
    picture.load()
    with contextlib.suppress(Exception):  # EXIF that cannot be read turns nothing
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith(("I", "F")):
        return _eight_bits(picture, getattr(picture, "tag_v2", {}) if tags is None else tags)
    mode, clear = picture.mode, picture.info.get("transparency")
    plain = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    if clear is not None or "A" in (mode + getattr(picture.palette, "mode", "")).upper():
        if isinstance(clear, int) and raw in ("L;2", "L;4"):  # Pillow spreads the pixels alone
            picture.info["transparency"] = clear * {"L;2": 85, "L;4": 17}[raw]
        elif isinstance(clear, tuple) and raw == "RGB;16B":
            picture.info["transparency"] = tuple(value >> 8 for value in clear)
        if mode in ("La", "RGBa"):  # multiplied by their transparency
            picture = picture.convert(mode.upper())
        picture = picture.convert("LA" if plain == "L" else "RGBA")
        paper = Image.new(plain, picture.size, "white")
        paper.paste(picture.convert(plain), mask=picture.getchannel("A"))
        picture = paper
    if picture.mode != plain:
        picture = picture.convert(plain)
    if mode in ("P", "PA") or raw == "LA;16B":
        red, green, blue = picture.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            return red
    return picture


def _eight_bits(picture: Image.Image, tags: Any) -> Image.Image:
    """Grey of more than 8 bits, and floats, as `"L"`: from 0 to the largest value that the file could hold."""
    # tags of a TIFF: 258 bits, 339 signed or not, 262 what is white
    bits, signed = int(np.max(tags.get(258, 16))), 2 in np.atleast_1d(tags.get(339, 1))
    values, most = np.asarray(picture), 2 ** (bits - signed) - 1
    if picture.mode == "F":
        whites = [1, 255, 65_535]
    elif bits <= 16:
        whites = [most]
    else:  # nearly everyone who stores 32 bits means fewer
        whites = [255, 65_535, most]
        values = values if signed else values.view(np.uint32)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= whites[-1]:
        raise ValueError(
            f"values from {low} to {high} do not say what is white; save it with 8 or 16 bits"
        )
    scaled = np.rint(values * (255 / next(white for white in whites if high <= white)))
    if tags.get(262) == 0:
        scaled = 255 - scaled
    scaled[values == picture.info.get("transparency")] = 255
    return Image.fromarray(scaled.astype(np.uint8))
