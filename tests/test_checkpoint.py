from __future__ import annotations

import copy
import errno
import math
import os
import signal
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlbook import Dataset, fit
from mlbook.data import files
from mlbook.data.files import read_tensors, write_tensors
from mlbook.data.problems import quadratic
from mlbook.lstm_meta_learner import LearnedOptimizer
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP
from mlbook.optimization import MAML
from tests.test_fit import Quadratic, SmallPoints, Targets, sgd

ROOT = Path(__file__).parent.parent


class Odd(nn.Module):
    """Everything about a state that is not a plain tensor of its own; each changes in every step."""

    def __init__(self, halves: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.twice = nn.Linear(2, 2)
        self.layers = nn.Sequential(self.twice, nn.Tanh(), self.twice)  # one module in three places
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.twice.weight
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
        self.optimizer = nn.Linear(2, 2)  # names that the file uses itself
        self.history = nn.ModuleDict({"loss": nn.Linear(2, 2)})
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.halves = nn.Parameter(torch.ones(2, dtype=halves))
        self.wide = nn.Parameter(torch.randn(3, 2).t())  # not contiguous
        self.frozen = nn.Parameter(torch.randn(2), requires_grad=False)
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("alias", self.steps)
        self.register_buffer("rows", torch.zeros(4, 2))
        self.register_buffer("first_row", self.rows[:1])  # a view
        self.register_buffer("expanded", torch.zeros(1, 2).expand(5, 2))
        self.register_buffer("wave", torch.zeros(2, dtype=torch.complex128))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("seen", torch.zeros(0, 2))  # grows
        self.register_buffer("later", None)  # comes with the first batch
        self.counts: tuple[Any, ...] = (0, [0.0], {3: "three"}, torch.zeros(2))
        self.metrics: dict[str, Tensor] = {}

    def get_extra_state(self) -> Any:
        return {"counts": self.counts, "nothing": None}

    def set_extra_state(self, state: Any) -> None:
        self.counts = state["counts"]

    def loss(self, *batch: Tensor) -> Tensor:
        x = batch[0].flatten(0, 1)
        self.metrics["loss"] = torch.tensor(99.0)  # is not the loss
        self.metrics["0.exp_avg"] = x.mean()
        h = self.layers(x) + self.tied(x) + self.optimizer(x) + self.history["loss"](x)
        h = self.normed(h * self.scale * self.halves + self.frozen) + h @ self.wide
        with torch.no_grad():
            self.steps += 1
            self.rows += x[:4]
            self.expanded[:1].add_(x[:1])
            self.wave += torch.complex(x[0], x[1])
            self.flags ^= torch.tensor([True, False])
            self.seen = torch.cat([self.seen, x[:1]])
            self.later = x[0] if self.later is None else self.later * 0.9
            if not hasattr(self, "made"):
                self.register_buffer("made", torch.zeros(2))
            self.made += x[2]
            n, sums, names, total = self.counts
            self.counts = (n + 1, [sums[0] + float(x.sum())], names, total + x[0])
        noise = torch.randn(3) * self.later.sum() * self.made.sum() * self.counts[3].sum()
        return (h * self.expanded.sum() + noise).square().mean() + self.seen.sum() * h.mean()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "Adam": lambda p: torch.optim.Adam(p, 0.01),
    "a rate in a tensor": lambda p: torch.optim.Adam(p, torch.tensor(0.01)),
    "SGD": lambda p: torch.optim.SGD(p, 1e-4, momentum=0.9),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, centered=True),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "learned": lambda p: learned().optimizer(p),
}


def learned() -> LearnedOptimizer:
    torch.manual_seed(5)
    return LearnedOptimizer(quadratic, hidden=3, scale=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_whatever_a_model_and_an_optimizer_hold_is_resumed_to_the_bit(
    tmp_path: Path, name: str
) -> None:
    """Tied, aliased, expanded, grown, made in training, complex, half, extra: all as if never stopped."""

    def run(steps: int, path: str) -> tuple[Odd, torch.optim.Optimizer, list[float]]:
        model = Odd(torch.float32 if name == "learned" else torch.bfloat16)
        optimizer = OPTIMIZERS[name](model.parameters())
        h = fit(model, SmallPoints(), steps, optimizer, lambda k: 1 / (1 + k), checkpoint=tmp_path / path,
                checkpoint_every=2, progress=False)  # fmt: skip
        return model, optimizer, h.loss

    straight, optimizer, losses = run(7, "straight")
    run(3, "parts")
    run(4, "parts")
    model, resumed, again = run(7, "parts")
    assert losses == again
    assert same(dict(straight.state_dict()), dict(model.state_dict()))
    assert same(optimizer.state_dict()["state"], resumed.state_dict()["state"])
    assert model.tied.weight is model.twice.weight
    assert model.layers[0] is model.layers[2] is model.twice
    assert model.alias.data_ptr() == model.steps.data_ptr()
    assert model.first_row.data_ptr() == model.rows.data_ptr()
    assert model.expanded.stride(0) == 0
    assert losses[0] != 99


def test_a_checkpoint_of_a_compiled_network_is_that_of_the_network(tmp_path: Path) -> None:
    def run(steps: int, compiled: bool, path: str) -> PrototypicalNetwork:
        torch.manual_seed(0)
        model = PrototypicalNetwork(nn.Sequential(MLP(2, 4, 3), nn.BatchNorm1d(3)))
        if compiled:
            model.embed = torch.compile(model.embed, backend="eager")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.compile's own parts
            fit(model, SmallPoints(), steps, checkpoint=tmp_path / path, progress=False)
        return model

    straight = run(4, False, "a")
    for first in (True, False):
        run(2, first, f"b{first}")
        model = run(4, not first, f"b{first}")
        assert all(map(torch.equal, straight.state_dict().values(), model.state_dict().values()))


def pictures(seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (8, 6, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Dataset(images, [f"c{i}" for i in range(8)], ["g"] * 8, "points")


def small(hidden: int = 5, **settings: Any) -> PrototypicalNetwork:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.BatchNorm1d(hidden, **settings))
    return PrototypicalNetwork(net)


def adam(p: Any, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(p, **{"lr": 0.01, **settings})


def train(path: Path, steps: int = 6, **changes: Any) -> dict[str, Tensor]:
    model = changes.pop("model", None) or small()
    optimizer = changes.pop("optimizer", adam)(list(model.parameters()))
    tasks = changes.pop("tasks", None) or pictures().episodes(3, 1, 2)
    fit(model, tasks, steps, optimizer, checkpoint=path, progress=False, **changes)
    return dict(model.state_dict())


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "another optimizer": ("optimizer=.*Adam.*SGD", {"optimizer": lambda p: torch.optim.SGD(p, 0.01)}),
    "a relative of it": ("optimizer=.*Adam.*AdamW", {"optimizer": lambda p: torch.optim.AdamW(p, 0.01)}),
    "rate": ("lr=0.01, not lr=0.03", {"optimizer": lambda p: adam(p, lr=0.03)}),
    "rate in a tensor": ("lr=0.01, not lr=0.0", {"optimizer": lambda p: adam(p, lr=torch.tensor(0.03))}),
    "betas": ("betas=.*0.9, .*not betas=.*0.5", {"optimizer": lambda p: adam(p, betas=(0.5, 0.999))}),
    "eps": ("eps=1e-08, not eps=0.1", {"optimizer": lambda p: adam(p, eps=0.1)}),
    "decay": ("weight_decay=0, not weight_decay=0.5", {"optimizer": lambda p: adam(p, weight_decay=0.5)}),
    "amsgrad": ("amsgrad=false, not amsgrad=true", {"optimizer": lambda p: adam(p, amsgrad=True)}),
    "fewer parameters": ("parameters=", {"optimizer": lambda p: adam(p[:2])}),
    "another order": ("parameters=", {"optimizer": lambda p: adam(p[::-1])}),
    "groups": ("parameters=", {"optimizer": lambda p: adam([{"params": p[:2]}, {"params": p[2:]}])}),
    "seed": ("seed=0, not seed=4", {"seed": 4}),
    "steps": ("has 3 already", {"steps": 2}),
    "ways": ("tasks=.*ways=3.*ways=4", {"tasks": pictures().episodes(4, 1, 2)}),
    "shots": ("tasks=", {"tasks": pictures().episodes(3, 2, 2)}),
    "seed of the tasks": ("tasks=", {"tasks": pictures().episodes(3, 1, 2, seed=1)}),
    "turned": ("tasks=", {"tasks": pictures().episodes(3, 1, 2, rotations=True)}),
    "other pictures": ("tasks=", {"tasks": pictures(1).episodes(3, 1, 2)}),
    "another width": (r"another model, with embed.1.weight: .*\[5, 16\].*\[6, 16\]", {"model": small(6)}),
    "another precision": ("another model, with embed.1.weight: .*float32.*float64", {"model": small().double()}),
    "another norm": ("another model, with embed.2.running_mean", {"model": small(track_running_stats=False)}),
    "another method": ("another model", {"model": MAML(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))}),
}  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Tensor]]:
    """The checkpoint of a run that stopped after three steps of six, and the weights at its right end."""
    path = tmp_path_factory.mktemp("begun") / "run"
    train(path, 3)
    content = path.read_bytes()
    return content, {k: v.clone() for k, v in train(path).items()}


@pytest.mark.parametrize("name", OTHERS)
def test_what_belongs_to_another_run_is_refused_by_name_and_kept(
    tmp_path: Path, begun: tuple[bytes, dict[str, Tensor]], name: str
) -> None:
    path = tmp_path / "run"
    path.write_bytes(begun[0])
    says, changes = OTHERS[name]
    model = copy.deepcopy(changes.get("model")) or small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"(?s){says}"):
        train(path, **{**changes, "model": model})
    assert path.read_bytes() == begun[0]
    assert same(dict(before), dict(model.state_dict())), "the model is as it was"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert same(train(path), begun[1]), "and the right run still goes on"


def test_how_an_optimizer_computes_may_change(
    tmp_path: Path, begun: tuple[bytes, dict[str, Tensor]]
) -> None:
    (tmp_path / "run").write_bytes(begun[0])
    end = train(tmp_path / "run", optimizer=lambda p: adam(p, foreach=True))
    assert all(torch.allclose(v, begun[1][k], atol=1e-6) for k, v in end.items())


def test_every_flipped_bit_is_found(tmp_path: Path, begun: tuple[bytes, dict[str, Tensor]]) -> None:
    """All of the header's length and a random tenth of the rest; the file is left as it is."""
    path, content = tmp_path / "run", begun[0]
    chosen = torch.rand(len(content), generator=torch.Generator().manual_seed(0)) < 0.1
    for at in range(len(content)):
        if at < 16 or chosen[at]:
            damaged = bytearray(content)
            damaged[at] ^= 1 << (at % 8)
            path.write_bytes(damaged)
            with pytest.raises(
                ValueError, match="run is damaged, cut short or not a file of mlbook"
            ):
                read_tensors(path)
            assert path.read_bytes() == damaged


def every_place(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values in a tree of dicts and lists."""
    items: Any = enumerate(value) if isinstance(value, list) else ()
    items = value.items() if isinstance(value, dict) else items
    return [p for k, v in items for p in [(*place, k), *every_place(v, (*place, k))]]


def test_facts_that_are_missing_or_of_another_type_are_found_though_the_digest_is_right(
    tmp_path: Path, begun: tuple[bytes, dict[str, Tensor]]
) -> None:
    """Written anew with one fact changed: refused, or without effect on where the run ends."""
    path = tmp_path / "run"
    path.write_bytes(begun[0])
    tensors, facts = read_tensors(path)
    places = every_place(facts)
    generator = torch.Generator().manual_seed(0)
    changes = ["DELETE", None, "x", -1, [], {}, 2.5, True]
    refused = 0
    for n in range(250):
        *place, last = places[int(torch.randint(len(places), (), generator=generator))]
        change = changes[n % len(changes)]
        edited = copy.deepcopy(facts)
        where = edited
        for key in place:
            where = where[key]
        if change == "DELETE":
            del where[last]
        else:
            where[last] = change
        write_tensors(path, tensors, edited)
        try:
            assert same(train(path), begun[1]), (place, last, change)
        except ValueError as error:
            refused += 1
            assert "run" in str(error) and len(str(error)) > 30
    assert refused > 200


def test_files_from_before_digests_are_named_and_kept(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "run"
    facts = (
        '{"step": 2, "seed": 0, "optimizer": {}, "groups": [], "validation": [], "seconds": 1.0}'
    )
    save_file({"model.w": torch.zeros(1)}, path, {"mlbook": facts})
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"run is damaged.*no digest.*mlbook 0.1.0"):
        train(path)
    assert path.read_bytes() == content


# --- files that cannot be written ----------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_a_file_is_refused_before_training(tmp_path: Path) -> None:
    class Asked(Targets):
        def __getitem__(self, k: int) -> tuple[Tensor]:
            raise AssertionError("training has begun")

    (tmp_path / "file").write_text("")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04 as torch.save writes it")
    os.mkfifo(tmp_path / "pipe")
    for checkpoint, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "no ordinary file"),
        (tmp_path / "file" / "run", "cannot be written"),
        ("/proc/no/run", "cannot be written"),
        ("a\0b", "cannot be written"),
        (tmp_path / ("long" * 70), "cannot be written"),
        ("~nobody-of-this-name/run", "cannot be written"),
        (5, "cannot be written"),
        (tmp_path / "weights.pt", r"like a file of torch.save"),
    ):
        model = Quadratic()
        with pytest.raises(ValueError, match=f"(?s){says}"):
            fit(model, Asked(), 3, sgd(model), checkpoint=checkpoint, progress=False)
    assert not list(tmp_path.glob(".*"))


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit(Quadratic(), Targets(), 1, checkpoint="~/runs/a.safetensors", progress=False)
    assert [p.name for p in tmp_path.rglob("*")] == ["runs", "a.safetensors"]


def test_a_full_disk_is_told_with_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "run", files.save
    monkeypatch.setattr(files, "save", lambda *a, **k: full() if path.exists() else write(*a, **k))

    def full() -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    model = Quadratic()
    says = r"checkpoint of step 2 could not be written.*No space left.*run from before is kept"
    with pytest.raises(OSError, match=says):
        fit(model, Targets(), 4, sgd(model), checkpoint=path, checkpoint_every=1, progress=False)
    assert read_tensors(path)[1]["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_cannot_be_written_is_named_before_training(tmp_path: Path) -> None:
    class Keeps(Quadratic):
        def get_extra_state(self) -> Any:
            return {"net": nn.Linear(1, 1)}

    class Sparse(Quadratic):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.eye(3).to_sparse())

    for model, says in (
        (Keeps(), "_extra_state.net is a Linear: a checkpoint holds tensors"),
        (Sparse(), "table is torch.sparse_coo: a checkpoint holds dense tensors"),
    ):
        with pytest.raises(ValueError, match=says):
            fit(model, Targets(bad=0), 9, sgd(model), checkpoint=tmp_path / "run", progress=False)

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 2, sparse=True)

        def loss(self, *batch: Tensor) -> Tensor:
            return self.words(batch[1]).square().mean()

    model = Words()  # the optimizer keeps sparse numbers from its first step on
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"momentum_buffer is torch\.sparse_coo"):
        fit(model, SmallPoints(bad=1), 9, optimizer, checkpoint=tmp_path / "run", progress=False)


# --- other processes -----------------------------------------------------------------------------

LIVING = """
import sys, time
from pathlib import Path
from mlbook.checkpoint import opened
from mlbook.data.files import atomic
path = Path(sys.argv[1])
with opened(path) if sys.argv[2] == "lock" else atomic(path) as held:
    print(held, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("what", ["lock", "part"])
def test_what_a_living_process_has_is_left_and_what_a_dead_one_left_is_removed(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "run[1].st"  # not a pattern
    process = subprocess.Popen([sys.executable, "-c", LIVING, str(path), what], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    try:
        assert process.stdout is not None
        held = process.stdout.readline().strip()
        (tmp_path / ".run[1].st.abcdefgh.part").write_text("of a dead process")
        (tmp_path / ".run1.st.abcdefgh.part").write_text("of another file")
        model = Quadratic()

        def train() -> None:
            fit(model, Targets(), 2, sgd(model), checkpoint=path, progress=False)

        if what == "lock":
            with pytest.raises(ValueError, match=rf"in use by another run \(process {process.pid}"):
                train()
            assert model.w.item() == 0
        else:
            train()
            assert Path(held).exists()
            assert read_tensors(path)[1]["step"] == 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    train()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, ".run1.st.abcdefgh.part"}


def test_two_runs_in_one_process_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    class Nested(Targets):
        def __getitem__(self, k: int) -> tuple[Tensor]:
            fit(Quadratic(), Targets(), 1, checkpoint=tmp_path / "run", progress=False)
            return super().__getitem__(k)

    with pytest.raises(ValueError, match="in use by another run"):
        fit(Quadratic(), Nested(), 1, checkpoint=tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir()), "and the lock is gone with the error"


def test_a_cut_or_altered_weights_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    odd = {"complex": torch.randn(3, dtype=torch.complex128).conj(), "expanded": torch.ones(1).expand(3),
           "half": torch.randn(2).bfloat16(), "none": torch.zeros(0, 3), "number": torch.tensor(math.pi)}  # fmt: skip
    odd["view"] = odd["number"].view(1)
    write_tensors(path, odd, {"n": math.nan, "größe": [1, 2]})
    back, facts = read_tensors(path)
    assert same(odd, back) and facts["größe"] == [1, 2] and math.isnan(facts["n"])
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    assert content[8 : 8 + length].count(b"sha256") == 1
    path.write_bytes(content.replace(b"[1, 2]", b"[1, 3]"))
    with pytest.raises(ValueError, match="digest does not match"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("start", "length"), [(b"\x80\x02", 640), (b"\x80\x04", 1152), (b"PK", 19280)]
)
def test_a_file_may_begin_as_one_of_pickle_does(start: bytes, length: int, tmp_path: Path) -> None:
    """Its first bytes are the length of its header, which is what it happens to be."""
    path = tmp_path / "a.safetensors"
    for k in range(length):
        write_tensors(path, {"x": torch.arange(3.0)}, {"name": "n" * (length - 300 + k)})
        if (found := path.read_bytes())[:2] == start:
            break
    assert struct.unpack("<Q", found[:8])[0] == length
    assert torch.equal(read_tensors(path)[0]["x"], torch.arange(3.0))
