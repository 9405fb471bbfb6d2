from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlbook import Episode, fit, plots
from mlbook.data import sinusoids
from mlbook.data.files import read_tensors
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP, Conv4
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
    assert {p.name for p in tmp_path.iterdir() if not p.name.endswith(".part")} == {
        "whole.safetensors",
        path.name,
    }


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
