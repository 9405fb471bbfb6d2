"""Which cells of a notebook bring names or only show what is there already, so that the page may fold their code."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

# What a cell calls that does more than show: it trains, measures, or takes a step of a method.
WORK = {"adapt", "backward", "evaluate", "fit", "load", "load_pretrained", "loss", "minimise"}
PENS = {"HTML", "Markdown", "ax", "axes", "figure", "plots", "plt"}
LEAST = 4  # lines; fewer take less room than the words on a fold


def statements(source: str) -> list[ast.stmt]:
    """The statements of a cell; none if it has a magic of IPython.

    >>> len(statements("a = 1\\nprint(a)")), statements("%matplotlib inline")
    (2, [])
    """
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []


def names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """What a piece of code reads (`ast.Load`) or sets (`ast.Store`)."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


@cache
def reads_and_sets(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell takes over from cells before it, and those that it sets for cells after it.

    Loops, comprehensions and functions bring names of their own, which are taken over from nobody.

    >>> reads, sets = reads_and_sets("b = a\\nfor i in b:\\n    print(i)")
    >>> sorted(reads), sorted(sets)
    (['a', 'print'], ['b', 'i'])
    """
    reads: set[str] = set()
    sets: set[str] = set()
    for statement in statements(source):
        own = {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
        if not isinstance(statement, ast.Assign | ast.AugAssign):
            own |= names(statement, ast.Store)
        for node in ast.walk(statement):
            if isinstance(node, ast.comprehension):
                own |= names(node.target, ast.Store)
        reads |= names(statement, ast.Load) - sets - own
        sets |= names(statement, ast.Store)
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            sets.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            sets |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return reads, sets


def calls(source: str) -> set[str]:
    """The names of all that is called: of `model.loss(x)` it is `loss`."""
    found = set()
    for statement in statements(source):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                found.add(node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
    return found


def drawn(source: str) -> float:
    """The share of a cell's lines whose statements draw, or lay out a table.

    >>> drawn("y = f(x)\\nplt.plot(y)")
    0.5
    """
    lines = pens = 0
    held = {*PENS}
    for statement in statements(source):
        if isinstance(statement, ast.Assign) and "subplots" in ast.unparse(statement.value):
            held |= names(statement, ast.Store)
        length = (statement.end_lineno or statement.lineno) - statement.lineno + 1
        lines += length
        imports = isinstance(statement, ast.Import | ast.ImportFrom)
        rows = any(
            isinstance(n, ast.Constant) and isinstance(n.value, str) and "| " in n.value
            for n in ast.walk(statement)
        )
        if imports or rows or names(statement, ast.Load) & held:
            pens += length
    return pens / lines if lines else 0.0


def only_imports(source: str) -> bool:
    """Whether a cell brings names and sets a style, and nothing else.

    >>> only_imports("import torch\\n\\nfrom mlbook import plots\\n\\nplots.use_style()")
    True
    >>> only_imports("import torch\\n\\ntorch.manual_seed(0)"), only_imports("plots.use_style()")
    (False, False)
    """
    found = [
        isinstance(s, ast.Import | ast.ImportFrom)
        for s in statements(source)
        if ast.unparse(s) != "plots.use_style()"
    ]
    return bool(found) and all(found)


def shown(cell: Any) -> str | None:
    """What stands under a cell: a figure with a script, a chart, a table, or none of these."""
    data = [(kind, text) for o in cell.outputs for kind, text in o.get("data", {}).items()]
    if any("<script" in text for kind, text in data if kind == "text/html"):
        return "figure"
    if any(kind.startswith("image/") for kind, _ in data):
        return "chart"
    return "table" if any(kind in ("text/html", "text/markdown") for kind, _ in data) else None


def only_shows(cells: list[Any], i: int) -> bool:
    """Whether cell i shows something and does nothing else that counts.

    No later cell needs what it names, it trains and measures nothing and defines no function, and at least half
    of its lines draw.
    """
    source = cells[i].source
    if shown(cells[i]) is None or len(source.splitlines()) < LEAST or calls(source) & WORK:
        return False
    if any(isinstance(s, ast.FunctionDef | ast.ClassDef) for s in statements(source)):
        return False
    left = reads_and_sets(source)[1]
    for cell in cells[i + 1 :]:
        if cell.cell_type == "code":
            reads, sets = reads_and_sets(cell.source)
            if reads & left:
                return False
            left = left - sets
    return drawn(source) >= 0.5
