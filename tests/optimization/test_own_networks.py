"""What strangers bring: layers that vmap cannot batch, frozen parts, state, numbers for targets, a query alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from oracles import Convolutions, descend, gradients_agree, meta_loss, task
from torch import Tensor, nn

from mlbook import Episode, evaluate, fit
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.nets import Conv4
from mlbook.optimization import ANIL, MAML, MetaSGD, Reptile

Make = Callable[..., nn.Module]
METHODS: dict[str, Make] = {
    "maml": MAML,
    "first_order": lambda net, *a, **o: MAML(net, *a, first_order=True, **o),
    "meta_sgd": lambda net, *a, **o: MetaSGD(net, *a, **o).double(),
    "reptile": lambda net, *a, **o: Reptile(net, *a, inner_optimizer="sgd", batch=99, **o),
    "anil": lambda net, *a, **o: ANIL(nn.Identity(), net, *a, **o),  # all of it is head
}
every_method = pytest.mark.parametrize("method", METHODS)
HAVE_VECTORIZE = ("maml", "first_order", "meta_sgd", "reptile")


class Sequence(nn.Module):
    """Sequences `[B, 4, 5]` to scores `[B, 3]` by a recurrent or an attending layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.into, self.out = kind, nn.Linear(5, 8), nn.Linear(8, 3)
        self.layer: nn.Module = {
            "lstm": lambda: nn.LSTM(8, 8, batch_first=True),
            "gru": lambda: nn.GRU(8, 8, batch_first=True),
            "encoder": lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 1
            ),
            "attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
            "fused": lambda: nn.Linear(8, 24),
        }[kind]()

    def forward(self, x: Tensor) -> Tensor:
        z = self.into(x)
        if self.kind == "attention":
            z = self.layer(z, z, z, need_weights=False)[0]
        elif self.kind == "fused":
            q, k, v = self.layer(z)[:, None].chunk(3, -1)
            z = F.scaled_dot_product_attention(q, k, v)[:, 0]
        else:
            z = self.layer(z)
            z = z if isinstance(z, Tensor) else z[0]
        return self.out(z.mean(1))  # type: ignore[no-any-return]


def sequence(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return Sequence(kind).double()


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *more, nn.Tanh(), nn.Linear(6, 3)).double()


def adapted(net: nn.Module, rate: float, steps: int, sx: Tensor, sy: Tensor, qx: Tensor) -> Tensor:
    """A hand-written loop: every task trains a copy of the network, which then answers."""
    rates = dict.fromkeys(dict(net.named_parameters()), rate)
    ends = [descend(net, *t, F.cross_entropy, steps, rates) for t in zip(sx, sy, strict=True)]
    with torch.no_grad():
        return torch.stack([end(x) for end, x in zip(ends, qx, strict=True)])


# torch's own, about speed
quiet = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:There is a performance")


@quiet
@every_method
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "gru", "encoder", "attention", "fused"])
def test_layers_that_vmap_cannot_batch_equal_a_plain_loop(
    method: str, kind: str, train: bool
) -> None:
    net, batch = sequence(kind), task(x=(4, 5))
    for vectorize in (None, True) if method in HAVE_VECTORIZE else (None,):
        options = {} if vectorize is None else {"vectorize": vectorize}
        model = METHODS[method](net, 0.3, 2, **options).train(train)
        loss = model.loss(*batch)
        if method != "reptile":
            plain = meta_loss(net, batch, F.cross_entropy, 2, 0.3)
            assert loss.item() == pytest.approx(plain, abs=1e-8)
        loss.backward()
        assert all(p.grad is not None for p in net.parameters())
        net.zero_grad()
        with torch.no_grad():
            got = model.adapt(*batch[:2])(batch[2])
        torch.testing.assert_close(got, adapted(net, 0.3, 2, *batch[:3]), atol=1e-7, rtol=0)


@quiet
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", ["gru", "attention", "fused"])
def test_second_derivatives_of_such_layers_by_finite_differences(kind: str, train: bool) -> None:
    net, batch = sequence(kind).train(train), task(x=(4, 5))
    value = lambda: meta_loss(net, batch, F.cross_entropy, 1, 0.3)  # noqa: E731
    gradients_agree(MAML(net, 0.3).train(train), *batch, coordinates=2, value=value)


@every_method
def test_fit_and_evaluate_go_through_with_an_encoder(method: str) -> None:
    tasks = [Episode(*task(x=(4, 5), seed=s)) for s in range(2)]
    model = METHODS[method](sequence("attention"), 0.1, 1)
    fit(model, tasks, 2, torch.optim.SGD(model.parameters(), 0.1), progress=False, device="cpu")
    assert 0 <= evaluate(model, tasks, n=4).mean <= 1


@every_method
def test_numbers_for_targets_with_the_loss_of_labels_are_named(method: str) -> None:
    sx, _, qx, _ = task()
    model = METHODS[method](network())
    for width in (1, 2, 3):
        y = torch.randn(2, 6, width, dtype=torch.float64)
        with pytest.raises(ValueError, match=r"loss=(F\.)?mse_loss"):
            model.loss(sx, y, qx, y[:, :4])
        with pytest.raises(ValueError, match=r"loss=(F\.)?mse_loss"):
            model.adapt(sx, y)
    assert METHODS[method](network(), loss=F.mse_loss).loss(sx, y, qx, y[:, :4]).item() > 0.1


@every_method
def test_what_is_frozen_stays_and_a_network_that_is_all_frozen_is_named(method: str) -> None:
    net, batch = network(), task()
    net[0].requires_grad_(False)
    model = METHODS[method](net, 0.3, 3)
    torch.testing.assert_close(
        model.adapt(*batch[:2])(batch[2]), adapted(net, 0.3, 3, *batch[:3]), atol=1e-7, rtol=0
    )
    net.requires_grad_(False)
    for call in (lambda: model.adapt(*batch[:2]), lambda: model.loss(*batch)):
        with pytest.raises(ValueError, match=r"0 .*not frozen"):
            call()


@every_method
@pytest.mark.parametrize("steps", [-1, 1.5, float("nan"), float("inf")])
def test_steps_are_whole_numbers(method: str, steps: float) -> None:
    with pytest.raises(ValueError, match=f"steps={steps}"):
        METHODS[method](network()).adapt(*task()[:2], steps=steps)
    with pytest.raises(ValueError, match=f"steps={steps}"):
        METHODS[method](network(), 0.1, steps)
    if method == "reptile":
        with pytest.raises(ValueError, match=f"batch={steps}"):
            Reptile(network(), batch=steps)  # type: ignore[arg-type]


@every_method
@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -float("inf")])
def test_rates_are_finite(method: str, rate: float) -> None:
    with pytest.raises(ValueError, match=f"inner_lr={rate}"):
        METHODS[method](network(), rate)


@every_method
@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize("picture", [True, False])
def test_learners_name_another_number_of_tasks_and_answer_no_query_with_no_scores(
    method: str, transductive: bool, picture: bool
) -> None:
    sx, sy, qx, _ = task(t=2, x=(1, 8, 8) if picture else (5,))
    torch.manual_seed(0)
    net = (
        Convolutions().double()
        if picture
        else network(nn.BatchNorm1d(6, track_running_stats=False))
    )
    learner = METHODS[method](net, 0.1, 1).adapt(sx, sy, transductive=transductive)
    assert learner(qx[:, :0]).shape == (2, 0, 3)
    for other in (qx[:1], torch.cat([qx, qx])):
        with pytest.raises(ValueError):
            learner(other)
    with pytest.raises(ValueError):
        METHODS[method](net, 0.1, 1).adapt(sx[:1], sy[:1], transductive=transductive)(qx)


@every_method
def test_a_single_query_is_answered_in_the_company_of_the_support_set(method: str) -> None:
    sx, sy, qx, _ = task(queries=6)
    model = METHODS[method](network(nn.BatchNorm1d(6, track_running_stats=False)), 0.1, 2)
    with torch.no_grad():
        learner = model.adapt(sx, sy)
        one_by_one = torch.cat([learner(qx[:, q : q + 1]) for q in range(6)], 1)
        alone = model.adapt(sx, sy, transductive=False)(qx)
        torch.testing.assert_close(one_by_one, alone, atol=0, rtol=0)
        assert not torch.allclose(learner(qx), alone)  # a batch shares its statistics, as ever


@every_method
def test_a_learner_keeps_its_answers_when_the_callers_tensors_are_filled_anew(method: str) -> None:
    sx, sy, qx, _ = task()
    model = METHODS[method](network(nn.BatchNorm1d(6, track_running_stats=False)), 0.1, 2)
    for transductive in (True, False):
        x, y = sx.clone(), sy.clone()
        learner = model.adapt(x, y, transductive=transductive)
        before = learner(qx[:, :1])
        x.normal_()
        y.zero_()
        torch.testing.assert_close(learner(qx[:, :1]), before, atol=0, rtol=0)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d])
@every_method
def test_running_statistics_are_refused_with_remedies_that_work(
    method: str, norm: type[nn.Module]
) -> None:
    batch = task()
    for flag_is_set_later in (False, True):
        layer = norm(6, track_running_stats=True)
        if flag_is_set_later:
            layer.track_running_stats = False  # type: ignore[assignment]
        with pytest.raises(ValueError, match="track_running_stats=False"):
            METHODS[method](network(layer))
    built = network(nn.BatchNorm1d(6, track_running_stats=False))
    replaced = network(nn.BatchNorm1d(6))
    torch.func.replace_all_batch_norm_modules_(replaced)
    losses = [METHODS[method](net, 0.1, 1).eval().loss(*batch) for net in (built, replaced)]
    torch.testing.assert_close(*losses, atol=0, rtol=0)
    with pytest.raises(ValueError, match="track_running_stats=False"):
        ANIL(network(nn.BatchNorm1d(6)), nn.Linear(3, 3))


class Counting(nn.Module):
    """Writes into a buffer as it runs: how often, or a mean of what it saw."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean = mean
        self.register_buffer("seen", torch.zeros(6 if mean else ()))

    def forward(self, x: Tensor) -> Tensor:
        if self.mean:
            self.seen.mul_(0.9).add_(0.1 * x.detach().mean(0))
            return x - self.seen
        self.seen += 1
        return x


@every_method
@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_a_network_that_keeps_state_in_a_buffer_is_named(
    method: str, mean: bool, train: bool
) -> None:
    model, batch = METHODS[method](network(Counting(mean)), 0.1, 1).train(train), task()
    for call in (lambda: model.loss(*batch), lambda: model.adapt(*batch[:2])(batch[2])):
        with pytest.raises(ValueError, match="buffer"):
            call()


@every_method
def test_buffers_that_are_only_read_do_no_harm(method: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.linspace(-1, 1, 6))
            self.register_buffer("std", torch.linspace(0.5, 2, 6))

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) / self.std  # type: ignore[no-any-return]

    net, batch = network(Scaled()).double(), task()
    got = METHODS[method](net, 0.3, 2).adapt(*batch[:2])(batch[2])
    torch.testing.assert_close(got, adapted(net, 0.3, 2, *batch[:3]), atol=1e-7, rtol=0)


@every_method
def test_spectral_norm_is_named_in_training_and_adapts_like_a_plain_loop_afterwards(
    method: str,
) -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
    net, batch = network(layer), task()
    model = METHODS[method](net, 0.3, 2)
    with pytest.raises(ValueError, match="buffer"):  # it improves its vector at every pass
        model.train().loss(*batch)
    got = model.eval().adapt(*batch[:2])(batch[2])
    torch.testing.assert_close(got, adapted(net.eval(), 0.3, 2, *batch[:3]), atol=1e-7, rtol=0)


@quiet
@every_method
def test_weight_norm_is_adapted_in_its_two_parts(method: str) -> None:
    torch.manual_seed(0)
    net, batch = network(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))), task()
    got = METHODS[method](net, 0.3, 2).adapt(*batch[:2])(batch[2])
    torch.testing.assert_close(got, adapted(net, 0.3, 2, *batch[:3]), atol=1e-7, rtol=0)


@every_method
def test_a_layer_without_a_shape_yet_is_refused_and_works_after_one_pass(method: str) -> None:
    net, batch = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.Linear(6, 3)), task()
    with pytest.raises((ValueError, RuntimeError), match="uninitialized"):  # torch's own words
        METHODS[method](net, 0.3, 2).loss(*batch)
    net.double()(batch[0][0])
    assert METHODS[method](net, 0.3, 2).loss(*batch).isfinite()


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), x


@pytest.mark.parametrize("method", [m for m in METHODS if m != "reptile"])
@pytest.mark.parametrize("vectorize", [None, False])
def test_a_network_that_returns_more_than_scores_is_named(
    method: str, vectorize: bool | None
) -> None:
    options = {"vectorize": vectorize} if method in HAVE_VECTORIZE else {}
    with pytest.raises(ValueError, match="tuple: return one tensor"):
        METHODS[method](Pair().double(), **options).loss(*task())
    with pytest.raises(ValueError, match="tuple: return one tensor"):
        ANIL(Pair().double(), nn.Linear(3, 3).double()).loss(*task())


@every_method
def test_a_fault_of_the_network_itself_keeps_its_own_words(method: str) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        METHODS[method](network()).loss(*task(x=(7,)))


def test_names_that_differ_in_a_dot_alone_have_optimizer_states_of_their_own() -> None:
    """`a.b.weight` and `a_b.weight` both become `a_b_weight`: Adam must not mix them."""

    class Net(nn.Module):
        def __init__(self, second: str) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.ModuleDict({"a": nn.Linear(5, 5)})
            self.second = second
            self.add_module(second, nn.Linear(5, 5))
            self.last = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv["a"](x).tanh()
            return self.last(self.get_submodule(self.second)(x).tanh())  # type: ignore[no-any-return]

    answers = []
    for name in ("conv_a", "other"):
        model = Reptile(Net(name).double(), 0.05, 3, 4).double()
        sgd = torch.optim.SGD(model.net.parameters(), 0.5)
        for seed in range(5):
            sgd.zero_grad()
            model.loss(*task(seed=seed)).backward()
            sgd.step()
        assert len(set(model.v.values())) == len(list(model.net.parameters())) == 6
        again = Reptile(Net(name).double(), 0.05, 3, 4).double()
        again.load_state_dict(model.state_dict())
        answers += [m.adapt(*task()[:2])(task()[2]) for m in (model, again)]
    for other in answers[1:]:
        torch.testing.assert_close(other, answers[0], atol=1e-12, rtol=0)


def test_rates_of_metasgd_belong_to_the_parameters_it_was_built_with() -> None:
    net = network()
    model = MetaSGD(net)
    net[0].bias.requires_grad_(False)
    with pytest.raises(ValueError, match="3 not frozen, 4 rates"):
        model.loss(*task())


@pytest.mark.parametrize("method", [*METHODS, "meta_lstm"])
def test_a_copy_of_a_trained_model_answers_alike(method: str) -> None:
    sx, sy, qx, qy = task()
    model = MetaLSTM(network()).double() if method == "meta_lstm" else METHODS[method](network())
    model.loss(sx, sy, qx, qy).backward()
    again = copy.deepcopy(model)
    torch.testing.assert_close(again.adapt(sx, sy)(qx), model.adapt(sx, sy)(qx), atol=0, rtol=0)


@pytest.mark.parametrize("make", [MAML, MetaSGD])
def test_a_loss_that_vmap_cannot_batch_goes_task_by_task(make: Make) -> None:
    def hinge(scores: Tensor, y: Tensor) -> Tensor:
        wrong = scores[scores.argmax(-1) != y]  # how many these are is known to the data alone
        return F.multi_margin_loss(scores, y) + 0 * wrong.sum()

    batch = task()
    losses = [
        make(network(), 0.1, 1, loss=loss).double().loss(*batch)
        for loss in (hinge, lambda s, y: F.multi_margin_loss(s, y))
    ]
    torch.testing.assert_close(*losses)


def defaults(make: Callable[..., object]) -> dict[str, object]:
    import inspect

    return {
        k: p.default
        for k, p in inspect.signature(make).parameters.items()
        if p.default is not inspect.Parameter.empty
    }


def test_defaults_are_the_papers_or_a_documented_departure() -> None:
    # Finn et al. (2017), appendix A.1: 5-way Omniglot takes 1 step of 0.4, on a loss that their code sums over classes
    common = {"loss": F.cross_entropy, "vectorize": None}
    assert defaults(MAML) == {"inner_lr": 0.4, "steps": 1, "first_order": False, **common}
    # Raghu et al. (2020), appendix: the settings of MAML
    assert defaults(ANIL) == {"inner_lr": 0.4, "steps": 1, "loss": F.cross_entropy}
    # Li et al. (2017), section 3.3: 1 step; rates there start at random, here all alike (said in the docstring)
    assert defaults(MetaSGD) == {"inner_lr": 0.05, "steps": 1, **common}
    assert "paper draws" in (MetaSGD.__doc__ or "")
    # Nichol et al. (2018), table of Omniglot 5-way: inner Adam of 1e-3 with beta1 = 0, batches of 10, 5 steps
    omniglot = {"inner_lr": 1e-3, "steps": 5, "batch": 10, "inner_optimizer": "adam"}
    assert defaults(Reptile) == {**omniglot, **common}
    assert "the authors shuffle" in " ".join((Reptile.__doc__ or "").split())
    for method in (MAML, ANIL, MetaSGD, Reptile):
        assert defaults(method.adapt) == {"steps": None, "transductive": True}  # as in the papers


def test_adam_in_reptile_has_the_betas_of_the_paper() -> None:
    """β_1 = 0, β_2 = .999, ε = 1e-8: two steps on one coordinate, from the formulas."""

    class Dot(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.w

    x, y = torch.ones(1, 1, 1, dtype=torch.float64), torch.full((1, 1, 1), 2.0).double()
    model = Reptile(Dot(), 0.1, loss=lambda s, y: (s - y).square().mean() / 2).double()
    w, v = 0.5, 0.0
    for k in (1, 2):
        g = w - 2
        v = 0.999 * v + 0.001 * g * g
        w -= 0.1 * g / ((v / (1 - 0.999**k)) ** 0.5 + 1e-8)
    assert model.adapt(x, y, steps=2)(x).item() == pytest.approx(w, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_in_float64_all_is_float64(method: str) -> None:
    torch.manual_seed(0)
    body = Conv4(hidden=4, track_running_stats=False)
    net = nn.Sequential(body, nn.Linear(4, 3)).double()
    batch = task(x=(1, 28, 28))
    model = METHODS[method](net, 0.1, 1).double()
    loss = model.loss(*batch)
    assert loss.dtype == model.adapt(*batch[:2])(batch[2]).dtype == torch.float64
