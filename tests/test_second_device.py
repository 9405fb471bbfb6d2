"""Everything runs where the data are, gives what the CPU gives, and waits for the device where it says so.

Each test runs on the simulated device of `second_device.py`, and on a GPU too where there is one.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import second_device
import torch
import torch.nn.functional as F
from second_device import GPU, LOG
from torch import Tensor, nn
from torch.func import grad, vmap

from mlbook import evaluate, fit
from mlbook.baselines import (
    BaselinePlusPlus,
    FineTuning,
    NearestNeighbour,
    PretrainedCentroids,
    RidgeAttributes,
)
from mlbook.data import sinusoids
from mlbook.data.bandits import Bandits, BanditTables, bayes_optimal, play, thompson, ucb1
from mlbook.data.descriptions import Vocabulary, ZeroShotTasks
from mlbook.data.problems import Classifiers, Quadratics, classifier, quadratic
from mlbook.data.slopes import Slopes, cost, step
from mlbook.data.tables import tables
from mlbook.episodes import Batches, Dataset, Episode
from mlbook.lstm_meta_learner import (
    LearnedOptimizer,
    MetaLSTM,
    RecurrentAgent,
    RecurrentLearner,
    RecurrentPolicy,
)
from mlbook.metric import (
    MatchingNetwork,
    PrototypicalNetwork,
    RelationModule,
    RelationNetwork,
    SiameseNetwork,
    ZeroShotPrototypicalNetwork,
)
from mlbook.model_based import (
    MANN,
    HyperNetwork,
    InContextTransformer,
    LSTMControl,
    MetaNetwork,
    NeuralProcess,
    PriorFittedNetwork,
)
from mlbook.nets import MLP, Conv4
from mlbook.optimization import ANIL, MAML, MetaSGD, Reptile
from mlbook.pretrained import MODELS, load_pretrained

SIMULATED = pytest.param(
    "gpu",
    marks=pytest.mark.skipif(not second_device.AVAILABLE, reason="this torch has no such backend"),
)
REAL = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
)


@pytest.fixture(params=[SIMULATED, REAL])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    if request.param == "gpu":
        with second_device.second_device() as log:
            yield GPU
        assert not log.mixed  # also where somebody caught the error
    else:
        with torch.backends.cudnn.flags(deterministic=True):
            yield torch.device("cuda:0")


@contextmanager
def waits(device: torch.device) -> Iterator[Counter[str]]:
    """Count how often the program waits for the device, by operation and line."""
    if device == GPU:
        before = LOG.synchronisations
        LOG.synchronisations = Counter()
        try:
            yield LOG.synchronisations
        finally:
            LOG.synchronisations = before
        return
    seen: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, _, file, line, *__: seen.update(
            [f"{message} at {file}:{line}"]
        )
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode("default")


# --- the device itself -------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[second_device.Log]:
    if not second_device.AVAILABLE:
        pytest.skip("this torch has no such backend")
    with second_device.second_device() as log:
        yield log


MIXED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda x, c: x + c,
    "in place": lambda x, c: c.add_(x),
    "product": lambda x, c: x @ c.mT,
    "stack": lambda x, c: torch.stack([x, c]),
    "stack of numbers": lambda x, c: torch.stack([x[0, 0], c[0, 0]]),
    "cat": lambda x, c: torch.cat([x, c]),
    "where": lambda x, c: torch.where(c > 0, x, 0),
    "gather": lambda x, c: x.gather(1, c.long()),
    "values of an index": lambda x, c: x.index_put((torch.tensor([0]),), c[:1]),
    "GPU index": lambda x, c: c[x[:, 0].long()],
    "layer": lambda x, c: nn.Linear(4, 2)(x),
    "loss": lambda x, c: F.mse_loss(x, c),
    "generator": lambda x, c: torch.rand(3, device=x.device, generator=torch.Generator()),
    "number in place": lambda x, c: torch.zeros(()).add_(x[0, 0]),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_are_refused(log: second_device.Log, name: str) -> None:
    with pytest.raises(RuntimeError, match=r"same device.* at test_second_device\.py:"):
        MIXED[name](torch.rand(3, 4, device=GPU), torch.rand(3, 4))
    assert sum(log.mixed.values()) == 1
    log.clear()


def test_a_number_of_the_cpu_may_stand_beside_tensors_of_the_device(log: second_device.Log) -> None:
    x = torch.rand(3, 4, device=GPU)
    for y in (x + torch.tensor(1.0), torch.where(x > 2, x, torch.tensor(1.0)), x * x.new_ones(())):
        assert y.device == GPU
    assert not log.mixed and not log.synchronisations


WAITS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "bool": lambda x: bool((x > 0).all()),
    "if": lambda x: 1 if x.isfinite().all() else 0,
    "tolist": lambda x: x.tolist(),
    "format": lambda x: f"{x[0, 0]:.3f}",
    "cpu": lambda x: x.cpu(),
    "copy to the CPU": lambda x: torch.zeros(3, 4).copy_(x),
    "copy from the CPU": lambda x: x.copy_(torch.zeros(3, 4)),
    "to": lambda x: torch.zeros(3).to(x.device),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "equal": lambda x: torch.equal(x, x),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "assignment by a mask": lambda x: x.index_put_((x[:, 0] > 9,), x[:0]),
    "list": lambda x: x[[0, 1]],
    "CPU index": lambda x: x[torch.tensor([0, 1])],
    "scalar index": lambda x: x[(x[0, 0] * 0).long()],
    "one_hot": lambda x: F.one_hot(x.long()),
    "repeats": lambda x: x.repeat_interleave((x[:, 0] > -1).long(), 0),
    "unique": lambda x: x.unique(),
    "multinomial": lambda x: x.multinomial(1),
    "solve": lambda x: torch.linalg.solve(x[:, :3] @ x[:, :3].mT, x),
    "range": lambda x: list(range(x[0, 0].long())),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_makes_the_program_wait_is_counted(log: second_device.Log, name: str) -> None:
    x = torch.arange(1.0, 13.0, device=GPU).view(3, 4) / 4
    x[1, 1] += 0.3
    assert not log.synchronisations
    WAITS[name](x)
    assert sum(log.synchronisations.values()) == 1
    assert " at test_second_device.py:" in next(iter(log.synchronisations))


def test_what_needs_no_waiting_is_not_counted(log: second_device.Log) -> None:
    x = torch.rand(3, 4, device=GPU)
    x[x > 0.5] = 0.0
    x.masked_fill_(x > 0, 1), x[x[:, 0].long()], x[1:], x[..., 0], x[torch.arange(2, device=GPU)]
    F.one_hot(x.long(), 3), x.topk(2), x.argsort(1), torch.zeros(2).to(GPU, non_blocking=True)
    net = nn.Linear(4, 2).to(GPU, non_blocking=True)
    optimizer = torch.optim.Adam(net.parameters())
    F.cross_entropy(net(x), x[:, 0].long()).backward()
    optimizer.step()
    assert not log.synchronisations
    with pytest.raises(TypeError, match=r"call cpu\(\)"):
        x.numpy()


def test_gradients_of_any_order_vmap_and_modules_are_those_of_the_cpu(
    log: second_device.Log,
) -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 4, dtype=torch.float64)

    def f(w: Tensor) -> Tensor:
        return (w @ w.mT).sigmoid().prod()

    def second(w: Tensor) -> Tensor:
        return grad(lambda w: grad(f)(w).square().sum())(w)

    for way in (f, grad(f), second, vmap(lambda row: grad(f)(row[None]))):
        assert torch.allclose(way(x), way(x.to(GPU)).cpu(), atol=1e-12)  # type: ignore[operator]
    for cell in (nn.LSTM, nn.GRU, nn.RNN):
        net = cell(4, 5, num_layers=2).double()
        known = list(net.parameters())
        sides = []
        for here in (x, x.to(GPU)):
            net.to(here.device)
            out, _ = net(here[:, None])
            g = torch.autograd.grad(out.square().sum(), known)
            sides.append([t.cpu() for t in (out, *g)])
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*sides, strict=True))
        assert all(a is b for a, b in zip(known, net.parameters(), strict=True))  # as on a GPU
    twin = copy.deepcopy(net)
    assert isinstance(twin.weight_ih_l0, nn.Parameter) and twin.weight_ih_l0.device == GPU
    with torch.no_grad():
        twin.weight_ih_l0.zero_()
    assert net.weight_ih_l0.any()


def test_other_tests_of_the_process_fork_the_random_state_as_before() -> None:
    before = torch.get_rng_state()
    with torch.random.fork_rng():
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_vmap_knows_no_memory_format(log: second_device.Log) -> None:
    x = torch.rand(3, 2, 1, 8, 8, device=GPU)
    with pytest.raises(RuntimeError, match="is_contiguous inside of vmap"):
        vmap(lambda x: x.contiguous(memory_format=torch.channels_last))(x)


# --- what is run on it -------------------------------------------------------------------------


@cache
def drawings() -> Dataset:
    """Strokes of 20 classes, 8 of each, with names of which descriptions can be made."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 1, 1, 7, 7, generator=generator)
    coarse = coarse + 0.3 * torch.rand(20, 8, 1, 7, 7, generator=generator)
    images = F.interpolate(coarse.flatten(0, 1), scale_factor=4.0, mode="bilinear")
    images = (255 * (images > 0.7)).to(torch.uint8).view(20, 8, 1, 28, 28)
    names = [f"LATIN SMALL LETTER {chr(65 + i)}" for i in range(20)]
    return Dataset(images, names, ["Latin"] * 20, "drawings", rotate=True)


def episodes(shots: int = 2, seed: int = 0) -> Any:
    return drawings().episodes(ways=3, shots=shots, queries=2, tasks=2, seed=seed)


def words(seed: int = 0) -> Any:
    return ZeroShotTasks(episodes(1, seed), Vocabulary(drawings().classes))


def points(seed: int = 0) -> Any:
    return sinusoids(shots=4, queries=3, tasks=2, seed=seed)


def rows(seed: int = 0) -> Any:
    return tables(
        rows=(12, 12), queries=4, columns=(3, 3), classes=(2, 2), tasks=2, missing=False, seed=seed
    )


def batches(seed: int = 0) -> Any:
    return Batches(drawings(), 12, seed=seed)


def conv(**options: Any) -> Conv4:
    return Conv4(hidden=4, **options)


def adaptable(**options: Any) -> nn.Module:
    return nn.Sequential(conv(track_running_stats=False), nn.Linear(4, 3))


mse = F.mse_loss
centroids = partial(PretrainedCentroids, dim=4, classes=80)


@dataclass
class Case:
    """A method, what it is trained on, what it is asked, and how many waits a step of it may have, with the reason."""

    make: Callable[[], nn.Module]
    tasks: Callable[..., Any] = episodes
    asked: Callable[..., Any] | None = episodes
    draws: bool = False  # random numbers on the device in `loss`, which are others on a GPU
    allowed: int = 0
    because: str = ""


def agent() -> nn.Module:
    return RecurrentAgent(BanditTables, 1, 2, steps=5, hidden=6)


CASES = {
    "prototypical": Case(lambda: PrototypicalNetwork(conv())),
    "prototypical_maps": Case(lambda: PrototypicalNetwork(conv(pools=2, flatten=False))),
    "siamese": Case(lambda: SiameseNetwork(conv(), 4)),
    "matching": Case(lambda: MatchingNetwork(conv())),
    "matching_fce": Case(lambda: MatchingNetwork(conv(), full_context=True, dim=4)),
    "relation": Case(
        lambda: RelationNetwork(conv(pools=2, flatten=False), RelationModule(4)),
        allowed=1, because="the number of classes decides how many pairs the network is to score",
    ),
    "zero_shot": Case(
        lambda: ZeroShotPrototypicalNetwork(conv(), nn.Linear(len(Vocabulary(drawings().classes)), 4)), words, words
    ),
    "hypernetwork": Case(lambda: HyperNetwork(conv(), 4, 8)),
    "in_context": Case(lambda: InContextTransformer(conv(), 4, ways=4)),
    "mann": Case(lambda: MANN(conv(), 4, 3, hidden=8, slots=16, width=6, reads=2), draws=True),
    "lstm_control": Case(lambda: LSTMControl(conv(), 4, 3, hidden=8), draws=True),
    "meta_network": Case(lambda: MetaNetwork(conv(), 4, 3, hidden=8, units=4)),
    "meta_network_1_shot": Case(
        lambda: MetaNetwork(conv(), 4, 3, hidden=8, units=4), partial(episodes, 1), partial(episodes, 1)
    ),
    "neural_process": Case(lambda: NeuralProcess(dim=16), points, points),
    "attentive_neural_process": Case(lambda: NeuralProcess(dim=16, attention=True), points, points),
    "prior_fitted": Case(
        lambda: PriorFittedNetwork(dim=16, layers=1), rows, rows,
        allowed=2, because="the number of classes decides a shape, and `eigh` looks whether it has converged",
    ),
    "maml": Case(lambda: MAML(adaptable(), steps=2)),
    "maml_first_order": Case(lambda: MAML(adaptable(), steps=2, first_order=True)),
    "maml_regression": Case(lambda: MAML(MLP(1, 8, 1), 0.01, 2, loss=mse), points, points),
    "maml_one_by_one": Case(lambda: MAML(adaptable(), vectorize=False)),
    "meta_sgd": Case(lambda: MetaSGD(adaptable(), steps=2)),
    "anil": Case(lambda: ANIL(conv(track_running_stats=False), nn.Linear(4, 3), steps=2)),
    "reptile": Case(lambda: Reptile(adaptable(), steps=2)),
    "reptile_sgd": Case(
        lambda: Reptile(MLP(1, 8, 1), steps=2, inner_optimizer="sgd", loss=mse), points, points
    ),
    "meta_lstm": Case(lambda: MetaLSTM(nn.Sequential(conv(), nn.Linear(4, 3)), 2, hidden=3)),
    "meta_lstm_without": Case(lambda: MetaLSTM(nn.Sequential(conv(), nn.Linear(4, 3)), 2, batch=4, hidden=0)),
    "meta_lstm_regression": Case(lambda: MetaLSTM(MLP(1, 8, 1), 2, loss=mse), points, points),
    "recurrent_learner": Case(lambda: RecurrentLearner(1, 1, 6), points, points),
    "recurrent_learner_gru": Case(lambda: RecurrentLearner(1, 1, 6, cell=nn.GRU), points, points),
    "recurrent_learner_rnn": Case(lambda: RecurrentLearner(1, 1, 6, cell=nn.RNN), points, points),
    "recurrent_policy": Case(
        lambda: RecurrentPolicy(step, cost, steps=5, hidden=6),
        lambda seed=0: Slopes(tasks=4, seed=seed),
        None,
    ),
    "recurrent_agent": Case(agent, lambda seed=0: Bandits(pulls=5, tasks=4, seed=seed), None, draws=True),
    "learned_optimizer": Case(
        lambda: LearnedOptimizer(quadratic, 4, steps=4, unroll=2),
        lambda seed=0: Quadratics(3, 4, seed), None,
    ),
    "learned_optimizer_second_order": Case(
        lambda: LearnedOptimizer(quadratic, 4, steps=4, unroll=2, second_order=True, clip=1.0),
        lambda seed=0: Quadratics(3, 4, seed), None,
    ),
    "learned_optimizer_on_networks": Case(
        lambda: LearnedOptimizer(classifier((49, 5, 4)), 4, steps=3),
        lambda seed=0: Classifiers(drawings(), (49, 5, 4), 3, 2, seed), None,
    ),
    "pretrained_centroids": Case(lambda: centroids(conv()), batches),
    "baseline_plus_plus": Case(lambda: BaselinePlusPlus(conv(), 4, 80), batches),
    "fine_tuning": Case(lambda: FineTuning(conv(), 4, 80, steps=3), batches),
    "fine_tuning_regression": Case(lambda: FineTuning(MLP(1, 8, 1), loss=mse, steps=3), points, points),
}  # fmt: skip
ASKED = [name for name, case in CASES.items() if case.asked is not None]


def double(x: Any) -> Any:
    return x.double() if x.is_floating_point() else x


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return CASES[name].make()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-8) -> bool:
    return torch.allclose(a.cpu(), b.cpu(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_the_cpu(name: str, device: torch.device) -> None:
    case, sides = CASES[name], []
    batch = [double(t) for t in case.tasks()[0]]
    for where in (torch.device("cpu"), device):
        model = build(name).double().to(where)
        torch.manual_seed(1)
        loss = model.loss(*(t.to(where) for t in batch))  # type: ignore[operator]
        loss.backward()
        numbers = [p.grad for p in model.parameters() if p.grad is not None]
        numbers += [loss.detach(), *model.metrics.values(), *model.buffers()]  # type: ignore[operator]
        assert all(t.device == where for t in numbers)
        sides.append(numbers)
    assert len(sides[0]) == len(sides[1])
    if not (case.draws and device.type == "cuda"):
        assert all(close(a, b) for a, b in zip(*sides, strict=True))


@pytest.mark.parametrize("name", ASKED)
def test_what_is_learned_answers_as_on_the_cpu(name: str, device: torch.device) -> None:
    case, sides = CASES[name], []
    assert case.asked is not None
    sx, sy, qx, _ = (double(t) for t in case.asked(seed=3)[1])
    for where in (torch.device("cpu"), device):
        model = build(name).double().eval().to(where)
        options: list[dict[str, Any]] = [{}]
        if isinstance(model, MAML | MetaSGD | Reptile):
            options += [{"transductive": False}, {"steps": 0}]
        scores = []
        for option in options:
            learner = model.adapt(sx.to(where), sy.to(where), **option)  # type: ignore[operator]
            scores.append(learner(qx.to(where)).detach())
        assert all(s.device == where for s in scores)
        sides.append(scores)
    assert all(close(a, b) for a, b in zip(*sides, strict=True))


class Watched:
    """A source that notes, at each step, what the program has waited for so far."""

    def __init__(self, tasks: Any, seen: Counter[str], notes: dict[int, Counter[str]]) -> None:
        self.tasks, self.seen, self.notes = tasks, seen, notes

    def to(self, device: torch.device) -> Watched:
        tasks = self.tasks.to(device) if hasattr(self.tasks, "to") else self.tasks
        return Watched(tasks, self.seen, self.notes)

    def __getitem__(self, k: int) -> Any:
        self.notes[k] = Counter(self.seen)
        return self.tasks[k]


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_fit_waits_for_nothing(name: str, device: torch.device) -> None:
    case, notes = CASES[name], dict[int, Counter[str]]()
    with waits(device) as seen:
        fit(build(name), Watched(case.tasks(), seen, notes), 5, device=device, progress=False)
    between = notes[4] - notes[1]  # three steps, none of which is the first or the last
    assert sum(between.values()) == 3 * case.allowed, "\n" + "\n".join(between)


def test_a_source_that_stays_on_the_cpu_is_no_hindrance(device: torch.device) -> None:
    class Plain:
        def __getitem__(self, k: int) -> Episode:
            notes.append(sum(seen.values()))
            return Episode(*episodes()[k])

    notes: list[int] = []
    losses = []
    for where in (torch.device("cpu"), device):
        notes.clear()
        with waits(device) as seen:
            losses.append(fit(build("prototypical"), Plain(), 5, device=where, progress=False).loss)
    assert notes[4] == notes[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_callback_is_asked_when_numbers_are_read_and_makes_nobody_wait(
    device: torch.device,
) -> None:
    asked: list[tuple[int, int]] = []

    def look(step: int, history: Any, model: nn.Module) -> None:
        asked.append((step, len(history.loss)))

    counts = []
    for callback in (None, look):
        torch.manual_seed(0)
        model = PrototypicalNetwork(MLP(2, 4, 3))
        with waits(device) as seen:
            fit(model, Points(), 53, device=device, progress=False, callback=callback)
        counts.append(sum(seen.values()))
    assert asked == [(25, 25), (50, 50), (53, 53)]
    assert counts[0] == counts[1]


class Points:
    """Episodes of points in the plane."""

    def __getitem__(self, k: int) -> Episode:
        generator = torch.Generator().manual_seed(k)
        y = torch.arange(3).repeat(2, 2)
        return Episode(
            torch.rand(2, 6, 2, generator=generator), y, torch.rand(2, 6, 2, generator=generator), y
        )


class Interrupt(Exception):
    """What ends a run in its middle."""


class Ends:
    """A source that breaks off before batch `last`, and is the source that it was in all else."""

    def __init__(self, tasks: Any, last: int) -> None:
        self.tasks, self.last = tasks, last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tasks, name)

    def to(self, device: torch.device) -> Ends:
        return Ends(self.tasks.to(device) if hasattr(self.tasks, "to") else self.tasks, self.last)

    def __getitem__(self, k: int) -> Any:
        if k == self.last:
            raise Interrupt
        return self.tasks[k]


# One of every kind: all of them are trained by `fit` in the test above.
RESUMED = [
    "prototypical", "mann", "maml", "reptile", "meta_lstm", "recurrent_learner", "learned_optimizer",
    "baseline_plus_plus",
]  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_fit_is_that_of_the_cpu_and_goes_on_from_a_checkpoint_to_the_bit(
    name: str, device: torch.device, tmp_path: Path
) -> None:
    case = CASES[name]
    settings: dict[str, Any] = {"progress": False, "checkpoint_every": 2}
    if case.tasks is not batches:
        settings["tasks_per_backward"] = 1
    if case.asked is not None:
        settings |= {"validate": case.asked(seed=5), "validate_every": 2, "validate_tasks": 2}
    ends = []
    for where in (torch.device("cpu"), device):
        model, file = build(name), tmp_path / f"{where.type}.safetensors"
        history = fit(model, case.tasks(), 4, device=where, checkpoint=file, **settings)
        assert all(p.device == where for p in model.parameters())
        ends.append((model, history))
    half, file = build(name), tmp_path / "half.safetensors"
    with pytest.raises(Interrupt):
        fit(half, Ends(case.tasks(), 2), 4, device=device, checkpoint=file, **settings)
    again = build(name)
    history = fit(again, case.tasks(), 4, device=device, checkpoint=file, **settings)
    (_, on_cpu), (model, there) = ends
    resumed, whole = again.state_dict(), model.state_dict()
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)
    assert history.metrics == there.metrics and history.validation == there.validation
    if not (case.draws and device.type == "cuda"):
        assert there.loss == pytest.approx(on_cpu.loss, rel=1e-3, abs=1e-4)
        assert there.metrics.keys() == on_cpu.metrics.keys()
        for a, b in zip(there.validation, on_cpu.validation, strict=True):
            assert a == pytest.approx(b, rel=0.05, abs=0.09)  # an answer may tip over


@pytest.mark.parametrize("name", ASKED)
def test_evaluate_gives_what_the_cpu_gives(name: str, device: torch.device) -> None:
    case, values = CASES[name], []
    assert case.asked is not None
    tasks = [Episode(*map(double, case.asked(seed=2)[0]))]
    for where in (torch.device("cpu"), device):
        result = evaluate(build(name).double().to(where), tasks, n=2)  # type: ignore[arg-type]
        assert result.values.device.type == "cpu"
        values.append(result.values)
    assert close(*values)


# --- what is not trained by fit ----------------------------------------------------------------


def test_nearest_neighbour_and_ridge_regression(device: torch.device) -> None:
    sx, sy, qx, _ = (double(t) for t in episodes()[0])
    v = Vocabulary(drawings().classes)(drawings().classes).double()
    images = drawings().images.flatten(0, 1).double() / 255
    sides = []
    for where in (torch.device("cpu"), device):
        neighbour = NearestNeighbour().adapt(sx.to(where), sy.to(where))(qx.to(where))
        ridge = RidgeAttributes(1.0).to(where)
        ridge.solve(images.to(where), v.repeat_interleave(8, 0).to(where))
        scores = ridge.adapt(v[None, :5].to(where), torch.arange(5)[None].to(where))(
            qx[:1].to(where)
        )
        squared = RidgeAttributes(1.0, "squared").to(where)
        squared.solve(images.to(where), v.repeat_interleave(8, 0).to(where))
        other = squared.adapt(v[None, :5].to(where))(qx[:1].to(where))
        assert {t.device for t in (neighbour, scores, other)} == {where}
        sides.append((neighbour, scores, other))
    assert all(close(a, b) for a, b in zip(*sides, strict=True))


def test_a_learned_optimizer_minimises_and_steps(device: torch.device) -> None:
    sides = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        rule = LearnedOptimizer(quadratic, 4).double().to(where)
        seen, theta = rule.minimise(*(double(t).to(where) for t in Quadratics(3, 4)[0]), steps=5)
        net = MLP(2, 3, 1).double().to(where)
        optimizer = rule.optimizer(net.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(4, 2, dtype=torch.float64, device=where)).square().sum().backward()
            optimizer.step()
        sides.append([seen, theta, *net.parameters()])
    assert all(close(a.detach(), b.detach()) for a, b in zip(*sides, strict=True))


def test_an_agent_plays_where_it_is(device: torch.device) -> None:
    sides = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        player = agent().double().eval().to(where)
        tables = BanditTables(*(double(t).to(where) for t in Bandits(pulls=5, tasks=7)[0]))
        played = player.rollout(tables, 5)
        assert all(t.device == where for t in played.values())
        sides.append([played[k].detach().double() for k in sorted(played)])
    assert all(close(a, b) for a, b in zip(*sides, strict=True))


POLICIES: dict[str, Callable[[], Any]] = {
    "thompson": lambda: thompson(torch.Generator().manual_seed(0)),
    "ucb1": lambda: ucb1,
    "bayes_optimal": lambda: bayes_optimal(20),
    "answers from the CPU": lambda: lambda wins, _, t: torch.full((len(wins),), t % 2),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_pull_the_same_arms_on_every_device(name: str, device: torch.device) -> None:
    p, pays = Bandits(pulls=20, tasks=50)[0]
    regret = play(POLICIES[name](), p.to(device), pays.to(device))
    assert regret.device == device
    assert torch.equal(regret.cpu(), play(POLICIES[name](), p, pays))
    if name == "thompson" and device.type == "cuda":  # a generator of the device draws there
        play(thompson(torch.Generator(device)), p.to(device), pays.to(device))


SOURCES: dict[str, Any] = {
    "episodes": episodes,
    "episodes without rotations": lambda: drawings().episodes(3, 2, 2, rotations=False),
    "episodes without queries": lambda: drawings().episodes(3, 2, 0),
    "batches": batches,
    "batches without rotations": lambda: Batches(drawings(), rotations=False),
    "sinusoids": points,
    "words": words,
    "words with others": lambda: ZeroShotTasks(
        drawings().subset(range(9)).episodes(3, 1, 2),
        Vocabulary(drawings().classes),
        drawings().subset(range(9, 20)).episodes(4, 1, 0),
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_draw_the_same_tasks_on_every_device(name: str, device: torch.device) -> None:
    here, there = SOURCES[name](), SOURCES[name]().to(device)
    with waits(device) as seen:
        drawn = [there[k] for k in range(3)]
    assert not seen, seen
    for k, batch in enumerate(drawn):
        assert all(t.device == device for t in batch)
        assert all(torch.equal(a, b.cpu()) for a, b in zip(here[k], batch, strict=True))
        if isinstance(batch, Episode) and batch.query_x.shape[1]:
            batch.check()


def test_a_data_set_on_the_device_is_divided_there(device: torch.device) -> None:
    data = drawings().to(device)
    for by in ("characters",):
        for a, b in zip(drawings().split(by), data.split(by), strict=True):
            assert b.images.device == device and torch.equal(a.images, b.images.cpu())
            assert a.classes == b.classes


@pytest.mark.parametrize("name", MODELS)
def test_shipped_weights_answer_as_on_the_cpu(name: str, device: torch.device) -> None:
    sides = []
    sx, sy, qx, _ = drawings().episodes(ways=5, shots=1, queries=2, tasks=2, rotations=False)[0]
    for where in (torch.device("cpu"), device):
        model = load_pretrained(name).to(where)
        with torch.no_grad():
            if isinstance(model, LearnedOptimizer):
                out = model.minimise(*(t.to(where) for t in Quadratics(tasks=3)[0]), steps=20)[0]
            elif isinstance(model, RecurrentAgent):
                tables = BanditTables(*(t.to(where) for t in Bandits(pulls=20, tasks=5)[0]))
                out = model.rollout(tables, 20)["logits"]
            elif isinstance(model, RecurrentPolicy):
                carts = (t.to(where) for t in Slopes(tasks=5)[0])
                out = model.rollout(*carts, 20)["state"]
            elif isinstance(model, PriorFittedNetwork):
                x, y, asked, _ = rows()[0]
                out = model.adapt(x.to(where), y.to(where))(asked.to(where))
            else:
                out = model.adapt(sx.to(where), sy.to(where))(qx.to(where))  # type: ignore[operator]
        assert out.device == where and out.isfinite().all()
        sides.append(out.cpu())
    assert (sides[0] - sides[1]).abs().max() <= 1e-5 * max(1, sides[0].abs().max())
