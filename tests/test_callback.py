"""What `fit(callback=)` sees, may do, and cannot disturb; by hand on a quadratic, and to the bit on networks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlbook import Episode, evaluate, fit
from mlbook.data.files import read_tensors
from tests.test_fit import (
    VALIDATED,
    Normed,
    Points,
    Quadratic,
    SmallPoints,
    Targets,
    Watched,
    modes,
    normed,
    sgd,
)

ROOT = Path(__file__).parent.parent


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_it_is_called_after_every_step_with_all_that_is_known() -> None:
    model, seen = Quadratic(), []
    validate = {"validate": SmallPoints(), "validate_every": 2, "validate_tasks": 8}
    history = fit(model, Targets(), 3, sgd(model), progress=False,
                  callback=lambda *now: seen.append((now, len(now[1].loss), model.w.item())))  # fmt: skip
    w, after = 0.0, []
    for k in range(3):
        w -= 0.1 * (w - (k + 1.5))
        after.append(w)
    assert [now[0] for now, _, _ in seen] == [count for _, count, _ in seen] == [1, 2, 3]
    assert all(now[1] is history and now[2] is model for now, _, _ in seen)
    assert [value for *_, value in seen] == pytest.approx(after, rel=1e-12)
    validations: list[int] = []
    fit(normed(), SmallPoints(), 5, progress=False, **validate,
        callback=lambda step, history, model: validations.append(len(history.validation)))  # fmt: skip
    assert validations == [0, 1, 1, 2, 3]  # that of the same step is there


@pytest.mark.parametrize("true", [True, np.True_, torch.tensor(True)])
def test_true_ends_training_as_if_it_were_the_last_step(tmp_path: Path, true: Any) -> None:
    """Five steps of fifty, and the history, the weights, the file and the modes are those of a run of five."""
    stopped, short = normed(), normed()
    settings: dict[str, Any] = {"checkpoint_every": 3, "progress": False}
    history = fit(stopped, SmallPoints(), 50, checkpoint=tmp_path / "stopped", **settings,
                  callback=lambda step, history, model: true if step == 5 else None)  # fmt: skip
    whole = fit(short, SmallPoints(), 5, checkpoint=tmp_path / "short", **settings)
    assert history.loss == whole.loss and history.metrics == whole.metrics
    assert same(stopped, short)
    assert not any(modes(stopped).values())
    (a, facts), (b, others) = (read_tensors(tmp_path / name) for name in ("stopped", "short"))
    assert facts["step"] == others["step"] == 5
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


class Busy:
    """A callback that does all that it may, and some of what it must not."""

    def __init__(self) -> None:
        self.results: list[float] = []

    def __call__(self, step: int, history: Any, model: nn.Module) -> None:
        torch.manual_seed(step)
        torch.rand(7)
        model.train(step % 2 == 0)
        self.results.append(evaluate(model, SmallPoints(), 8).mean)
        model.eval()
        model.loss(*SmallPoints()[step]).backward()  # type: ignore[operator]


def test_numbers_are_to_the_bit_those_without_a_callback(tmp_path: Path) -> None:
    """With dropout and batch norm, whatever the callback draws, evaluates, or leaves in `eval()`."""
    torch.manual_seed(0)
    plain, watched = Watched(Normed()), Watched(Normed())
    watched.load_state_dict(plain.state_dict())
    plain.embed.backbone[1].eval()
    watched.embed.backbone[1].eval()
    busy = Busy()
    one = fit(plain, SmallPoints(), 6, checkpoint=tmp_path / "a", **VALIDATED)
    two = fit(watched, SmallPoints(), 6, checkpoint=tmp_path / "b", callback=busy, **VALIDATED)
    assert len(busy.results) == 6
    assert one.metrics == two.metrics
    assert one.validation == two.validation
    assert same(plain, watched)
    assert plain.seen[0] in watched.seen  # the modes of a step are as without it


def test_rates_that_it_sets_hold_until_the_end_of_the_run(tmp_path: Path) -> None:
    """w <- w - rate (w - target), with a rate that is halved after every second step; also across a stop."""

    def halve(step: int, history: Any, model: nn.Module) -> None:
        if step % 2 == 0:
            optimizer.param_groups[0]["lr"] *= 0.5

    w = 0.0
    for k, rate in enumerate([0.1, 0.1, 0.05, 0.05, 0.025, 0.025]):
        w -= rate * (w - (k + 1.5))
    for stages in [(6,), (2, 6), (3, 6), (2, 3, 4, 6)]:
        for number, steps in enumerate(stages):
            model = Quadratic()
            optimizer = sgd(model)
            file = tmp_path / "-".join(map(str, stages))
            fit(model, Targets(), steps, optimizer, checkpoint=file, checkpoint_every=2, progress=False,
                callback=halve)  # fmt: skip
            assert optimizer.param_groups[0]["lr"] == 0.1, f"put back after stage {number}"
        assert model.w.item() == pytest.approx(w, rel=1e-12), stages


def test_a_rate_in_a_tensor_is_put_back_too() -> None:
    model = Quadratic()
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def halve(step: int, history: Any, model: nn.Module) -> None:
        optimizer.param_groups[0]["lr"] *= 0.5

    fit(model, Targets(), 3, optimizer, progress=False, callback=halve)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.1)


def test_a_schedule_and_a_callback_do_not_both_set_the_rate() -> None:
    model = Quadratic()
    optimizer = sgd(model)

    def lower(step: int, history: Any, model: nn.Module) -> None:
        optimizer.param_groups[0]["lr"] = 0.01

    with pytest.raises(ValueError, match=r"set a rate after step 1, and the schedule sets it anew"):
        fit(model, Targets(), 3, optimizer, lambda k: 0.5, progress=False, callback=lower)
    assert optimizer.param_groups[0]["lr"] == 0.1
    fit(model, Targets(), 3, optimizer, lambda k: 0.5, progress=False, callback=lambda *_: None)


def test_a_stopped_run_stays_stopped_and_a_killed_one_stops_where_it_would_have(
    tmp_path: Path,
) -> None:
    def low(step: int, history: Any, model: nn.Module) -> bool:
        return step >= 7 and history.loss[-1] > 0

    settings: dict[str, Any] = {"checkpoint_every": 3, "progress": False}
    whole = normed()
    history = fit(whole, SmallPoints(), 40, checkpoint=tmp_path / "a", callback=low, **settings)
    assert len(history.loss) == 7
    again = normed()
    more = fit(again, SmallPoints(), 40, checkpoint=tmp_path / "a", callback=low, **settings)
    assert more.loss == history.loss and same(again, whole)
    killed = normed()
    with pytest.raises(KeyboardInterrupt):
        fit(killed, SmallPoints(bad=5), 40, checkpoint=tmp_path / "b", callback=low, **settings)
    resumed = normed()
    rest = fit(resumed, SmallPoints(), 40, checkpoint=tmp_path / "b", callback=low, **settings)
    assert rest.loss == history.loss and same(resumed, whole)
    longer = normed()  # and who leaves the callback out goes on
    assert len(fit(longer, SmallPoints(), 9, checkpoint=tmp_path / "a", **settings).loss) == 9


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_it_all_is_as_it_was_found(
    tmp_path: Path, error: type[BaseException]
) -> None:
    model = Watched(Normed())
    model.embed.head.eval()
    optimizer = sgd(model)
    torch.manual_seed(3)
    found, random = modes(model), torch.get_rng_state()

    def breaks(step: int, history: Any, model: nn.Module) -> None:
        optimizer.param_groups[0]["lr"] = 0.01
        model.eval()
        torch.rand(3)
        if step == 5:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        fit(model, SmallPoints(), 9, optimizer, checkpoint=tmp_path / "run", checkpoint_every=2,
            progress=False, callback=breaks)  # fmt: skip
    assert modes(model) == found
    assert torch.equal(torch.get_rng_state(), random)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert read_tensors(tmp_path / "run")[1]["step"] == 4


@pytest.mark.parametrize("answer", [1, 0.5, "yes", torch.tensor(0.3), [True]])
def test_an_answer_that_is_neither_true_nor_false_is_a_mistake(answer: Any) -> None:
    model = Quadratic()
    with pytest.raises(ValueError, match="return True to stop, and False or nothing to go on"):
        fit(model, Targets(), 3, sgd(model), progress=False, callback=lambda *_: answer)


def test_what_is_no_function_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ValueError, match=r"callback=True: must be a function of step, history"):
        fit(Quadratic(), Targets(bad=0), 3, progress=False, callback=True)  # type: ignore[arg-type]


class Scored(nn.Module):
    """Its accuracies are those of a list, one a validation."""

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))
        self.shares = iter(shares)

    def adapt(self, x: Tensor, y: Tensor) -> Any:
        right = torch.arange(10) < 10 * next(self.shares)
        return lambda q: torch.stack([right.float(), 1 - right.float()], -1).expand(len(q), 10, 2)

    def loss(self, *batch: Tensor) -> Tensor:
        return self.w.square()


class Zeros:
    """Two tasks a batch, in which the answer is always class 0."""

    def __getitem__(self, k: int) -> Episode:
        y = torch.tensor([[0, 1]]).repeat(2, 1)
        return Episode(
            torch.zeros(2, 2, 1), y, torch.zeros(2, 10, 1), torch.zeros_like(y).repeat(1, 5)
        )


def test_the_early_stopping_of_the_docstring_stops_where_it_says() -> None:
    """Three validations without a better one: of 0.3 0.5 0.4 0.5 0.5 0.6 that is the fifth."""
    code = (fit.__doc__ or "").partition("nothing better::\n\n")[2]
    histories = []

    def run(*given: Any, **settings: Any) -> None:
        settings |= {"steps": 20, "validate_every": 2, "validate_tasks": 2, "progress": False}
        histories.append(fit(*given, **settings))

    model = Scored(0.3, 0.5, 0.4, 0.5, 0.5, 0.6)
    names = {"fit": run, "model": model, "tasks": Zeros(), "episodes": Zeros()}
    exec(textwrap.dedent(code), names)
    assert [mean for _, mean, _ in histories[0].validation] == [0.3, 0.5, 0.4, 0.5, 0.5]
    assert len(histories[0].loss) == 10


DISTRIBUTED = """
import sys, torch
from lightning_fabric import Fabric
from mlbook import fit
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP
from tests.test_fit import Points

def main(fabric, path):
    torch.manual_seed(0)
    model = PrototypicalNetwork(MLP(2, 8, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    calls = []
    def callback(step, history, model):
        calls.append(step)
        torch.rand(3)
        optimizer.param_groups[0]["lr"] *= 0.5
        if step == 4:
            return True
    first = fabric.global_rank == 0
    settings = dict(fabric=fabric, progress=False)
    history = fit(model, Points(), 9, optimizer, callback=callback if first else None, **settings)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
    class Odd(Exception):
        def __init__(self, one, two): super().__init__("no pickle of mine comes back")
    def fails(step, history, model):
        raise Odd(1, 2)
    try:
        fit(model, Points(), 3, optimizer, callback=fails, **settings)
    except Exception as error:
        said = type(error).__name__
    with open(f"{path}.{fabric.global_rank}", "w") as file:
        file.write(repr((len(calls), history.loss, weights, said)))

if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    main(fabric, sys.argv[1])
"""


@pytest.mark.slow
def test_of_two_processes_the_first_decides_for_both(tmp_path: Path) -> None:
    """Called in the first alone; the end, the rates and an error reach the other."""
    pytest.importorskip("lightning_fabric")
    (tmp_path / "train.py").write_text(DISTRIBUTED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (calls, losses, weights, said), (none, others, same_weights, told) = (
        eval((tmp_path / f"out.{rank}").read_text()) for rank in range(2)
    )
    assert (calls, none) == (4, 0)
    assert (said, told) == ("Odd", "RuntimeError")
    assert len(losses) == 4 and losses == others and weights == same_weights

    from mlbook.metric import PrototypicalNetwork
    from mlbook.nets import MLP

    torch.manual_seed(0)
    alone = PrototypicalNetwork(MLP(2, 8, 3)).double()
    optimizer = torch.optim.SGD(alone.parameters(), 1e-2, momentum=0.9)

    def halve(step: int, history: Any, model: nn.Module) -> None:
        optimizer.param_groups[0]["lr"] *= 0.5

    expected = fit(alone, Points(), 4, optimizer, progress=False, callback=halve)
    assert losses == pytest.approx(expected.loss, rel=1e-9)
