"""Groceries: photographs from shops, and the picture and description that the catalogue has. Klasson et al. (2019)."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlbook.data.files import cache_folder, cached, find
from mlbook.episodes import Dataset, by_class

COMMIT = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"
SOURCE = f"https://codeload.github.com/marcusklasson/GroceryStoreDataset/zip/{COMMIT}"
ARCHIVE = f"GroceryStoreDataset-{COMMIT[:7]}.zip"
ZIPS = ("train.zip", "val_and_test.zip", "iconic-images-and-descriptions.zip")
LIMIT = 300_000_000  # bytes: the archive has 123 MB
VERSION = 1  # part of the cached file's name: raise it when pictures are read in another way
# Of classes.csv, descriptions and the JPEG files themselves: the zips may have been packed again, and decoders differ.
SHA256 = {
    "": "27e1c46bf55341776db4ee74ec462c79512d343818f846b5b2b007f5a8bc9411",
    "train": "5cb95442de84d412ba9d6c0f82d10373e486be42527e0f838cfeb87b71897d37",
    "test": "660aba2f2354ad93821618204ca380f8eb21c331a24217ac14c22637a4e8e924",
    "catalogue": "0d18c349f78fe8122aedd03c48cb29740e56888d53af62b9a3bfbc4723dc58b4",
}


def load(part: str = "", size: int = 28) -> Dataset:
    """81 classes in 43 coarse ones: apples, milk, peppers, as a telephone sees them on the shelf.

    `""` has all 5,421 photographs, `"train"` 2,640 and `"test"` 2,485 of them, which the
    authors keep apart, and `"catalogue"` one clean picture of each class. Their classes are the same, and so are
    splits of one seed; support from one and queries from another is::

        catalogue, shop = load("groceries:catalogue", size=64), load("groceries:test", size=64)
        source = catalogue.episodes(5, 1, 5, queries_from=shop)

    Classes have unequally many photographs (`counts`). Sister classes, Granny Smith and Royal Gala, share their
    group: `split("alphabets")` keeps them together, `split("characters")` does not.

    Args:
        part: `""`, `"train"`, `"test"` or `"catalogue"`.
        size: Pixels along a side, to which pictures are stretched; 1 to 4096.

    Returns:
        Images `uint8 [81, samples, 3, size, size]`; groups are coarse classes, descriptions those of the catalogue.

    Raises:
        FileNotFoundError: If the pictures are not here and cannot be downloaded; says how to get them.
        ValueError: If the size is out of range, or a file is damaged.

    Source: Klasson, Zhang and Kjellström (2019), "A Hierarchical Grocery Store Image Dataset With Visual and Semantic
    Labels"; MIT licence.
    """
    if not hasattr(size, "__index__") or isinstance(size, bool) or not 1 <= size <= 4096:
        raise ValueError(f"size={size!r}: must be a whole number of pixels from 1 to 4096")

    def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
        return _make(part, int(size))

    file = f"groceries-{part or 'all'}-{int(size)}-v{VERSION}-{SHA256[part][:8]}.safetensors"
    name = f"groceries:{part}".rstrip(":")
    tensors, facts = cached(cache_folder() / file, name, make)
    images, counts = by_class(tensors["images"], facts["counts"])
    return Dataset(
        images,
        facts["classes"],
        facts["groups"],
        name,
        descriptions=facts["descriptions"],
        counts=counts,
    )


def _make(part: str, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All pictures, class by class, `[pictures, 3, size, size]`, and what is known of the classes."""
    # imported here, so that `import mlbook` does not wait for Pillow
    from mlbook.data.pictures import read_pictures

    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as spare, ExitStack() as stack:
        members: dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}
        for path in _find(Path(spare)):
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
            except (zipfile.BadZipFile, OSError) as error:
                raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error
            for member in archive.infolist():
                members[member.filename.rpartition("dataset/")[2]] = archive, member

        def read(name: str) -> bytes:
            if name not in members:
                raise ValueError(
                    f"{name} is not among the groceries; delete the zips and run again"
                )
            archive, member = members[name]
            try:
                if member.file_size > 2_000_000:
                    raise ValueError("it is far too large")
                content = archive.read(member)
            except Exception as error:  # zipfile and zlib raise nearly everything
                raise ValueError(
                    f"{archive.filename} is damaged ({name}: {error}); delete it and run again"
                ) from error
            digest.update(name.encode() + content)
            return content

        rows = [*csv.reader(io.StringIO(read("classes.csv").decode()))][1:]
        names: list[list[str]] = [[] for _ in rows]
        if part == "catalogue":
            names = [[picture.lstrip("/")] for *_, picture, _ in rows]
        for folder in {"": ("train", "val", "test"), "catalogue": ()}.get(part, (part,)):
            for line in read(f"{folder}.txt").decode().splitlines():
                name, label, _ = line.split(", ")
                names[int(label)].append(name)
        descriptions = [" ".join(read(row[5].lstrip("/")).decode().split()) for row in rows]
        files: list[Any] = []
        for of_class in names:
            for name in of_class:
                files.append(io.BytesIO(read(name)))
                files[-1].name = name  # what an error names
    if digest.hexdigest() != SHA256[part]:
        raise ValueError(
            f"these are not the groceries of commit {COMMIT[:7]} (digest {digest.hexdigest()}, not {SHA256[part]}); "
            "delete the zips and run again"
        )
    pixels = read_pictures(files, size, 3, "groceries")
    return {"images": torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()}, {
        "classes": [row[0] for row in rows],
        "groups": [row[2] for row in rows],
        "descriptions": descriptions,
        "counts": [len(of_class) for of_class in names],
    }


def _find(spare: Path) -> list[Path]:
    """The zips in `$MLBOOK_DATA/groceries`, or else the authors' archive, downloaded if need be."""
    folder = Path(os.path.expanduser(os.environ.get("MLBOOK_DATA", "")), "groceries")  # noqa: PTH111
    if "MLBOOK_DATA" in os.environ and all((folder / name).is_file() for name in ZIPS):
        return [folder / name for name in ZIPS]
    return [find("groceries", ARCHIVE, SOURCE, None, LIMIT, spare)]
