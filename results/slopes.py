"""A robot on slopes that it has not seen: what stands behind book/practice/robot.ipynb.

    python results/run.py slopes          # or: make results METHOD=slopes

Five kinds of policy, three seeds of each, are trained side by side in torch as one stack of networks, which costs
little more than one of them; then they meet other carts in MuJoCo, beside linear controllers. A quarter of an hour on
one core; resumable.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from records import write
from scipy.linalg import solve_discrete_are
from torch import Tensor, nn

from mlbook import Result
from mlbook.data.files import read_tensors, write_tensors
from mlbook.data.slopes import DT, FALLEN, MuJoCoCart, Slopes, cost, step
from mlbook.episodes import generator_of
from mlbook.lstm_meta_learner import RecurrentPolicy
from mlbook.results import FOLDER

HERE = Path(__file__).parent
PRETRAINED = HERE.parent / "mlbook" / "pretrained"
SEEDS, CARTS, STEPS, RATE, NORM = 3, 32, 875, 7e-3, 0.3
LONGEST, HIDDEN = 200, 32  # steps of an episode in training, units
TEST = {  # (degrees, seed, carts)
    "inside": (((-10.0, 10.0),), 1001, 120),
    "steeper": (((-15.0, -10.0), (10.0, 15.0)), 1002, 60),
}
LOST = 2.0  # m: what a cart counts that fell
UNITS = torch.tensor(
    [0.1, 0.5, 10.0]
)  # of slope, mass and strength, for the policy that is told them
KINDS = {  # memory, told, on flat ground
    "lstm": ("all", False, False),
    "last action": ("action", False, False),
    "no memory": ("nothing", False, False),
    "flat ground": ("all", False, True),
    "told": ("all", True, False),
}


def told_step(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """As `step`, of states that hold the task as well, `[T, 7]`."""
    return torch.cat([step(state[..., :4], action, task), task / UNITS], -1)


def policy(kind: str, seed: int = 0) -> RecurrentPolicy:
    """A policy of that kind, untrained."""
    memory, told, _ = KINDS[kind]
    torch.manual_seed(seed)
    how, states = (told_step, 7) if told else (step, 4)
    return RecurrentPolicy(how, cost, states, hidden=HIDDEN, memory=memory)


class Stack(nn.Module):
    """N policies side by side, `act` on states `[N, T, 7]`: what a policy is not told is 0 for it."""

    def __init__(self, policies: list[RecurrentPolicy]) -> None:
        super().__init__()
        self.policies = policies

        def over(which: Callable[[RecurrentPolicy], Tensor]) -> nn.Parameter:
            return nn.Parameter(torch.stack([which(p).detach().clone() for p in policies]))

        self.W_x = over(lambda p: widened(p.cell.weight_ih).T)
        self.W_h = over(lambda p: p.cell.weight_hh.T)
        self.b = over(lambda p: (p.cell.bias_ih + p.cell.bias_hh)[None])
        self.W = over(lambda p: p.W.weight.T)
        self.b_W = over(lambda p: p.W.bias[None])
        flags = [(p.memory == "all", p.memory != "nothing", p.cell.input_size > 5) for p in policies]  # fmt: skip
        self.keeps, self.sees, self.told = torch.tensor(flags).float().T[..., None, None]

    def act(self, s: Tensor, u: Tensor, state: Any) -> tuple[Tensor, Any]:
        s = torch.cat([s[..., :4], self.told * s[..., 4:], self.sees * u[..., None]], -1)
        gates = torch.baddbmm(self.b, s, self.W_x)
        if state is not None:
            gates = gates + torch.bmm(self.keeps * state[0], self.W_h)
        i, f, g, o = gates.chunk(4, -1)
        c = i.sigmoid() * g.tanh()
        if state is not None:
            c = c + f.sigmoid() * (self.keeps * state[1])
        h = o.sigmoid() * c.tanh()
        return torch.baddbmm(self.b_W, h, self.W)[..., 0].tanh(), (h, c)

    def loss(self, s: Tensor, tasks: Tensor, when: Tensor, pushes: Tensor, steps: int) -> Tensor:
        """J of each, `[N]`: `tasks [2, N, T, 3]` before and after step `when [N, T]`, at which a push comes, too."""
        u, state, states, actions, zs = torch.zeros_like(s[..., 0]), None, [], [], []
        for t in range(steps):
            z = torch.where((t < when)[..., None], *tasks)
            u, state = self.act(torch.cat([s, z / UNITS], -1), u, state)
            s = step(s, u, z) + (t == when)[..., None] * pushes
            states.append(s), actions.append(u), zs.append(z)
        return cost(torch.stack(states), torch.stack(actions), torch.stack(zs)).mean((0, 2))

    @torch.no_grad()
    def apart(self) -> list[RecurrentPolicy]:
        """The policies, with the weights of the stack."""
        for n, p in enumerate(self.policies):
            wide = self.W_x[n].T
            p.cell.weight_ih.copy_(wide if p.cell.input_size > 5 else wide[:, [0, 1, 2, 3, 7]])
            p.cell.weight_hh.copy_(self.W_h[n].T)
            p.cell.bias_ih.copy_(self.b[n, 0])
            p.cell.bias_hh.zero_()
            p.W.weight.copy_(self.W[n].T)
            p.W.bias.copy_(self.b_W[n, 0])
        return self.policies


def widened(W: Tensor) -> Tensor:
    """Columns for the state, what is told, and the action, `[4 hidden, 8]`; 0 for what a policy does not get."""
    if W.shape[1] == 8:
        return W
    return torch.cat([W[:, :4], W.new_zeros(len(W), 3), W[:, 4:]], 1)


def batch(k: int, seed: int, flat: bool) -> tuple[Tensor, ...]:
    """Carts of one training step. Half of them come to another slope under way and are pushed, as can happen."""
    here, start = Slopes(CARTS, (0.0, 0.0) if flat else (-10.0, 10.0), seed=seed)[k]
    generator = generator_of(seed + 500, k)
    other = here.clone()
    other[:, 0] = here[:, 0].roll(1)  # of the neighbour
    u = torch.rand(CARTS, 3, generator=generator)
    when = torch.where(u[:, 0] < 0.5, (LONGEST * u[:, 1]).long(), LONGEST)
    push = torch.zeros(CARTS, 4)
    push[:, 1] = 2 * u[:, 2] - 1  # m/s
    return start, here, other, when, push


def trained() -> tuple[dict[str, list[RecurrentPolicy]], list[list[float]]]:
    """All policies, trained; from `results/runs/` if they are there."""
    names = [(kind, seed) for kind in KINDS for seed in range(SEEDS)]
    stack = Stack([policy(kind, seed) for kind, seed in names])
    file, curve = HERE / "runs" / "slopes.safetensors", []
    optimizer, begin = torch.optim.Adam(stack.parameters(), RATE), 0
    if file.is_file():
        tensors, _ = read_tensors(file)
        begin = int(tensors.pop("step"))
        curve = tensors.pop("curve").tolist()
        moments = {k: tensors.pop(k) for k in [*tensors] if k.startswith("adam.")}
        stack.load_state_dict(tensors)
        optimizer.state.update({
            p: {"step": torch.tensor(float(begin)), **{m: moments[f"adam.{m}.{n}"] for m in ("exp_avg", "exp_avg_sq")}}
            for n, p in stack.named_parameters()
        })  # fmt: skip
    for k in range(begin, STEPS):
        drawn = [batch(k, seed, KINDS[kind][2]) for kind, seed in names]
        start, here, other, when, push = (torch.stack(x) for x in zip(*drawn, strict=True))
        steps = min(LONGEST, 25 + int((LONGEST - 25) * k / 600))
        optimizer.param_groups[0]["lr"] = RATE * min(1 - k / 1200, (STEPS - k) / 280)
        losses = stack.loss(start, torch.stack([here, other]), when, push, steps)
        optimizer.zero_grad()
        losses.sum().backward()
        for n in range(len(names)):  # each by its own norm
            own = [p.grad[n] for p in stack.parameters() if p.grad is not None]
            norm = torch.cat([g.flatten() for g in own]).norm()
            for g in own:
                g *= (NORM / norm.clamp_min(1e-9)).clamp_max(1)
        optimizer.step()
        curve.append(losses.tolist())
        if (k + 1) % 25 == 0:
            mean = losses.detach().view(len(KINDS), SEEDS).mean(1)
            print(k + 1, *(f"{kind} {v:.4f}" for kind, v in zip(KINDS, mean, strict=True)), flush=True)  # fmt: skip
            state = {
                f"adam.{m}.{n}": optimizer.state[p][m]
                for n, p in stack.named_parameters()
                for m in ("exp_avg", "exp_avg_sq")
            }
            file.parent.mkdir(exist_ok=True)
            state |= {"step": torch.tensor(k + 1), "curve": torch.tensor(curve)}
            write_tensors(file, {**stack.state_dict(), **state}, {"method": "slopes"})
    policies = iter(
        [p.half().float() for p in stack.apart()]
    )  # what is measured is what is shipped
    return {kind: [next(policies).eval() for _ in range(SEEDS)] for kind in KINDS}, curve


Controller = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]  # s, u, z, h: u and h


def driven_by(policy: RecurrentPolicy) -> Controller:
    """A policy as a controller, told what the cart is like if it was trained so."""
    told = policy.cell.input_size > 5

    def control(s: Tensor, u: Tensor, z: Tensor, h: Any) -> tuple[Tensor, Any]:
        return policy.act(torch.cat([s, z / UNITS], -1) if told else s, u, h)

    return control


def gains(place: float, integral: float, effort: float) -> Tensor:
    """LQR for the middle cart on flat ground: u = -K s, `[4]`, or `[5]` with the integral of x if it costs anything."""
    middle = torch.tensor([[0.0, 0.55, 10.0]], dtype=torch.float64)
    s, u = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    A = torch.func.jacrev(lambda s: step(s, u, middle)[0])(s)[:, 0].numpy()
    B = torch.func.jacrev(lambda u: step(s, u, middle)[0])(u).numpy()
    Q = np.diag([place, 0.1, 1.0, 0.1])
    if integral:
        A = np.block([[A, np.zeros((4, 1))], [np.array([[DT, 0, 0, 0, 1]])]])
        B, Q = np.vstack([B, [[0]]]), np.diag([*np.diag(Q), integral])
    P = solve_discrete_are(A, B, Q, np.array([[effort]]))
    return torch.from_numpy(np.linalg.solve(effort + B.T @ P @ B, B.T @ P @ A)[0]).float()


def linear(K: Tensor) -> Controller:
    """u = -K s; an integral stands still while the motor gives all it has."""

    def control(s: Tensor, u: Tensor, z: Tensor, h: Any) -> tuple[Tensor, Any]:
        h = torch.zeros_like(s[:, 0]) if h is None else h
        u = -(s @ K[:4])
        if len(K) > 4:
            u = u - K[4] * h
            h = torch.where(u.abs() < 1, h + DT * s[:, 0], h)
        return u.clamp(-1, 1), h

    return control


@torch.no_grad()
def driven(
    control: Controller,
    task: Tensor,
    start: Tensor,
    steps: int = 300,
    mujoco: bool = True,
    changes: dict[int, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] | None = None,
) -> dict[str, Tensor]:
    """States `[steps, T, 4]`, actions, hidden states and tasks; `changes` make a new task and state before a step."""
    s, u, h, out = start, torch.zeros(len(start)), None, []
    carts = [MuJoCoCart(*x) for x in zip(task, start, strict=True)] if mujoco else []
    for t in range(steps):
        if changes and t in changes:
            task, s = changes[t](task, s)
            for cart, z, state in zip(carts, task, s, strict=False):
                cart.task, cart.state = z, state
        u, h = control(s, u, task, h)
        if mujoco:
            s = torch.stack([c.step(a) for c, a in zip(carts, u.tolist(), strict=True)]).float()
        else:
            s = step(s, u, task)
        out.append((s, u, h[0] if isinstance(h, tuple) else u, task))
    return {k: torch.stack(x) for k, x in zip(("s", "u", "h", "z"), zip(*out, strict=True), strict=True)}  # fmt: skip


def fallen(run: dict[str, Tensor]) -> Tensor:
    """Whether each cart `[T]` fell on the way."""
    return ((run["s"][..., 2] - run["z"][..., 0]).abs() > FALLEN).any(0)


def judged(run: dict[str, Tensor], last: int = 50) -> dict[str, Tensor]:
    """Of each cart `[T]`: metres from the mark over the last steps, whether it fell, what it cost."""
    fell = fallen(run)
    off = run["s"][-last:, :, 0].abs().mean(0).clamp(max=LOST)
    price = cost(run["s"], run["u"], run["z"]).mean(0)
    return {"distance": off.where(~fell, LOST), "fell": fell.float(), "cost": price.where(~fell, 4.0)}  # fmt: skip


def tuned() -> dict[str, tuple[float, ...]]:
    """The weights of the two linear controllers that cost least, in torch, on carts of training."""
    file = FOLDER / "slopes_inside_LQR.json"
    if file.is_file():
        return {k: tuple(w) for k, w in json.loads(file.read_text())["linear"].items()}
    found = {}
    for name, slope, integrals in (
        ("LQR", (0.0, 0.0), [0.0]),
        ("LQR with integral", (-10.0, 10.0), [0.01, 0.03, 0.1, 0.3, 1.0]),
    ):
        task, start = Slopes(200, slope, seed=2000)[0]
        prices = {
            w: judged(driven(linear(gains(*w)), task, start, 300, mujoco=False))["cost"].mean()
            for w in itertools.product(
                [0.03, 0.1, 0.3, 1.0, 3.0], integrals, [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
            )
        }
        found[name] = min(prices, key=lambda w: float(prices[w]))
    return found


def trained_gains(K: Tensor, steps: int = 50, carts: int = 3) -> Tensor:
    """Five gains, from those of LQR with integral on, trained through the simulator on the batches of the policies."""
    K = nn.Parameter(K.clone())
    optimizer = torch.optim.Adam([K], 0.05)
    for k in range(steps):
        drawn = [batch(carts * k + j, SEEDS, False) for j in range(carts)]
        s, here, other, when, push = (torch.cat(x) for x in zip(*drawn, strict=True))
        control, u, h, out = linear(K), torch.zeros(len(s)), None, []
        for t in range(LONGEST):
            z = torch.where((t < when)[:, None], here, other)
            u, h = control(s, u, z, h)
            s = step(s, u, z) + (t == when)[:, None] * push
            out.append((s, u, z))
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - k / steps)
        optimizer.zero_grad()
        cost(*(torch.stack(x) for x in zip(*out, strict=True))).mean().backward()
        assert K.grad is not None
        K.grad *= (NORM / K.grad.norm()).clamp_max(1)
        optimizer.step()
    return K.detach()


def knows(policy: RecurrentPolicy) -> dict[str, list[float]]:
    """R² of slope, mass and strength by ridge regression on h at some moments, on carts held out that do not fall.

    Beside it the same regression on what is seen at that moment: the state and the last action.
    """
    found: dict[str, list[float]] = {}
    control = driven_by(policy)
    runs = [driven(control, *Slopes(1000, seed=n)[0], 250, mujoco=False) for n in (3000, 3001)]
    up = [judged(r)["fell"] == 0 for r in runs]
    moments = [0, 2, 4, 7, 12, 24, 49, 99, 149, 199, 249]
    for what, features in (("h", ["h"]), ("seen", ["s", "u"])):
        for j, name in enumerate(("slope", "mass", "strength")):
            scores = []
            for t in moments:
                X, Y = (
                    torch.cat([r[k][t].view(1000, -1) for k in features], -1)[stays].double()
                    for r, stays in zip(runs, up, strict=True)
                )
                y, z = (r["z"][t][stays, j].double() for r, stays in zip(runs, up, strict=True))
                mean, scale = X.mean(0), X.std(0) + 1e-6
                X, Y = (F.pad(((M - mean) / scale).clamp(-5, 5), (0, 1), value=1.0) for M in (X, Y))
                w = torch.linalg.solve(X.T @ X + torch.eye(X.shape[1]), X.T @ y)
                scores.append(round(1 - float((Y @ w - z).square().mean() / z.var()), 3))
            found[f"{name} from {what}"] = scores
    return found | {"seconds": [round((t + 1) * DT, 2) for t in moments]}


def turned(task: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """The slope leans the other way."""
    return task * torch.tensor([-1.0, 1, 1]), s


def pushed(task: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """The cart gets 1 m/s more."""
    return task, s + torch.tensor([0, 1.0, 0, 0])


def named(controller: str) -> str:
    return controller.replace(",", "").replace(" ", "_")


def numbers(x: Tensor) -> list[float]:
    return [round(v, 4) for v in x.tolist()]


def slopes() -> None:
    """Train, drive in MuJoCo, ask the hidden state, keep the first seed's weights."""
    policies, curve = trained()
    found = tuned()
    controllers: dict[str, list[Controller]] = {
        k: [driven_by(p) for p in some] for k, some in policies.items()
    }
    laws = {name: gains(*w) for name, w in found.items()}
    laws["LQR with integral, trained"] = trained_gains(laws["LQR with integral"])
    controllers |= {name: [linear(K)] for name, K in laws.items()}
    protocol = (
        f"carts of slopes of -10 to 10 degrees, poles of 0.1-1 kg, motors of 6-14 N; {len(KINDS)} kinds of policy, an "
        f"LSTM of {HIDDEN} units each, {STEPS} steps of {CARTS} carts, half of which change their slope and are pushed "
        f"under way, episodes growing from 25 to {LONGEST} steps of 0.02 s, Adam at {RATE:g}, falling, gradient's norm "
        f"at most {NORM:g}; weights of the linear controllers chosen by cost on training carts; test: 300 steps in "
        "MuJoCo, RK4, 2 ms, carts never trained on; distance: mean of the last second; a cart that fell counts "
        f"{LOST:g} m and a cost of 4"
    )
    weights = {k: [*w] for k, w in found.items()}
    facts = {"seeds": SEEDS, "steps": STEPS, "linear": weights, "protocol": protocol}
    for place, (ranges, seed, carts) in TEST.items():
        each = [Slopes(carts // len(ranges), r, seed=seed)[0] for r in ranges]
        task, start = (torch.cat(x) for x in zip(*each, strict=True))
        for name, some in controllers.items():
            file = FOLDER / f"slopes_{place}_{named(name)}.json"
            if file.is_file():
                continue
            scores = [judged(driven(c, task, start)) for c in some]
            by_cart = {k: torch.stack([s[k] for s in scores]) for k in scores[0]}
            entry: dict[str, Any] = {"carts": carts, "place": place, "controller": name}
            for k, v in by_cart.items():
                entry[k] = {"mean": round(float(v.mean()), 4), "interval": round(Result(v.mean(0)).interval, 4),
                            "seeds": numbers(v.mean(1))}  # fmt: skip
            entry["distances"] = numbers(by_cart["distance"].mean(0))
            entry["degrees"] = numbers(task[:, 0].rad2deg())
            print(place, name, entry["distance"], entry["fell"], entry["cost"], flush=True)
            write("slopes", f"{place}_{named(name)}", **entry, **facts)
    task, start = Slopes(30, seed=1003)[0]
    later: dict[str, Any] = {}
    for name in ("lstm", "no memory", "LQR with integral, trained"):
        for what, change in (("push", pushed), ("turn", turned)):
            run = driven(controllers[name][0], task, start, 600, changes={300: change})
            fell = fallen(run)
            off = run["s"][..., 0].abs().clamp(max=LOST)
            later[f"{name}, {what}"] = entry = {
                "median": numbers(off.median(1).values[::10]),
                "end": round(float(off[-50:].mean(0).where(~fell, LOST).mean()), 4),
                "fell": round(float(fell.float().mean()), 4),
            }
            print(name, what, entry["end"], entry["fell"], flush=True)
    write("slopes", "later", carts=30, changed_at=6.0, every=0.2, **later, **facts)
    known = [knows(p) for p in policies["lstm"]]
    write("slopes", "knows", by_seed=known, **facts)
    print(known[0], flush=True)
    for name, kind in (("robot", "lstm"), ("robot_no_memory", "no memory")):
        halves = {k: v.half() for k, v in policies[kind][0].state_dict().items()}
        file = PRETRAINED / f"{name}.safetensors"
        write_tensors(file, halves, {"method": "slopes", "protocol": protocol})
    write("slopes", "training", curve=[numbers(torch.tensor(row).view(-1, SEEDS).mean(1)) for row in curve[::5]],
          kinds=[*KINDS], every=5, gains={k: numbers(K) for k, K in laws.items()}, **facts)  # fmt: skip
