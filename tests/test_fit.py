from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlbook import Episode, evaluate, fit, plots
from mlbook.baselines import FineTuning
from mlbook.data import sinusoids
from mlbook.data.files import read_tensors
from mlbook.data.problems import quadratic
from mlbook.lstm_meta_learner import LearnedOptimizer, MetaLSTM
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP, Conv4
from mlbook.optimization import ANIL, MAML, MetaSGD, Reptile
from tests.test_episodes import numbered


class Quadratic(nn.Module):
    """loss = mean over tasks of (w - a)^2 / 2, with dropout-like noise if wanted: every step can be done by hand."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.noise = noise
        self.metrics: dict[str, Tensor] = {}

    def loss(self, a: Tensor) -> Tensor:
        self.metrics["distance"] = (self.w - a).abs().mean()
        return 0.5 * (self.w - a + self.noise * torch.randn(1)).square().mean()


class Targets:
    """Batch k holds T targets; `bad` is a step whose target is infinite."""

    def __init__(self, tasks: int = 4, bad: int | None = None) -> None:
        self.tasks, self.bad = tasks, bad

    def __getitem__(self, k: int) -> tuple[Tensor]:
        if k == self.bad:
            return (torch.full((self.tasks,), torch.inf, dtype=torch.float64),)
        return (torch.arange(self.tasks, dtype=torch.float64) + k,)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_steps_are_those_of_plain_gradient_descent() -> None:
    model = Quadratic()
    history = fit(model, Targets(), steps=5, optimizer=sgd(model), progress=False)
    w, losses, distances = 0.0, [], []
    for k in range(5):
        targets = [k, k + 1, k + 2, k + 3]
        losses.append(sum((w - a) ** 2 / 2 for a in targets) / 4)
        distances.append(sum(abs(w - a) for a in targets) / 4)
        w -= 0.1 * sum(w - a for a in targets) / 4
    assert model.w.item() == pytest.approx(w, rel=1e-12)
    assert history.loss == pytest.approx(losses, rel=1e-12)
    assert history.metrics["distance"] == pytest.approx(distances, rel=1e-12)


def test_the_schedule_multiplies_the_rate_and_leaves_it_as_it_was() -> None:
    model = Quadratic()
    optimizer = sgd(model)
    fit(
        model,
        Targets(),
        steps=3,
        optimizer=optimizer,
        schedule=lambda k: [1.0, 0.5, 0.0][k],
        progress=False,
    )
    w = 0.0
    for k, rate in enumerate([0.1, 0.05, 0.0]):
        w -= rate * (w - (k + 1.5))
    assert model.w.item() == pytest.approx(w, rel=1e-12)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_tasks_per_backward_gives_the_same_gradient(size: int) -> None:
    whole, sliced = Quadratic(), Quadratic()
    one = fit(whole, Targets(), steps=4, optimizer=sgd(whole), progress=False)
    two = fit(
        sliced, Targets(), steps=4, optimizer=sgd(sliced), tasks_per_backward=size, progress=False
    )
    assert sliced.w.item() == pytest.approx(whole.w.item(), rel=1e-12)
    assert two.loss == pytest.approx(one.loss, rel=1e-12)


def test_random_state_is_seeded_and_put_back() -> None:
    weights = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        model = Quadratic(noise=1.0)
        fit(model, Targets(), steps=3, optimizer=sgd(model), seed=5, progress=False)
        assert torch.equal(before, torch.get_rng_state())
        weights.append(model.w.item())
    assert weights[0] == weights[1]
    other = Quadratic(noise=1.0)
    fit(other, Targets(), steps=3, optimizer=sgd(other), seed=6, progress=False)
    assert other.w.item() != weights[0]


def proto() -> PrototypicalNetwork:
    torch.manual_seed(0)
    return PrototypicalNetwork(Conv4(hidden=4, pools=1))


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path: Path) -> None:
    tasks = numbered(side=8).episodes(3, 1, 2)
    settings = {"schedule": lambda k: 1 / (1 + k), "validate": numbered(side=8).episodes(3, 1, 1, seed=1),
                "validate_every": 3, "validate_tasks": 4, "checkpoint_every": 2, "progress": False}  # fmt: skip
    straight = proto()
    whole = fit(straight, tasks, steps=7, checkpoint=tmp_path / "a.safetensors", **settings)
    resumed = proto()
    fit(resumed, tasks, steps=4, checkpoint=tmp_path / "b.safetensors", **settings)
    resumed = proto()
    parts = fit(resumed, tasks, steps=7, checkpoint=tmp_path / "b.safetensors", **settings)
    for (name, a), b in zip(
        straight.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert parts.loss == whole.loss
    assert parts.accuracy == whole.accuracy
    assert [v for v in parts.validation if v[0] in (3, 6, 7)] == whole.validation
    # a finished run is not trained further
    again = proto()
    fit(again, tasks, steps=7, checkpoint=tmp_path / "b.safetensors", **settings)
    assert torch.equal(again.embed.blocks[0][0].weight, straight.embed.blocks[0][0].weight)


KILLED = """
import sys, torch
from mlbook import fit
from tests.test_fit import Targets, Quadratic
model = Quadratic(noise=1.0)
class Slow(Targets):
    def __getitem__(self, k):
        import time
        time.sleep(0.002)
        return super().__getitem__(k)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
fit(model, Slow(), steps=400, optimizer=optimizer, checkpoint=sys.argv[1], checkpoint_every=1, progress=False)
print(model.w.item().hex())
"""


def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Killed again and again while it writes a checkpoint at every step, a run ends as if nothing had happened."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def start(file: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / file)]
        return subprocess.Popen(
            command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True
        )

    expected = start("whole.safetensors").communicate()[0].strip()
    path = tmp_path / "killed.safetensors"
    steps_seen = set()
    for delay in (0.0, 0.013, 0.029):
        process = start(path.name)
        deadline = time.monotonic() + 60
        before = path.stat().st_mtime_ns if path.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.stat().st_mtime_ns != before:
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        steps_seen.add(read_tensors(path)[1]["step"])  # whole and readable, whenever it was killed
    assert len(steps_seen) == 3, "every stage went on from where the one before had come to"
    assert start(path.name).communicate()[0].strip() == expected
    assert {p.name for p in tmp_path.iterdir()} == {"whole.safetensors", path.name}


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_as_if_left_alone() -> None:
    """A few of what `python tests/kill.py --kills 100` does."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "tests/kill.py", "--kills", "6", "--steps", "30"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills: all ends to the bit, 0 files left over" in done.stdout


def test_nan_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    model = Quadratic()
    with pytest.raises(FloatingPointError, match=r"loss of step 5 is inf.*run.safetensors"):
        fit(
            model,
            Targets(bad=5),
            steps=9,
            optimizer=sgd(model),
            checkpoint=path,
            checkpoint_every=2,
            progress=False,
        )
    assert math.isfinite(model.w.item()), "the bad step was not taken"
    tensors, facts = read_tensors(path)
    assert facts["step"] == 4
    assert tensors["model.w"].isfinite().all()
    healed = Quadratic()
    history = fit(
        healed, Targets(), steps=9, optimizer=sgd(healed), checkpoint=path, progress=False
    )
    assert len(history.loss) == 9


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    model = Quadratic()
    fit(model, Targets(), steps=2, optimizer=sgd(model), checkpoint=path, progress=False)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="seed=0, not seed=1"):
        fit(
            model, Targets(), steps=4, optimizer=sgd(model), seed=1, checkpoint=path, progress=False
        )
    other = PrototypicalNetwork(MLP(1, 2))
    with pytest.raises(ValueError, match="belongs to another model"):
        fit(other, sinusoids(), steps=4, checkpoint=path, progress=False)
    assert path.read_bytes() == content
    for damaged in (content[: len(content) // 2], b"", b"\x80\x04not safetensors"):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"run.safetensors is damaged, cut short or not a file of mlbook"
        ):
            fit(model, Targets(), steps=4, optimizer=sgd(model), checkpoint=path, progress=False)
        assert path.read_bytes() == damaged, "nothing is destroyed"


def test_mistakes_are_named() -> None:
    for name in ("steps", "validate_every", "checkpoint_every", "tasks_per_backward"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            fit(Quadratic(), Targets(), **{"steps": 1, name: 0})

    class Bad:
        def __getitem__(self, k: int) -> Episode:
            return Episode(
                torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)
            )

    with pytest.raises(ValueError, match="must begin with the same two dimensions"):
        fit(proto(), Bad(), steps=1)


def test_progress_tells_loss_accuracy_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    fit(proto(), numbered(side=8).episodes(3, 1, 2), steps=3)
    said = capsys.readouterr().err
    assert "3/3" in said
    assert all(word in said for word in ("loss", "accuracy"))


def test_the_history_draws_itself() -> None:
    history = fit(proto(), numbered(side=8).episodes(3, 1, 2), steps=4, progress=False,
                  validate=numbered(side=8).episodes(3, 1, 1), validate_tasks=3)  # fmt: skip
    plots.use_style()
    figure = history.plot()
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "accuracy"]


class Clusters:
    """Tasks of three classes, at the corners of a triangle; it writes down which were drawn."""

    def __init__(self, apart: float) -> None:
        self.apart, self.drawn = apart, list[int]()

    def __getitem__(self, k: int) -> Episode:
        self.drawn.append(k)
        g = torch.Generator().manual_seed(k)
        y = torch.arange(3).repeat(4)[None]
        x = self.apart * torch.eye(3)[y] + torch.randn(1, 12, 3, generator=g)
        return Episode(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:])


def test_validation_asks_the_validation_tasks_and_no_others() -> None:
    """In training all answers are right, and the validation classes lie one upon another."""
    embed = nn.Linear(3, 3, bias=False)
    nn.init.eye_(embed.weight)
    model = PrototypicalNetwork(embed)
    train, held_out = Clusters(apart=6.0), Clusters(apart=0.0)
    history = fit(model, train, steps=4, validate=held_out, validate_every=2, validate_tasks=20,
                  progress=False)  # fmt: skip
    assert train.drawn[-4:] == [0, 1, 2, 3] and max(train.drawn) == 3
    assert held_out.drawn[-40:] == [*range(20)] * 2
    assert history.accuracy == [1.0] * 4
    after = evaluate(model, held_out, 20)
    assert history.validation[-1] == (4, after.mean, after.interval)
    assert after.mean < 0.6 and evaluate(model, train, 20).mean == 1


class Normed(nn.Module):
    """An embedding with batch norm and dropout in two parts, one of which may be frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.2))
        self.head = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def normed() -> PrototypicalNetwork:
    return PrototypicalNetwork(Normed())


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


class Watched(PrototypicalNetwork):
    """Notes the mode of every part in every loss."""

    def loss(self, *batch: Tensor) -> Tensor:
        self.seen = [*getattr(self, "seen", []), modes(self)]
        return super().loss(*batch)


class SmallPoints:
    """Episodes of points in the plane, in single precision."""

    def __init__(self, bad: int | None = None) -> None:
        self.bad = bad

    def __getitem__(self, k: int) -> Episode:
        if k == self.bad:
            raise KeyboardInterrupt
        x, y, q, a = Points()[k]
        return Episode(x.float(), y, q.float(), a)


VALIDATED = {"validate": SmallPoints(), "validate_every": 2, "validate_tasks": 8, "progress": False}


def test_after_fit_a_model_is_ready_to_answer() -> None:
    """One query at a time gets the same scores as all together, and moves no running statistics."""
    model = normed()
    fit(model, SmallPoints(), 3, progress=False)
    assert not any(modes(model).values())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, y, q, _ = SmallPoints()[9]
    learner = model.adapt(x, y)
    one_by_one = torch.cat([learner(q[:, i : i + 1]) for i in range(6)], 1)
    assert torch.allclose(one_by_one, learner(q), atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_is_in_eval_stays_there_in_training_even_the_second_time() -> None:
    model = Watched(Normed())
    backbone = model.embed.backbone
    backbone.requires_grad_(False)
    backbone.eval()
    statistics = {k: v.clone() for k, v in backbone.state_dict().items()}
    frozen = {name for name in modes(model) if "backbone" in name}
    for _ in range(2):  # the second time the whole model comes in eval(), as the first left it
        fit(model, SmallPoints(), 4, **VALIDATED)
        assert all(seen[name] == (name not in frozen) for seen in model.seen for name in seen)
        assert all(torch.equal(v, statistics[k]) for k, v in backbone.state_dict().items())
        assert not any(modes(model).values())
    model.train()  # which is to say: all of it
    model.seen = []
    fit(model, SmallPoints(), 1, progress=False)
    assert all(all(seen.values()) for seen in model.seen)


def test_a_model_that_comes_in_eval_trains_altogether() -> None:
    model, straight = Watched(Normed()).eval(), Watched(Normed())
    fit(model, SmallPoints(), 3, progress=False)
    fit(straight, SmallPoints(), 3, progress=False)
    assert all(all(seen.values()) for seen in model.seen)
    for a, b in zip(model.state_dict().values(), straight.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_model_that_freezes_parts_by_itself_is_asked() -> None:
    class Freezing(Watched):
        def train(self, mode: bool = True) -> Freezing:
            super().train(mode)
            self.embed.backbone.eval()
            return self

    model = Freezing(Normed())
    assert model.embed.backbone.training  # nobody has called train() yet
    fit(model, SmallPoints(), 2, progress=False)
    assert all(s["embed.head.1"] and not s["embed.backbone.1"] for s in model.seen)


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, FloatingPointError, ValueError])
def test_what_fit_changes_is_put_back_on_every_way_out(stopped_by: type[BaseException]) -> None:
    """Modes, rates and random state are as they were found; a Ctrl-C is no exception."""

    class Stops(Watched):
        def loss(self, *batch: Tensor) -> Tensor:
            if len(getattr(self, "seen", [])) == 3:
                raise stopped_by("stop")
            return super().loss(*batch)

    model = Stops(Normed())
    model.embed.backbone[1].eval()
    model.embed.head.eval()
    optimizer = torch.optim.Adam(
        [{"params": model.embed.backbone.parameters(), "lr": 0.5}, {"params": model.embed.head.parameters()}]
    )  # fmt: skip
    torch.manual_seed(3)
    found, random, rates = modes(model), torch.get_rng_state(), [0.5, 1e-3]
    with pytest.raises(stopped_by):
        fit(model, SmallPoints(), 9, optimizer, lambda k: 0.1, progress=False)
    assert modes(model) == found
    assert torch.equal(torch.get_rng_state(), random)
    assert [group["lr"] for group in optimizer.param_groups] == rates
    model.seen = []
    fit(model, SmallPoints(), 1, progress=False)  # and it is put back when all goes well, too
    assert torch.equal(torch.get_rng_state(), random)


def test_validating_changes_nothing_in_training() -> None:
    with_, without = normed(), normed()
    fit(with_, SmallPoints(), 6, **VALIDATED)
    fit(without, SmallPoints(), 6, progress=False)
    for (name, a), b in zip(with_.state_dict().items(), without.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# --- mistakes, told before training --------------------------------------------------------------


class Untouched(Targets):
    """No batch of it may be drawn."""

    def __getitem__(self, k: int) -> tuple[Tensor]:
        raise AssertionError("training has begun")


@pytest.mark.parametrize(
    "value", [1.5, math.nan, math.inf, True, None, "3", [2], torch.tensor(2.0)]
)
@pytest.mark.parametrize(
    "name",
    ["steps", "seed", "validate_every", "validate_tasks", "checkpoint_every", "tasks_per_backward"],
)
def test_numbers_that_are_not_whole_are_named(name: str, value: Any) -> None:
    if name == "tasks_per_backward" and value is None:
        return
    with pytest.raises(ValueError, match=rf"{name}=.*must be a whole number"):
        fit(Quadratic(), Untouched(), **{"steps": 1, name: value})


def test_numbers_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    settings = {"seed": np.int64(3), "checkpoint_every": np.int32(2), "tasks_per_backward": torch.tensor(2),
                "checkpoint": tmp_path / "run", "progress": False}  # fmt: skip
    one, two = Quadratic(1.0), Quadratic(1.0)
    fit(one, Targets(), np.int64(4), sgd(one), **settings)
    fit(two, Targets(), 4, sgd(two), seed=3, tasks_per_backward=2, progress=False)
    assert torch.equal(one.w, two.w)
    assert read_tensors(tmp_path / "run")[1]["run"]["seed"] == 3
    with pytest.raises(ValueError, match=r"seed=.*64 bits"):
        fit(one, Untouched(), 1, seed=2**64)


def test_sources_that_cannot_be_asked_for_a_batch_are_named() -> None:
    batches = [Targets()[k] for k in range(3)]
    model = Quadratic()
    fit(model, batches, 3, sgd(model), progress=False)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    for tasks, says in (
        (batches, "tasks holds 3 batches and 4 are needed"),
        (loader, "DataLoader.*list"),
        ((b for b in batches), "generator.*islice"),
        (numbered(side=8), "Dataset.*episodes"),
        (7, "int"),
    ):
        with pytest.raises(ValueError, match=says):
            fit(model, tasks, 4, sgd(model), progress=False)
    short = [SmallPoints()[k] for k in range(3)]  # of four tasks each
    for validate, says in (
        (short, "validate holds 3 batches and 4 are needed"),
        (torch.utils.data.DataLoader(short, batch_size=None), "validate.*DataLoader"),
        ([Targets()[0]] * 9, r"validate\[0\] is no episode"),
        (numbered(side=8).episodes(3, 1, 0), "queries=0"),
    ):
        with pytest.raises(ValueError, match=says):
            fit(normed(), Untouched(), 1, validate=validate, validate_tasks=13, progress=False)
    with pytest.raises(ValueError, match=r"tasks\[0\] is a list of other things than tensors"):
        fit(model, [[[1.0, 2.0]]] * 2, 1, sgd(model), progress=False)


class Spoilt:
    """The points, with one batch that is not as it should be."""

    def __init__(self, bad: int, what: str) -> None:
        self.bad, self.what = bad, what

    def __getitem__(self, k: int) -> Episode:
        sx, sy, qx, qy = (t.clone() for t in SmallPoints()[k])
        if k == self.bad:
            if self.what == "label":
                qy[1, 2] = 3
            elif self.what == "class":
                sy[2][sy[2] == 1] = 0
            elif self.what == "ways":
                sy[3], qy[3] = sy[3] % 2, qy[3] % 2
            else:
                qx[0, 0, 0] = float(self.what)
        return Episode(sx, sy, qx, qy)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("label", "batch 4: query_y holds the label 3"),
        ("class", "batch 4: class 1 of task 2 has no support example"),
        ("ways", "batch 4: task 0 has 3 classes and task 3 has 2"),
        ("nan", "batch 4: query_x holds nan"),
        ("inf", "batch 4: query_x holds inf"),
    ],
)
def test_every_batch_is_checked_and_named(what: str, says: str) -> None:
    model = normed()
    with pytest.raises((ValueError, FloatingPointError), match=says):
        fit(model, Spoilt(4, what), 9, progress=False)


def test_int32_labels_are_labels() -> None:
    class Small(SmallPoints):
        def __getitem__(self, k: int) -> Episode:
            x, y, q, a = super().__getitem__(k)
            return Episode(x, y.int(), q, a.to(torch.uint8))

    one, two = normed(), normed()
    assert fit(one, Small(), 3, progress=False).loss == fit(two, SmallPoints(), 3, progress=False).loss  # fmt: skip


class Curves:
    """Sinusoids whose targets have the shape `[T, S]` if `flat`."""

    def __init__(self, flat: bool) -> None:
        self.flat = flat

    def __getitem__(self, k: int) -> Episode:
        sx, sy, qx, qy = sinusoids(shots=4, queries=4, tasks=3)[k]
        return Episode(sx, sy[..., 0], qx, qy[..., 0]) if self.flat else Episode(sx, sy, qx, qy)


REGRESSION = {
    "MAML": lambda **s: MAML(MLP(1, 4, 1), 0.01, **s),
    "MAML, one by one": lambda **s: MAML(MLP(1, 4, 1), 0.01, vectorize=False, **s),
    "ANIL": lambda **s: ANIL(MLP(1, 4), nn.Linear(4, 1), 0.01, **s),
    "MetaSGD": lambda **s: MetaSGD(MLP(1, 4, 1), 0.01, **s),
    "Reptile": lambda **s: Reptile(MLP(1, 4, 1), 0.01, **s),
    "MetaLSTM": lambda **s: MetaLSTM(MLP(1, 4, 1), **s),
    "FineTuning": lambda **s: FineTuning(MLP(1, 4, 1), **s),
}


@pytest.mark.parametrize("name", REGRESSION)
def test_a_loss_for_labels_is_refused_for_targets_and_shapes_that_only_broadcast_too(
    name: str,
) -> None:
    torch.manual_seed(0)
    build = REGRESSION[name]
    for flat in (False, True):
        with pytest.raises(ValueError, match=r"cross_entropy.*loss=F.mse_loss"):
            fit(build(), Curves(flat), 3, progress=False)
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss):
        with pytest.raises(ValueError, match=r"differ in shape|query_y\[..., None\]|shape"):
            fit(build(loss=loss), Curves(flat=True), 3, progress=False)
    losses = fit(build(loss=F.mse_loss), Curves(flat=False), 3, progress=False).loss
    assert all(value > 0 for value in losses)


def test_class_probabilities_are_targets_of_a_cross_entropy() -> None:
    class Soft:
        def __getitem__(self, k: int) -> Episode:
            x, y, q, a = SmallPoints()[k]
            return Episode(x, F.one_hot(y, 3).float(), q, F.one_hot(a, 3).float())

    torch.manual_seed(0)
    net = MLP(2, 4, 3)
    hard = MAML(copy.deepcopy(net))
    soft = MAML(copy.deepcopy(net), loss=lambda scores, y: F.cross_entropy(scores, y))
    a = fit(hard, SmallPoints(), 3, progress=False).loss
    assert fit(soft, Soft(), 3, progress=False).loss == pytest.approx(a, rel=1e-5)
    # by default they are taken for numbers, and the way to say what they are is named
    with pytest.raises(ValueError, match=r"class probabilities.*lambda scores, y: F.cross_entropy"):
        fit(MAML(net), Soft(), 3, progress=False)


def test_a_model_that_can_learn_nothing_is_refused() -> None:
    frozen, detached, elsewhere, none = normed(), Quadratic(), Quadratic(), Quadratic()
    frozen.requires_grad_(False)
    detached.loss = lambda a: (detached.w.detach() - a).square().mean()
    other = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    elsewhere.loss = lambda a: (other - a).square().mean()
    for model, tasks, says in (
        (frozen, SmallPoints(), r"none of the 8 parameters.*requires_grad_\(\)"),
        (detached, Targets(), r"does not depend on any parameter.*requires_grad_\(\)"),
        (elsewhere, Targets(), r"none of them got a gradient.*requires_grad_\(\)"),
        (nn.Linear(1, 1), Targets(), "Linear has no loss"),
        (PrototypicalNetwork(nn.LazyLinear(2)), SmallPoints(), "embed.weight has no shape yet"),
    ):
        with pytest.raises(ValueError, match=f"(?s){says}"):
            fit(model, tasks, 3, progress=False)
    none.loss = lambda a: (none.w * 0 + a).square().mean()
    with pytest.warns(UserWarning, match="gradient of the first step is 0"):
        fit(none, Targets(), 1, progress=False)
    half = normed()
    half.embed.backbone.requires_grad_(False)
    fit(half, SmallPoints(), 2, progress=False)


def test_optimizers_that_do_not_fit_are_named_before_anything_moves() -> None:
    model = Quadratic()
    resting = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    for optimizer, says in (
        (torch.optim.LBFGS(model.parameters()), "LBFGS.*Adam or SGD"),
        (resting, r"parameter \[1\] that is not of this model"),
        (torch.optim.Adam, "optimizer=.*Adam.*is none"),
        (0.1, "optimizer=0.1 is none"),
    ):
        with pytest.raises(ValueError, match=says):
            fit(model, Untouched(), 2, optimizer, progress=False)
    with pytest.raises(ValueError, match="device='gpus' cannot be used"):
        fit(model, Untouched(), 2, device="gpus")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, None, "fast"])
def test_schedules_that_give_no_factor_are_named(bad: Any) -> None:
    model = Quadratic()
    with pytest.raises(ValueError, match=r"schedule\(1\) is .*a number of 0 or more"):
        fit(model, Targets(), 3, sgd(model), lambda k: bad if k else 1, progress=False)
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(ValueError, match="schedule is StepLR: give a function of the step"):
        fit(model, Untouched(), 3, optimizer, scheduler, progress=False)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_rate_in_a_tensor_stays_the_users_own() -> None:
    model, rate = Quadratic(), torch.tensor(0.1, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    fit(model, Targets(), 3, optimizer, lambda k: 0.5, progress=False)
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.1
    plain = Quadratic()
    fit(plain, Targets(), 3, sgd(plain, 0.05), progress=False)
    assert model.w.item() == pytest.approx(plain.w.item(), rel=1e-12)


def test_a_learned_optimizer_trains_in_this_loop_and_under_a_scheduler() -> None:
    torch.manual_seed(0)
    rule = LearnedOptimizer(quadratic, hidden=3, scale=0.1).double()
    model, half = Quadratic(), Quadratic()
    fit(model, Targets(), 3, rule.optimizer(model.parameters()), progress=False)
    by_hand, optimizer = Quadratic(), None
    optimizer = rule.optimizer(by_hand.parameters())
    for k in range(3):
        optimizer.zero_grad()
        by_hand.loss(*Targets()[k]).backward()
        optimizer.step()
    assert model.w.item() == by_hand.w.item() != 0
    optimizer = rule.optimizer(half.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5)
    half.loss(*Targets()[0]).backward()
    optimizer.step()
    scheduler.step()
    one = Quadratic()
    fit(one, Targets(), 1, rule.optimizer(one.parameters()), progress=False)
    assert half.w.item() == pytest.approx(one.w.item() / 2, rel=1e-12)


def test_the_advice_against_a_loss_that_is_not_finite_can_be_followed() -> None:
    """Without it the run diverges; with it, word for word as the message has it, the run ends."""

    class Steep(Quadratic):
        def loss(self, a: Tensor) -> Tensor:
            return (20 * (self.w - a)).square().square().mean()

    model = Steep()
    with pytest.raises(FloatingPointError, match=r"loss of step \d is (inf|nan)") as told:
        fit(model, Targets(), 20, sgd(model), progress=False)
    advice = str(told.value).partition("each step:\n")[2]
    model = Steep()
    optimizer = sgd(model)
    exec(advice, {"torch": torch, "model": model, "optimizer": optimizer})
    history = fit(model, Targets(), 20, optimizer, progress=False)
    assert len(history.loss) == 20
    assert abs(model.w.item()) <= 20 * 0.1 + 1e-9, "no step was longer than the rate"


def test_a_metric_may_be_a_number_and_must_be_one() -> None:
    model = Quadratic()
    model.loss = lambda a: model.metrics.update(n=3, loss=torch.tensor(9.0)) or Quadratic.loss(model, a)  # fmt: skip
    history = fit(model, Targets(), 2, sgd(model), progress=False)
    assert history.metrics["n"] == [3.0, 3.0]
    assert history.loss[0] == pytest.approx(7 / 4), "a metric called loss is not the loss"
    model.loss = lambda a: model.metrics.update(n=torch.zeros(3)) or Quadratic.loss(model, a)
    with pytest.raises(ValueError, match=r"metrics\['n'\] is \[3\]: give one number"):
        fit(model, Targets(), 2, sgd(model), progress=False)
    model.loss = lambda a: (model.w - a).square()
    with pytest.raises(ValueError, match=r"model.loss gives \[4\]: it must be one number"):
        fit(model, Targets(), 2, sgd(model), progress=False)


def test_no_grad_around_fit_does_no_harm() -> None:
    one, two = Quadratic(), Quadratic()
    with torch.no_grad():
        fit(one, Targets(), 3, sgd(one), progress=False)
        assert not torch.is_grad_enabled()
    fit(two, Targets(), 3, sgd(two), progress=False)
    assert torch.equal(one.w, two.w)


DISTRIBUTED = """
import sys, torch
from lightning_fabric import Fabric
from mlbook import fit
from mlbook.data import sinusoids
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP
from tests.test_fit import Points

def main(fabric, devices, slices, path):
    torch.manual_seed(0)
    model = PrototypicalNetwork(MLP(2, 8, 3)).double()
    # not Adam, which divides by the size of the gradient and so blows up the rounding of one near zero
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    fabric = fabric if devices else None
    history = fit(model, Points(), steps=6, optimizer=optimizer, fabric=fabric, tasks_per_backward=slices,
                  checkpoint=path + ".ckpt", checkpoint_every=2, progress=False)
    if fabric is None or fabric.global_rank == 0:
        with open(path, "w") as file:
            weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
            file.write(" ".join(map(repr, weights + history.loss)))

if __name__ == "__main__":
    devices, slices, path = int(sys.argv[1]), int(sys.argv[2]) or None, sys.argv[3]
    if devices:
        fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp")
        fabric.launch()
        main(fabric, devices, slices, path)
    else:
        main(None, 0, slices, path)
"""


class Points:
    """Four tasks a batch, drawn in double precision."""

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(k)
        sy = torch.arange(3).repeat(4, 2)
        return (torch.randn(4, 6, 2, dtype=torch.float64, generator=generator), sy,
                torch.randn(4, 6, 2, dtype=torch.float64, generator=generator), sy)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("slices", [0, 1])
def test_two_processes_equal_one(tmp_path: Path, slices: int) -> None:
    pytest.importorskip("lightning_fabric")
    root = Path(__file__).parent.parent
    script = tmp_path / "train.py"
    script.write_text(DISTRIBUTED)
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    numbers = {}
    for devices in (0, 2):
        out = tmp_path / f"{devices}.txt"
        command = [sys.executable, str(script), str(devices), str(slices), str(out)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        numbers[devices] = [float(v) for v in out.read_text().split()]
    assert numbers[2] == pytest.approx(numbers[0], rel=1e-9, abs=1e-12)


EXAMPLE = Path(__file__).parent.parent / "examples" / "distributed.py"
LAUNCHERS = {
    "python": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"],
    "fabric run": [Path(sys.executable).with_name("fabric"), "run", "--accelerator", "cpu", "--devices", "2"],
    "srun": [sys.executable],
}  # fmt: skip
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "mlbook", "SLURM_STEP_ID": "0", "SLURM_NNODES": "1",
         "SLURM_NTASKS": "2", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1",
         "SLURM_NTASKS_PER_NODE": "2"}  # fmt: skip


def start(
    launcher: str, place: Path, program: Path = EXAMPLE
) -> list[subprocess.CompletedProcess[str]]:
    """The example in two processes, five steps of it, as `launcher` starts them; srun starts each by itself."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [*map(str, LAUNCHERS[launcher]), str(program), "--steps", "5", "--accelerator", "cpu"]
    if launcher == "python":  # which is told by nobody else
        command += ["--processes", "2"]
    own = [{**SLURM, "SLURM_PROCID": r, "SLURM_LOCALID": r} for r in "01"]
    running = [
        subprocess.Popen(command, env=environment | variables, cwd=place, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for variables in (own if launcher == "srun" else [{}])
    ]  # fmt: skip
    said = [process.communicate(timeout=280) for process in running]
    return [
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(running, said, strict=True)
    ]


@pytest.fixture(scope="module")
def by_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example leaves when it starts its processes itself."""
    pytest.importorskip("lightning_fabric")
    place = tmp_path_factory.mktemp("python")
    (done,) = start("python", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 processes: ") == 1
    return place / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [name for name in LAUNCHERS if name != "python"])
def test_the_example_gives_the_same_to_the_bit_whoever_starts_its_processes(
    by_python: Path, tmp_path: Path, launcher: str
) -> None:
    done = start(launcher, tmp_path)
    assert not any(d.returncode for d in done), done[0].stderr
    assert sum(d.stdout.count("2 processes: ") for d in done) == 1
    names = ["seed0.json", "seed0.safetensors"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == names
    one, other = (read_tensors(p / "seed0.safetensors")[0] for p in (by_python, tmp_path / "runs"))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    one, other = (
        json.loads((p / "seed0.json").read_text()) for p in (by_python, tmp_path / "runs")
    )
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.slow
def test_the_example_in_two_processes_is_that_in_one_up_to_rounding(
    by_python: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    alone = MAML(MLP(1, 40, 40, 1), inner_lr=0.01, loss=F.mse_loss)
    fit(alone, sinusoids(tasks=24), 5, device="cpu", progress=False)
    shared = read_tensors(by_python / "seed0.safetensors")[0]
    for name, value in alone.state_dict().items():
        assert torch.allclose(shared[f"model.{name}"], value, atol=1e-6), name

    # a refusal is the first process's, and every process's
    (tmp_path / "runs").mkdir()
    shutil.copy(by_python / "seed0.safetensors", tmp_path / "runs")
    other = tmp_path / "other.py"
    other.write_text(EXAMPLE.read_text("utf-8").replace("tasks=24", "tasks=12"), encoding="utf-8")
    (done,) = start("python", tmp_path, other)
    assert done.returncode != 0
    assert "belongs to a run with tasks=" in done.stderr


def test_the_page_on_scaling_shows_every_launcher_that_is_tested() -> None:
    program = EXAMPLE.read_text("utf-8")
    job = EXAMPLE.with_suffix(".sbatch").read_text("utf-8")
    for launcher in LAUNCHERS:
        assert f"{launcher} " in program + job
    page = (EXAMPLE.parents[1] / "book" / "practice" / "scaling.md").read_text("utf-8")
    assert page.count("{literalinclude} ../../examples/distributed.") == 2
