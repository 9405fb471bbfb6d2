"""Damage what the package is given, at random, and hold it to its word: right, or an error of its own.

    python tests/fuzz.py                      # 2,000 cases, seed 0
    python tests/fuzz.py --cases 500 --seed 7 --kind folder

Checkpoints, archives, folders of pictures, arguments and episodes. Every case ends in one of these:

- right: the damage does no harm, and the result is that without it;
- told: an error that is documented, raised by the package's own code, in a message long enough to
  name what is wrong;
- silent: something was accepted, and the result is another;
- raw: any other error, one of a library's or of Python's, say; or no end within the time allowed.

The last two are faults. The same seed gives the same cases.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import mlbook
from mlbook import Dataset, Episode, evaluate, fit, load
from mlbook.data import omniglot, sinusoids
from mlbook.data.bandits import Bandits
from mlbook.data.problems import Quadratics
from mlbook.episodes import Batches
from mlbook.metric import MatchingNetwork, PrototypicalNetwork, SiameseNetwork
from mlbook.model_based import MANN, HyperNetwork, InContextTransformer
from mlbook.optimization import ANIL, MAML, MetaSGD, Reptile

DOCUMENTED = (ValueError, FloatingPointError, FileNotFoundError, ConnectionError, IndexError)
SECONDS = 30  # for one case; it takes far less than one
PACKAGE = Path(mlbook.__file__).parent

Case = tuple[str, Callable[[], object]]  # what was done, and the run that must be right or told


class Wrong(AssertionError):
    """The result is another than without the damage."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Stop what hangs: a pipe that nobody writes to, say."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def verdict(run: Callable[[], object]) -> tuple[str, str]:
    """How a case ended, and what was said."""
    try:
        with limited(SECONDS), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            run()
    except Wrong as error:
        return "silent", str(error)
    except DOCUMENTED as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        said = f"{type(error).__name__}: {error}"
        return ("told" if last.is_relative_to(PACKAGE) and len(str(error)) > 25 else "raw"), said
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    return "right", ""


def need(holds: bool, otherwise: str) -> None:
    """Raise `Wrong` if the result is another."""
    if not holds:
        raise Wrong(otherwise)


# --- checkpoints ---------------------------------------------------------------------------------


def points(classes: int = 6, seed: int = 0) -> Dataset:
    """A small set of random pictures of 8x8."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (classes, 6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset(images, [f"c{i}" for i in range(classes)], ["g"] * classes, "points")


def small(kind: str = "prototypical") -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
    if kind == "maml":
        return MAML(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    return PrototypicalNetwork(net)


class Checkpoints:
    """A run of six steps that stopped after three, and its checkpoint, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "run.safetensors"
        self.train(3)
        self.content = self.path.read_bytes()
        self.right = self.train(6)

    def train(self, steps: int, **changes: Any) -> dict[str, Tensor]:
        model = changes.pop("model", None) or small()
        optimizer = changes.pop("optimizer", lambda p: torch.optim.Adam(p, 1e-2))(
            model.parameters()
        )
        tasks = changes.pop("tasks", None) or points().episodes(3, 1, 2)
        settings = {"checkpoint": self.path, "progress": False, "device": "cpu", **changes}
        fit(model, tasks, steps, optimizer, **settings)
        return {k: v.clone() for k, v in model.state_dict().items()}

    def resume(self, content: bytes, **changes: Any) -> Callable[[], object]:
        def run() -> None:
            self.path.write_bytes(content)
            try:
                got = self.train(changes.pop("steps", 6), **changes)
            except DOCUMENTED:
                need(self.path.read_bytes() == content, "the refused file was not kept")
                raise
            same = got.keys() == self.right.keys()
            same = same and all(torch.equal(v, self.right[k]) for k, v in got.items())
            need(same, "resumed, with other weights at the end")

        return run

    def facts(self) -> tuple[dict[str, Any], bytes]:
        length = struct.unpack("<Q", self.content[:8])[0]
        return json.loads(self.content[8 : 8 + length]), self.content[8 + length :]

    @staticmethod
    def packed(header: dict[str, Any], body: bytes) -> bytes:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + body

    def case(self, r: random.Random) -> Case:
        kind = r.choice(["bit", "bit", "bit", "cut", "fact", "fact", "fact", "run", "none"])
        content = bytearray(self.content)
        if kind == "none":
            return "nothing changed", self.resume(self.content)
        if kind == "bit":
            at, bit = r.randrange(len(content)), r.randrange(8)
            content[at] ^= 1 << bit
            return f"bit {bit} of byte {at} flipped", self.resume(bytes(content))
        if kind == "cut":
            at = r.randrange(len(content))
            more = r.choice([b"", b"\0" * 9, content[:50]])
            return f"cut at {at}, {len(more)} bytes more", self.resume(bytes(content[:at] + more))
        if kind == "fact":
            header, body = self.facts()
            meta = header["__metadata__"]
            facts = json.loads(meta["mlbook"])
            where: Any = facts
            name = r.choice(sorted(where))
            while isinstance(where[name], dict) and where[name] and r.random() < 0.6:
                where = where[name]
                name = r.choice(sorted(where))
            if isinstance(where[name], list) and where[name] and r.random() < 0.6:
                where, name = where[name], r.randrange(len(where[name]))
            old = where[name]
            value = r.choice([None, "x", -1, 0, 1, 2.5, [], {}, [1], True, 1e30, "DELETE", 7])
            if value == "DELETE" and isinstance(where, dict):
                del where[name]
            elif value == old and type(value) is type(old):
                where[name] = "changed"
            else:
                where[name] = value
            meta["mlbook"] = json.dumps(facts)
            return f"fact {name}: {old!r} became {value!r}", self.resume(self.packed(header, body))
        other: dict[str, dict[str, Any]] = {
            "SGD": {"optimizer": lambda p: torch.optim.SGD(p, 1e-2)},
            "momentum": {"optimizer": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9)},
            "AdamW": {"optimizer": lambda p: torch.optim.AdamW(p, 1e-2)},
            "betas": {"optimizer": lambda p: torch.optim.Adam(p, 1e-2, betas=(0.5, 0.9))},
            "decay": {"optimizer": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=0.1)},
            "rate": {"optimizer": lambda p: torch.optim.Adam(p, 3e-2)},
            "amsgrad": {"optimizer": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True)},
            "Adagrad": {"optimizer": lambda p: torch.optim.Adagrad(p, 1e-2)},
            "head": {"optimizer": lambda p: torch.optim.Adam(list(p)[:2], 1e-2)},
            "seed": {"seed": r.randrange(1, 99)},
            "steps": {"steps": r.randrange(1, 3)},
            "ways": {"tasks": points().episodes(r.choice([2, 4, 5]), 1, 2)},
            "shots": {"tasks": points().episodes(3, 2, 2)},
            "data": {"tasks": points(seed=1).episodes(3, 1, 2)},
            "episodes": {"tasks": points().episodes(3, 1, 2, seed=5)},
            "rotations": {"tasks": points().episodes(3, 1, 2, rotations=True)},
            "model": {"model": small("maml")},
        }
        name = r.choice(sorted(other))
        return f"resumed by another run: {name}", self.resume(self.content, **other[name])


# --- archives ------------------------------------------------------------------------------------


class Archives:
    """Two characters as Omniglot packs them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "images_background.zip"
        noise = np.random.default_rng(0)
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive:
            for c in range(2):
                for i in range(20):
                    picture = Image.fromarray(
                        noise.integers(2, size=(105, 105), dtype=np.uint8) * 255
                    )
                    file = io.BytesIO()
                    picture.convert("1").save(file, "PNG")
                    name = f"images_background/Abc/character{c + 1:02d}/{i:04d}_01.png"
                    archive.writestr(name, file.getvalue())
        self.content = self.path.read_bytes()
        self.right = self.read()

    def read(self) -> tuple[str, list[tuple[str, str, bytes]]]:
        digest = md5(usedforsecurity=False)
        rows = [(a, c, x.tobytes()) for a, c, x in omniglot._decode(self.path, digest)]
        return digest.hexdigest(), rows

    def opened(self, content: bytes) -> Callable[[], object]:
        def run() -> None:
            self.path.write_bytes(content)
            digest, rows = self.read()
            if digest != self.right[0]:  # what `make` compares with the published one
                return
            need(rows == self.right[1], "other pictures, and the digest of the right ones")

        return run

    def repacked(self, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> bytes:
        file = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(self.content)) as old,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for member in old.infolist():
                kept = change(member.filename, old.read(member))
                if kept is not None:
                    new.writestr(*kept)
        return file.getvalue()

    def case(self, r: random.Random) -> Case:
        kind = r.choice(["bit", "bit", "cut", "header", "member", "picture"])
        content = bytearray(self.content)
        if kind == "bit":
            at, bit = r.randrange(len(content)), r.randrange(8)
            content[at] ^= 1 << bit
            return f"bit {bit} of byte {at} flipped", self.opened(bytes(content))
        if kind == "cut":
            at = r.randrange(len(content))
            return f"cut at byte {at}", self.opened(bytes(content[:at]))
        if kind == "header":  # flags (encrypted, say), compression and sizes of one member
            at = content.find(b"PK\x01\x02", r.randrange(len(content) // 2, len(content) - 5000))
            field = r.choice([8, 9, 10, 11, 20, 24, 28, 42])
            content[at + field] ^= r.choice([1, 8, 9, 12, 64, 255])
            return f"byte {field} of a directory entry changed", self.opened(bytes(content))
        which = f"{r.randrange(20):04d}_01.png"
        if kind == "member":
            moved = r.choice(["dropped", "renamed", "outside"])
            names = {"renamed": "images_background/x.png", "outside": f"../../{which}"}
            packed = self.repacked(
                lambda n, b: (n, b) if not n.endswith(f"01/{which}")
                else (None if moved == "dropped" else (names[moved], b))
            )  # fmt: skip
            return f"{which} {moved}", self.opened(packed)
        file = io.BytesIO()
        size, mode = r.choice([(105, 105), (28, 28), (1, 1), (3000, 3000)]), r.choice("1LP")
        Image.new(mode, size).save(file, r.choice(["PNG", "GIF", "BMP"]))
        packed = self.repacked(lambda n, b: (n, file.getvalue() if n.endswith(which) else b))
        return f"{which} is another picture, {mode} {size}", self.opened(packed)


# --- folders -------------------------------------------------------------------------------------


class Folders:
    """Three classes of four grey pictures, each a disc whose place says which one it is."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "pictures"
        self.make()
        self.right = self.load().images.float()

    def picture(self, c: int, i: int) -> Image.Image:
        y, x = np.mgrid[:56, :56]
        disc = (y - 14 - 12 * c) ** 2 + (x - 10 - 11 * i) ** 2 < 70
        return Image.fromarray(np.where(disc, 0, 255).astype(np.uint8))

    def make(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        for c in range(3):
            folder = self.root / f"class {c}"
            folder.mkdir(parents=True)
            for i in range(4):
                self.picture(c, i).save(folder / f"{i}.png")

    def load(self, **arguments: Any) -> Dataset:
        return load(f"folder:{self.root}", **arguments)

    def same(
        self, change: Callable[[], object], colour: bool | None = None
    ) -> Callable[[], object]:
        def run() -> None:
            self.make()
            change()
            images = self.load().images.float()
            need(images.shape[:2] == (3, 4), f"the set is now {list(images.shape)}")
            if colour is not None:
                need(images.shape[2] == (3 if colour else 1), f"{images.shape[2]} channels")
            error = float((images - self.right).abs().mean((2, 3, 4)).max())
            need(error < 4, f"a picture differs by {error:.1f} of 255 on average")

        return run

    def case(self, r: random.Random) -> Case:
        c, i = r.randrange(3), r.randrange(4)
        folder = self.root / f"class {c}"
        file = folder / f"{i}.png"
        kind = r.choice(
            ["mode", "mode", "mode", "leftover", "leftover", "bit", "bit", "odd", "exif"]
        )
        if kind == "leftover":
            name = r.choice([".DS_Store", "._0.png", ".hidden.png", "Thumbs.db", "desktop.ini", "0.png~",
                             ".0.png.swp", "notes.txt", ".ipynb_checkpoints/0-checkpoint.png", "__MACOSX/._0.png",
                             ".git/x.png", "labels.csv", "@eaDir/0.png", ".thumbnails/0.png"])  # fmt: skip
            at = r.choice([self.root, folder]) / name

            def leave() -> None:
                at.parent.mkdir(exist_ok=True)
                if name.endswith("png") and not name.startswith("._") and "/._" not in name:
                    self.picture(0, 0).save(at)
                else:
                    at.write_bytes(b"\0\5\26\7 left over")

            return f"{name} in {at.parent.name}", self.same(leave)
        if kind == "bit":

            def flip() -> None:
                content = bytearray(file.read_bytes())
                content[r.randrange(len(content))] ^= 1 << r.randrange(8)
                file.write_bytes(bytes(content))

            seed = r.random()
            return f"a bit of {file.name} flipped ({seed:.6f})", self.same(flip)
        if kind == "odd":
            odd = r.choice(
                [
                    "empty",
                    "text",
                    "cut",
                    "fifo",
                    "folder",
                    "broken link",
                    "loop",
                    "html",
                    "socketlike",
                ]
            )

            def spoil() -> None:
                content = file.read_bytes()
                if odd == "fifo":
                    os.mkfifo(folder / "9.png")
                elif odd == "broken link":
                    (folder / "9.png").symlink_to(folder / "nowhere.png")
                elif odd == "loop":
                    (folder / "9.png").symlink_to(folder / "9.png")
                elif odd == "folder":
                    (folder / "9.png").mkdir()
                else:
                    cut = content[: len(content) // 2]
                    file.write_bytes(
                        {"empty": b"", "text": b"hello", "cut": cut}.get(odd, b"<html>")
                    )

            return f"{file.name} is {odd}", self.same(spoil)
        if kind == "exif":
            orientation = r.randrange(1, 9)
            back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
                    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
                    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
                    8: Image.Transpose.ROTATE_270}  # fmt: skip

            def turn() -> None:
                picture = self.picture(c, i)
                if orientation in back:
                    picture = picture.transpose(back[orientation])
                exif = Image.Exif()
                exif[0x0112] = orientation
                picture.save(file, exif=exif)

            return f"{file.name} turned, EXIF orientation {orientation}", self.same(turn)
        mode, ending = r.choice([
            ("1", "png"), ("L", "bmp"), ("L", "tiff"), ("P", "png"), ("P", "gif"), ("RGB", "png"), ("RGB", "bmp"),
            ("RGBA", "png"), ("LA", "png"), ("CMYK", "tiff"), ("I;16", "png"), ("I;16", "tiff"), ("I", "tiff"),
            ("RGB", "webp"), ("transparent", "png"), ("transparent LA", "png"), ("transparent P", "png"),
            ("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("animation", "gif"), ("upper", "PNG"),
        ])  # fmt: skip

        def save() -> None:
            file.unlink()
            ink, path = self.picture(c, i), folder / f"{i}.{ending}"
            grey = np.asarray(ink)
            if mode in ("I;16", "I"):
                wide = grey.astype(np.uint16) * 257
                Image.fromarray(wide if mode == "I;16" else wide.astype(np.int32)).save(path)
            elif mode == "transparent":  # black all over, opaque where the ink is
                black = np.zeros((*grey.shape, 4), np.uint8)
                black[..., 3] = 255 - grey
                Image.fromarray(black).save(path)
            elif mode == "transparent LA":
                Image.fromarray(np.stack([0 * grey, 255 - grey], -1), "LA").save(path)
            elif mode == "transparent P":
                picture = Image.fromarray((grey > 128).astype(np.uint8))
                picture.putpalette([0, 0, 0, 0, 0, 0])
                picture.save(path, transparency=1)
            elif mode == "animation":
                ink.save(path, save_all=True, append_images=[self.picture(2 - c, 3 - i)])
            elif mode == "upper":
                ink.save(path)
            else:
                ink.convert(mode).save(path, quality=95) if ending in (
                    "jpg",
                    "webp",
                ) else ink.convert(mode).save(path)

        return f"{file.stem} as {mode} in {ending}", self.same(save)


# --- arguments -----------------------------------------------------------------------------------

ODD: list[object] = [-1, 0, 1.5, float("nan"), float("inf"), -(10**9), "3", "", None, True, [], [3], (), {}, b"3",
                     2**70, 1e300, np.nan, object, torch.tensor(1.5), np.array([1.0])]  # fmt: skip
INTS: list[Callable[[int], object]] = [np.int64, np.int32, np.uint8]


class Arguments:
    """Every number that a caller gives: odd ones are refused by name, NumPy's whole numbers are numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder, d = folder, points()
        tasks = d.episodes(3, 1, 2)
        x, y = torch.rand(1, 3, 5), torch.arange(3)[None]
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        def train(**changes: Any) -> object:
            model = small()
            settings = {"steps": 2, "progress": False, "device": "cpu", **changes}
            fit(model, tasks, **settings)
            return [v.tolist() for v in model.state_dict().values()]

        def episode(e: Episode) -> object:
            return [t.tolist() for t in e]

        def adapted(make: Callable[[nn.Module], nn.Module]) -> Callable[..., object]:
            def run(**changes: Any) -> object:
                torch.manual_seed(0)
                model = make(nn.Linear(5, 3)).eval()
                return model.adapt(x, y, **changes)(x).tolist()  # type: ignore[operator]

            return run

        # the call, the argument, a value that is right, and values of ODD that are right as well
        self.calls: list[tuple[str, Callable[..., object], str, int, tuple[object, ...]]] = [
            ("fit", train, "steps", 2, ()),
            ("fit", train, "validate_every", 2, ()),
            ("fit", train, "validate_tasks", 3, ()),
            ("fit", train, "checkpoint_every", 2, ()),
            ("fit", train, "tasks_per_backward", 1, (None,)),
            ("fit", train, "seed", 2, (0, -1, -(10**9), 2**70)),
            ("evaluate", lambda **a: evaluate(small().eval(), tasks, **a).values.tolist(), "n", 4, ()),
            *(("episodes", lambda name=name, **a: episode(
                d.episodes(**{"ways": 3, "shots": 1, "queries": 1, **a})[0]), name, value, ok)
              for name, value, ok in (("ways", 3, ()), ("shots", 2, ()), ("queries", 2, (0,)), ("tasks", 2, ()),
                                      ("seed", 3, (0, -1, -(10**9), 2**70)))),
            ("episodes[k]", lambda k: episode(tasks[k]), "k", 3, (0,)),
            ("split", lambda **a: [p.classes for p in points(20).split("characters", **a)], "seed", 3,
             (0, -1, -(10**9), 2**70)),
            ("Batches", lambda **a: [t.tolist() for t in Batches(d, **a)[1]], "size", 4, ()),
            ("sinusoids", lambda **a: episode(sinusoids(**a)[0]), "shots", 3, ()),
            ("sinusoids", lambda **a: episode(sinusoids(**a)[0]), "queries", 3, (0,)),
            ("sinusoids", lambda **a: episode(sinusoids(**a)[0]), "tasks", 3, ()),
            ("Bandits", lambda **a: [t.tolist() for t in Bandits(**a)[0]], "arms", 3, ()),
            ("Bandits", lambda **a: [t.tolist() for t in Bandits(**a)[0]], "pulls", 3, ()),
            ("Quadratics", lambda **a: [t.tolist() for t in Quadratics(**a)[0]], "dimension", 3, ()),
            ("Quadratics", lambda **a: [t.tolist() for t in Quadratics(**a)[0]], "tasks", 3, ()),
            ("MAML.adapt", adapted(MAML), "steps", 2, (0, None)),
            ("MetaSGD.adapt", adapted(MetaSGD), "steps", 2, (0, None)),
            ("Reptile.adapt", adapted(Reptile), "steps", 2, (0, None)),
            ("ANIL.adapt", adapted(lambda f: ANIL(nn.Identity(), f)), "steps", 2, (0, None)),
            *((f"{make.__name__}()", lambda make=make, **a: make(net, **a) and None, "steps", 2, ())
              for make in (MAML, MetaSGD, Reptile)),
            ("Reptile()", lambda **a: Reptile(net, **a) and None, "batch", 2, ()),
            ("MatchingNetwork()", lambda **a: MatchingNetwork(net, full_context=True, **a) and None, "steps", 2, ()),
        ]  # fmt: skip

    def case(self, r: random.Random) -> Case:
        call, run, name, value, fine = r.choice(self.calls)
        if r.random() < 0.2:
            odd = r.choice(INTS)(value)

            def same() -> None:
                need(
                    run(**{name: odd}) == run(**{name: value}),
                    "another result than that of the int",
                )

            return f"{call}({name}={odd!r})", same
        bad = r.choice(ODD)
        if call[0].isupper() and (
            isinstance(bad, Tensor | np.ndarray) or bad is True or bad == 2**70
        ):
            bad = -2  # a method's own file takes what counts as a whole number to Python
        if any(bad is f or (type(bad) is type(f) and bad == f) for f in fine):
            return f"{call}({name}={bad!r})", lambda: run(**{name: bad})

        def refused() -> None:
            result = run(**{name: bad})
            raise Wrong(f"accepted, and gave {str(result)[:60]}")

        return f"{call}({name}={bad!r})", refused


# --- episodes ------------------------------------------------------------------------------------


class Always(nn.Module):
    """Answers every query with its nearest support example's class; validation is not its business."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def adapt(self, sx: Tensor, sy: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda qx: (
            -torch.cdist(qx.flatten(2), sx.flatten(2)) @ torch.eye(3)[sy.long()] * self.w
        )

    def loss(self, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            self.adapt(sx, sy)(qx).flatten(0, 1), qy.flatten().long()
        )


class Broken:
    """Episodes with faults, given to `check`, to `evaluate` and to `fit`, as a first batch or a later one."""

    def __init__(self, folder: Path) -> None:
        self.good = points().episodes(3, 2, 2, tasks=2)

    def methods(self) -> dict[str, Callable[[], nn.Module]]:
        def embed() -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 8))

        def net() -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        return {
            "always": Always,
            "prototypical": lambda: PrototypicalNetwork(embed()),
            "matching": lambda: MatchingNetwork(embed()),
            "siamese": lambda: SiameseNetwork(embed(), 8),
            "hyper": lambda: HyperNetwork(embed(), 8),
            "in context": lambda: InContextTransformer(embed(), 8, ways=3),
            "mann": lambda: MANN(embed(), 8, 3, hidden=4, slots=6, width=4, reads=1),
            "maml": lambda: MAML(net()),
            "meta-sgd": lambda: MetaSGD(net()),
            "reptile": lambda: Reptile(net(), batch=3),
            "anil": lambda: ANIL(embed(), nn.Linear(8, 3)),
        }

    def damaged(self, r: random.Random, e: Episode) -> tuple[str, Episode, bool]:
        """What was done, the episode, and whether it is still a right one."""
        x = r.choice(["support_x", "query_x"])
        y = x[:-1] + "y"
        tx, ty = getattr(e, x), getattr(e, y)
        t, b = r.randrange(2), r.randrange(ty.shape[1])

        def put(tensor: Tensor, value: object) -> Tensor:
            tensor = tensor.clone()
            tensor[t, b] = value  # type: ignore[call-overload]
            return tensor

        missing = torch.where(e.support_y == 1, 0, e.support_y)
        changes: dict[str, tuple[dict[str, Tensor], bool]] = {
            "int32 labels": ({"support_y": e.support_y.int(), "query_y": e.query_y.int()}, True),
            "uint8 labels": ({"support_y": e.support_y.byte(), "query_y": e.query_y.byte()}, True),
            "int16 query labels": ({"query_y": e.query_y.short()}, True),
            "not contiguous": ({x: tx.transpose(0, 1).contiguous().transpose(0, 1)}, True),
            "nan in x": ({x: put(tx, float("nan"))}, False),
            "inf in x": ({x: put(tx, float("inf"))}, False),
            "a label of 3": ({y: put(ty, 3)}, False),
            "a label of -1": ({y: put(ty, -1)}, False),
            "a label of 2e9": ({y: put(ty, 2_000_000_000)}, False),
            "a query label of 2**40": ({"query_y": torch.full_like(e.query_y, 2**40)}, False),
            "labels from 100": ({"support_y": e.support_y + 100, "query_y": e.query_y + 100}, False),
            "labels from 1": ({"support_y": e.support_y + 1, "query_y": e.query_y + 1}, False),
            "a class without support": ({"support_y": missing}, False),
            "the same in one task": ({"support_y": torch.stack([missing[0], e.support_y[1]])}, False),
            "labels [T, B, 1]": ({y: ty[..., None]}, False),
            "one-hot labels": ({y: torch.eye(3)[ty]}, False),
            "no tasks": ({k: getattr(e, k)[:0] for k in e._fields}, False),
            "tasks dimension forgotten": ({k: getattr(e, k)[0] for k in e._fields}, False),
            "fewer tasks": ({x: tx[:1]}, False),
            "fewer labels": ({y: ty[:, :-1]}, False),
            "no support": ({"support_x": e.support_x[:, :0], "support_y": e.support_y[:, :0]}, False),
            "pictures of 0 pixels": ({"support_x": e.support_x[..., :0], "query_x": e.query_x[..., :0]}, False),
            "0 channels": ({"support_x": e.support_x[:, :, :0], "query_x": e.query_x[:, :, :0]}, False),
            "other pictures": ({x: tx[..., :-1]}, False),
            "uint8 pictures": ({k: (getattr(e, k) * 255).byte() for k in ("support_x", "query_x")}, False),
            "complex pictures": ({k: getattr(e, k).to(torch.complex64) for k in ("support_x", "query_x")}, False),
        }  # fmt: skip
        name = r.choice(sorted(changes))
        change, right = changes[name]
        return f"{name} ({x}, task {t}, example {b})", e._replace(**change), right

    def case(self, r: random.Random) -> Case:
        k = r.randrange(3)
        said, bad, right = self.damaged(r, self.good[k])
        entrance = r.choice(["check", "evaluate", "fit", "later"])
        method = r.choice(sorted(self.methods()))
        source = [self.good[i] for i in range(4)]

        def run(tasks: list[Episode]) -> object:
            torch.manual_seed(0)
            model = self.methods()[method]()
            if entrance == "evaluate":
                return evaluate(model, tasks, n=8).values.tolist()
            history = fit(model, tasks, 4, progress=False, device="cpu")
            return history.loss

        def case() -> None:
            if entrance == "check":
                bad.check()
                need(right, "accepted by check")
                return
            place = k if entrance == "later" else 0
            with_fault = [*source[:place], bad, *source[place + 1 :]]
            without = [*source[:place], self.good[k], *source[place + 1 :]]
            got = run(with_fault)
            need(right, f"accepted, and gave {str(got)[:80]}")
            need(got == run(without), "another result")

        return f"{said}: {entrance} with {method}", case


KINDS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": Checkpoints,
    "archive": Archives,
    "folder": Folders,
    "argument": Arguments,
    "episode": Broken,
}


def fuzz(kind: str, cases: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """How every case of one kind ended: verdict, what was done, what was said."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = os.environ.get("MLBOOK_CACHE")
        os.environ["MLBOOK_CACHE"] = str(Path(name) / "cache")
        try:
            source = KINDS[kind](Path(name))
            for i in range(cases):
                done, run = source.case(random.Random(f"{seed} {kind} {i}"))
                end, said = verdict(run)
                yield end, done, said
        finally:
            os.environ.pop("MLBOOK_CACHE")
            if before is not None:
                os.environ["MLBOOK_CACHE"] = before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="one kind alone")
    parser.add_argument("--verbose", action="store_true", help="say every case")
    arguments = parser.parse_args()
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    total: Counter[str] = Counter()
    for kind in kinds:
        ends: Counter[str] = Counter()
        for end, done, said in fuzz(kind, arguments.cases // len(kinds), arguments.seed):
            ends[end] += 1
            if end in ("silent", "raw") or arguments.verbose:
                print(f"{end:6} {kind}: {done} -> {said[:300]}")
        total += ends
        print(f"{kind}: {dict(ends)}", flush=True)
    print(f"all: {dict(total)}")
    return 1 if total["silent"] or total["raw"] else 0


if __name__ == "__main__":
    sys.exit(main())
