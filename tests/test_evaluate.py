from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlbook import Dataset, Episode, Result, evaluate, fit
from mlbook.baselines import NearestNeighbour
from mlbook.data import sinusoids
from mlbook.evaluate import accuracy, outputs_for, squared_error
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.metric import MatchingNetwork, PrototypicalNetwork, SiameseNetwork
from mlbook.model_based import MANN, HyperNetwork, InContextTransformer, LSTMControl, MetaNetwork
from mlbook.optimization import MAML
from tests.test_episodes import numbered, read


class Oracle(nn.Module):
    """Reads the class off the picture; answers a given share of the queries of task k wrongly, by turns."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def adapt(
        self, support_x: Tensor, support_y: Tensor, wrong: int = 0
    ) -> Callable[[Tensor], Tensor]:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        c = read(support_x)[0]

        def learner(query_x: Tensor) -> Tensor:
            scores = (read(query_x)[0][..., None] == c[:, None]).double() @ nn.functional.one_hot(
                support_y
            ).double()
            scores[:, :wrong] *= -1
            return scores

        return learner


def test_a_perfect_learner_is_perfect_and_half_wrong_is_half() -> None:
    tasks = numbered().episodes(ways=4, shots=1, queries=2, tasks=3)
    result = evaluate(Oracle(), tasks, n=20)
    assert (result.mean, result.interval, result.n) == (1.0, 0.0, 20)
    assert evaluate(Oracle(), tasks, n=20, wrong=4).mean == 0.5
    assert str(result) == "100.0 ± 0.0 % over 20 episodes"


def test_the_interval_is_that_of_the_mean_over_episodes() -> None:
    values = torch.rand(600, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = Result(values)
    import statistics

    numbers = values.tolist()
    assert result.interval == pytest.approx(1.96 * statistics.stdev(numbers) / 600**0.5, rel=1e-12)
    assert result.mean == pytest.approx(statistics.fmean(numbers), rel=1e-12)


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    generator = torch.Generator().manual_seed(0)
    accuracies = (
        torch.binomial(
            torch.full((2000, 600), 15.0), torch.tensor(0.9), generator=generator
        ).double()
        / 15
    )
    covered = [abs((r := Result(row)).mean - 0.9) <= r.interval for row in accuracies]
    assert 0.935 < sum(covered) / 2000 < 0.965


def test_differences_are_paired() -> None:
    a, b = torch.rand(2, 50, dtype=torch.float64)
    difference = Result(a) - Result(a - 0.1)
    assert difference.mean == pytest.approx(0.1)
    assert difference.interval == pytest.approx(0, abs=1e-12)
    assert str(difference) == "+10.0 ± 0.0 points over 50 episodes"
    with pytest.raises(ValueError, match="50 and 49"):
        Result(a) - Result(b[:49])


def test_mode_is_eval_and_then_as_before() -> None:
    model = Oracle()
    model.train()
    evaluate(model, numbered().episodes(3, 1, 1), n=2)
    assert model.modes == [False, False]
    assert model.training


def test_regression_is_scored_by_squared_error() -> None:
    class Zero(nn.Module):
        def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
            return torch.zeros_like

    tasks = sinusoids(shots=1, queries=7, tasks=2)
    result = evaluate(Zero(), tasks, n=8)
    by_hand = torch.cat([tasks[k].query_y.square().mean((1, 2)) for k in range(4)]).double()
    assert torch.allclose(result.values, by_hand)
    assert "squared error" in str(result)
    absolute = evaluate(Zero(), tasks, n=8, metric=lambda p, y: (p - y).abs().flatten(1).mean(1))
    assert absolute.mean == pytest.approx(
        float(torch.cat([tasks[k].query_y.abs().mean((1, 2)) for k in range(4)]).mean())
    )


def test_mistakes_are_named() -> None:
    tasks = numbered().episodes(3, 1, 0)
    with pytest.raises(ValueError, match="queries=0"):
        evaluate(Oracle(), tasks)
    with pytest.raises(ValueError, match="n=1"):
        evaluate(Oracle(), numbered().episodes(3, 1, 1), n=1)

    class Bad:
        def __getitem__(self, k: int) -> Episode:
            good = numbered().episodes(3, 1, 1)[k]
            return good._replace(query_y=good.query_y + 1)

    with pytest.raises(ValueError, match="outside 0"):
        evaluate(Oracle(), Bad())


@pytest.mark.parametrize(
    "build",
    [
        lambda: MAML(nn.Sequential(nn.Flatten(), nn.Linear(784, 5))),
        lambda: MAML(nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), vectorize=False),
        lambda: MetaLSTM(nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), hidden=0),
        lambda: MANN(nn.Flatten(), 784, ways=5, hidden=4, slots=4, width=3, reads=1),
        lambda: LSTMControl(nn.Flatten(), 784, ways=5, hidden=4),
        lambda: MetaNetwork(nn.Flatten(), 784, ways=5, hidden=4, units=2),
        lambda: InContextTransformer(nn.Flatten(), 784, ways=5),
    ],
)
def test_more_ways_than_outputs_are_named(build: Callable[[], nn.Module]) -> None:
    x, y = torch.rand(1, 7, 1, 28, 28), torch.arange(7)[None]
    tasks = [Episode(x, y, x, y)] * 2
    with pytest.raises(ValueError, match="7"):
        evaluate(build(), tasks, n=2)
    with pytest.raises(ValueError, match="7"):
        fit(build(), tasks, 1, progress=False, device="cpu")


def test_other_errors_of_a_model_stay_what_they_are() -> None:
    class Broken(nn.Module):
        def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    x, y = torch.rand(1, 2, 3), torch.arange(2)[None]
    with pytest.raises(RuntimeError, match="mat1"):
        evaluate(Broken(), [Episode(x, y, x, y)], n=2)


class Answers(nn.Module):
    """A learner that says what it is told to, whatever it is asked."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Any]:
        return self.answer


class Curve(nn.Module):
    """Knows y = 3 x exactly; in the shape of its predictions it is free."""

    def __init__(self, shape: Callable[[Tensor], Tensor] = lambda y: y) -> None:
        super().__init__()
        self.shape = shape

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: self.shape(3 * x)


def lines(tasks: int = 1, queries: int = 4, flat: bool = False) -> list[Episode]:
    x = torch.linspace(-1, 1, tasks * (2 + queries)).view(tasks, -1, 1)
    y = 3 * x[..., 0] if flat else 3 * x
    return [Episode(x[:, :2], y[:, :2], x[:, 2:], y[:, 2:])] * 4


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("squeeze", [False, True])
def test_a_perfect_curve_has_no_error_with_or_without_a_last_dimension_of_one(
    tasks: int, flat: bool, squeeze: bool
) -> None:
    model = Curve((lambda y: y.squeeze(-1)) if squeeze else (lambda y: y))
    assert evaluate(model, lines(tasks, flat=flat), n=3).mean == 0
    off = Curve((lambda y: y.squeeze(-1) + 0.5) if squeeze else (lambda y: y + 0.5))
    assert evaluate(off, lines(tasks, flat=flat), n=3).mean == pytest.approx(0.25)


@pytest.mark.parametrize(
    "shape",
    [
        lambda y: y[:, :1],
        lambda y: y.expand(*y.shape[:2], 2),
        lambda y: y.transpose(0, 1),
        lambda y: y[0],
        lambda y: y.mean(),
    ],
)
def test_predictions_are_never_broadcast(shape: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"predictions \[.*\] for targets \[1, 4, 1\]"):
        evaluate(Curve(shape), lines(), n=2)
    # as many numbers, otherwise arranged
    with pytest.raises(ValueError, match=r"\[1, 2, 3, 2\] for targets \[1, 2, 2, 3\]"):
        squared_error(torch.zeros(1, 2, 3, 2), torch.zeros(1, 2, 2, 3))


def test_scores_of_another_shape_are_named() -> None:
    right = torch.tensor([[0, 1, 2]])
    scores = nn.functional.one_hot(right).float()
    assert accuracy(scores, right).tolist() == [1]
    for bad_scores, y in (
        (scores[0], right),
        (scores, right[..., None]),
        (scores[..., None], right),
        (scores[:, :2], right),
        (scores[..., :0], right),
        (scores, right[0]),
    ):
        with pytest.raises(ValueError, match=r"scores \[.*\] for labels \[.*\]: a learner returns"):
            accuracy(bad_scores, y)
    x = torch.rand(1, 3, 1)
    with pytest.raises(ValueError, match=r"query_y \[1, 3, 1\] .*squeeze"):
        evaluate(Answers(lambda x: scores), [Episode(x, right, x, right[..., None])] * 2, n=2)
    with pytest.raises(ValueError, match="tasks of 3 ways: the network has fewer outputs, 2"):
        evaluate(Answers(lambda x: scores[..., :2]), [Episode(x, right, x, right)] * 2, n=2)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (lambda p, y: (p - y).abs().mean(), r"returns \[\] for 2 tasks"),
        (lambda p, y: float((p - y).abs().mean()), "returns a float for 2 tasks"),
        (lambda p, y: (p - y).abs(), r"returns \[2, 4, 1\] for 2 tasks"),
        (lambda p, y: (p - y).abs().flatten(), r"returns \[8\] for 2 tasks"),
        (lambda p, y: [0.0, 0.0], "returns a list for 2 tasks"),
        (lambda p, y: None, "returns a NoneType for 2 tasks"),
        ("accuracy", "metric='accuracy': must be a function"),
    ],
)
def test_a_metric_gives_one_value_a_task(metric: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        evaluate(Curve(), lines(2), n=2, metric=metric)


def test_values_that_are_not_finite_are_named() -> None:
    def ratio(p: Tensor, y: Tensor) -> Tensor:
        return (p / (0 * y)).flatten(1).mean(1)

    with pytest.raises(FloatingPointError, match=r"ratio is (nan|inf|-inf) in task 0 of batch 0"):
        evaluate(Curve(), lines(2), n=2, metric=ratio)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8))),
        lambda: MatchingNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8))),
        lambda: SiameseNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), dim=8),
        lambda: HyperNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), dim=8),
        lambda: InContextTransformer(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), 8, ways=3),
        lambda: MetaNetwork(nn.Flatten(), 16, ways=3, hidden=4, units=2),
        lambda: MAML(nn.Sequential(nn.Flatten(), nn.Linear(16, 3))),
    ],
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_with_broken_weights_has_no_accuracy(
    build: Callable[[], nn.Module], bad: float
) -> None:
    torch.manual_seed(0)
    model = build()
    tasks = numbered().episodes(3, 1, 2)
    assert 0 <= evaluate(model, tasks, n=2).mean <= 1
    name, weight = next((n, p) for n, p in model.named_parameters() if p.dim() == 2)
    with torch.no_grad():
        weight[0, :] = bad
    with pytest.raises(FloatingPointError) as error:
        evaluate(model, tasks, n=2)
    if math.isnan(bad):
        assert f"{name} of the model holds NaN" in str(error.value)


def test_a_broken_running_statistic_is_named_and_a_mask_of_infinities_is_none() -> None:
    model = Oracle()
    model.register_buffer("mask", torch.full((3, 3), -math.inf))
    assert evaluate(model, numbered().episodes(3, 1, 1), n=2).mean == 1
    model.norm = nn.BatchNorm1d(2)
    model.norm.running_var[1] = math.nan
    with pytest.raises(FloatingPointError, match=r"norm\.running_var of the model holds NaN"):
        evaluate(model, numbered().episodes(3, 1, 1), n=2)


def test_scores_may_be_minus_infinity_but_not_all_of_a_query() -> None:
    x, y = torch.rand(1, 3, 1), torch.tensor([[0, 1, 2]])
    tasks = [Episode(x, y, x, y)] * 2
    log = nn.functional.one_hot(y).double().log()  # 0 and minus infinity
    assert evaluate(Answers(lambda x: log), tasks, n=2).mean == 1
    for bad in (math.nan, math.inf):
        scores = log.clone()
        scores[0, 1, 2] = bad
        with pytest.raises(FloatingPointError, match=rf"returns {bad} at \[0, 1, 2\]"):
            evaluate(Answers(lambda x, scores=scores: scores), tasks, n=2)
    scores = log.clone()
    scores[0, 1] = -math.inf
    with pytest.raises(FloatingPointError, match=r"returns -inf at \[0, 1, 0\]"):
        evaluate(Answers(lambda x: scores), tasks, n=2)
    with pytest.raises(FloatingPointError, match="returns -inf"):
        evaluate(Curve(lambda y: 0 * y - torch.inf), lines(), n=2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", range(2))
def test_pictures_with_broken_numbers_have_no_accuracy(bad: float, place: int) -> None:
    class Later:
        """The second batch is broken, not the first."""

        def __getitem__(self, k: int) -> Episode:
            e = numbered().episodes(3, 1, 2)[k]
            if k == 1:
                (e.support_x, e.query_x)[place][0, 1, 0, 2, 2] = bad
            return e

    with pytest.raises(FloatingPointError, match=rf"holds {bad} \(task 0, example 1\)") as error:
        evaluate(NearestNeighbour(), Later(), n=3)
    assert error.value.__notes__ == ["This is batch 1 of the tasks."]


def test_every_batch_is_checked() -> None:
    class Later:
        def __getitem__(self, k: int) -> Episode:
            e = numbered().episodes(3, 1, 2)[k]
            return e if k < 2 else e._replace(query_y=e.query_y + k - 1)

    with pytest.raises(ValueError, match=r"query_y holds the label 3, outside 0\.\.2, in task 0"):
        evaluate(Oracle(), Later(), n=3)


def test_integer_labels_of_any_type_give_the_same_accuracy() -> None:
    source = numbered().episodes(4, 1, 2)
    right = evaluate(Oracle(), source, n=4, wrong=2).values
    for dtype in (torch.int32, torch.uint8, torch.int16):
        other = [
            e._replace(support_y=e.support_y.to(dtype), query_y=e.query_y.to(dtype))
            for e in (source[k] for k in range(4))
        ]
        assert torch.equal(evaluate(Oracle(), other, n=4, wrong=2).values, right)


def episodes(n: int = 3) -> list[Episode]:
    source = numbered().episodes(3, 1, 1)
    return [source[k] for k in range(n)]


def generator() -> Iterator[Episode]:
    yield from episodes()


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        (generator, "tasks is a generator, .* list"),
        (lambda: iter(episodes()), "tasks is a list_iterator, .*itertools.islice"),
        (
            lambda: torch.utils.data.DataLoader(episodes(), batch_size=None),
            r"tasks is a DataLoader, .* list\(tasks\)",
        ),
        (lambda: numbered(), r"tasks is a Dataset and has no tasks\[k\]; .*data.episodes"),
        (
            lambda: episodes(2),
            "n=3 tasks are asked for, and tasks holds 2, in 2 batches; ask for n=2",
        ),
        (lambda: [], "n=3 tasks are asked for, and tasks holds 0, in 0 batches; give more"),
        (lambda: [e[:2] for e in episodes()], "a tuple of 2 is not an episode"),
        (lambda: [torch.zeros(4, 2)] * 3, "a Tensor is not an episode"),
        (lambda: [tuple(t.numpy() for t in e) for e in episodes()], "support_x is a ndarray"),
    ],
)
def test_what_is_not_a_source_is_named_with_what_to_give(
    tasks: Callable[[], Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        evaluate(Oracle(), tasks(), n=3)


def test_a_loader_as_a_list_is_a_source() -> None:
    loader = torch.utils.data.DataLoader(episodes(), batch_size=None)
    assert evaluate(Oracle(), list(loader), n=3).mean == 1


@pytest.mark.parametrize("n", [1.5, 3.0, True, "3", None, torch.tensor(True), -1, 0])
def test_n_is_a_whole_number(n: Any) -> None:
    with pytest.raises(ValueError, match="n="):
        evaluate(Oracle(), episodes(), n=n)


@pytest.mark.parametrize("n", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_numpy_and_torch_are_whole_numbers(n: Any) -> None:
    assert evaluate(Oracle(), episodes(), n=n).n == 3


@pytest.mark.parametrize("model", [nn.Linear(2, 2), lambda x: x])
def test_what_is_not_a_meta_learner_is_named(model: Any) -> None:
    with pytest.raises(ValueError, match="is not a meta-learner"):
        evaluate(model, episodes(), n=2)


def test_a_model_on_several_devices_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    model.adapt = None
    with pytest.raises(ValueError, match=r"several devices .*cpu.*1\.bias on meta"):
        evaluate(model, episodes(), n=2)


@pytest.mark.parametrize("raises", [False, True])
def test_each_module_keeps_its_mode(raises: bool) -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
            self.head = nn.Linear(2, 2)
            self.seen: list[bool] = []

        def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
            self.seen += [module.training for module in self.modules()]
            if raises:
                raise KeyboardInterrupt
            return lambda x: torch.zeros(*x.shape[:2], 3)

    model = Part().train()
    model.body[1].eval()
    model.head.eval()
    before = {name: module.training for name, module in model.named_modules()}
    try:
        evaluate(model, episodes(), n=2)
    except KeyboardInterrupt:
        assert raises
    assert not any(model.seen)
    assert {name: module.training for name, module in model.named_modules()} == before
    model.eval()
    model.body[2].train()  # dropout at test time, as some want it
    with pytest.raises(KeyboardInterrupt) if raises else torch.no_grad():
        evaluate(model, episodes(), n=2)
    assert [n for n, m in model.named_modules() if m.training] == ["body.2"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_data_come_in_the_precision_of_the_model(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)))
    data = torch.rand(12, 1, 1, 4, 4).expand(12, 6, 1, 4, 4).mul(255).byte()
    tasks = Dataset(data, ["a"] * 12, ["b"] * 12, "clear").episodes(3, 1, 2)
    assert evaluate(model, tasks, n=4).mean == 1
    assert evaluate(model.to(dtype), tasks, n=4).mean == 1
    wide = [
        Episode(*(t.double() if t.is_floating_point() else t for t in tasks[k])) for k in (0, 1)
    ]
    assert evaluate(model, wide, n=2).mean == 1


def test_targets_are_not_rounded_to_the_precision_of_the_model() -> None:
    class Third(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros((), dtype=torch.bfloat16))

        def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
            assert support_x.dtype == support_y.dtype == torch.bfloat16
            return lambda x: torch.zeros_like(x) + self.w

    x, y = torch.ones(1, 2, 1), torch.full((1, 2, 1), 1 / 3)
    result = evaluate(Third(), [Episode(x, y, x, y)] * 2, n=2)
    assert result.mean == pytest.approx(1 / 9, rel=1e-6)


def test_bytes_are_not_taken_for_pictures() -> None:
    tasks = [
        e._replace(support_x=(255 * e[0]).byte(), query_x=(255 * e[2]).byte()) for e in episodes()
    ]
    with pytest.raises(ValueError, match=r"support_x is uint8: .*\.float\(\) / 255"):
        evaluate(NearestNeighbour(), tasks, n=2)


def test_only_too_few_outputs_are_called_too_few_outputs() -> None:
    y, scores = torch.tensor([[0, 1, 2]]), torch.zeros(3, 2)
    with (
        pytest.raises(ValueError, match="tasks of 3 ways: the network has fewer outputs"),
        outputs_for(y),
    ):
        nn.functional.cross_entropy(scores, y[0])
    with pytest.raises(IndexError, match="Target 5"), outputs_for(y):  # no label of these
        nn.functional.cross_entropy(torch.zeros(3, 5), y[0] + 5)
    with pytest.raises(IndexError, match="index 2 is out of bounds"), outputs_for(y[:, :2]):
        scores[:, 2]  # the network's own slip
    with pytest.raises(IndexError, match="index 5"), outputs_for(y):
        scores[5]
    with pytest.raises(IndexError, match="index 2"), outputs_for(torch.rand(1, 3)):
        scores[:, 2]
