from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    Convolutions,
    Point,
    descend,
    gradients_agree,
    half_squared,
    meta_loss,
    points,
    task,
    tasks_are_independent,
)
from torch import Tensor, nn

from mlbook import Episode, evaluate, fit
from mlbook.data import sinusoids
from mlbook.nets import MLP, Conv4
from mlbook.optimization import ANIL, MAML, MetaSGD, Reptile


def network(ways: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, ways)).double()


def convolutions(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Convolutions().double()


def normalised(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    return nn.Sequential(nn.Linear(5, 6), norm, nn.Tanh(), nn.Linear(6, 3)).double()


def gradient(model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model.loss(*batch).backward()  # type: ignore[operator]
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


def close(a: dict[str, Tensor], b: dict[str, Tensor], atol: float = 1e-12) -> None:
    assert a.keys() == b.keys()
    for k in a:
        torch.testing.assert_close(a[k], b[k], atol=atol, rtol=0)


# What every gradient-based method shares is tested once, on all of them.
METHODS: dict[str, Callable[..., nn.Module]] = {
    "maml": lambda net, rate=0.3, steps=2, **options: MAML(net, rate, steps, **options),
    "first_order": lambda net, rate=0.3, steps=2, **options: MAML(
        net, rate, steps, first_order=True, **options
    ),
    "meta_sgd": lambda net, rate=0.3, steps=2, **options: MetaSGD(net, rate, steps, **options),
    "reptile": lambda net, rate=0.05, steps=3, **options: Reptile(
        net, rate, steps, batch=4, **options
    ).double(),
    "reptile_sgd": lambda net, rate=0.3, steps=3, **options: Reptile(
        net, rate, steps, batch=4, inner_optimizer="sgd", **options
    ).double(),
    "anil": lambda net, rate=0.3, steps=2, **options: ANIL(
        nn.Sequential(*list(net)[:-1]), net[-1], rate, steps, **options
    ),
}
every_method = pytest.mark.parametrize("method", METHODS)
vectorised_methods = pytest.mark.parametrize("method", [m for m in METHODS if m != "anil"])
GRADIENTS = ("maml", "first_order", "meta_sgd", "anil")  # whose loss is that of the queries


@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_closed_forms_on_quadratics(steps: int, vectorize: bool) -> None:
    """θ_S = a + (1-α)^S (θ-a); MAML's gradient is (1-α)^S (θ_S - b), the first-order one θ_S - b."""
    sx, sy, qx, qy, a, b = points()
    theta, alpha = torch.tensor([1.5, -0.7], dtype=torch.float64), 0.3
    after = a + (1 - alpha) ** steps * (theta - a)
    expected = {False: (1 - alpha) ** steps * (after - b), True: after - b}
    for first_order, gradients in expected.items():
        net = Point(*theta.tolist())
        model = MAML(net, alpha, steps, first_order, half_squared, vectorize)
        got = gradient(model, sx, sy, qx, qy)["net.theta"]
        torch.testing.assert_close(got, gradients.mean(0), atol=1e-10, rtol=0)
        other = expected[not first_order].mean(0)
        assert (got - other).abs().min() > 1e-2, "one of the two orders stands for the other"
        j = sum(half_squared(after[i].expand(4, -1), qy[i]).item() for i in range(3)) / 3
        assert model.loss(sx, sy, qx, qy).item() == pytest.approx(j, abs=1e-10)
        scores = model.adapt(sx, sy)(qx)
        torch.testing.assert_close(scores, after[:, None].expand(-1, 4, -1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
def test_the_gradient_by_finite_differences_of_a_plain_loop(
    steps: int, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    net, batch = network(), task()
    if loss is F.mse_loss:
        batch = (batch[0], batch[0][..., :3].sin(), batch[2], batch[2][..., :3].sin())
    model = MAML(net, 0.4, steps, loss=loss)
    plain = meta_loss(net, batch, loss, steps, 0.4)
    assert model.loss(*batch).item() == pytest.approx(plain, abs=1e-12)
    found = gradients_agree(
        model, *batch, coordinates=8, value=lambda: meta_loss(net, batch, loss, steps, 0.4)
    )
    first = gradient(MAML(net, 0.4, steps, True, loss), *batch)
    assert max((found[k] - first[k]).abs().max() for k in found) > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_the_first_order_gradient_is_that_of_the_queries_where_descent_ended(steps: int) -> None:
    net, batch = network(), task()
    model = MAML(net, 0.4, steps, first_order=True)
    expected = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
    rates: dict[str, Tensor | float] = dict.fromkeys(expected, 0.4)
    for sx, sy, qx, qy in zip(*batch, strict=True):
        adapted = descend(net, sx, sy, F.cross_entropy, steps, rates)
        F.cross_entropy(adapted(qx), qy).backward()  # type: ignore[no-untyped-call]
        for k, p in adapted.named_parameters():
            assert p.grad is not None
            expected[k] += p.grad / 2
    close(gradient(model, *batch), {f"net.{k}": g for k, g in expected.items()})


@vectorised_methods
@pytest.mark.parametrize("net", [network, normalised, convolutions, "Conv4"])
def test_a_loop_equals_vmap(method: str, net: Callable[[], nn.Module] | str) -> None:
    if callable(net):
        make, x = net, (1, 8, 8) if net is convolutions else (5,)
    else:
        x = (1, 16, 16)

        def make() -> nn.Module:
            torch.manual_seed(0)
            body = Conv4(hidden=4, stride=2, pools=0, track_running_stats=False)
            return nn.Sequential(body, nn.Linear(4, 3)).double()

    batch = task(t=3, x=x)
    loop, at_once = (METHODS[method](make(), vectorize=v) for v in (False, True))
    with torch.no_grad():
        for transductive in (True, False):
            a, b = (
                m.adapt(*batch[:2], transductive=transductive)(batch[2]) for m in (loop, at_once)
            )
            torch.testing.assert_close(a, b, atol=1e-11, rtol=0)
    assert loop.loss(*batch).item() == pytest.approx(at_once.loss(*batch).item(), abs=1e-12)
    if method != "reptile":  # Adam makes steps of full length out of rounding errors
        close(gradient(loop, *batch), gradient(at_once, *batch), atol=1e-11)


@pytest.mark.parametrize("method", [*GRADIENTS, "reptile_sgd"])
@pytest.mark.parametrize("net", [network, convolutions])
@pytest.mark.parametrize("size", [1, 2])
def test_slices_of_a_batch_give_the_same_step(
    method: str, net: Callable[[], nn.Module], size: int
) -> None:
    tasks = [Episode(*task(t=3, shots=2, x=(1, 8, 8) if net is convolutions else (5,)))]
    steps = []
    for tasks_per_backward in (None, size):
        model = METHODS[method](net())
        sgd = torch.optim.SGD(model.parameters(), 1.0)
        history = fit(
            model,
            tasks,
            1,
            sgd,
            tasks_per_backward=tasks_per_backward,
            progress=False,
            device="cpu",
        )
        steps.append((dict(model.named_parameters()), history.loss[0]))
    close(steps[0][0], steps[1][0], atol=1e-11)
    assert steps[0][1] == pytest.approx(steps[1][1], abs=1e-11)


def test_convolutions_run_in_a_loop_on_a_cpu_and_all_else_at_once() -> None:
    seen: list[bool] = []

    class Looking(nn.Module):
        """Tells whether all tasks pass through it at once."""

        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch._C._functorch.is_batchedtensor(x))
            return x

    batch, pictures = task(), task(x=(1, 8, 8))
    for model in (MAML, MetaSGD, Reptile):
        for net, examples, vectorize, at_once in (
            (convolutions(), pictures, None, False),
            (convolutions(), pictures, True, True),
            (network(), batch, None, True),
            (network(), batch, False, False),
        ):
            seen.clear()
            looked = nn.Sequential(Looking(), net)
            model(looked, vectorize=vectorize).double().loss(*examples)
            assert seen and set(seen) == {at_once}


@every_method
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("net", [normalised, convolutions])
def test_tasks_at_once_equal_tasks_one_by_one(
    method: str, net: Callable[[], nn.Module], train: bool
) -> None:
    sx, sy, qx, qy = task(t=3, x=(1, 8, 8) if net is convolutions else (5,))
    model = METHODS[method](net())
    tasks_are_independent(model, sx, sy, qx, train)
    model.eval()  # where Reptile's optimizer is left as it is
    losses = [
        model.loss(sx[i : i + 1], sy[i : i + 1], qx[i : i + 1], qy[i : i + 1]) for i in range(3)
    ]
    together = model.loss(sx, sy, qx, qy).item()
    assert together == pytest.approx(sum(loss.item() for loss in losses) / 3, abs=1e-12)


@every_method
def test_only_transductive_answers_depend_on_the_other_queries(method: str) -> None:
    sx, sy, qx, _ = task(queries=6)
    model = METHODS[method](normalised()).eval()
    with torch.no_grad():
        for transductive in (True, False):
            learner = model.adapt(sx, sy, transductive=transductive)
            few, all_of_them = learner(qx[:, :3]), learner(qx)[:, :3]
            assert torch.allclose(few, all_of_them, atol=1e-12) != transductive
        # a query alone is answered in the company of the support set
        alone = model.adapt(sx, sy, transductive=False)(qx)
        together = model.adapt(sx, sy)
        for q in range(6):
            company = torch.cat([sx, qx[:, q : q + 1]], 1)
            torch.testing.assert_close(alone[:, q], together(company)[:, -1], atol=1e-12, rtol=0)
        # without batch norm there is nothing to share
        model = METHODS[method](network())
        a, b = (model.adapt(sx, sy, transductive=t)(qx) for t in (True, False))
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


class Unusual(nn.Module):
    """A weight in two places, a buffer, a parameter without use; and one that is frozen if asked."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 5))
        self.unused = nn.Parameter(torch.ones(4))
        self.first.bias.requires_grad_(not frozen)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.get_buffer("scale")
        return self.last(scale * self.second(self.first(x).tanh()).tanh())  # type: ignore[no-any-return]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("vectorize", [False, True])
def test_networks_with_shared_frozen_and_unused_parameters_and_buffers(
    vectorize: bool, frozen: bool
) -> None:
    torch.manual_seed(0)
    net, batch = Unusual(frozen).double(), task()
    rates: dict[str, Tensor | float] = dict.fromkeys(dict(net.named_parameters()), 0.4)
    assert "second.weight" not in rates
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    for steps in (1, 3):
        plain = [
            descend(net, x, y, F.cross_entropy, steps, rates)
            for x, y in zip(*batch[:2], strict=True)
        ]
        expected = torch.stack([f(q) for f, q in zip(plain, batch[2], strict=True)])
        for model in (
            MAML(net, 0.4, steps, vectorize=vectorize),
            MAML(net, 0.4, steps, first_order=True, vectorize=vectorize),
            MetaSGD(net, 0.4, steps, vectorize=vectorize).double(),
            Reptile(net, 0.4, steps, 99, "sgd", vectorize=vectorize),
        ):
            got = model.adapt(*batch[:2])(batch[2])
            torch.testing.assert_close(
                got, expected, atol=1e-7 if isinstance(model, MetaSGD) else 1e-12, rtol=0
            )
            slopes = gradient(model, *batch)
            assert ("net.first.bias" in slopes) != frozen
            assert "net.unused" not in slopes or not slopes["net.unused"].any()
            assert all(torch.equal(kept[k], v) for k, v in net.state_dict().items())
    net.unused.requires_grad_(False)  # it has no slope that could be compared
    value = lambda: meta_loss(net, batch, F.cross_entropy, 2, 0.4)  # noqa: E731
    gradients_agree(MAML(net, 0.4, 2, vectorize=vectorize), *batch, value=value)
    adam = Reptile(net, 0.01, 3, vectorize=vectorize).double()
    slopes = gradient(adam, *batch)
    assert ("net.first.bias" in slopes) != frozen
    assert slopes["net.first.weight"].any()


@every_method
def test_adapting_leaves_the_model_as_it_is_and_no_graph_behind(method: str) -> None:
    sx, sy, qx, _ = task()
    model = METHODS[method](network())
    before = copy.deepcopy(model.state_dict())
    for train in (True, False):
        model.train(train)
        with torch.no_grad():
            off = model.adapt(sx, sy, steps=7)(qx)
        on = model.adapt(sx, sy, steps=7)(qx)
        assert not off.requires_grad
        assert torch.equal(off, on)
        assert all(p.grad is None for p in model.parameters())
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_fifty_steps_of_adaptation_keep_no_activations() -> None:
    sx, sy, *_ = task()
    with torch.no_grad():
        theta = MAML(network(), 0.1).inner_loop(sx, sy, 50)
    nodes, seen = [p.grad_fn for p in theta.values()], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [n for n, _ in node.next_functions]
    assert {type(n).__name__ for n in seen} <= {"AddBackward0", "ExpandBackward0", "AccumulateGrad"}


@every_method
def test_no_steps_are_the_network_itself(method: str) -> None:
    sx, sy, qx, _ = task()
    net = network()
    torch.testing.assert_close(METHODS[method](net).adapt(sx, sy, steps=0)(qx), net(qx))


@every_method
def test_fifty_steps_stay_finite_or_say_which_one_did_not(method: str) -> None:
    sx, sy, qx, _ = task(shots=1)
    model = METHODS[method](network()).eval()
    with torch.no_grad():
        scores = model.adapt(sx, sy, steps=50)(qx)
        assert scores.isfinite().all()
        right = model.adapt(sx, sy, steps=50)(sx).argmax(-1) == sy
        assert right.double().mean() > 0.9
        sx[0, 0, 0] = math.nan
        with pytest.raises(FloatingPointError, match="inner step 1 "):
            model.adapt(sx, sy, steps=50)


def test_divergence_names_the_step_and_the_rate() -> None:
    """On a quadratic the distance grows by |1 - α| a step: 1e100, 1e200, 1e300, and no more."""
    sx, sy, qx, qy, *_ = points()
    head = nn.Sequential(nn.Identity(), Point(1.0, 2.0))
    for model in (
        MAML(Point(1.0, 2.0), 1e100, loss=half_squared),
        MAML(Point(1.0, 2.0), 1e100, loss=half_squared, first_order=True),
        ANIL(head[0], head[1], 1e100, loss=half_squared),
        MetaSGD(Point(1.0, 2.0), 1e100, loss=half_squared),
        Reptile(Point(1.0, 2.0), 1e100, 5, 9, "sgd", loss=half_squared),
    ):
        learner = model.adapt(sx, sy, steps=3)
        assert learner(qx).isfinite().all()
        with (
            pytest.raises(FloatingPointError, match=r"inner step 4 diverged") as error,
            torch.no_grad(),
        ):
            model.adapt(sx, sy, steps=50)
        assert "1e+100" in str(error.value) or isinstance(model, MetaSGD)
        model.steps = 5
        with pytest.raises(FloatingPointError, match=r"inner step 4 diverged"):
            model.loss(sx, sy, qx, qy)


@every_method
def test_accuracy_before_and_after(method: str) -> None:
    sx, sy, qx, qy = task(queries=5)
    model = METHODS[method](network()).eval()
    model.loss(sx, sy, qx, qy)
    if method in GRADIENTS:
        before, after = model.adapt(sx, sy, steps=0)(sx), model.adapt(sx, sy)(qx)
        pairs = {"accuracy before": (before, sy), "accuracy": (after, qy)}
        for name, (scores, y) in pairs.items():
            assert model.metrics[name].item() == pytest.approx(
                (scores.argmax(-1) == y).double().mean().item()
            )
    assert not any(m.requires_grad for m in model.metrics.values())


@every_method
def test_regression_by_fit_and_evaluate(method: str) -> None:
    torch.manual_seed(0)
    net = MLP(1, 20, 20, 1)
    model = METHODS[method](net, rate=0.01, steps=1, loss=F.mse_loss).float()
    history = fit(model, sinusoids(5, 5, tasks=4), 3, progress=False, device="cpu")
    assert "accuracy" not in history.metrics
    assert history.loss[0] > 0.1
    test = sinusoids(5, 5, tasks=4, seed=1)
    result = [
        evaluate(model, test, 8, steps=s, transductive=t) for s in (0, 5) for t in (True, False)
    ]
    assert result[0].unit == "squared error"
    assert result[0].mean == pytest.approx(result[1].mean, rel=1e-5)
    assert result[2].mean == pytest.approx(result[3].mean, rel=1e-5)
    assert result[2].mean < result[0].mean


@pytest.mark.parametrize(
    ("method", "steps"), [("maml", 500), ("reptile", 500), ("meta_sgd", 100), ("anil", 100)]
)
def test_memory_does_not_grow(method: str, steps: int) -> None:
    """What a step leaves behind would show: in the tensors alive, and in the memory of the process."""
    resource = pytest.importorskip("resource")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 128), nn.Tanh(), nn.Linear(128, 3))
    model = METHODS[method](net).float()
    batch = [t.float() if t.is_floating_point() else t for t in task(t=2, shots=20, queries=60)]
    sgd = torch.optim.SGD(model.parameters(), 1e-3)

    def alive() -> int:
        gc.collect()
        return sum(type(o) is Tensor for o in gc.get_objects())

    def peak() -> int:
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB on Linux

    def train(steps: int) -> None:
        for _ in range(steps):
            sgd.zero_grad()
            model.loss(*batch).backward()
            sgd.step()
        model.adapt(*batch[:2])(batch[2])

    train(20)
    tensors, memory = alive(), peak()
    train(steps)
    assert alive() <= tensors
    # 2 tasks of 60 examples at 128 units make 60 KiB an activation, and a graph keeps several
    assert peak() - memory < 60 * steps


def test_mistakes_are_named() -> None:
    running = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    for method in METHODS.values():
        with pytest.raises(ValueError, match="steps=0"):
            method(network(), steps=0)
        with pytest.raises(ValueError, match="track_running_stats=False"):
            method(running)
    with pytest.raises(ValueError, match="inner_optimizer='Adam'"):
        Reptile(network(), inner_optimizer="Adam")
