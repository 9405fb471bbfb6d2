"""What every method that embeds and answers holds, whatever the network, the labels or the shapes it is given.

Each case is a mistake or a network that somebody met: the answer is the right one, or a ValueError that names the
offending value and the remedy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
import torch
from oracles import task
from torch import Tensor, nn

from mlbook.baselines import (
    BaselinePlusPlus,
    NearestNeighbour,
    PretrainedCentroids,
    RidgeAttributes,
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
)
from mlbook.nets import Conv4

WAYS, D = 3, 32  # an embedding of 32 numbers, or of two 4x4 maps
Build = Callable[[nn.Module], nn.Module]
METHODS: dict[str, Build] = {
    "prototypical": PrototypicalNetwork,
    "euclidean": lambda f: PrototypicalNetwork(f, "euclidean"),
    "cosine": lambda f: PrototypicalNetwork(f, "cosine", 10.0),
    "matching": MatchingNetwork,
    "full context": lambda f: MatchingNetwork(f, full_context=True, dim=D),
    "siamese": lambda f: SiameseNetwork(f, D),
    "relation": lambda f: RelationNetwork(nn.Sequential(f, Maps()), RelationModule(2, 4)),
    "hypernetwork": lambda f: HyperNetwork(f, D, 8),
    "in-context": lambda f: InContextTransformer(f, D, 5),
    "meta network": lambda f: MetaNetwork(f, D, WAYS, 8),
    "mann": lambda f: MANN(f, D, WAYS, 8, 9, 4, reads=2),
    "lstm": lambda f: LSTMControl(f, D, WAYS, 8),
    "centroids": lambda f: PretrainedCentroids(f, D, 7),
    "baseline++": lambda f: BaselinePlusPlus(f, D, 7),
    "pixels": lambda _: NearestNeighbour(),
}
SEQUENCES = {"mann", "lstm"}  # a class may still be to come, and the support has a loss of its own
ON_CLASSES = {"centroids", "baseline++", "pixels"}  # not trained on episodes
EPISODIC = [m for m in METHODS if m not in ON_CLASSES]
OF_SETS = [m for m in METHODS if m not in SEQUENCES]
every_method = pytest.mark.parametrize("name", METHODS)


class Maps(nn.Module):
    """Vectors of 32 numbers, or what holds as many, as two 4x4 maps."""

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), 2, 4, 4) if isinstance(z, Tensor) else z


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, D), nn.BatchNorm1d(D), nn.Tanh())


def build(name: str, embed: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return METHODS[name](small() if embed is None else embed)


def episode(dtype: torch.dtype = torch.float32, **how: int) -> tuple[Tensor, ...]:
    sx, sy, qx, qy = task(**how)
    return sx.to(dtype), sy, qx.to(dtype), qy


def scores(model: nn.Module, sx: Tensor, sy: Tensor, qx: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval().adapt(sx, sy)(qx)  # type: ignore[operator]


# --- data that is not as it should be -------------------------------------------------------------


@every_method
def test_a_task_without_the_tasks_dimension_is_named(name: str) -> None:
    sx, sy, _, _ = episode()
    with pytest.raises(ValueError, match=r"a single task is x\[None\], y\[None\]"):
        build(name, nn.Flatten()).adapt(sx[0], sy[0])
    with pytest.raises(ValueError, match=r"x\[None\], y\[None\]"):
        build(name, nn.Flatten()).adapt(sx, sy[:, :4])


@pytest.mark.parametrize("name", OF_SETS)
def test_a_class_that_one_task_lacks_is_named_with_that_task(name: str) -> None:
    sx, sy, qx, qy = episode()
    sy[1] = torch.where(sy[1] == 1, 2, sy[1])  # the batch has all three classes, the task has two
    with pytest.raises(ValueError, match="class 1 of task 1 has no support example"):
        build(name).adapt(sx, sy)
    if name not in ON_CLASSES:
        with pytest.raises(ValueError, match="class 1 of task 1 has no support example"):
            build(name).loss(sx, sy, qx, qy)


@pytest.mark.parametrize("name", OF_SETS)
def test_as_many_examples_as_classes_but_not_one_of_each(name: str) -> None:
    """Labels 0, 0, 2: for Meta Networks the number of examples alone looks like one shot."""
    sx, sy, _, _ = episode(shots=1)
    sy[0] = torch.tensor([0, 0, 2])
    with pytest.raises(ValueError, match="class 1 of task 0"):
        build(name).adapt(sx, sy)


@pytest.mark.parametrize("name", [m for m in OF_SETS if m not in ("in-context", "meta network")])
@pytest.mark.parametrize("labels", [[100, 101, 102], [0, 1, 2_000_000_000], [-1, 0, 1], [0, 1, 3]])
def test_other_labels_than_the_first_n_are_shown(name: str, labels: list[int]) -> None:
    sx, _, _, _ = episode(shots=1)
    shown = r"in \[" + ", ".join(map(str, labels))
    with pytest.raises(ValueError, match=shown + r"\]: label each task's classes 0\.\.N-1"):
        build(name).adapt(sx, torch.tensor([labels, labels]))


@pytest.mark.parametrize("name", ["in-context", "meta network", *sorted(SEQUENCES)])
def test_more_labels_than_the_network_was_built_for_are_named(name: str) -> None:
    sx, sy, _, _ = episode(ways=7)
    with pytest.raises(ValueError, match="ways="):
        build(name).adapt(sx, sy)
    with pytest.raises(ValueError):
        build(name).adapt(sx[:, :1], torch.full((2, 1), -1))


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_a_sequence_may_have_a_class_still_to_come(name: str) -> None:
    sx, _, qx, _ = episode()
    assert scores(build(name), sx, torch.zeros(2, 6, dtype=torch.long), qx).shape == (2, 4, WAYS)


@every_method
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type(name: str, dtype: torch.dtype) -> None:
    sx, sy, qx, qy = episode()
    model = build(name)
    expected = scores(model, sx, sy, qx)
    assert torch.equal(scores(model, sx, sy.to(dtype), qx), expected)
    if name not in ON_CLASSES:
        losses = []
        for y, answers in ((sy, qy), (sy.to(dtype), qy.to(dtype))):
            torch.manual_seed(1)
            losses.append(model.loss(sx, y, qx, answers).item())
        assert losses[0] == losses[1]


@pytest.mark.parametrize("name", [m for m in EPISODIC if m not in SEQUENCES])
def test_a_loss_of_no_queries_is_an_error_and_not_nan(name: str) -> None:
    sx, sy, qx, qy = episode()
    with pytest.raises(ValueError, match=r"x\[None\], y\[None\]"):
        build(name).loss(sx, sy, qx[:, :0], qy[:, :0])


def test_pairs_of_one_kind_have_no_loss() -> None:
    """Half the weight is with each kind: of one alone the mean over the other is that of nothing, NaN."""
    sx, sy, qx, qy = episode(t=1)
    model = build("siamese")
    for y, answers in ((torch.zeros_like(sy), torch.zeros_like(qy)), (sy, torch.full_like(qy, 9))):
        with pytest.raises(ValueError, match="all pairs are of one kind"):
            model.loss(sx, y, qx, answers)
    assert model.loss(sx, sy, qx[:, :1], qy[:, :1]).isfinite()  # one query has pairs of both kinds


# --- a learner --------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("tasks", [1, 3])
def test_a_learner_of_two_tasks_answers_for_two(name: str, tasks: int) -> None:
    sx, sy, qx, _ = episode()
    learner = build(name).eval().adapt(sx, sy)
    with pytest.raises(ValueError, match=f"queries of {tasks} tasks for a learner of 2"):
        learner(qx[:1].repeat(tasks, 1, 1))


@every_method
def test_what_was_learned_does_not_change_with_the_support_that_it_was_learned_from(
    name: str,
) -> None:
    sx, sy, qx, _ = episode()
    for embed in (small(), nn.Sequential(nn.Identity(), nn.Flatten())):  # one gives its input back
        if not isinstance(embed[0], nn.Linear):
            sx, qx = (torch.cat([x] * 7, -1)[..., :D].contiguous() for x in (sx, qx))
        x, y = sx.clone(), sy.clone()
        with torch.no_grad():
            learner = build(name, embed).eval().adapt(x, y)
            before = learner(qx).clone()
            x.normal_()
            y.copy_(sy.flip(1))
            assert torch.equal(learner(qx), before)


class Picky(nn.Module):
    """A network that cannot take an empty batch."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, x: Tensor) -> Tensor:
        assert len(x)
        return self.embed(x)


@every_method
@pytest.mark.parametrize("train", [False, True])
def test_no_queries_have_no_scores(name: str, train: bool) -> None:
    sx, sy, qx, _ = episode()
    model = build(name, Picky(small())).train(train)
    learner = model.adapt(sx, sy)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert learner(qx[:, :0]).shape == (2, 0, WAYS)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert learner(qx).shape == (2, 4, WAYS)


# --- networks of one's own ------------------------------------------------------------------------


class Other(nn.Module):
    """The small network, with what it gives in another form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.net, self.form = small(), form
        self.register_buffer("mean", torch.full((5,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x - self.mean)
        if self.form == "a tuple":
            return z, z  # type: ignore[return-value]
        if self.form == "[B, D, 1, 1]":
            return z[..., None, None]
        maps = z.view(-1, 2, 4, 4)
        return maps.to(memory_format=torch.channels_last) if self.form == "channels_last" else maps


@pytest.mark.parametrize("form", ["[B, D, 1, 1]", "[B, C, h, w]", "channels_last"])
@pytest.mark.parametrize("name", [m for m in METHODS if m != "pixels"])
def test_whatever_the_form_of_the_embedding_its_numbers_count(name: str, form: str) -> None:
    sx, sy, qx, qy = episode()
    plain, model = build(name, Other("[B, C, h, w]")), build(name, Other(form))
    plain.embed_of = nn.Flatten()
    model.load_state_dict(plain.state_dict())
    flat = build(name, nn.Sequential(Other("[B, C, h, w]"), nn.Flatten()))
    expected = scores(plain, sx, sy, qx)
    assert torch.equal(scores(model, sx, sy, qx), expected)
    flat.load_state_dict(
        dict(zip(flat.state_dict(), plain.state_dict().values(), strict=True))
    )  # named otherwise, in the same order
    torch.testing.assert_close(scores(flat, sx, sy, qx), expected)
    batch = (sx[0], sy[0]) if name in ON_CLASSES else (sx, sy, qx, qy)
    model.train().loss(*batch).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_maps_of_the_network_of_the_package() -> None:
    x, y = torch.rand(2, 3, 1, 28, 28), torch.arange(3).repeat(2, 1)
    model = PrototypicalNetwork(Conv4(hidden=4, pools=2, flatten=False))
    model.loss(x, y, x, y).backward()
    assert model.eval().adapt(x, y)(x).argmax(-1).equal(y)


@pytest.mark.parametrize("name", [m for m in METHODS if m != "pixels"])
def test_an_embedding_that_is_no_tensor_is_named(name: str) -> None:
    sx, sy, qx, qy = episode()
    model = build(name, Other("a tuple"))
    with pytest.raises(ValueError, match=r"returns .*tuple"):
        model.adapt(sx, sy)
    with pytest.raises(ValueError, match=r"returns .*tuple"):
        model.loss(*((sx[0], sy[0]) if name in ON_CLASSES else (sx, sy, qx, qy)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda f: SiameseNetwork(f), "dim=1600"),
        (lambda f: HyperNetwork(f), "dim=1600"),
        (lambda f: InContextTransformer(f), "dim=1600"),
        (lambda f: MatchingNetwork(f, full_context=True), "dim=1600"),
        (lambda f: MANN(f, 64), "dim=1600"),
        (lambda f: LSTMControl(f, 64), "dim=1600"),
        (lambda f: MetaNetwork(f, 64, 3), "dim=1600"),
        (lambda f: PretrainedCentroids(f, 64, 7), "dim=1600"),
        (lambda f: BaselinePlusPlus(f, 64, 7), "dim=1600"),
        (
            lambda _: RelationNetwork(
                Conv4(3, hidden=8, pools=2, flatten=False), RelationModule(8)
            ),
            "size=21",
        ),
    ],
)
def test_colour_pictures_of_84_by_84_are_told_what_to_set(build: Build, says: str) -> None:
    sx, sy, qx, qy = task(t=1, shots=1, queries=1, x=(3, 84, 84))
    model, sx, qx = build(Conv4(3)), sx.float(), qx.float()
    with pytest.raises(ValueError, match=says):
        model.adapt(sx, sy)(qx)
    of_classes = isinstance(model, PretrainedCentroids | BaselinePlusPlus)
    with pytest.raises(ValueError, match=says):
        model.loss(*((sx[0], sy[0]) if of_classes else (sx, sy, qx, qy)))


@pytest.mark.parametrize("name", EPISODIC)
def test_all_in_double_precision(name: str) -> None:
    """No number on the way is single: the loss moves by what a step of 1e-9 makes of its gradient."""
    batch = episode(torch.float64)
    model = build(name).double().eval()

    def value() -> Tensor:
        torch.manual_seed(1)
        return model.loss(*batch)  # type: ignore[operator]

    loss = value()
    assert loss.dtype == torch.float64
    assert model.adapt(*batch[:2])(batch[2]).dtype == torch.float64
    if (
        name == "meta network"
    ):  # whose gradient takes those of the support as constants: its own tests
        return
    weight = next(p for p in model.parameters() if p.dim() > 1)
    (g,) = torch.autograd.grad(loss, [weight])
    with torch.no_grad():
        i = tuple(int(j) for j in (g.abs() == g.abs().max()).nonzero()[0])
        weight[i] += 1e-6
        above = value().item()
        weight[i] -= 2e-6
        assert (above - value().item()) / 2e-6 == pytest.approx(g[i].item(), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["centroids", "baseline++", "pixels"])
def test_baselines_in_double_precision(name: str) -> None:
    sx, sy, qx, _ = episode(torch.float64)
    model = build(name).double()
    assert scores(model, sx, sy, qx).dtype == torch.float64
    if name != "pixels":
        model.train().loss(sx[0], sy[0]).backward()


@pytest.mark.parametrize("name", [m for m in METHODS if m != "pixels"])
def test_a_frozen_embedding_stays_and_the_rest_learns(name: str) -> None:
    embed = small().requires_grad_(False)
    model, batch = build(name, embed), episode()
    learned = [p for p in model.parameters() if p.requires_grad]
    batch = (batch[0][0], batch[1][0]) if name in ON_CLASSES else batch
    if learned:
        model.loss(*batch).backward()
        assert any(p.grad is not None and p.grad.any() for p in learned)
    assert all(p.grad is None for p in embed.parameters())


# --- one pass in training ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", EPISODIC)
def test_in_training_support_and_query_share_one_pass_and_its_statistics(name: str) -> None:
    """Batch norm sees each picture of the episode once, all of them together; and each only once in `adapt`."""
    calls: list[Tensor] = []
    embed = small()
    embed.register_forward_pre_hook(lambda _, x: calls.append(x[0].detach().clone()))
    model, (sx, sy, qx, qy) = build(name, embed), episode()
    model.train().loss(sx, sy, qx, qy)
    joint = torch.cat([sx, qx], 1).flatten(0, 1)
    assert [len(x) for x in calls] == [20]
    assert torch.equal(calls[0].sum(1).sort().values, joint.sum(1).sort().values)
    z = embed[0](joint)
    norm = embed[1]
    torch.testing.assert_close(norm.running_mean, 0.1 * z.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * z.var(0))
    calls.clear()
    learner = model.eval().adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert [len(x) for x in calls] == [12, 8, 8]


@pytest.mark.parametrize("name", EPISODIC)
def test_the_mode_of_the_network_is_left_as_it_is(name: str) -> None:
    for train in (True, False):
        model, (sx, sy, qx, qy) = build(name).train(train), episode()
        model.loss(sx, sy, qx, qy)
        model.adapt(sx, sy)(qx)
        assert all(m.training is train for m in model.modules())


# --- arguments ------------------------------------------------------------------------------------

f = nn.Identity()
nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        *[(lambda s=s: PrototypicalNetwork(f, scale=s), f"scale={s}") for s in (nan, inf, 0, -1)],
        *[(lambda s=s: MatchingNetwork(f, scale=s), f"scale={s}") for s in (nan, inf, 0, -1)],
        *[(lambda s=s: ZeroShotPrototypicalNetwork(f, f, s), f"scale={s}") for s in (nan, 0, -1)],
        *[(lambda s=s: BaselinePlusPlus(f, 2, 2, s), f"scale={s}") for s in (nan, inf, 0, -1)],
        *[(lambda s=s: MANN(f, 2, scale=s), f"scale={s}") for s in (nan, inf, 0, -1)],
        *[(lambda g=g: MANN(f, 2, gamma=g), f"gamma={g}") for g in (nan, -0.1, 1.1)],
        *[(lambda k=k: MatchingNetwork(f, True, steps=k), f"steps={k}") for k in (0, 1.5, nan)],
        (lambda: MatchingNetwork(f, True, dim=0), "dim=0"),
        (lambda: SiameseNetwork(f, 0), "dim=0"),
        (lambda: RelationModule(0), "channels=0"),
        (lambda: RelationModule(size=3), "size=3"),
        (lambda: RelationModule(size=(8, 3)), r"size=\(8, 3\)"),
        (lambda: RelationModule(hidden=0), "hidden=0"),
        (lambda: HyperNetwork(f, 0), "dim=0"),
        (lambda: HyperNetwork(f, hidden=0), "hidden=0"),
        (lambda: InContextTransformer(f, 0), "dim=0"),
        (lambda: InContextTransformer(f, ways=1), "ways=1"),
        (lambda: InContextTransformer(f, layers=0), "layers=0"),
        (lambda: InContextTransformer(f, heads=0), "heads=0"),
        (lambda: InContextTransformer(f, dim=4, heads=3), "heads=3"),
        (lambda: MetaNetwork(f, 0, 3), "dim=0"),
        (lambda: MetaNetwork(f, 4, 1), "ways=1"),
        (lambda: MetaNetwork(f, 4, 3, hidden=0), "hidden=0"),
        (lambda: MetaNetwork(f, 4, 3, units=0), "units=0"),
        (lambda: MANN(f, 0), "dim=0"),
        (lambda: MANN(f, 4, 1), "ways=1"),
        (lambda: MANN(f, 4, hidden=0), "hidden=0"),
        (lambda: MANN(f, 4, width=0), "width=0"),
        (lambda: MANN(f, 4, reads=0), "reads=0"),
        (lambda: MANN(f, 4, slots=3), "slots=3 .*reads=4"),
        (lambda: LSTMControl(f, 0), "dim=0"),
        (lambda: LSTMControl(f, 4, 1), "ways=1"),
        (lambda: LSTMControl(f, 4, hidden=0), "hidden=0"),
        (lambda: NeuralProcess(0), "x_dim=0"),
        (lambda: NeuralProcess(y_dim=0), "y_dim=0"),
        (lambda: NeuralProcess(dim=0), "dim=0"),
        (lambda: NeuralProcess(dim=6, attention=True, heads=4), "heads=4"),
        (lambda: PretrainedCentroids(f, 0, 2), "dim=0"),
        (lambda: PretrainedCentroids(f, 2, 0), "classes=0"),
        (lambda: BaselinePlusPlus(f, 0, 2), "dim=0"),
        (lambda: BaselinePlusPlus(f, 2, 0), "classes=0"),
        *[(lambda s=s: RidgeAttributes(s), f"strength={s}") for s in (nan, inf, 0, -1)],
    ],
)
def test_arguments_out_of_range_are_named_at_once(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("how", [{"steps": 1.5}, {"steps": -1}, {"rate": 0}, {"rate": nan}])
def test_steps_and_rate_of_baseline_plus_plus(how: dict[str, float]) -> None:
    sx, sy, _, _ = episode()
    ((argument, value),) = how.items()
    with pytest.raises(ValueError, match=f"{argument}={value}"):
        build("baseline++").adapt(sx, sy, **how)


def defaults() -> Iterator[tuple[object, str, object]]:
    """Every default of every method of these families, with where it is from."""
    yield PrototypicalNetwork, "distance", "squared"  # the paper, section 2.3
    yield PrototypicalNetwork, "scale", 1.0  # equation 2
    yield ZeroShotPrototypicalNetwork, "scale", 1.0  # sections 2.7 and 3.3
    yield MatchingNetwork, "full_context", False  # the paper has both
    yield MatchingNetwork, "dim", 64  # of Conv4 at 28x28: 64 filters, section 4.1.1
    yield MatchingNetwork, "steps", 3  # the paper leaves K open
    yield MatchingNetwork, "scale", None  # not the paper's 1 (section 2.1.1), which cannot be sure
    yield RelationModule, "channels", 64  # section 3.4: 64 filters a block
    yield RelationModule, "size", 7  # 28x28 after the two poolings of section 3.4
    yield RelationModule, "hidden", 8  # section 3.4: 8 and 1 units
    yield SiameseNetwork, "dim", 64  # of Conv4; the paper's network has 4096
    yield HyperNetwork, "dim", 64  # of Conv4
    yield HyperNetwork, "hidden", 128  # of this project
    yield InContextTransformer, "dim", 64  # of Conv4
    yield InContextTransformer, "ways", 5
    yield InContextTransformer, "layers", 2  # of this project; Müller et al. have 6 and 4 heads
    yield InContextTransformer, "heads", 2
    yield MetaNetwork, "hidden", 32  # of this project
    yield MetaNetwork, "units", 8  # the authors' code has 20
    yield MetaNetwork, "fast_embedding", True  # algorithm 1
    yield MetaNetwork, "fast_base", True
    yield MANN, "ways", 5  # section 4.1: 5 classes an episode
    yield MANN, "hidden", 200  # appendix: a controller of 200 units
    yield MANN, "slots", 128  # appendix: a memory of 128 by 40
    yield MANN, "width", 40
    yield MANN, "reads", 4  # appendix: 4 reads from memory
    yield MANN, "lstm", True  # the better of the paper's two controllers
    yield MANN, "scale", 1.0  # section 3.1, equation 2
    yield MANN, "gamma", 0.99  # appendix: usage decay 0.99
    yield LSTMControl, "ways", 5  # as MANN
    yield LSTMControl, "hidden", 200
    yield NeuralProcess, "x_dim", 1
    yield NeuralProcess, "y_dim", 1
    yield NeuralProcess, "dim", 128  # Garnelo et al., section 4.1
    yield NeuralProcess, "attention", False  # the plain one of Garnelo et al.
    yield NeuralProcess, "heads", 8  # Kim et al., section 4: 8 heads
    yield BaselinePlusPlus, "scale", 10.0  # the authors' code, above 200 classes
    yield BaselinePlusPlus.adapt, "steps", 100  # Chen et al., section 4.2: 100 iterations
    yield BaselinePlusPlus.adapt, "rate", 0.1
    yield RidgeAttributes, "strength", 0.01  # of this project
    yield RidgeAttributes, "distance", "cosine"


@pytest.mark.parametrize(("what", "name", "value"), list(defaults()))
def test_every_default_is_the_papers_or_a_departure_that_is_meant(
    what: object, name: str, value: object
) -> None:
    default = inspect.signature(what).parameters[name].default  # type: ignore[arg-type]
    assert default == value and type(default) is type(value)


def test_no_default_is_left_out_above() -> None:
    listed = {(what, name) for what, name, _ in defaults()}
    for what in {what for what, _ in listed}:
        for name, parameter in inspect.signature(what).parameters.items():  # type: ignore[arg-type]
            assert parameter.default is parameter.empty or (what, name) in listed, name
