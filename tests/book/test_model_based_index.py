"""The numbers, drawings and lines of code on the index page of the chapter on model-based methods."""

from __future__ import annotations

import json
import re
from itertools import permutations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from mlbook.model_based import MANN, HyperNetwork, InContextTransformer, LSTMControl, MetaNetwork

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "mlbook" / "results"
PAGE = (ROOT / "book" / "model_based" / "index.md").read_text(encoding="utf-8")
DRAWING = ROOT / "book" / "assets" / "figures" / "model_based_memory.svg"
NAMES = {
    "lstm_control": "LSTM",
    "mann": "MANN",
    "meta_network": "Meta Networks",
    "hypernetwork": "HyperNetwork",
    "in_context": "In-context transformer",
    "prototypical": "Prototypical Network",
    "maml": "MAML, 10 steps",
}
ACCURACIES = {
    "prototypical": "Prototypical Network",
    "comparison_prototypical_omniglot": "… a short run",
    "hypernetwork": "HyperNetwork",
    "in_context": "In-context transformer",
    "meta_network": "Meta Networks",
    "mann": "MANN, on the first row's embedding",
    "maml": "MAML",
}


def cost() -> dict[str, Any]:
    return json.loads((RESULTS / "model_based_cost.json").read_text())


def shots() -> list[str]:
    return [f"{k} shot{'s' * (k > 1)}" for k in cost()["shots"]]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |".replace("| --- |", "|---|") for cells in lines]


def milliseconds() -> list[str]:
    rows = [
        [NAMES[m], *(f"{x:.0f}" if x >= 10 else f"{x:.1f}" for x in (c["step"], *c["adapt"]))]
        for m, c in cost()["cost"].items()
    ]
    head = ["milliseconds", "meta-step", *(f"adapt, {k}" for k in shots())]
    return table(head, rows)


def numbers() -> list[str]:
    rows = [[NAMES[m], *(f"{x:,}" for x in c["kept"])] for m, c in cost()["cost"].items()]
    return table(["numbers kept", *shots()], rows)


def measured(name: str, setting: str) -> dict[str, Any] | None:
    """A stored run; each query by itself."""
    if name.startswith("comparison"):
        entry = json.loads((RESULTS / f"{name}.json").read_text())
        return {**entry["results"][f"omniglot_{setting}"], "seconds": entry["seconds"]}
    file = RESULTS / f"{name}_{setting}.json"
    if not file.exists():
        return None
    entry = json.loads(file.read_text())
    if name == "mann":
        entry["seconds"] = json.loads((RESULTS / "mann_5x10.json").read_text())["mann_seconds"]
    return {**entry, **entry.get("inductive", {})}


def percent(run: dict[str, Any] | None) -> str:
    if run is None:
        return ""
    digits = 1 if run["interval"] >= 0.05 else 2
    return f"{run['accuracy']:.{digits}f} ± {run['interval']:.{digits}f}"


def accuracies() -> list[str]:
    rows = []
    for name, label in ACCURACIES.items():
        one, five = measured(name, "5w1s"), measured(name, "5w5s")
        if one is not None:
            minutes = f"{one['seconds'] / 60:.0f}"
            if name == "mann":  # its pictures pass through a network that was trained before
                before = json.loads((RESULTS / "prototypical_5w1s.json").read_text())["seconds"]
                minutes = f"{before / 60:.0f} + {minutes}"
            rows.append([label, percent(one), percent(five), minutes])
    return table(["5 ways", "1 shot", "5 shots", "minutes"], rows)


@pytest.mark.parametrize("made", [milliseconds, numbers, accuracies])
def test_the_tables_are_those_of_the_stored_runs(made: Any) -> None:
    rows = "\n".join(made())
    assert rows in PAGE, f"the page needs this table:\n{rows}"


def test_what_the_page_says_of_the_cost() -> None:
    c = cost()["cost"]
    assert set(c) == set(NAMES)
    plain = c["prototypical"]
    for name in ("lstm_control", "hypernetwork", "in_context"):
        assert c[name]["step"] < 1.2 * plain["step"]
        assert max(a - b for a, b in zip(c[name]["adapt"], plain["adapt"], strict=True)) < 5
    for name in NAMES.keys() - {"maml"}:  # every one of them before MAML
        assert all(a < b / 2 for a, b in zip(c[name]["adapt"], c["maml"]["adapt"], strict=True))
    slower = {name for name in NAMES if c[name]["adapt"][2] > 2 * plain["adapt"][2]}
    assert slower == {"mann", "meta_network", "maml"}
    grows = {name for name in NAMES if len(set(c[name]["kept"])) > 1}
    assert grows == {"meta_network", "in_context"}
    assert max(NAMES, key=lambda name: c[name]["kept"][2]) == "meta_network"
    hyper = c["hypernetwork"]["kept"][0] - c["prototypical"]["kept"][0]
    assert hyper == 5  # one bias a class


@pytest.mark.parametrize("setting", ["5w1s", "5w5s"])
def test_the_prototypical_network_is_the_best_of_the_table(setting: str) -> None:
    runs = {name: run for name in ACCURACIES if (run := measured(name, setting))}
    assert max(runs, key=lambda name: runs[name]["accuracy"]) == "prototypical"
    assert all(run.get("episodes", 600) >= 600 for run in runs.values())


def test_what_elimination_allows() -> None:
    """By going through all ways to name five classes, with the first free label as the guess."""
    right = [
        min(set(range(5)) - set(labels[:j])) == labels[j]
        for labels in permutations(range(5))
        for j in range(5)
    ]
    assert rf"\approx {100 * sum(right) / len(right):.1f}\,\%" in PAGE


def test_the_weights_of_the_drawing_are_those_of_the_formulas() -> None:
    root = ElementTree.parse(DRAWING).getroot()

    def found(kind: str, attribute: str) -> Tensor:
        values = [float(e.attrib[attribute]) for e in root.iter() if e.get("class") == kind]
        return torch.tensor(values, dtype=torch.float64)

    slots, key = found("cell", "fill-opacity").view(9, 5), found("key", "fill-opacity")
    cosine = nn.functional.cosine_similarity(slots, key[None], dim=1)
    read = (10 * cosine).softmax(0)
    scale = found("read", "height").max() / read.max()
    drawn = found("read", "height")
    torch.testing.assert_close(drawn, (scale * read)[scale * read > 0.5], atol=0.3, rtol=0)
    assert set(read.topk(2).indices.tolist()) == {2, 6} and read[[2, 6]].min() > 0.4
    write = found("write", "height")
    torch.testing.assert_close(write / write.sum(), torch.tensor([0.1, 0.9], dtype=torch.float64))
    torch.testing.assert_close(slots[6], 0.9 * key, atol=0.011, rtol=0)


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"(?ms)^```python\n(import torch\n.*?)^```", PAGE)
    try:
        exec(example, {})
    finally:
        torch.set_default_dtype(torch.float32)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [p[1] for p in printed] == ["False", "False", "True", "True"]
    assert "It prints `False` for the first two and `True` for the others." in PAGE


def symmetries(model: Any, ways: int) -> tuple[bool, bool, bool]:
    """Whether order and names of the classes do not matter, and whether queries are blind to each other."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(1, ways, 8, generator=g, dtype=torch.float64), torch.arange(ways)[None]
    query = torch.randn(1, 4, 8, generator=g, dtype=torch.float64)
    names = torch.arange(ways).roll(1)
    answer = model.adapt(x, y)(query)
    others = (
        model.adapt(x.flip(1), y.flip(1))(query),
        model.adapt(x, names[y])(query)[..., names],
        torch.cat([model.adapt(x, y)(q[:, None]) for q in query.unbind(1)], 1),
    )
    order, named, blind = (torch.allclose(answer, other, atol=1e-9) for other in others)
    return order, named, blind


def test_the_table_of_what_holds_by_construction() -> None:
    torch.manual_seed(0)
    models: list[Any] = [
        LSTMControl(nn.Identity(), 8, 3),
        MANN(nn.Identity(), 8, 3),
        MetaNetwork(nn.Identity(), 8, 3),
        HyperNetwork(nn.Identity(), 8),
        InContextTransformer(nn.Identity(), 8, 3),
    ]
    checked = [symmetries(model.double().eval(), 3) for model in models]
    say = {True: "yes", False: "no"}
    for row, place in (
        ("support in any order, same answer", 0),
        ("classes renamed, answers renamed", 1),
    ):
        assert f"| {row} | {' | '.join(say[c[place]] for c in checked)} |" in PAGE
    assert all(blind for *_, blind in checked)
    ways = []
    for model in models:
        fits = []
        for n in (2, 3, 4):
            x, y = torch.randn(1, n, 8, dtype=torch.float64), torch.arange(n)[None]
            try:
                fits.append(model.adapt(x, y)(x).shape[-1] >= n)
            except (ValueError, RuntimeError):
                fits.append(False)
        ways.append({(1, 1, 1): "any", (1, 1, 0): "up to N", (0, 1, 0): "N"}[tuple(map(int, fits))])
    assert f"| number of ways | {' | '.join(ways)} |" in PAGE


def test_every_method_of_the_package_is_in_the_table() -> None:
    import mlbook.model_based

    (listed,) = re.findall(r"(?ms)^:name: model-based-methods\n(.*?)^```", PAGE)
    assert (
        listed.count("\n* - ") == len(mlbook.model_based.__all__) + 3
    )  # the head, and two for comparison
    for file in (ROOT / "mlbook" / "model_based").glob("[a-z]*.py"):
        assert f"`{file.name}`" in PAGE
