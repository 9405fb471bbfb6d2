"""Anyone's own pictures: one folder a class."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mlbook.data.files import cache_folder, cached, printable
from mlbook.episodes import Dataset, by_class

VERSION = 3  # part of the cached file's name: raise it when pictures are read in another way
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
RARER = {".apng", ".avif", ".dib", ".ico", ".jfif", ".jp2", ".jpe", ".mpo", ".tga"}
RARER |= {".j2k", ".pcx", ".pbm", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".sgi"}
# Pillow does not read these by itself: named, so that nobody misses them later
FOREIGN = {".heic", ".heif", ".hif", ".jxl", ".svg", ".arw", ".cr2", ".cr3", ".dng", ".nef"}
# what systems leave behind, beside names that begin with a dot or, as open documents do, with ~$
LEFTOVERS = {"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"}
LEFTOVERS |= {"System Volume Information"}
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
LAYOUT = "pictures must lie in PATH/class or in PATH/group/class, so move them"

# the pictures of each place, ("owl",) or ("birds", "owl"): name, bytes, times of the last changes
Files = dict[tuple[str, ...], list[tuple[str, int, int, int]]]


def load_folder(
    path: Path, size: int = 28, channels: int | None = None, min_samples: int | None = None
) -> Dataset:
    """Read `PATH/class/picture.png`, or `PATH/group/class/picture.png`, into a data set.

    A picture is taken as a person sees it: upright (EXIF), on white where it is transparent, the first of
    several in one file, and the whole range of its depth as 0 to 255. It is then stretched to `size` x `size`.
    The range of 32-bit integers is the least of 0..255, 0..65,535 and all 32 bits that holds the picture's, that
    of floats the least of 0..1, 0..255 and 0..65,535. Colour profiles are not applied.

    Every class keeps all of its pictures, in the order of their names. Where some have fewer than others, `counts`
    says how many each has, and black pictures, which no episode draws, stand behind them. Hidden files and what
    systems leave behind (`__MACOSX`, `Thumbs.db`) are passed over. What was read is kept in the cache until a picture
    is changed, added, removed or renamed.

    Args:
        path: The folder; `~` is your home.
        size: Pixels along a side, 1 to 4096.
        channels: 1 (grey) or 3 (red, green, blue). None takes 1 if every file is stored as grey, with or without
            transparency, or with a palette of which it uses greys alone; else 3.
        min_samples: Classes with fewer pictures are left out, and a line names them. None leaves out none.

    Raises:
        ValueError: If an argument is out of range, the folder is missing or laid out in another way, holds
            fewer than two classes, a class has no pictures, one cannot be read, or all together do not fit into memory.
    """
    if not _whole(size, 4096):
        raise ValueError(f"size={size!r}: must be a whole number of pixels from 1 to 4096")
    if min_samples is not None and not _whole(min_samples, 10**9):
        raise ValueError(f"min_samples={min_samples!r}: must be a whole number from 1 up, or None")
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise ValueError(f"channels={channels!r}: must be 1 (grey), 3 (colours) or None")
    name = f"folder:{printable(path)}"
    root = Path(os.path.expanduser(path))  # noqa: PTH111 - leaves a ~ that stands for nobody
    if not is_folder(root):
        raise ValueError(
            f"{printable(path)} is not a folder; it should hold one folder of pictures for each class"
        )
    found = _scan(root)
    files = _choose(name, found, min_samples)
    counts = [*map(len, files.values())]

    # clocks of file systems tick slowly: a picture that changes once more at once would bear the same time
    if time.time_ns() - max(max(file[2:]) for all_ in found.values() for file in all_) < 20_000_000:
        time.sleep(0.02)
    whole_path = str(root.resolve())
    place, state = _digest(whole_path), _digest([*found.items()])
    setting = _digest([VERSION, int(size), channels, [*files]])

    def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
        # imported here, so that `import mlbook` does not wait for Pillow
        from mlbook.data.pictures import read_pictures

        _forget(place, state)
        chosen = [root.joinpath(*at, file[0]) for at in files for file in files[at]]
        images = torch.from_numpy(read_pictures(chosen, int(size), channels, name))
        return {"images": images.permute(0, 3, 1, 2).contiguous()}, {"folder": whole_path}

    cache = cache_folder() / f"folder-{place}-{state}-{setting}.safetensors"
    tensors, _ = cached(cache, name, make)
    classes = [printable("/".join(at)) for at in files]
    try:
        images, uneven = by_class(tensors["images"], counts)
    except MemoryError as error:
        most = max(counts)
        raise ValueError(
            f"{name}: {len(classes)} classes of up to {most} pictures ({classes[counts.index(most)]}) do not fit into "
            "memory, since each takes the room of the largest; give a smaller size, or move pictures of that class away"
        ) from error
    home = root.resolve().name  # stands for the group of classes that are in none
    home = "." if any(at[:-1] == (home,) for at in files) else home
    groups = [printable(at[0] if len(at) == 2 else home) for at in files]
    return Dataset(images, classes, groups, name, counts=uneven)


def pictures_of(path: Path) -> dict[str, list[Path]]:
    """The pictures of each class of a folder, `PATH/class/picture.png` or `PATH/group/class/picture.png`, all of them.

    Raises:
        ValueError: If the folder is missing or laid out in another way, has fewer than two classes, or one is empty.
    """
    root = Path(os.path.expanduser(path))  # noqa: PTH111 - leaves a ~ that stands for nobody
    if not is_folder(root):
        raise ValueError(
            f"{printable(path)} is not a folder; it should hold one folder of pictures for each class"
        )
    found = {at: files for at, files in _scan(root).items() if at}
    if empty := [at for at, files in found.items() if not files]:
        raise ValueError(
            f"{printable(root.joinpath(*empty[0]))} holds no pictures; fill it or remove it"
        )
    if len(found) < 2:
        raise ValueError(
            f"{printable(path)} holds {len(found)} classes; at least two folders of pictures are needed"
        )
    return {
        printable("/".join(at)): [root.joinpath(*at, file[0]) for file in files]
        for at, files in found.items()
    }


def _whole(value: Any, most: int) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and 1 <= value <= most


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False also for paths that no file can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _scan(folder: Path, depth: int = 0) -> Files:
    """Pictures in and below a folder, in the order of names; a folder with nothing in it has an empty list."""
    from PIL import Image

    shown, pictures, below = printable(folder), [], Files()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            ending, file = Path(entry.name).suffix.lower(), Path(entry.path)
            if entry.name.startswith((".", "~$")) or entry.name in LEFTOVERS:
                continue
            if is_folder(file):
                if depth == 3:  # a link may lead round in a circle
                    raise ValueError(f"{printable(file)} is too deep: {LAYOUT}")
                below |= {(entry.name, *at): found for at, found in _scan(file, depth + 1).items()}
            elif ending in FOREIGN and ending not in Image.registered_extensions():
                raise ValueError(
                    f"{printable(file)}: Pillow does not read {ending} files; save it as PNG or JPEG or remove it "
                    "(for .heic: pip install pillow-heif, and call pillow_heif.register_heif_opener())"
                )
            elif ending in ENDINGS | RARER | FOREIGN:
                facts = entry.stat()
                if not stat.S_ISREG(facts.st_mode):
                    raise ValueError(
                        f"{printable(file)} is a pipe or device and no file; remove it"
                    )
                pictures.append((entry.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    except OSError as error:
        raise ValueError(
            f"{printable(error.filename or folder)} cannot be read ({error.strerror}); repair or remove it"
        ) from error
    if pictures:
        below = {at: found for at, found in below.items() if found}
    if pictures and (below or depth == 3):
        inner = "/".join(next(iter(below), ()))
        raise ValueError(
            f"{shown} holds both pictures and a folder with pictures, {printable(inner)}: {LAYOUT}"
            if inner
            else f"{shown} is too deep: {LAYOUT}"
        )
    return below or {(): pictures}


def _choose(name: str, found: Files, min_samples: int | None) -> Files:
    """The classes that are taken; says which are left out."""

    def listed(classes: Files) -> str:
        names = [f"{printable('/'.join(at))} ({len(files)})" for at, files in classes.items()]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    path = Path(name.removeprefix("folder:"))
    files = {at: pictures for at, pictures in found.items() if at}
    for at, pictures in files.items():
        if not pictures:
            endings = ", ".join(sorted(ENDINGS))
            raise ValueError(
                f"{printable(path.joinpath(*at))} holds no pictures ({endings}); fill it or remove it"
            )
    parts = [at for at in files if len(at) == 2 and at[0].lower() in PARTS]
    only_parts = len(files) > 1 and all(at[-1].lower() in PARTS for at in files)
    if only_parts or len({at[1] for at in parts}) < len(parts):
        raise ValueError(
            f"{path} holds each class in parts ({listed(files)}): few-shot learning divides the classes and not the "
            f"pictures of a class. Load one part, such as {str(path / 'train')!r}, or put all pictures of a class "
            "into one folder, and use split"
        )
    if small := {at: files[at] for at in files if len(files[at]) < (min_samples or 1)}:
        print(
            f"{name}: left out, with fewer pictures than min_samples={min_samples}: {listed(small)}"
        )
        files = {at: files[at] for at in files if at not in small}
    if len(files) < 2:
        raise ValueError(
            f"{path} holds {len(files)} classes; few-shot tasks need at least two folders of pictures"
        )
    return files


def _forget(place: str, state: str) -> None:
    """Remove from the cache what this folder was before, and all folders that are no more."""
    for old in cache_folder().glob("folder-*.safetensors"):
        with contextlib.suppress(Exception):  # another process may be doing the same
            with safe_open(old, framework="pt") as file:
                folder = json.loads(file.metadata()["mlbook"])["folder"]
            same = old.name.split("-")[1] == place
            if not is_folder(Path(folder)) or (same and old.name.split("-")[2] != state):
                old.unlink()
