from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def test_a_zip_that_cannot_be_read_is_named_whatever_zipfile_raises(small: Path) -> None:
    path = small / "data/omniglot/images_evaluation.zip"
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    encrypted, packed = bytearray(whole), bytearray(whole)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    packed[8] = packed[central + 10] = 97  # a way of compression that zipfile does not know
    inside = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(inside, "w") as new:
        for k, member in enumerate(old.infolist()):
            drawing = bytearray(old.read(member))
            drawing[40] ^= 1 if k == 3 else 0  # in the PNG itself
            new.writestr(member.filename, bytes(drawing))
    for damaged in (bytes(encrypted), bytes(packed), inside.getvalue(), b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"images_evaluation.zip is damaged or cut short"):
            load("omniglot")


def test_flipped_bits_of_a_zip_are_noticed(small: Path) -> None:
    path = small / "data/omniglot/images_evaluation.zip"
    whole = path.read_bytes()
    expected = load("omniglot").images.clone()
    random = np.random.default_rng(0)
    for _ in range(60):
        for cache in (small / "cache").iterdir():
            cache.unlink()
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            assert torch.equal(load("omniglot").images, expected), "a bit that says nothing"
        except ValueError as error:
            assert "images_evaluation.zip" in str(error)


def test_drawings_that_are_missing_or_double_are_named(small: Path) -> None:
    path = small / "data/omniglot/images_evaluation.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first = next(iter(members))
    for change, count in (("missing", 19), ("double", 21), ("in capitals", 19)):
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile's, about the double name
            for name, content in members.items():
                for _ in range(
                    {"missing": name != first, "double": 1 + (name == first)}.get(change, 1)
                ):
                    upper = change == "in capitals" and name == first
                    archive.writestr(name.upper() if upper else name, content)
        with pytest.raises(ValueError, match=rf"Angelic/character01 has {count} drawings, not 20"):
            load("omniglot")


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


Reply = bytes | list[bytes | float]  # what is sent, and seconds to wait between


@contextlib.contextmanager
def answering(*replies: Reply) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers one connection after the other with these very bytes; and the requests that it got."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for reply in replies:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    requests.append(connection.recv(65536))
                    for item in [reply] if isinstance(reply, bytes) else reply:
                        if isinstance(item, bytes):
                            connection.sendall(item)
                        else:
                            time.sleep(item)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x.zip", requests


def reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ODD_REPLIES: dict[str, Reply] = {
    "nothing": b"",
    "no status": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01",
    "a line without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
    "broken chunks": CHUNKED + b"5\r\nhello\r\nzz\r\nhello\r\n",
    "chunks that break off": CHUNKED + b"ff\r\nhello",
    "too long a length": reply(CONTENT, length=len(CONTENT) + 1),
    "a length that is none": reply(CONTENT).replace(b"Content-Length: ", b"Content-Length: x"),
    "416 for a fresh file": reply(b"", status="416 Range Not Satisfiable"),
    "404": reply(b"none", status="404 Not Found"),
    "a redirection to a file": reply(b"", "Location: file:///etc/passwd", status="302 Found"),
}


@pytest.mark.parametrize("kind", ODD_REPLIES)
def test_whatever_a_server_does_is_a_connection_error(kind: str, tmp_path: Path) -> None:
    if kind == "a length that is none":  # all the same: what arrives is the file
        with answering(ODD_REPLIES[kind]) as (url, _):
            files.download(url, tmp_path / "x.zip", DIGEST, limit=10**6)
        assert (tmp_path / "x.zip").read_bytes() == CONTENT
        return
    with (
        answering(ODD_REPLIES[kind]) as (url, _),
        pytest.raises(ConnectionError, match=r"x.zip could not be downloaded: .+"),
    ):
        files.download(url, tmp_path / "x.zip", DIGEST, limit=10**6)
    assert not (tmp_path / "x.zip").exists()


DRIP = [0.02, b"x"] * 500  # 50 bytes a second for 10 seconds
SLOW: dict[str, Reply] = {
    "the body": [reply(b"", length=10_000), *DRIP],
    "a header": [b"HTTP/1.1 200 OK\r\nX: ", *DRIP],
    "the length of a chunk": [CHUNKED, *([0.02, b"0"] * 500)],
    "nothing": [10.0],
    "nothing after the headers": [reply(b"", length=10_000), 10.0],
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_server_is_given_up(kind: str, tmp_path: Path) -> None:
    with (
        answering(SLOW[kind]) as (url, _),
        pytest.raises(
            ConnectionError, match=r"x.zip could not be downloaded: .* seconds|timed out"
        ),
    ):
        files.download(url, tmp_path / "x.zip", DIGEST, limit=10**6, patience=0.3)
    # if it had waited for the end, it would say that the server broke off


def test_a_server_that_is_fast_enough_may_take_long(tmp_path: Path) -> None:
    pieces = [
        item for k in range(0, len(CONTENT), 32_000) for item in (CONTENT[k : k + 32_000], 0.15)
    ]
    with answering([reply(b"", length=len(CONTENT)), *pieces]) as (url, _):
        files.download(url, tmp_path / "x.zip", DIGEST, limit=10**6, patience=2)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_a_part_of_something_else_is_not_continued(tmp_path: Path) -> None:
    part = tmp_path / "x.zip.part"
    for status in ("206 Partial Content", "416 Range Not Satisfiable"):
        part.write_bytes(b"<html>log in</html>")
        with answering(reply(CONTENT[19:], status=status), reply(CONTENT)) as (url, requests):
            files.download(url, tmp_path / "x.zip", DIGEST, limit=10**6)
        assert (tmp_path / "x.zip").read_bytes() == CONTENT
        assert [b"Range: bytes=19-" in request for request in requests] == [True, False]
        assert not part.exists()


@pytest.fixture
def glyphs_for_free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Glyphs that take no time; and how often they were made."""
    from mlbook.data import glyphs

    made: list[int] = []

    def make() -> tuple[torch.Tensor, list[str], list[str]]:
        made.append(1)
        time.sleep(0.3)
        return torch.ones(3, 20, 1, 28, 28, dtype=torch.uint8), list("abc"), list("xyz")

    monkeypatch.setattr(glyphs, "make", make)
    return made


@pytest.mark.parametrize(
    "kind", ["a web page", "no status", "chunks that break off", "404", "empty"]
)
def test_without_omniglot_the_fallback_is_taken(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    glyphs_for_free: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLBOOK_DATA", raising=False)
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    page = reply(b"<html>Welcome to our network</html>", "Content-Type: text/html")
    odd = {"a web page": page, "empty": reply(b"")} | ODD_REPLIES
    with answering(odd[kind], odd[kind]) as (url, _):
        monkeypatch.setattr(omniglot, "SOURCE", url.removesuffix("/x.zip"))
        with pytest.raises(FileNotFoundError, match=r"set the environment variable MLBOOK_DATA"):
            load("omniglot")
        assert load("omniglot", fallback="glyphs").name == "glyphs"
    assert "so this runs on 'glyphs' instead" in capsys.readouterr().out


# --- several processes, and a cache that cannot be written ----------------------------------------


def test_of_several_that_load_a_set_at_once_one_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glyphs_for_free: list[int]
) -> None:
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        sets = list(pool.map(load, ["glyphs"] * 4))
    assert len(glyphs_for_free) == 1
    assert all(data.images.sum() == 3 * 20 * 28 * 28 for data in sets)
    assert len(list(tmp_path.iterdir())) == 1, "the set alone stays in the cache"


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glyphs_for_free: list[int]
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path))
    script = (
        "import time; from mlbook.data import glyphs; import mlbook\n"
        "glyphs.make = lambda: (print('making', flush=True), time.sleep(60))\n"
        "mlbook.load('glyphs')"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "making\n"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(load, "glyphs")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        assert not glyphs_for_free, "while another process makes the set, this one waits"
        child.kill()
        child.wait()
        child.stdout.close()
        assert len(waiting.result(timeout=20)) == 3
    assert len(glyphs_for_free) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_where_nothing_can_be_kept_all_sets_are_there_all_the_same(
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    glyphs_for_free: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    no_folder = small / "file"
    no_folder.write_text("")
    for name in ("a", "b"):
        (small / "mine" / name).mkdir(parents=True)
        Image.new("L", (9, 9), 7).save(small / "mine" / name / "x.png")
    monkeypatch.setenv("MLBOOK_CACHE", str(no_folder / "cache"))
    names = ["glyphs", "omniglot", f"folder:{small / 'mine'}"]
    assert [len(load(name)) for name in names] == [3, 7, 2]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for name, line in zip(names, lines, strict=True):
        assert f"cannot be written (Not a directory), so {name} is not kept there" in line
        assert "set MLBOOK_CACHE to a folder of yours" in line

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MLBOOK_CACHE", str(small / "cache"))
    monkeypatch.setattr(files, "write_tensors", full)
    assert [len(load(name)) for name in names] == [3, 7, 2]
    assert capsys.readouterr().out.count("(No space left on device)") == 3
    assert not list((small / "cache").iterdir())


def test_omniglot_is_downloaded_where_nothing_can_be_kept(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    zips = [(small / "data/omniglot" / name).read_bytes() for name in omniglot.ZIPS]
    digests = [hashlib.md5(content).hexdigest() for content in zips]
    monkeypatch.setattr(omniglot, "ZIPS", dict(zip(omniglot.ZIPS, digests, strict=True)))
    monkeypatch.delenv("MLBOOK_DATA")
    monkeypatch.setenv("MLBOOK_CACHE", str(small / "data/omniglot/images_background.zip"))
    with answering(*map(reply, zips)) as (url, _):
        monkeypatch.setattr(omniglot, "SOURCE", url.removesuffix("/x.zip"))
        assert len(load("omniglot")) == 7
    assert "so omniglot is not kept there" in capsys.readouterr().out


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MLBOOK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert files.cache_folder() == Path(tempfile.gettempdir()) / "mlbook"
    monkeypatch.setenv("MLBOOK_CACHE", "~/here")
    monkeypatch.setenv("HOME", "/somewhere")
    assert files.cache_folder() == Path("/somewhere/here")


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


def test_the_published_digests() -> None:
    """Of the zips as their authors publish them, and of the pictures in them as they were decoded from these."""
    assert omniglot.ZIPS == {
        "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
    }
    assert omniglot.PIXELS == "4f6cf3194b9faadecaac765debe3d4f8"


def test_a_cache_of_other_pictures_is_not_taken(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("omniglot")
    monkeypatch.setattr(omniglot, "PIXELS", "0" * 32)
    with pytest.raises(ValueError, match=r"not those of Omniglot \(digest .*, not 0{32}\)"):
        load("omniglot")


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
