"""Every code cell of every notebook on the second device, with training and evaluation cut short.

    make second-device                                                 # all
    make second-device NOTEBOOKS=book/metric/prototypical.ipynb        # one

A notebook finds a GPU: `torch.cuda.is_available()` is true in it, so that it takes its longer branches, and
`fit` trains on the device where none is named. What a cell computes is what it computes for a reader, but
that `fit` takes two steps, `evaluate` meets two tasks, and nothing is drawn. What an `assert` says is computed,
since it may mix devices, and believed.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import second_device
from second_device import GPU

import mlbook
import mlbook.evaluate
import mlbook.fit

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted(ROOT.glob("book/**/*.ipynb"))
NOTEBOOKS = [ROOT / p for p in os.environ.get("NOTEBOOKS", "").split()] or ALL
fit, evaluate = mlbook.fit, mlbook.evaluate


class Reader(ast.NodeTransformer):
    """A cell as it is run here: there is a GPU, and an assertion is computed and holds."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "torch.cuda.is_available":
            return ast.copy_location(ast.Constant(True), node)
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        test = ast.Call(ast.Name("bool", ast.Load()), [node.test], [])
        return ast.copy_location(ast.Expr(test), node)


def short_fit(model: Any, tasks: Any, steps: int, *args: Any, **kwargs: Any) -> Any:
    kwargs.setdefault("device", GPU)
    kwargs |= {"validate_tasks": 2, "progress": False}
    history = fit(model, tasks, min(steps, 2), *args, **kwargs)
    for values in history.metrics.values():  # as long as was asked for
        values += [values[-1]] * (steps - len(values))
    return history


def short_evaluate(model: Any, tasks: Any, n: int = 600, *args: Any, **kwargs: Any) -> Any:
    few = [mlbook.Episode(*(t[:2] for t in tasks[0]))]
    if len(few[0].query_x) < 2:
        few.append(mlbook.Episode(*tasks[1]))
    result = evaluate(model, few, 2, *args, **kwargs)
    return mlbook.Result(result.values.repeat(n)[:n], result.unit)  # as many as were asked for


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[second_device.Log]:
    monkeypatch.setattr(mlbook, "fit", short_fit)
    monkeypatch.setattr(mlbook, "evaluate", short_evaluate)
    matplotlib.use("agg")
    with second_device.second_device() as log:
        yield log


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_cell_runs_on_the_second_device(
    path: Path, reader: second_device.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.chdir(path.parent)
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        if cell["cell_type"] != "code" or "colab" in cell["metadata"].get("tags", []):
            continue
        tree = Reader().visit(ast.parse("".join(cell["source"])))
        code = compile(ast.fix_missing_locations(tree), f"{path.stem}[{number}]", "exec")
        exec(code, space)
    plt.close("all")
    assert not reader.mixed
