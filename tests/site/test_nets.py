"""The mathematics of the interactive figures, mlbook/figures/nets/*.js, in Chromium against torch."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlbook.data.bandits import BanditTables
from mlbook.data.problems import quadratic
from mlbook.lstm_meta_learner import LearnedOptimizer, MetaLSTM, RecurrentAgent
from mlbook.lstm_meta_learner.meta_lstm import prep
from mlbook.metric import MatchingNetwork, PrototypicalNetwork, SiameseNetwork
from mlbook.model_based import MANN, HyperNetwork, MetaNetwork, NeuralProcess
from mlbook.nets import MLP, Conv4
from mlbook.optimization import MAML

Run = Callable[..., Any]


def same(found: Any, wanted: Tensor, tolerance: float = 1e-4) -> None:
    found = torch.as_tensor(found, dtype=torch.float64)
    torch.testing.assert_close(found, wanted.detach().double(), atol=tolerance, rtol=tolerance)


def flat(*parts: nn.Module | None) -> list[float]:
    """All parameters in torch's order, as one list."""
    weights = (p for part in parts if part is not None for p in part.parameters())
    return [v for p in weights for v in p.flatten().tolist()]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("scale", [1.0, 7.0, -3.0])
def test_softmax_and_its_like(run: Run, scale: float) -> None:
    x = torch.randn(9, dtype=torch.float64) * 40
    same(run("vectors", "m.softmax(x, scale)", x=x, scale=scale), (scale * x).softmax(0))
    same(run("vectors", "x.map(m.softplus)", x=x), F.softplus(x))
    same(run("vectors", "x.map(m.sigmoid)", x=x), x.sigmoid())
    same(run("vectors", "m.unit(x)", x=x), F.normalize(x, dim=0))
    same(run("vectors", "m.median(x)", x=x[:8]), x[:8].quantile(0.5))
    w, b = torch.randn(2, 9, dtype=torch.float64)
    same(run("vectors", "m.layerNorm(x, w, b)", x=x, w=w, b=b), F.layer_norm(x, (9,), w, b))
    assert run("vectors", "m.unit([0, 0])") == [0, 0]


@pytest.mark.parametrize("sizes", [[1, 4, 1], [1, 40, 40, 1], [3, 5, 6, 2]])
def test_a_perceptron_and_its_gradient(run: Run, sizes: list[int]) -> None:
    net = MLP(*sizes).double()
    x = torch.randn(5, sizes[0], dtype=torch.float64)
    out = run("mlp", "x.map((v) => m.mlp(w, sizes, v))", w=flat(net), sizes=sizes, x=x)
    same(out, net(x))
    if sizes[0] == sizes[-1] == 1:
        points = torch.cat([x, torch.randn(5, 1)], 1)
        loss = F.mse_loss(net(x), points[:, 1:])
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
        given = {"w": flat(net), "sizes": sizes, "points": points}
        same(run("mlp", "m.gradient(w, sizes, points)", **given), wanted)


def test_maml_takes_the_same_steps(run: Run) -> None:
    maml = MAML(MLP(1, 40, 40, 1), inner_lr=0.01, loss=F.mse_loss).double()
    x = torch.tensor([[[-3.4], [0.3], [2.6]]], dtype=torch.float64)
    y, at = 3 * x.sin(), torch.linspace(-5, 5, 11, dtype=torch.float64)[None, :, None]
    steps = "[1, 2, 3, 4, 5].reduce((w) => m.descend(w, sizes, points, 0.01), w)"
    given = {"w": flat(maml.net), "points": torch.cat([x, y], -1)[0], "x": at[0]}
    code = f"((w) => x.map((v) => m.mlp(w, sizes, v)))({steps})"
    same(run("mlp", code, sizes=[1, 40, 40, 1], **given), maml.adapt(x, y, steps=5)(at)[0])


def test_a_step_of_an_lstm(run: Run) -> None:
    cell = nn.LSTMCell(3, 6).double()
    x, h, c = torch.randn(3), torch.randn(6), torch.randn(6)
    layer = {"ih": cell.weight_ih.tolist(), "hh": cell.weight_hh.tolist()}
    layer["bias"] = (cell.bias_ih + cell.bias_hh).tolist()
    found = run("lstm", "m.lstm(layer, x, [h, c])", layer=layer, x=x, h=h, c=c)
    wanted = cell(x[None].double(), (h[None].double(), c[None].double()))
    for a, b in zip(found, wanted, strict=True):
        same(a, b[0])
    same(run("lstm", "m.rows(list, 3)", list=cell.weight_ih.flatten()), cell.weight_ih)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention(run: Run, heads: int) -> None:
    q, k, v = (torch.randn(n, 8, dtype=torch.float64) for n in (3, 5, 5))
    split = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k, v))
    wanted = F.scaled_dot_product_attention(*split).transpose(0, 1).flatten(1)
    same(
        run("attention", "q.map((x) => m.attend(x, k, v, heads))", q=q, k=k, v=v, heads=heads),
        wanted,
    )


def test_matching_sums_attention_by_class(run: Run) -> None:
    model = MatchingNetwork(nn.Flatten(), scale=4.0)
    s, q, y = torch.randn(1, 6, 3), torch.randn(1, 2, 3), torch.tensor([[0, 1, 2, 0, 1, 1]])
    cosines = F.normalize(q, dim=-1) @ F.normalize(s, dim=-1).mT
    weights = run("vectors", "rows.map((r) => m.softmax(r, 4))", rows=cosines[0])
    found = run("attention", "w.map((r) => m.byClass(r, y, 3))", w=weights, y=y[0])
    same(found, model.adapt(s, y)(q)[0].exp())


@pytest.mark.parametrize("kind", ["squared", "euclidean", "cosine"])
def test_prototypical_distances(run: Run, kind: str) -> None:
    model = PrototypicalNetwork(nn.Flatten(), distance=kind)
    z, c = torch.randn(1, 4, 5), torch.randn(1, 3, 5)
    found = run(
        "comparing", "z.map((a) => c.map((b) => m.distance(a, b, kind)))", z=z[0], c=c[0], kind=kind
    )
    same(found, model.d(z, c)[0])


def test_siamese_logits(run: Run) -> None:
    model = SiameseNetwork(nn.Flatten(), dim=5)
    nn.init.normal_(model.alpha.weight)
    one, two = torch.randn(2, 5)
    alpha, b = model.alpha.weight[0], float(model.alpha.bias.detach())
    found = run("comparing", "m.alike(alpha, b, one, two)", alpha=alpha, b=b, one=one, two=two)
    same(found["u"], model.logits(one[None, None], two[None, None])[0, 0, 0])
    same(found["p"], torch.tensor(found["u"]).sigmoid())
    same(sum(found["parts"]) + b, torch.tensor(found["u"]))


def test_a_description_becomes_a_prototype(run: Run) -> None:
    first, second = nn.Linear(7, 4), nn.Linear(4, 3)
    parts = first.weight.T[[0, 2, 5]]
    v = torch.zeros(7).index_fill(0, torch.tensor([0, 2, 5]), 1.0)
    g = {"bias1": first.bias.tolist(), "weight2": second.weight.flatten().tolist()}
    g["bias2"] = second.bias.tolist()
    same(run("comparing", "m.described(g, parts)", g=g, parts=parts), second(first(v).relu()))


def test_a_hypernetwork_emits_and_scores(run: Run) -> None:
    model = HyperNetwork(MLP(2, 12, 6), dim=6, hidden=10).double()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    support, query = torch.randn(3, 2, 2), torch.randn(4, 2)
    given: dict[str, Any] = {k: flat(getattr(model, k)) for k in ("embed", "norm", "phi", "rho")}
    given |= {"sizes": [2, 12, 6], "hidden": 10}
    code = """((f) => {
        const w = m.emit(net, support.map((some) => some.map(f)));
        return query.map((x) => m.scores(w, f(x)));
    })((x) => m.embedding(net, x))"""
    found = run("generated", code, net=given, support=support, query=query)
    labels = torch.arange(3).repeat_interleave(2)[None]
    learner = model.adapt(support.double().flatten(0, 1)[None], labels)
    same(found, learner(query.double()[None])[0])


def test_a_neural_process_predicts(run: Run) -> None:
    model = NeuralProcess(dim=16, attention=True, heads=4).double()
    x, y = torch.randn(2, 1, 5, 1, dtype=torch.float64)
    at = torch.linspace(-5, 5, 9, dtype=torch.float64)[None, :, None]
    net: dict[str, Any] = {k: flat(getattr(model, k)) for k in ("h", "a", "g")}
    net |= {"dim": 16, "heads": 4}
    code = "m.predict(net, points, grid, grid.map((x) => m.asks(net, x)))"
    points = torch.cat([x, y], -1)[0]
    found = run("neural_process", code, net=net, points=points, grid=at[0, :, 0])
    same(found, torch.cat([t[0] for t in model.predict(x, y, at)], -1))


def test_the_players_of_bandits(run: Run) -> None:
    agent = RecurrentAgent(BanditTables, 1, 2, hidden=8).double()
    lstm, head = agent.cell, agent.W
    layer = {"ih": lstm.weight_ih.tolist(), "hh": lstm.weight_hh.tolist()}
    layer["bias"] = (lstm.bias_ih + lstm.bias_hh).tolist()
    pulls = [(1, 1), (0, 0), (1, 1), (1, 0)]
    shown = [{"arm": arm, "pay": pay} for arm, pay in pulls]
    code = "m.recurrentAgent(layer, W, b)(pulls)"
    found = run("bandit", code, layer=layer, W=head.weight, b=head.bias, pulls=shown)
    state = None
    for step in [None, *pulls]:
        seen = torch.zeros(1, 5, dtype=torch.float64)
        if step is not None:
            seen[0, 1 + step[0]], seen[0, 3] = 1.0, step[1]
        state = lstm(seen, state)
    same(found, head(state[0]).softmax(-1)[0, 1])

    beta = torch.distributions.Beta(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]))
    draws = beta.sample((400_000,))  # left: 0 of 1 paid, right: 2 of 3
    chance = (draws[:, 1] > draws[:, 0]).double().mean()
    same(run("bandit", "m.thompson(pulls)", pulls=shown), chance, 3e-3)

    def worth(n: int, s: int, k: int, r: int, left: int) -> float:
        """The wins to come of two arms with s of n and r of k paid, by brute force."""
        if not left:
            return 0.0
        q, u = (s + 1) / (n + 2), (r + 1) / (k + 2)
        one = q * (1 + worth(n + 1, s + 1, k, r, left - 1)) + (1 - q) * worth(
            n + 1, s, k, r, left - 1
        )
        two = u * (1 + worth(n, s, k + 1, r + 1, left - 1)) + (1 - u) * worth(
            n, s, k + 1, r, left - 1
        )
        return max(one, two)

    values = run("bandit", "m.bayes(9)(pulls)", pulls=shown)
    same(max(values), torch.tensor(worth(1, 0, 3, 2, 5), dtype=torch.float64))
    assert run("bandit", "m.optimal(m.bayes(9))(pulls)", pulls=shown) == 1
    assert run("bandit", "[[], pulls.slice(0, 1), pulls].map(m.ucb)", pulls=shown) == [0.5, 0, 0]


def test_a_learned_optimizer_takes_the_same_steps(run: Run) -> None:
    model = LearnedOptimizer(quadratic, scale=0.1)
    cells = []
    for ih, hh, *biases in model.m.all_weights:
        cells.append({"ih": ih.tolist(), "hh": hh.tolist(), "bias": sum(biases).tolist()})
    rule: dict[str, Any] = {"layers": cells, "g": model.g.weight[0].tolist()}
    rule |= {"b": float(model.g.bias.detach()), "scale": 0.1, "p": 10}
    gradients = torch.tensor([2.0, -0.3, 1e-6, 0.05])
    code = "((s) => gradients.map((g) => m.learnedStep(rule, g, s)))(rule.layers.map(m.silence))"
    found = run("lstm", code, gradients=gradients, rule=rule)
    state, wanted = None, []
    for g in gradients:
        step, state = model.update(g.reshape(1, 1), state)
        wanted.append(step.flatten())
    same(found, torch.cat(wanted))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_hand_made_rules(run: Run, name: str) -> None:
    rate, start = 0.07, [2.0, -1.0]
    code = "m.descent(m.quadratic(3, 20, 25), start, name, rate, 12, { layers: [] })"
    found = run("optimizers", code, start=start, name=name, rate=rate)
    z = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    turn = torch.deg2rad(torch.tensor(25.0, dtype=torch.float64))
    axes = torch.stack(
        [torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()])]
    )
    k = torch.tensor([3.0, 3 / 20], dtype=torch.float64)
    rule = torch.optim.Adam([z], lr=rate)
    if name != "adam":
        rule = torch.optim.SGD([z], lr=rate, momentum=0.9 if name == "momentum" else 0)
    path, losses = [], []
    for _ in range(13):
        loss = 0.5 * (k * (axes @ z) ** 2).sum()
        path.append(z.detach().clone())
        losses.append(loss.detach())
        rule.zero_grad()
        loss.backward()
        rule.step()
    same(found["path"], torch.stack(path))
    same(found["loss"], torch.stack(losses))


def test_the_memory_of_a_mann(run: Run) -> None:
    ways, slots, reads, width, hidden = 3, 7, 2, 5, 8
    model = MANN(nn.Identity(), 6, ways, hidden, slots, width, reads, scale=4.0).double()
    with torch.no_grad():
        for p in model.parameters():
            p *= 3.0 if p.dim() else 1.0  # larger weights, so that much happens
    labels = torch.tensor(
        [[2, 0, 0, 1, 2, 1, 0, 2, 1, 1]]
    )  # enough to fill the slots more than once
    x, before = torch.randn(1, 10, 6).double(), F.pad(F.one_hot(labels, ways), (0, 0, 1, -1))
    k, a, state, r, usage, memory = [], [], None, [], [], []
    for t in range(10):
        _, state = model.unroll(x[:, t : t + 1], before[:, t : t + 1], state)
        out, _, M, _, w_u = state
        heads = model.heads(out[:, :hidden]).view(reads, width + 1)
        k.append(heads[:, :-1].tanh().tolist())
        a.append(heads[:, -1].sigmoid().tolist())
        r.append(out[0, hidden:])
        usage.append(w_u[0, 0])
        memory.append(M[0].mT)
    given = {"k": k, "a": a, "slots": slots, "gamma": model.gamma}
    steps = run("memory", "m.remember(given, 4)", given=given)
    same([s["r"] for s in steps], torch.stack(r))
    same([s["memory"] for s in steps], torch.stack(memory))
    same([s["before"] for s in steps[1:]], torch.stack(usage[:-1]))


def test_the_gates_of_an_lstm_meta_learner(run: Run) -> None:
    model = MetaLSTM(nn.Linear(1, 1), hidden=0).double()
    nn.init.normal_(model.i.weight)
    nn.init.normal_(model.f.weight)
    rule = {
        k: [*g.weight[0].tolist(), float(g.bias.detach())]
        for k, g in (("i", model.i), ("f", model.f))
    }
    g = torch.tensor([3.0, -1e-3, 1e-6, 0.0], dtype=torch.float64)
    theta = torch.randn(4, dtype=torch.float64)
    code = (
        "m.gates(rule, g.map((v, t) => [...m.preprocessed(v), ...m.preprocessed(0.3), theta[t]]))"
    )
    found = run("lstm", code, rule=rule, g=g, theta=theta)
    i = f = torch.zeros(1, dtype=torch.float64)
    for t in range(4):
        own = torch.cat([prep(g[t]), prep(torch.tensor(0.3)), theta[t, None]])
        i = model.i(torch.cat([own, i])).sigmoid()
        f = model.f(torch.cat([own, f])).sigmoid()
        same([found[t]["i"], found[t]["f"]], torch.cat([i, f]))


def test_a_meta_network_recalls(run: Run) -> None:
    model = MetaNetwork(nn.Identity(), dim=6, ways=3, hidden=4).double()
    z, query = torch.randn(1, 3, 6).double(), torch.randn(1, 2, 6).double()
    fast, memory, keys = model.learn(z, torch.arange(3)[None])
    given = {"Q": flat(model.Q), "W": flat(model.W), "fast": fast[0, 0], "memory": memory[0]}
    code = """((keys) => query.map((x) =>
        m.recall(W, 4, keys, memory, m.represent(x, Q, fast, 4), x).scores)
        )(z.map((x) => m.represent(x, Q, fast, 4)))"""
    found = run("fast_weights", code, z=z[0], query=query[0], **given)
    same(found, model.b(query, fast, memory, keys)[0])


def test_wells_and_their_slopes(run: Run) -> None:
    wells = [{"m": 1.3, "v": 0.0, "h": 2.0}, {"m": -2.15, "v": 0.4, "h": 0.3}]
    x = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    for some in (wells, wells[:1]):
        heights = torch.stack([w["v"] + w["h"] / 2 * (x - w["m"]) ** 2 for w in some])
        loss = -0.06 * (heights / -0.06).logsumexp(0)
        same(run("wells", "x.map((v) => m.loss(wells, v))", x=x, wells=some), loss)
        (slope,) = torch.autograd.grad(loss.sum(), x)
        same(run("wells", "x.map((v) => m.slope(wells, v))", x=x, wells=some), slope)
    path = run("wells", "m.descent(wells, 3, 0.4, 50)", wells=wells[:1])
    same(path[-1], torch.tensor(1.3))
    code = """((grid, f) => m.minimum(grid, f, grid.map(f), grid.map(f)))(
        Array.from({ length: 81 }, (_, i) => -4 + i / 10), (v) => (v - 0.123) ** 2)"""
    same(run("wells", code), torch.tensor(0.123))


def test_curves_of_solutions(run: Run) -> None:
    p, z = [0.5, -0.3, 0.4], [1.0, 2.0]
    x = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    wanted = ((x - z[0]) ** 2 + (p[0] + p[1] * x + p[2] * x**2 - z[1]) ** 2).min().sqrt()
    same(run("curves", "m.distance(p, z)", p=p, z=z), wanted)
    at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    loss = 2.0 * (at[1] - p[0] - p[1] * at[0] - p[2] * at[0] ** 2) ** 2 / 2
    (g,) = torch.autograd.grad(loss, at)
    same(run("curves", "m.inner(p, 2, z, 0.1, 1)[1]", p=p, z=z), at - 0.1 * g)
    assert run("curves", "m.outer([0, 1], [[2, 3], [4, 1]], 0.5)") == [1.5, 1.5]
    same(
        run("curves", "m.lowest((z) => Math.abs(z[0] - 1) + (z[1] + 0.25) ** 2)"),
        torch.tensor([1, -0.25]),
    )


def test_a_contour_of_a_circle_lies_on_it(run: Run) -> None:
    values = [(i - 20) ** 2 + (j - 20) ** 2 for j in range(41) for i in range(41)]
    segments = torch.tensor(run("contour", "m.contour(values, 41, 100)", values=values))
    radius = (segments - 20).norm(dim=-1)
    assert len(segments) > 50
    assert (radius - 10).abs().max() < 0.05


def test_shrinkage_is_best_where_it_says(run: Run) -> None:
    given = {"sigma": 2.0, "tau": 1.5, "k": 3}
    best = run("shrinkage", "m.best(given)", given=given)
    losses = run(
        "shrinkage", "[-0.01, 0, 0.01].map((d) => m.loss(m.best(given) + d, given))", given=given
    )
    assert losses[1] < min(losses[0], losses[2])
    torch.manual_seed(1)
    mu = 1.5 * torch.randn(400_000, dtype=torch.float64)
    mean, new = mu + 2 / 3**0.5 * torch.randn_like(mu), mu + 2 * torch.randn_like(mu)
    same(losses[1], (new - best * mean).square().mean(), 2e-2)
    low, high = run("shrinkage", "m.wilson(8, 10)")
    same([low, high], torch.tensor([0.4902, 0.9433]), 1e-3)  # as in Agresti & Coull (1998)


def test_random_numbers_are_of_their_seed(run: Run) -> None:
    numbers = run(
        "random", "((r) => Array.from({ length: 20000 }, () => m.normal(r)))(m.generator(7))"
    )
    same(
        [torch.tensor(numbers).mean(), torch.tensor(numbers).std()], torch.tensor([0.0, 1.0]), 3e-2
    )
    assert run("random", "m.shuffled([1, 2, 3, 4, 5], m.generator(3)).sort()") == [1, 2, 3, 4, 5]
    twice = run("random", "[3, 3].map((s) => m.shuffled([1, 2, 3, 4, 5], m.generator(s)))")
    assert twice[0] == twice[1]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("turned", ["", "a", "b"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (4, 8, 64), (33, 19, 20), (64, 30, 150)])
def test_the_product_of_matrices(
    run: Run, shape: tuple[int, int, int], turned: str, plain: bool
) -> None:
    """By WebAssembly and by the script that stands in for it."""
    m, n, k = shape
    a, b = torch.randn(m, k), torch.randn(k, n)
    code = "(m.workPlainly(plain), m.matmul(a, b, rows, columns, inner, turned))"
    found = run(
        "matmul",
        code,
        a=(a.T if turned == "a" else a).flatten(),
        b=(b.T if turned == "b" else b).flatten(),
        **{"plain": plain, "turned": turned, "rows": m, "columns": n, "inner": k},
    )
    run("matmul", "m.workPlainly(false) ?? null")
    same(found, (a @ b).flatten())


def channels_first(x: Tensor) -> Tensor:
    """From torch's `[B, C, H, W]` to the order of the modules, `[C, B, H, W]`, as one list."""
    return x.transpose(0, 1).flatten()


@pytest.mark.parametrize("side", [3, 7, 14, 28])
@pytest.mark.parametrize(("batch", "channels", "out"), [(1, 1, 5), (3, 4, 6), (2, 8, 3)])
def test_a_convolution_and_its_gradients(
    run: Run, side: int, batch: int, channels: int, out: int
) -> None:
    conv = nn.Conv2d(channels, out, 3, padding=1)
    x = torch.randn(batch, channels, side, side, requires_grad=True)
    y = conv(x)
    dy = torch.randn_like(y)
    dx, dw = torch.autograd.grad(y, [x, conv.weight], dy)
    code = """((x, layer, dy) => ({
        y: m.convolve(layer, x, batch, side), ...m.convolveBack(layer, x, dy, batch, side) }))(
        Float32Array.from(x), { weight: Float32Array.from(w), bias, out }, Float32Array.from(dy))"""
    given = {"x": channels_first(x), "w": conv.weight.flatten(), "bias": conv.bias, "out": out}
    found = run("conv", code, dy=channels_first(dy), batch=batch, side=side, **given)
    same(found["y"], channels_first(y))
    same(found["dx"], channels_first(dx))
    same(found["dw"], dw.flatten(), 3e-4)


@pytest.mark.parametrize("side", [2, 7, 14])
def test_batch_norm_and_pooling(run: Run, side: int) -> None:
    norm = nn.BatchNorm2d(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (3 * torch.randn(4, 5, side, side) + 2).requires_grad_()
    y = norm(x)
    dy = torch.randn_like(y)
    wanted = torch.autograd.grad(y, [x, norm.weight, norm.bias], dy)
    code = """((norm, x, dy) => ({
        y: m.batchNorm(norm, x), back: m.batchNormBack(norm, x, dy), kept: m.batchNorm(norm, x, stats),
        pool: m.pool(x, side) }))({ gamma, beta }, Float32Array.from(x), Float32Array.from(dy))"""
    norm.eval()
    stats = {"mean": norm.running_mean.tolist(), "variance": norm.running_var.tolist()}
    given = {"gamma": norm.weight, "beta": norm.bias, "x": channels_first(x), "stats": stats}
    found = run("conv", code, dy=channels_first(dy), side=side, **given)
    same(found["y"], channels_first(y))
    same(found["kept"], channels_first(norm(x)))
    same(found["back"]["dx"], channels_first(wanted[0]))
    same(found["back"]["dgamma"], wanted[1])
    same(found["back"]["dbeta"], wanted[2])
    same(found["pool"]["y"], channels_first(F.max_pool2d(x, 2)))
    places = torch.tensor(found["pool"]["from"])
    same(channels_first(x)[places], channels_first(F.max_pool2d(x, 2)))


def test_a_folded_convolution_is_both(run: Run) -> None:
    conv, norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
    norm(5 * torch.randn(50, 4, 6, 6) + 1)  # statistics that are not 0 and 1
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 7, 7)
    layer = {"weight": conv.weight.flatten().tolist(), "bias": conv.bias.tolist(), "out": 4}
    stats = {"mean": norm.running_mean.tolist(), "variance": norm.running_var.tolist()}
    code = "m.convolve(m.folded(layer, { gamma, beta }, stats), Float32Array.from(x), 2, 7)"
    given = {"layer": layer, "gamma": norm.weight, "beta": norm.bias, "stats": stats}
    found = run("conv", code, x=channels_first(x), **given)
    same(found, channels_first(norm.eval()(conv(x))))


def adaptable(net: nn.Sequential) -> dict[str, Any]:
    """The network of MAML as conv4.js has it."""
    blocks: Any = net[0].blocks
    return {
        "convs": [
            {"weight": b[0].weight.flatten().tolist(), "out": len(b[0].weight)} for b in blocks
        ],
        "norms": [{"gamma": b[1].weight.tolist(), "beta": b[1].bias.tolist()} for b in blocks],
        "head": {"weight": net[1].weight.flatten().tolist(), "bias": net[1].bias.tolist()},
    }


def test_a_step_of_maml_through_conv4(run: Run) -> None:
    """Gradients by hand, through batch norm with the statistics of the batch, against autograd."""
    net = nn.Sequential(Conv4(hidden=6, track_running_stats=False), nn.Linear(6, 3))
    for block in net[0].blocks:
        nn.init.normal_(block[1].weight, 1, 0.2)
        nn.init.normal_(block[1].bias)
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([0, 2, 1, 2])
    names, weights = zip(*net.named_parameters(), strict=True)
    loss = F.cross_entropy(net(x), y)
    g = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    code = """((net, x) => ({ g: m.gradient(net, x, y), s: m.forward(net, x, 4).scores }))(net, Float32Array.from(x))"""
    found = run("conv4", code, net=adaptable(net), x=x.flatten(), y=y)
    same(found["s"], net(x).T.flatten())
    for i in range(4):
        same(found["g"]["convs"][i]["weight"], g[f"0.blocks.{i}.0.weight"].flatten())
        same(found["g"]["norms"][i]["gamma"], g[f"0.blocks.{i}.1.weight"])
        same(found["g"]["norms"][i]["beta"], g[f"0.blocks.{i}.1.bias"])
    same(found["g"]["head"]["weight"], g["1.weight"].flatten())
    same(found["g"]["head"]["bias"], g["1.bias"])


def test_gelu_and_the_error_function(run: Run) -> None:
    x = torch.linspace(-8, 8, 201, dtype=torch.float64)
    same(run("transformer", "x.map(m.erf)", x=x), torch.erf(x), 1e-12)
    same(run("transformer", "m.gelu(x)", x=x), F.gelu(x))


def test_half_precision_and_bytes(run: Run) -> None:
    x = torch.cat(
        [torch.randn(50) * 10.0 ** torch.arange(-8, 2).repeat(5), torch.tensor([0.0, -0.0])]
    )
    text = base64.b64encode(x.half().numpy().tobytes()).decode()
    found = run("weights", "m.halves(m.bytes(text).buffer)", text=text)
    assert torch.equal(torch.tensor(found), x.half().float())
    q = torch.randint(-127, 128, (3, 4), dtype=torch.int8)
    scale = torch.tensor([0.5, 2.0, 0.1])
    text = base64.b64encode(q.numpy().tobytes()).decode()
    found = run("weights", "m.quantised(text, scale)", text=text, scale=scale)
    same(found, (q * scale[:, None]).flatten())
