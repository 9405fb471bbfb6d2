"""Groceries: the authors' pictures, classes and folders; nothing else, and nothing half-read."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlbook import Dataset, load
from mlbook.data import groceries

HERE = Path(os.environ.get("MLBOOK_DATA", "/nowhere"), "groceries")
needed = pytest.mark.skipif(
    not all((HERE / name).is_file() for name in groceries.ZIPS),
    reason="the groceries are not in $MLBOOK_DATA",
)


@cache
def part(name: str) -> Dataset:
    return load(f"groceries:{name}", size=16)


@needed
def test_there_are_as_many_pictures_classes_and_coarse_classes_as_the_lists_say() -> None:
    with zipfile.ZipFile(HERE / "train.zip") as archive:
        lists = {p: archive.read(f"dataset/{p}.txt").decode().splitlines() for p in ("train", "test")}  # fmt: skip
    for name, lines in lists.items():
        data, labels = part(name), [int(line.split(", ")[1]) for line in lines]
        assert data.counts == np.bincount(labels, minlength=81).tolist()
        assert (data.images.shape[0], len({*data.groups})) == (81, 43)
        for images, n in zip(data.images, data.counts or [], strict=True):
            assert images[:n].flatten(1).float().std(1).min() > 0 and not images[n:].any()
        assert len({*data.classes}) == 81
    assert (sum(part("train").counts or []), sum(part("test").counts or [])) == (2640, 2485)
    catalogue = part("catalogue")
    assert catalogue.counts is None and catalogue.images.shape == (81, 1, 3, 16, 16)
    assert catalogue.classes == part("train").classes == part("test").classes
    described = dict(zip(catalogue.classes, catalogue.descriptions or [], strict=True))
    assert all(len(text) > 20 for text in described.values())
    assert described["Golden-Delicious"].startswith("Golden Delicious has a white juicy pulp")


@needed
def test_a_picture_is_the_one_of_its_class_in_colours_and_of_this_size() -> None:
    data = part("test")
    with zipfile.ZipFile(HERE / "val_and_test.zip") as archive:
        jpeg = archive.read("dataset/test/Fruit/Apple/Granny-Smith/Granny-Smith_003.jpg")
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.draft(None, (32, 32))  # decoded at twice the size, which is quicker
        small = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS), np.int16)
    found = data.images[data.classes.index("Granny-Smith"), 2].permute(1, 2, 0).numpy()
    assert np.array_equal(found, small)
    other = data.images[data.classes.index("Granny-Smith"), 3].permute(1, 2, 0).numpy()
    assert np.abs(other - small).mean() > 8
    assert data.groups[data.classes.index("Granny-Smith")] == "Apple"


@needed
def test_from_the_catalogue_to_the_shop_with_coarse_classes_kept_together() -> None:
    splits = [part(name).split("alphabets", seed=3) for name in ("catalogue", "train", "test")]
    (_, _, catalogue), (train, _, first), (_, _, second) = splits
    assert catalogue.classes == first.classes == second.classes
    assert not set(train.groups) & set(first.groups)
    source = catalogue.episodes(5, 1, 5, tasks=2, queries_from=second)
    episode = source[3].check()
    drawn = source.classes_of(3)
    for t in range(2):
        for x, y in zip(episode.support_x[t], episode.support_y[t].tolist(), strict=True):
            assert torch.equal(x, catalogue.images[drawn[t, y], 0] / 255)
        for x, y in zip(episode.query_x[t], episode.query_y[t].tolist(), strict=True):
            c = int(drawn[t, y])
            there = second.images[c, : (second.counts or [])[c]] / 255
            assert (there == x).flatten(1).all(1).any()
    first.episodes(5, 5, 10, queries_from=second)[0].check()


@needed
def test_damaged_and_other_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "groceries"
    shutil.copytree(HERE, folder)
    monkeypatch.setenv("MLBOOK_DATA", str(tmp_path))
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path / "cache"))
    path = folder / "iconic-images-and-descriptions.zip"
    path.chmod(0o644)
    whole = path.read_bytes()
    spoiled = bytearray(whole)
    at = whole.index(b"Golden-Delicious_Iconic.jpg") + 2000
    spoiled[at : at + 4] = b"\0\1\2\3"
    for damaged in (whole[:-2000], bytes(spoiled)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"iconic-images-and-descriptions\.zip is damaged"):
            load("groceries:catalogue")
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member, content + b" " * member.filename.endswith("Banana_Iconic.jpg"))
    with pytest.raises(ValueError, match="not the groceries of commit fc80ba9"):
        load("groceries:catalogue")
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_missing_set_and_a_wrong_size_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLBOOK_DATA", str(tmp_path))
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(groceries, "SOURCE", "http://127.0.0.1:9/groceries.zip")
    with pytest.raises(FileNotFoundError, match=r"put it as GroceryStoreDataset-fc80ba9\.zip into"):
        load("groceries", size=8)
    assert load("groceries", fallback="glyphs", size=8).name == "glyphs"
    for size in (0, 5000, 2.5, True):
        with pytest.raises(ValueError, match=f"size={size!r}: must be a whole number of pixels"):
            load("groceries", size=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels=1"):
        load("groceries", channels=1)


@needed
def test_the_authors_own_archive_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed as GitHub does, in a folder of the repository's name and the commit, where a download is kept."""
    expected = part("catalogue")
    archive = tmp_path / "groceries" / groceries.ARCHIVE
    archive.parent.mkdir()
    with (
        zipfile.ZipFile(HERE / "iconic-images-and-descriptions.zip") as old,
        zipfile.ZipFile(archive, "w") as new,
    ):
        for member in old.infolist():
            inside = f"GroceryStoreDataset-{groceries.COMMIT}/{member.filename}"
            new.writestr(inside, old.read(member))
    monkeypatch.delenv("MLBOOK_DATA")
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    data = load("groceries:catalogue", size=16)
    assert torch.equal(data.images, expected.images)
    assert data.descriptions == expected.descriptions
