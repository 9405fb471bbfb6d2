"""The numbers, drawings and lines of code on the index page of the chapter on optimization-based methods."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlbook.nets import Conv4

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "optimization" / "index.md").read_text(encoding="utf-8")
DRAWING = ROOT / "book" / "assets" / "figures" / "optimization_initial_point.svg"
COST = ROOT / "mlbook" / "results" / "optimization_cost.json"
RATE, STEPS = 0.4, 3
NAMES = {
    "maml": "MAML",
    "first_order_maml": "First-order MAML",
    "anil": "ANIL",
    "reptile": "Reptile",
    "prototypical": "Prototypical Network, no steps",
}


def tasks() -> tuple[Tensor, Tensor]:
    """Optima and curvatures of the three tasks, as the page gives them."""
    found = re.findall(r"a_\d &= \((.*?), (.*?)\), & H_\d &= .*?diag\}\((.*?), (.*?)\)", PAGE)
    numbers = torch.tensor([[float(x) for x in row] for row in found], dtype=torch.float64)
    assert numbers.shape == (3, 4)
    return numbers[:, :2], numbers[:, 2:]


def descend(theta: Tensor) -> Tensor:
    """Where the steps lead from θ, in each of the tasks."""
    a, h = tasks()
    points = theta.expand(3, 2)
    for _ in range(STEPS):
        points = points - RATE * h * (points - a)
    return points


def starts() -> tuple[Tensor, Tensor]:
    """The point of least average loss, and that of least average loss after the steps."""
    a, h = tasks()
    after = h * (1 - RATE * h) ** (2 * STEPS)  # the steps shrink both factors of the square
    return (h * a).sum(0) / h.sum(0), (after * a).sum(0) / after.sum(0)


def average_loss(points: Tensor) -> float:
    a, h = tasks()
    return float((h * (points - a) ** 2).sum(1).mean() / 2)


def test_the_table_of_the_two_starts() -> None:
    for name, theta, digits in zip(
        ("the point of least average loss", "the learned point"), starts(), (3, 3), strict=True
    ):
        before, after = average_loss(theta), average_loss(descend(theta))
        assert f"| {name} | {before:.2f} | {after:.{digits}f} |" in PAGE
        theta.requires_grad_()  # and no start near it is better
        points = theta if "average" in name else descend(theta)
        a, h = tasks()
        (gradient,) = torch.autograd.grad((h * (points - a) ** 2).sum(), theta)
        assert gradient.abs().max() < 1e-9


def test_the_drawing_shows_the_computed_points() -> None:
    source = DRAWING.read_text(encoding="utf-8")
    unit, left, top = 60, 262, 276  # where the drawing has its origin

    def drawn(kind: str) -> Tensor:
        at = re.findall(rf'class="{kind}" c?x="([\d.]+)" c?y="([\d.]+)"', source)
        points = torch.tensor([[float(x), float(y)] for x, y in at], dtype=torch.float64)
        return (points - torch.tensor([left, top])) / torch.tensor([unit, -unit])

    together, learned = starts()
    half = torch.tensor([9 / unit, -9 / unit])  # a square is placed by its corner
    for kind, points in (
        ("start", learned[None]),
        ("adapted", descend(learned)),
        ("together", together[None] - half),
        ("joint", descend(together)),
    ):
        torch.testing.assert_close(drawn(kind), points.double(), atol=2e-3, rtol=0)


def test_the_lines_of_the_algorithm_are_those_of_the_package() -> None:
    section = re.search(r"(?ms)^## The algorithm, line by line\n(.*?)^## ", PAGE)
    assert section
    source = (ROOT / "mlbook" / "optimization" / "maml.py").read_text(encoding="utf-8")
    package = re.sub(r"\s|  #.*", "", source)
    blocks = re.findall(r"(?ms)^ +```python\n(.*?)^ +```", section[1])
    shown = [b for b in blocks if not re.match(r" *(episodes = |fit\(|learner = )", b)]
    lines = [line for block in shown for line in re.split(r"(?m)^   (?=\S)", block) if line]
    assert len(lines) == 7
    for line in lines:
        assert re.sub(r"\s", "", line) in package, line


@pytest.mark.parametrize("first_order", [False, True])
def test_the_example_prints_what_it_says(
    first_order: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"(?ms)^```python\n(import torch\n.*?)^```", PAGE)
    if first_order:
        example = example.replace("steps=2,", "steps=2, first_order=True,")
        assert "With `first_order=True` it prints $-2$." in PAGE
    exec(example, {})
    printed = capsys.readouterr().out.strip()
    assert float(re.findall(r"-?[\d.]+", printed)[0]) == (-2.0 if first_order else -0.5)
    assert first_order or f"# {printed}" in example


def test_the_number_of_weights() -> None:
    authors = nn.Sequential(Conv4(stride=2, pools=0, track_running_stats=False), nn.Linear(64, 5))
    weights = sum(p.numel() for p in authors.parameters())
    assert f"{weights:,} weights" in PAGE and weights**2 > 1e10


def test_the_cost_is_what_was_measured() -> None:
    entry = json.loads(COST.read_text())
    steps, cost = entry["steps"], entry["cost"]
    assert set(cost) == set(NAMES)
    for unit, what, scale in (("milliseconds", "seconds", 1000), ("megabytes", "megabytes", 1)):
        head = [f"{k} step{'s' * (k > 1)}" for k in steps]
        table = [f"| {unit} | " + " | ".join(head) + " |", "|---|" + "---:|" * len(steps)]
        for method, measured in cost.items():
            cells = [f"{scale * x:.0f}" for x in measured[what]]
            cells += [""] * (len(steps) - len(cells))
            table.append(f"| {NAMES[method]} | " + " | ".join(cells) + " |")
        assert "\n".join(table) in PAGE


def test_what_the_page_says_of_the_cost() -> None:
    entry = json.loads(COST.read_text())
    steps, cost = torch.tensor(entry["steps"]), entry["cost"]
    time = {m: torch.tensor(cost[m]["seconds"]) for m in NAMES}
    space = {m: torch.tensor(cost[m]["megabytes"]) for m in NAMES}
    assert time["maml"][0] < 1.5 * time["first_order_maml"][0]
    more = {m: time[m][-1] - time[m][0] for m in NAMES}
    assert 1.6 < more["maml"] / more["first_order_maml"] < 2.5
    per_step = space["maml"].diff() / steps.diff()
    assert per_step.max() < 1.1 * per_step.min()
    for flat in ("first_order_maml", "anil"):
        assert space[flat].max() < 1.03 * space[flat].min()
    assert more["anil"] < 0.25 * time["anil"][0]
    assert (space["reptile"].diff() < 0).all()


SHIPPED = {
    "Prototypical Network": "prototypical_5w1s",
    "… a short run": "comparison_prototypical_omniglot",
    "MAML": "maml_5w1s",
    "First-order MAML": "first_order_maml_5w1s",
    "Reptile": "reptile_5w1s",
}


def test_the_accuracies_are_those_of_the_stored_runs() -> None:
    (table,) = re.findall(r"(?m)^\| 5-way 1-shot \|.*\n\|-.*\n((?:\|.*\n)+)", PAGE)
    rows = table.splitlines()
    assert len(rows) >= 3
    for row in rows:
        name = row.split("|")[1].strip()
        entry = json.loads((ROOT / "mlbook" / "results" / f"{SHIPPED[name]}.json").read_text())
        alone = entry.get("inductive") or entry.get("results", {}).get("omniglot_5w1s", entry)
        inductive = f"{alone['accuracy']:.1f} ± {alone['interval']:.1f}"
        together = (
            f"{entry['accuracy']:.1f} ± {entry['interval']:.1f}" if "inductive" in entry else "–"
        )
        assert row == f"| {name} | {inductive} | {together} | {entry['seconds'] / 60:.0f} |"
        assert entry["episodes"] >= 600
