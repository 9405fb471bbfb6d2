from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from mlbook import load
from mlbook.data import VERSIONS, files, sinusoids


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_sinusoids_are_sinusoids() -> None:
    source = sinusoids(shots=10, queries=5, tasks=200, seed=1)
    sx, sy, qx, qy = source[3]
    assert sx.shape == (200, 10, 1)
    assert qy.shape == (200, 5, 1)
    amplitude, phase = source.parameters_of(3)
    for x, y in ((sx, sy), (qx, qy)):
        assert torch.allclose(
            y[..., 0], amplitude[:, None] * torch.sin(x[..., 0] - phase[:, None]), atol=1e-6
        )
        assert x.abs().max() <= 5
    assert 0.1 <= amplitude.min() < 0.4
    assert 4.7 < amplitude.max() <= 5
    assert 0 <= phase.min() < 0.2
    assert math.pi - 0.2 < phase.max() <= math.pi
    again = sinusoids(shots=10, queries=5, tasks=200, seed=1)[3]
    assert all(torch.equal(a, b) for a, b in zip(again, source[3], strict=True))
    assert not torch.equal(source[4].support_x, sx)
    assert torch.equal(next(iter(source)).support_x, source[0].support_x)
    with pytest.raises(ValueError, match="shots=0"):
        sinusoids(shots=0)


def paint(
    path: Path, value: int | tuple[int, ...], mode: str = "L", size: tuple[int, int] = (40, 30)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for k, name in enumerate(("ant", "bee", "cat")):
        for i in range(3 + k):
            paint(tmp_path / name / f"{i}.png", 50 * k + i)
    (tmp_path / "ant" / "notes.txt").write_text("ignored")
    data = load(f"folder:{tmp_path}")
    assert data.images.shape == (3, 5, 1, 28, 28), "all samples of every class"
    assert data.counts == [3, 4, 5]
    assert data.classes == ["ant", "bee", "cat"]
    assert data.images[2, 1].unique().tolist() == [101]
    assert data.episodes(ways=3, shots=1, queries=2)[0].support_x.shape == (1, 3, 1, 28, 28)


def test_groups_and_colours(tmp_path: Path) -> None:
    for group in ("birds", "fish"):
        for name in ("a", "b"):
            paint(tmp_path / group / name / "1.jpg", (255, 0, 0), "RGB")
            paint(tmp_path / group / name / "2.png", 7)
    data = load(f"folder:{tmp_path}")
    assert data.images.shape == (4, 2, 3, 28, 28)
    assert data.groups == ["birds", "birds", "fish", "fish"]
    assert data.classes[0] == "birds/a"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing is not a folder"):
        load(f"folder:{tmp_path / 'missing'}")
    paint(tmp_path / "one" / "1.png", 0)
    with pytest.raises(ValueError, match="holds 1 classes"):
        load(f"folder:{tmp_path}")
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match="two holds no pictures"):
        load(f"folder:{tmp_path}")
    (tmp_path / "two" / "1.png").write_bytes(b"\x89PNG but not really")
    with pytest.raises(ValueError, match=r"two.1\.png cannot be read as a picture"):
        load(f"folder:{tmp_path}")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"load\('mnist'\): use 'omniglot', 'glyphs' or 'folder:PATH'"
    ):
        load("mnist")


@pytest.mark.parametrize(
    "name", [Path("glyphs"), None, 3, b"glyphs", "Omniglot", "", "folder:", []]
)
def test_what_names_no_set_is_refused(name: object) -> None:
    for arguments in ((name,), ("omniglot", name)) if name is not None else ((name,),):
        with pytest.raises(ValueError, match=r"load\(.*\): use 'omniglot', 'glyphs' or") as caught:
            load(*arguments)  # type: ignore[arg-type]
        assert repr(name) in str(caught.value)


def test_a_folder_without_its_prefix_is_told_so(tmp_path: Path) -> None:
    for name in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match=r"for your own pictures load\('folder:.+'\)"):
            load(name)  # type: ignore[arg-type]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x" / "file"
    with files.atomic(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(2, 3).t(), "b": torch.tensor(3), "c": torch.zeros(0)}
    files.write_tensors(tmp_path / "t", tensors, {"n": 1, "s": "é"})
    back, facts = files.read_tensors(tmp_path / "t")
    assert all(torch.equal(back[k], v) for k, v in tensors.items())
    assert facts == {"n": 1, "s": "é"}


def test_a_damaged_cache_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    path = tmp_path / f"glyphs-v{VERSIONS['glyphs']}.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0cut")
    with pytest.raises(ValueError, match=r"glyphs-v\d.safetensors is damaged"):
        load("glyphs")
    assert path.read_bytes().endswith(b"cut")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
