from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mlbook import Episode, Result, evaluate, fit
from mlbook.data import sinusoids
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.model_based import MANN, InContextTransformer, LSTMControl, MetaNetwork
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
