"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people. Lake et al., Science 350 (2015); MIT licence."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mlbook.data.files import cache_folder, download, md5

SOURCE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
ZIPS = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
# Of all 32,460 decoded pictures: the zips may have been packed again, the pictures in them not
# changed.
PIXELS = "4f6cf3194b9faadecaac765debe3d4f8"
SIZE = 28
LIMIT = 64_000_000  # bytes: the larger zip is 9.5 MB, and unpacks to a little more


def make() -> tuple[Tensor, list[str], list[str]]:
    """Find or download the two zips, and decode them.

    Returns:
        Images `uint8 [1623, 20, 1, 28, 28]`, strokes 255 on 0, resized with Lanczos; the name of
        each class, such as `"Korean/character05"`; its group, such as `"background/Korean"` or
        `"evaluation/Tengwar"`.

    Raises:
        FileNotFoundError: If the zips are not here and cannot be downloaded; says how to get them.
        ValueError: If a zip or a picture in it is damaged.
    """
    images: list[Tensor] = []
    classes: list[str] = []
    groups: list[str] = []
    digest = hashlib.md5(usedforsecurity=False)
    with tempfile.TemporaryDirectory() as spare:
        for name in ZIPS:
            part = name.removeprefix("images_").removesuffix(".zip")
            for alphabet, character, drawings in _decode(_find(name, Path(spare)), digest):
                images.append(torch.from_numpy(drawings))
                classes.append(f"{alphabet}/{character}")
                groups.append(f"{part}/{alphabet}")
    if digest.hexdigest() != PIXELS:
        raise ValueError(
            f"the pictures in {' and '.join(ZIPS)} are not those of Omniglot (digest {digest.hexdigest()}, "
            f"not {PIXELS}); delete the files and run again"
        )
    return torch.stack(images)[:, :, None], classes, groups


def _find(name: str, spare: Path) -> Path:
    """The zip in `$MLBOOK_DATA/omniglot`, in the cache, or downloaded: into the cache, or else into `spare`."""
    if folder := os.environ.get("MLBOOK_DATA"):
        given = Path(os.path.expanduser(folder)) / "omniglot" / name  # noqa: PTH111 - any ~
        if given.is_file():
            return given
    path = cache_folder() / "omniglot" / name
    if path.is_file():
        if md5(path) == ZIPS[name]:
            return path
        raise ValueError(
            f"{path} is damaged: its MD5 is {md5(path)}, not {ZIPS[name]}; delete it and run again"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError:  # the cache cannot be written
        path = spare / name
    url = f"{SOURCE}/{name}"
    try:
        download(url, path, ZIPS[name], LIMIT)
    except (ConnectionError, ValueError) as error:  # of something else in its place as well
        raise FileNotFoundError(
            f"Omniglot is not here and could not be downloaded ({error}). Download {', '.join(ZIPS)} from {SOURCE} "
            "elsewhere, put them into a folder D/omniglot, and set the environment variable MLBOOK_DATA=D; "
            'or use load("glyphs"), which needs no download'
        ) from error
    return path


def _decode(path: Path, digest: hashlib._Hash) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    """Alphabet, character and its 20 drawings `[20, 28, 28]`, one character after the other.

    Read in memory: nothing is unpacked to disk, so no path in the zip leads anywhere.
    """
    with _damage_named(path):
        archive = zipfile.ZipFile(path)
    with archive:
        members = [m for m in archive.infolist() if m.filename.endswith(".png")]
        if sum(m.file_size for m in members) > LIMIT:
            raise ValueError(
                f"{path} would unpack to more than {LIMIT:,} bytes, so it is not Omniglot; delete it"
            )
        characters: dict[tuple[str, str], list[zipfile.ZipInfo]] = {}
        for member in sorted(members, key=lambda m: m.filename):
            alphabet, character, _ = ("", "", *member.filename.split("/"))[-3:]
            characters.setdefault((alphabet, character), []).append(member)
        for (alphabet, character), drawings in sorted(characters.items()):
            if len(drawings) != 20:
                raise ValueError(
                    f"{path}: {alphabet}/{character} has {len(drawings)} drawings, not 20; delete the file"
                )
            # two strips a character, so that pixels leave Pillow 20 drawings at a time
            drawn, small = Image.new("1", (105, 20 * 105)), Image.new("L", (SIZE, 20 * SIZE))
            for i, member in enumerate(drawings):
                with _damage_named(path):
                    picture = Image.open(io.BytesIO(archive.read(member)), formats=["PNG"])
                if picture.size != (105, 105):
                    raise ValueError(
                        f"{path}: {member.filename} is {picture.size} pixels, not (105, 105)"
                    )
                with _damage_named(path):
                    drawn.paste(picture, (0, 105 * i))
                    grey = picture.convert("L").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
                    small.paste(grey, (0, SIZE * i))
            digest.update(drawn.tobytes())
            yield alphabet, character, np.uint8(255) - np.asarray(small).reshape(20, SIZE, SIZE)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile, zlib and Pillow raise nearly everything
        raise ValueError(
            f"{path} is damaged or cut short ({error or type(error).__name__}); delete it and run again"
        ) from error
