"""Sliders over a function that draws: alive with a kernel, and as stored pictures without."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mlbook import bundle, plots
from mlbook.lab.still import alive_or_still

FRAMES = 40  # pictures that one output may store
BETWEEN = 7  # values of a slider from low to high that are stored
COLOURS = 64  # of a stored picture


def explore(function: Callable[..., Any], /, alt: str, **ranges: Sequence[Any]) -> Any:
    """Give a function that draws a figure one slider for each of its arguments.

        def curve(shots, scale): ...                # returns a matplotlib figure
        explore(curve, "how sure the answer is", shots=[1, 2, 5, 10], scale=(0.5, 4.0))

    With a kernel, moving a slider calls the function. The output also stores the
    pictures of a grid of values, so that the same sliders turn these over where no kernel runs: on the
    site, and in a notebook that was opened and not run. Every call begins from `torch.manual_seed(0)`, so
    that the same values give the same picture; torch's random state is left as it was.

    Args:
        function: Of keyword arguments with the names of the ranges; returns the figure that it draws.
        alt: What is to be seen, in a sentence, for readers who do not see it.
        **ranges: For each argument a list of values to choose from, or a tuple `(low, high)`: every whole
            number between, or every number if one of them is a float. Of a tuple 7 values are stored.

    Returns:
        What shows itself at the end of a cell.

    Raises:
        ValueError: If there is no range or an empty one, the grid has more than 40 pictures, or the
            function returns no figure.
    """
    if not ranges:
        raise ValueError("explore needs a range for each slider: explore(draw, '...', shots=[1, 5, 20])")  # fmt: skip
    grid = {name: _stored(name, values) for name, values in ranges.items()}
    sizes = [len(values) for values in grid.values()]
    n = 1
    for size in sizes:
        n *= size
    if n > FRAMES:
        product = " x ".join(f"{name} {size}" for name, size in zip(grid, sizes, strict=True))
        raise ValueError(
            f"{product} are {n} pictures, and an output stores at most {FRAMES}: give fewer values"
        )
    frames = [
        _png(_drawn(function, dict(zip(grid, values, strict=True))))
        for values in itertools.product(*grid.values())
    ]
    return Exploration(function, alt, ranges, grid, frames)


class Exploration:
    """Sliders over a function that draws; `explore` makes one."""

    def __init__(
        self,
        function: Callable[..., Any],
        alt: str,
        ranges: Mapping[str, Sequence[Any]],
        grid: dict[str, list[Any]],
        frames: list[str],
    ) -> None:
        self.function, self.alt, self.ranges = function, alt, ranges
        self.grid, self.frames = grid, frames
        self._widget: Any = None

    def __repr__(self) -> str:
        return f"explore({', '.join(self.grid)}): {len(self.frames)} pictures"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        data = {
            "alt": self.alt,
            "names": list(self.grid),
            "values": [[_words(v) for v in values] for values in self.grid.values()],
            "frames": self.frames,
        }
        still = {
            "text/html": plots.figure("explore", self.alt, data).data,
            "text/plain": repr(self),
        }
        return alive_or_still(still, lambda: self._live(data))

    def _live(self, data: dict[str, Any]) -> Any:
        if self._widget is None:
            self._widget = _alive(self, data)
        return self._widget


def _alive(explored: Exploration, data: dict[str, Any]) -> Any:
    """Sliders that call the function: the browser says where they stand, and is sent the picture."""
    import anywidget
    import traitlets

    choices = [_all(explored.grid[name], values) for name, values in explored.ranges.items()]

    class Sliders(anywidget.AnyWidget):
        _esm = bundle.esm("explore")
        data = traitlets.Dict().tag(sync=True)
        asked: Any = traitlets.List().tag(sync=True)
        answer = traitlets.Dict().tag(sync=True)

        @traitlets.observe("asked")
        def _draw(self, _: Any) -> None:
            values = [choices[i][k] for i, k in enumerate(self.asked)]
            try:
                picture = _png(_drawn(explored.function, dict(zip(explored.ranges, values, strict=True))))  # fmt: skip
                self.answer = {"asked": self.asked, "picture": picture}
            except Exception as error:
                self.answer = {"asked": self.asked, "error": f"{type(error).__name__}: {error}"}

    words = [[_words(v) for v in values] for values in choices]
    return Sliders(data={**data, "values": words, "frames": explored.frames[:1]})


def _all(stored: list[Any], values: Sequence[Any]) -> list[Any]:
    """What a slider may be set to where a kernel runs: of a tuple, all whole numbers or a hundred steps."""
    if not isinstance(values, tuple):
        return stored
    low, high = values
    if isinstance(low, int) and isinstance(high, int):
        return list(range(low, high + 1))
    return [low + k * (high - low) / 100 for k in range(101)]


def _stored(name: str, values: Sequence[Any]) -> list[Any]:
    """The values of one argument that the grid has."""
    if isinstance(values, tuple):
        numbers = len(values) == 2 and all(isinstance(v, int | float) for v in values)
        if not numbers or not values[0] < values[1]:
            raise ValueError(f"{name}={values}: a tuple is (low, high); a list names values")
        low, high = values
        if isinstance(low, int) and isinstance(high, int):
            steps = min(BETWEEN, high - low + 1)
            return [low + round(k * (high - low) / (steps - 1)) for k in range(steps)]
        return [low + k * (high - low) / (BETWEEN - 1) for k in range(BETWEEN)]
    try:
        found = list(values)
    except TypeError:
        found = []
    if not found or isinstance(values, str):
        raise ValueError(f"{name}={values!r}: give a list of values, or a tuple (low, high)")
    return found


def _words(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drawn(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """The figure for these values, closed, so that a notebook does not show it a second time."""
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        figure = function(**values)
    if not isinstance(figure, Figure):
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(
            f"{getattr(function, '__name__', 'function')}({given}) returns a {type(figure).__name__}: it must return "
            "the matplotlib figure that it draws"
        )
    plt.close(figure)
    return figure


def _png(figure: Any) -> str:
    """A figure as base64 of a PNG with few colours: the same bytes for the same figure."""
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=144, metadata={"Software": None}, transparent=True)
    picture = Image.open(raw).convert("RGBA")
    picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
