from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlbook import load
from mlbook.data import files, omniglot


def picture(seed: int, size: int = 105) -> bytes:
    """Random strokes, black on white, one bit a pixel, as in Omniglot."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size, size), 255, np.uint8)
    for row in rng.integers(10, size - 10, 3):
        pixels[row : row + 3, 20:80] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(buffer, "png")
    return buffer.getvalue()


def zipped(path: Path, classes: dict[str, int], first: int, size: int = 105) -> Path:
    """A zip in Omniglot's layout: alphabet/characterNN/NNNN_NN.png, 20 drawings a character."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        number = first
        for alphabet, characters in classes.items():
            for c in range(1, characters + 1):
                number += 1
                for drawer in range(1, 21):
                    name = f"{root}/{alphabet}/character{c:02d}/{number:04d}_{drawer:02d}.png"
                    archive.writestr(name, picture(1000 * number + drawer, size))
    return path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small zips in $MLBOOK_DATA/omniglot and an empty cache."""
    monkeypatch.setenv("MLBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path / "cache"))
    zipped(tmp_path / "data/omniglot/images_background.zip", {"Greek": 3, "Latin": 2}, 0)
    zipped(tmp_path / "data/omniglot/images_evaluation.zip", {"Angelic": 2}, 5)
    digest = hashlib.md5()
    for name in omniglot.ZIPS:
        with zipfile.ZipFile(tmp_path / "data/omniglot" / name) as archive:
            for member in sorted(archive.namelist()):
                with Image.open(io.BytesIO(archive.read(member))) as drawing:
                    digest.update(drawing.tobytes())
    monkeypatch.setattr(omniglot, "PIXELS", digest.hexdigest())
    return tmp_path


def test_pictures_classes_and_groups(small: Path) -> None:
    data = load("omniglot")
    assert data.images.shape == (7, 20, 1, 28, 28)
    assert data.images.dtype == torch.uint8
    assert data.classes[:4] == [
        "Greek/character01",
        "Greek/character02",
        "Greek/character03",
        "Latin/character01",
    ]
    assert (
        data.groups
        == ["background/Greek"] * 3 + ["background/Latin"] * 2 + ["evaluation/Angelic"] * 2
    )
    # each is Pillow's Lanczos of its own drawing, strokes bright
    with Image.open(io.BytesIO(picture(1000 * 4 + 7))) as drawing:
        expected = 255 - np.asarray(drawing.convert("L").resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(data.images[3, 6, 0].numpy(), expected)
    assert data.images.float().mean() < 128


def test_the_second_time_it_comes_from_the_cache(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load("omniglot")
    monkeypatch.delenv("MLBOOK_DATA")
    monkeypatch.setattr(omniglot, "make", lambda: pytest.fail("made again"))
    again = load("omniglot")
    assert torch.equal(first.images, again.images)
    assert (first.classes, first.groups) == (again.classes, again.groups)


def test_a_damaged_zip_is_named_and_kept(small: Path) -> None:
    path = small / "data/omniglot/images_evaluation.zip"
    content = path.read_bytes()
    spoiled = bytearray(content)
    spoiled[200:260] = b"\0" * 60
    for damaged in (content[:-1000], bytes(spoiled), b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"images_evaluation.zip is damaged or cut short"):
            load("omniglot")
        assert path.read_bytes() == damaged
        assert not list((small / "cache").glob("*")), "nothing half-made is left behind"


def test_other_pictures_are_refused(small: Path) -> None:
    zipped(small / "data/omniglot/images_evaluation.zip", {"Angelic": 2}, 6)
    with pytest.raises(ValueError, match="not those of Omniglot"):
        load("omniglot")
    zipped(small / "data/omniglot/images_evaluation.zip", {"Angelic": 2}, 5, size=64)
    with pytest.raises(ValueError, match=r"0006_01.png is \(64, 64\) pixels, not \(105, 105\)"):
        load("omniglot")


def test_a_zip_bomb_and_an_escaping_path_do_no_harm(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small / "data/omniglot/images_evaluation.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "images_evaluation/A/character01/0001_01.png", b"\0" * (omniglot.LIMIT + 1)
        )
    with pytest.raises(ValueError, match="would unpack to more than"):
        load("omniglot")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../escaped/character01/0001_01.png", picture(0))
        archive.writestr("short.png", picture(0))
    before = set(small.rglob("*"))
    with pytest.raises(ValueError, match=r"images_evaluation\.zip"):
        load("omniglot")
    assert set(small.rglob("*")) == before


# --- download, from a server of our own ---------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; `stop_after` bytes it hangs up, once; understands ranges."""

    content = b""
    stop_after: int | None = None
    requests: list[str | None]

    def do_GET(self) -> None:
        cls = type(self)
        cls.requests.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(cls.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(cls.content) - start))
        self.end_headers()
        end = len(cls.content) if cls.stop_after is None else cls.stop_after
        cls.stop_after = None
        self.wfile.write(cls.content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[Server]]]:
    handler = type("Handler", (Server,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/x.zip", handler
        running.shutdown()


CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.md5(CONTENT).hexdigest()


def test_download(
    server: tuple[str, type[Server]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, handler = server
    handler.content = CONTENT
    path = tmp_path / "new" / "x.zip"
    files.download(url, path, DIGEST, limit=10**6)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["x.zip"]
    assert "x.zip" in capsys.readouterr().err


def test_a_broken_download_goes_on_where_it_stopped(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, handler = server
    handler.content, handler.stop_after = CONTENT, 100_000
    path = tmp_path / "x.zip"
    with pytest.raises(ConnectionError, match=r"broke off|could not be downloaded"):
        files.download(url, path, DIGEST, limit=10**6)
    assert not path.exists()
    arrived = (tmp_path / "x.zip.part").stat().st_size
    assert 0 < arrived <= 100_000
    files.download(url, path, DIGEST, limit=10**6)
    assert path.read_bytes() == CONTENT
    assert handler.requests == [None, f"bytes={arrived}-"]


def test_wrong_or_endless_content_is_refused(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, handler = server
    handler.content = CONTENT[:-1] + b"!"
    for limit in (10**6, 1000):
        with pytest.raises(ValueError, match=f"not {DIGEST}"):
            files.download(url, tmp_path / "x.zip", DIGEST, limit=limit)
        assert not list(tmp_path.iterdir())


def test_without_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLBOOK_DATA", raising=False)
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(omniglot, "SOURCE", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(FileNotFoundError, match=r"set the environment variable MLBOOK_DATA"):
        load("omniglot")
    from mlbook.data import glyphs

    made = (torch.zeros(3, 20, 1, 28, 28, dtype=torch.uint8), list("abc"), list("xyz"))
    monkeypatch.setattr(glyphs, "make", lambda: made)
    assert load("omniglot", fallback="glyphs").name == "glyphs"
    assert (
        capsys.readouterr().out == "Omniglot could not be had, so this runs on 'glyphs' instead.\n"
    )


def test_a_damaged_download_in_the_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLBOOK_DATA", raising=False)
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    path = tmp_path / "omniglot/images_background.zip"
    path.parent.mkdir()
    path.write_bytes(b"cut short")
    with pytest.raises(
        ValueError, match=r"images_background.zip is damaged: its MD5 is .*; delete it"
    ):
        load("omniglot")
    assert path.read_bytes() == b"cut short"


def test_the_real_omniglot() -> None:
    """Where the real data is: its counts, the classes of its two parts, and the strict split."""
    try:
        data = load("omniglot")
    except FileNotFoundError:
        pytest.skip("Omniglot is not here: no network and no MLBOOK_DATA")
    assert data.images.shape == (1623, 20, 1, 28, 28)
    assert len(set(data.groups)) == 50
    assert sum(g.startswith("background/") for g in data.groups) == 964
    assert sum(g.startswith("evaluation/") for g in data.groups) == 659
    assert 0.02 < data.images.float().mean() / 255 < 0.2, "strokes are bright on dark"
    assert data.images.numel() < 60e6
    characters = data.split("characters", seed=0)
    assert [len(p) for p in characters] == [1100, 100, 423]
    train, val, test = data.split("alphabets", seed=0)
    assert (len(set(train.groups)), len(set(val.groups)), len(set(test.groups))) == (25, 5, 20)
