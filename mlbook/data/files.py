"""Reading and writing files: nothing half-written, nothing unpickled, nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import queue
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlbook.progress import progress_bar

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and leftovers stay
    fcntl = None

Made = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and plain values


def cache_folder() -> Path:
    """Where made and downloaded data is kept: `$MLBOOK_CACHE`, or the user's cache folder."""
    if folder := os.environ.get("MLBOOK_CACHE"):
        return Path(os.path.expanduser(folder))  # noqa: PTH111 - leaves a ~ that stands for nobody
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlbook"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "mlbook"


def printable(path: Path | str) -> str:
    """A name as text that can be printed, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def cached(path: Path, name: str, make: Callable[[], Made]) -> Made:
    """Tensors and facts that `path` in the cache holds, or, if it is not there, those that `make` gives, then written.

    Of several processes one makes them, and the others wait for it. Where nothing can be written, a line says so
    and nothing is kept.

    Raises:
        ValueError: If `path` is damaged.
    """
    if path.exists():
        return read_tensors(path)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(path.with_suffix(".lock")))
        except OSError as error:
            return _unkept(make(), path, name, error)
        if not path.exists():
            made = make()
            try:
                write_tensors(path, *made)
            except OSError as error:
                return _unkept(made, path, name, error)
    return read_tensors(path)


def _unkept(made: Made, path: Path, name: str, error: OSError) -> Made:
    print(
        f"The cache {path.parent} cannot be written ({error.strerror}), so {name} is not kept there; "
        "set MLBOOK_CACHE to a folder of yours."
    )
    return made


@contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time in, by a lock that goes with its process; the file is removed afterwards.

    Raises:
        BlockingIOError: If another is in, unless this one is to wait.
    """
    while True:
        with path.open("a") as file:
            held = hold(file.fileno(), wait)
            if held is False and is_still(file.fileno(), path):
                raise BlockingIOError(f"process {path.read_text()} has it")
            # who was before may have removed the file, and another made a new one
            if held is None or (held and is_still(file.fileno(), path)):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                try:
                    yield
                    return
                finally:
                    if held is None:  # Windows removes no open file
                        file.close()
                    path.unlink(missing_ok=True)


def hold(file: int, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed or this process ends, by `kill -9` even.

    Returns:
        True if it is locked now, False if another holds it, None where files cannot be locked.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def is_still(file: int, path: Path | str) -> bool:
    """Whether `path` is the open file, and nobody has removed or replaced it meanwhile."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `atomic(path)` whose process was killed; those of living ones are locked."""
    for part in path.parent.iterdir():
        if part.name.startswith(f".{path.name}.") and part.name.endswith(".part"):
            try:
                file = os.open(part, os.O_RDWR)
            except OSError:  # gone by now, or another user's
                continue
            if hold(file):
                part.unlink(missing_ok=True)
            os.close(file)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path`, and rename it to `path` once the block has ended without an error.

    A reader, or a process killed at any moment, finds the old file or the new one and never a part.
    What a killed process leaves behind is removed the next time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    while True:
        file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        # or it was taken for a leftover before it was locked
        if hold(file) is not False and is_still(file, name):
            break
        os.close(file)
    if fcntl is None:
        os.close(file)  # Windows cannot rename an open file
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(file)


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and plain values as one safetensors file, atomically.

    The values stand as JSON in its header, with a digest of all of it. Tensors that share memory are
    written one by one.

    Raises:
        ValueError: If a tensor is sparse.
    """
    plain, text = {}, json.dumps(facts)
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided:
            raise ValueError(f"{name} is {tensor.layout}; only dense tensors can be written")
        tensor = tensor.detach().cpu()
        if tensor.is_complex():  # of which safetensors knows one kind only
            tensor, name = torch.view_as_real(tensor.resolve_conj()), f"{name}{COMPLEX}"
        plain[name] = tensor.clone(memory_format=torch.contiguous_format).resolve_neg()
    header = json.dumps(facts | {"sha256": _digest(plain, text)})
    with atomic(path) as temporary:
        # `save_file` goes through a temporary file of its own, which would stay behind in a run that is killed
        temporary.write_bytes(save(plain, metadata={"mlbook": header}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ValueError: If the file is damaged, by a single bit even, or of another program. It is left
            where it is.
    """
    try:
        if path.is_dir():
            raise OSError("it is a folder")
        with path.open("rb") as file:
            start = file.read(9)
            # of a file of safetensors the first 8 bytes are a length, which may be any, and then a brace opens
            if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04") and start[8:] != b"{":
                raise OSError("it begins like a file of torch.save or pickle")
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {})["mlbook"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(header)
        if facts.pop("sha256", None) is None:
            raise OSError("it has no digest, as those that mlbook 0.1.0 wrote")
        if header != json.dumps(facts | {"sha256": _digest(tensors, json.dumps(facts))}):
            raise OSError("its digest does not match")
    except (SafetensorError, KeyError, ValueError, AttributeError, OSError) as error:
        raise ValueError(
            f"{path} is damaged, cut short or not a file of mlbook ({error}); move it away or delete it, and run again"
        ) from error
    return {
        name.removesuffix(COMPLEX): torch.view_as_complex(t) if name.endswith(COMPLEX) else t
        for name, t in tensors.items()
    }, facts


COMPLEX = " (complex)"  # ends the name of a complex tensor, written as pairs of real numbers


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """SHA-256 of the facts and of the name, type, shape and bytes of every tensor."""
    sha = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        t = tensors[name]
        sha.update(f"\n{name} {t.dtype} {list(t.shape)}\n".encode())
        sha.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def md5(path: Path) -> str:
    """The MD5 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(
    folder: str, file: str, url: str, digest: str | None, limit: int, spare: Path, hint: str = ""
) -> Path:
    """A file in `$MLBOOK_DATA/folder`, in the cache, or downloaded: into the cache, or else into `spare`.

    Args:
        folder: What the set is called.
        file: The file's name.
        url: Where it is to be had.
        digest: As of `download`.
        limit: Bytes after which a download is given up.
        spare: Where it goes if the cache cannot be written.
        hint: What else there is to do.

    Raises:
        FileNotFoundError: If it is not here and cannot be downloaded; says how to get it.
    """
    if given := os.environ.get("MLBOOK_DATA"):
        here = Path(os.path.expanduser(given)) / folder / file  # noqa: PTH111 - any ~
        if here.is_file():
            return here
    path = cache_folder() / folder / file
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError:  # the cache cannot be written
        path = spare / file
    try:
        download(url, path, digest, limit)
    except (ConnectionError, ValueError) as error:  # of something else in its place as well
        raise FileNotFoundError(
            f"{folder} is not here and could not be downloaded ({error}). Download {url} elsewhere, put it as {file} "
            f"into a folder D/{folder}, and set the environment variable MLBOOK_DATA=D{hint}"
        ) from error
    return path


def download(
    url: str,
    path: Path,
    digest: str | None,
    limit: int,
    slowest: float = 1000,
    patience: float = 20,
) -> None:
    """Fetch `url` to `path` with a progress bar, and keep it only if its digest is `digest`.

    What had arrived when a download broke off stays in `path` + ".part" and is continued the next
    time.

    Args:
        url: Where the file is.
        path: Where it is to be.
        digest: Its published SHA-256 (64 digits) or MD5 (32), in hexadecimal; None if the caller checks what is in it.
        limit: Bytes after which the download is given up.
        slowest: Bytes a second, on average over `patience`, below which it is given up.
        patience: Seconds; also until the server has begun to answer.

    Raises:
        ConnectionError: If the server cannot be reached, is too slow, breaks off or does not keep to the protocol.
        ValueError: If what arrived is longer than `limit` or has another digest; the partial file
            is then removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = start = part.stat().st_size if part.exists() else 0
    try:
        with contextlib.closing(_pieces(url, start, patience)) as pieces:
            status, left = next(pieces)
            if start and status != 206:  # the server starts again from the beginning
                have = start = 0
            total = have + left
            bar = progress_bar(
                total=total or None, initial=have, unit="B", unit_scale=True, desc=path.name
            )
            with part.open("ab" if start else "wb") as file, bar:
                since, before = time.monotonic(), have
                for piece in pieces:
                    have += len(piece)
                    if have > limit:
                        break
                    file.write(piece)
                    bar.update(len(piece))
                    if (passed := time.monotonic() - since) > patience:
                        if have - before < slowest * passed:
                            raise TimeoutError(f"{have - before:,} bytes in {passed:.0f} seconds")
                        since, before = time.monotonic(), have
        if have < total and have <= limit:
            raise ConnectionError(
                f"broke off after {have:,} of {total:,} bytes; run again to continue"
            )
    except urllib.error.HTTPError as error:
        # 416: nothing is left to send; the digest tells whether this is the file
        if error.code != 416 or not start:
            raise ConnectionError(f"{url} could not be downloaded: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConnectionError(
            f"{url} could not be downloaded: {error or type(error).__name__}"
        ) from error
    sha = digest is not None and len(digest) == 64
    found = sha256(part) if sha else md5(part)
    if have > limit or (digest is not None and found != digest):
        part.unlink()
        if start:  # the part was of another file, or of a page that had come in its place
            return download(url, path, digest, limit, slowest, patience)
        raise ValueError(
            f"{url} sent {have:,} bytes with {'SHA-256' if sha else 'MD5'} {found}, not {digest}: something else, "
            "such as the log-in page of a network; removed, so run again to start afresh"
        )
    part.replace(path)
    return None


def _pieces(url: str, start: int, patience: float) -> Generator[Any, None, None]:
    """The status of the reply and its length (0 if unknown), then its bytes from `start` on, piece by piece.

    A thread reads them, since a server that sends a byte now and then (of a header, for instance) keeps a socket's
    own time-out from ever passing.
    """
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def fetch() -> None:
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(request, timeout=patience) as reply:
                arrived.put((reply.status, reply.length or 0))
                while not given_up.is_set() and (piece := reply.read1(1 << 16)):
                    arrived.put(piece)
            arrived.put(b"")
        except BaseException as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            arrived.put(error)

    threading.Thread(target=fetch, daemon=True).start()
    try:
        while True:
            try:
                item = arrived.get(timeout=patience)
            except queue.Empty:
                raise TimeoutError(f"nothing came for {patience:.0f} seconds") from None
            if isinstance(item, BaseException):
                raise item
            if item == b"":
                return
            yield item
    finally:
        given_up.set()
