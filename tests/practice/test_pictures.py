"""What the page on one's own pictures says in code: its ten-minute program alone, its map against the formula."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlbook import Dataset
from mlbook.backbones import Backbone, Pictures

NOTEBOOK = Path(__file__).parents[2] / "book" / "practice" / "pictures.ipynb"


def cell(holds: str) -> str:
    """The code cell with these words."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (found,) = [
        "".join(c["source"])
        for c in cells
        if c["cell_type"] == "code" and holds in "".join(c["source"])
    ]
    return found


def small(name: str) -> Backbone:
    """A network in the backbone's place: pixels, which tell emoji apart well above chance."""
    assert name == "efficientnet_lite0"
    plain = nn.Linear(3 * 8 * 8, 3 * 8 * 8, bias=False)
    nn.init.eye_(plain.weight)
    net = nn.Sequential(nn.Flatten(), plain)
    return Backbone(name, net, 3 * 8 * 8, Pictures(8, (0.5,) * 3, (1.0,) * 3))


def test_the_program_of_ten_minutes_runs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from mlbook import load

    program = cell("def accuracy(f):")
    assert 12 <= len([line for line in program.splitlines() if line.strip()]) <= 25
    space: dict[str, Any] = {"torch": torch, "F": F, "load": load, "backbone": small}
    exec(program, space)
    said = re.findall(r"([\d.]+) ± ([\d.]+) %", capsys.readouterr().out)
    assert len(said) == 2
    for value, interval in said:
        assert 30 < float(value) < 100 and float(interval) < 2


def adapter_class() -> Any:
    """The class as the page has it, and nothing else of its cell."""
    tree = ast.parse(cell("class Adapter(nn.Module):"))
    tree.body = [part for part in tree.body if isinstance(part, ast.ClassDef)]
    space: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "__name__": "page"}
    exec(compile(tree, "page", "exec"), space)
    return space["Adapter"]


def features(classes: int = 6, samples: int = 40, dim: int = 5) -> Dataset:
    torch.manual_seed(0)
    spread = torch.randn(dim, dim, dtype=torch.float64)
    x = torch.randn(classes, 1, dim, dtype=torch.float64) * 3
    x = x + torch.randn(classes, samples, dim, dtype=torch.float64) @ spread
    names = [str(i) for i in range(classes)]
    return Dataset(x, names, names, "made up")


def test_the_map_is_equation_two() -> None:
    data = features()
    adapter = adapter_class()(data)
    z = F.normalize(data.images, dim=-1)
    rest = (z - z.mean(1, keepdim=True)).flatten(0, 1)
    covariance = rest.mT @ rest / len(rest)
    values = torch.linalg.eigvalsh(covariance)
    # after the map the differences within classes have the variances e / (e + lambda), all times one factor
    mapped = adapter(data.images.flatten(0, 1)).unflatten(0, data.images.shape[:2])
    rest = (mapped - mapped.mean(1, keepdim=True)).flatten(0, 1)
    found = torch.linalg.eigvalsh(rest.mT @ rest / len(rest))
    wanted = values / (values + 0.3 * values.mean())
    torch.testing.assert_close(found / found.sum(), wanted / wanted.sum())
    # and the mean of the class means is where it was told to be, at 0
    torch.testing.assert_close(mapped.mean(1).mean(0), torch.zeros(5, dtype=torch.float64))


def test_the_map_looks_at_no_sample_that_is_not_there() -> None:
    Adapter, data = adapter_class(), features()
    uneven = data.images.clone()
    uneven[0, 30:], counts = 1e6, [30, *[40] * 5]
    part = Dataset(uneven, data.classes, data.groups, "uneven", counts=counts)
    other = uneven.clone()
    other[0, 30:] = -7.0
    same = Dataset(other, data.classes, data.groups, "uneven", counts=counts)
    assert torch.equal(Adapter(part).map, Adapter(same).map)
