"""One visual language for every figure of the book. matplotlib is imported on first use, not with the package."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import torch
from torch import Tensor

from mlbook.episodes import Episode, whole

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from mlbook.evaluate import Result


class _Record(Protocol):
    """What `history` draws: `fit` returns one."""

    metrics: dict[str, list[float]]
    validation: list[tuple[int, float, float]]


# Okabe & Ito's colours, told apart by colour-blind readers, in print, and with lightness inverted
# for dark pages.
COLORS = {
    "ink": "#1f2933",
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "sky": "#56B4E9",
    "amber": "#E69F00",
    "pink": "#CC79A7",
    "grey": "#6b7785",
    "line": "#c9d1d9",
}
CLASSES = ["blue", "orange", "green", "pink", "amber", "sky", "grey"]


def class_color(k: int) -> str:
    """The colour of class k, in hexadecimal; seven of them, then they come again."""
    return COLORS[CLASSES[k % len(CLASSES)]]


def use_style() -> None:
    """Give matplotlib the look of this book: ink on white paper, so that it is readable in a dark notebook as well.

    Notebooks store figures as PNG, since every place that shows notebooks shows that, before they are trusted and run:
    JupyterLab and VS Code hold SVG back, GitHub takes the words out of it.
    """
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "axes.edgecolor": COLORS["grey"],
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.labelcolor": COLORS["ink"],
            "axes.prop_cycle": cycler(color=[COLORS[name] for name in CLASSES]),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.facecolor": "none",
            "figure.facecolor": "white",
            "figure.figsize": (7.0, 3.4),
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "grid.color": COLORS["line"],
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "savefig.facecolor": "white",
            "savefig.transparent": False,
            "text.color": COLORS["ink"],
            "xtick.color": COLORS["grey"],
            "ytick.color": COLORS["grey"],
            "xtick.labelcolor": COLORS["ink"],
            "ytick.labelcolor": COLORS["ink"],
        }
    )
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # outside a notebook there is nothing to set
        return
    shell = get_ipython()
    if shell is not None and shell.display_formatter is not None:
        from matplotlib.figure import Figure

        set_matplotlib_formats("png")  # type: ignore[no-untyped-call]
        shell.display_formatter.formatters["image/png"].for_type(Figure, _png)


def _png(figure: Figure) -> tuple[bytes, dict[str, int]] | None:
    """A figure at twice its size, and the size to show it at; nothing if nothing is drawn."""
    from IPython.core.pylabtools import print_figure
    from PIL import Image

    drawn = print_figure(figure, "retina")  # type: ignore[no-untyped-call]
    return None if drawn is None else _small(Image.open(BytesIO(drawn)).convert("RGB"))


def _small(picture: Image.Image) -> tuple[bytes, dict[str, int]]:
    """A picture in 256 colours, a third of the bytes of all of them, and half its size, to show it at."""
    import numpy as np
    from PIL import Image

    # In no channel further off than 1/16, and much truer to small dots than a palette by frequency. Paper
    # has a colour for itself and stays white: the site takes it away.
    few = picture.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    index = np.array(few)
    index[(np.asarray(picture) == 255).all(-1)] = 255
    small = Image.fromarray(index)
    small.putpalette(((few.getpalette() or []) + [0] * 765)[:765] + [255] * 3)
    stored = BytesIO()
    small.save(stored, "PNG", optimize=True)
    return stored.getvalue(), {"width": picture.width // 2, "height": picture.height // 2}


def _painted(images: Tensor, color: str) -> Tensor:
    """Pictures `[n, C, H, W]` of 1, 3 or 4 channels, floats or bytes, as colours and opacity `[n, 4, H, W]`.

    One channel is how much ink of this colour there is; where there is none, the page shows through.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"pictures are [n, C, H, W] with C of 1, 3 or 4, and these are {list(images.shape)}"
        )
    images = images.detach().cpu()
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    n, channels, height, width = images.shape
    if channels == 1:
        ink = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return torch.cat([ink[:, None, None].expand(n, 3, height, width), images], 1)
    return torch.cat([images, torch.ones_like(images[:, :1])], 1) if channels == 3 else images


def show_images(
    ax: Axes, images: Tensor, columns: int, gap: int = 2, cells: Sequence[int] | None = None
) -> None:
    """Draw pictures `[n, C, H, W]`, floats in [0, 1] or bytes, in rows of `columns`, as ink on paper.

    Picture i begins `i % columns * (W + gap)` to the right and `i // columns * (H + gap)` down.

    Args:
        ax: Where to draw.
        images: The pictures; 1 channel (ink), 3 (colours), or 4 (colours and opacity).
        columns: Pictures in a row.
        gap: Pixels between two pictures.
        cells: Where each picture goes, counted row by row; one after the other if not given.

    Raises:
        ValueError: If these are no pictures.
    """
    images = _painted(images, COLORS["ink"])
    n, _, height, width = images.shape
    cells = range(n) if cells is None else cells
    rows = max(cells, default=0) // columns + 1
    sheet = torch.ones(4, rows * (height + gap) - gap, columns * (width + gap) - gap)
    sheet[3] = 0  # white where it is smoothed into the edge of a picture, and not seen elsewhere
    for cell, picture in zip(cells, images, strict=True):
        top, left = (cell // columns) * (height + gap), (cell % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    ax.imshow(sheet.permute(1, 2, 0).numpy())  # large pixels stay sharp, small ones are smoothed
    ax.set_axis_off()


def show_episode(episode: Episode, task: int = 0, columns: int | None = None) -> Figure:
    """Draw one task: the support set by class on the left, the queries with their answers on the right.

    Args:
        episode: Pictures `[T, S, C, H, W]` of any size, in ink or colours, and labels. A class of many takes
            several rows.
        task: Which of the T tasks.
        columns: Query pictures in a row; about a square if not given.

    Raises:
        ValueError: If the episode is malformed or not of labelled pictures, or has no such task.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    episode = episode.check_shapes()
    if episode.support_x.dim() != 5 or episode.support_y.is_floating_point():
        raise ValueError(
            f"support_x {list(episode.support_x.shape)} and support_y of {episode.support_y.dtype}: only pictures "
            "[T, S, C, H, W] with labels can be drawn"
        )
    if not 0 <= task < len(episode.support_x):
        raise ValueError(f"task={task}: the tasks are numbered 0..{len(episode.support_x) - 1}")
    sx, sy, qx, qy = (t[task].cpu() for t in episode)
    ways = int(sy.max()) + 1
    counts = torch.bincount(sy, minlength=ways).tolist()
    height, width = sx.shape[-2:]
    room = max(4, int(20 * height / width))  # pictures side by side that can still be told apart
    across = min(max(counts), room // 2)
    lines = [max(1, -(-count // across)) for count in counts]  # of each class
    begins = [sum(lines[:k]) for k in range(ways)]
    cells = [across * begins[k] + i for k, count in enumerate(counts) for i in range(count)]
    if columns is None:
        columns = min(max(3, -(-len(qx) // ways)), room - across)
    columns = whole("columns", columns, 1)
    rows = max(sum(lines), -(-len(qx) // columns))
    line = min(0.62 * math.sqrt(height / width), 6.4 / (across + columns) * height / width)
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(7, 0.35 + line * rows),
        width_ratios=[max(across, 1.5), max(columns, 1.5)],
        squeeze=True,
    )
    gap = max(2, max(height, width) // 14)
    down, over = height + gap, width + gap  # from one picture to the next
    show_images(left, sx[sy.argsort(stable=True)], across, gap, cells)
    left.set_title("support", color=COLORS["blue"])
    for ax in (left, right):
        ax.set_anchor("N")
    for k in range(ways):
        left.text(
            -6 * width / 28,
            down * begins[k] + height / 2,
            str(k),
            color=class_color(k),
            ha="right",
            va="center",
            weight="bold",
        )
    if len(qx) == 0:
        right.remove()
        plt.close(figure)
        return figure
    show_images(right, qx, columns, gap)
    right.set_title("query", color=COLORS["orange"])
    ink = (
        qx.shape[1] == 1
    )  # around a label a rim of paper is enough there; in colours it would be lost
    rim = [withStroke(linewidth=2, foreground="white")] if ink else []
    paper = None if ink else {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
    for i, label in enumerate(qy.tolist()):
        row, column = divmod(i, columns)
        right.text(
            over * column,
            down * row + 3 * height / 28,
            str(label),
            color=class_color(label),
            size=7,
            weight="bold",
            bbox=paper,
            path_effects=rim,
        )
    plt.close(figure)
    return figure


def history(record: _Record) -> Figure:
    """Draw loss and accuracy over the steps of a training run, smoothed, with the validations as dots.

    Where a method reports its accuracy before adapting, that is drawn too.
    """
    import matplotlib.pyplot as plt

    curves = [("loss", record.metrics.get("loss", []))]
    if accuracy := record.metrics.get("accuracy"):
        curves.append(("accuracy", accuracy))
    figure, axes = plt.subplots(1, len(curves), figsize=(7, 2.8), squeeze=False)
    for ax, (name, values) in zip(axes[0], curves, strict=True):
        y = torch.tensor(values, dtype=torch.float64)
        window = max(1, len(y) // 50)
        smooth = y.unfold(0, window, 1).mean(-1) if window > 1 else y
        ax.plot(y, color=COLORS["sky"], linewidth=0.6, alpha=0.6)
        ax.plot(range(window - 1, len(y)), smooth, color=COLORS["blue"])
        ax.set(title=name, xlabel="step", ylim=(0, None if name == "loss" else 1.02))
        before = record.metrics.get("accuracy before", [])
        if name == "accuracy" and before:  # the same network on tasks that it has not adapted to
            start = torch.tensor(before, dtype=torch.float64)
            start = start.unfold(0, window, 1).mean(-1)
            ax.plot(range(window - 1, len(y)), start, color=COLORS["grey"])
            for text, line, side in (("before adapting", start, 9), ("after", smooth, -22)):
                ax.annotate(text, (len(y) - 1, line[-1]), (0, side), textcoords="offset points",
                            ha="right", color=COLORS["grey" if line is start else "blue"])  # fmt: skip
        if name == "accuracy" and record.validation:
            steps, means, halves = zip(*record.validation, strict=True)
            ax.errorbar(steps, means, halves, fmt="o", color=COLORS["amber"], markersize=4)
            ax.annotate("validation", (steps[-1], means[-1]), (0, -14), textcoords="offset points", ha="right",
                        color=COLORS["amber"])  # fmt: skip
    plt.close(figure)
    return figure


def figure(name: str, alt: str, data: Any = None) -> HTML:
    """An interactive figure in plain JavaScript, alive on the site, in Jupyter and in Colab, with no kernel.

    Args:
        name: The file `mlbook/figures/NAME.js`, a module as anywidget takes it (see `mlbook.bundle`).
        alt: What the figure shows, in a sentence, for readers who do not see it, or not moving.
        data: Handed to the figure as JSON: numbers, strings, lists and dicts.

    Raises:
        ValueError: If there is no such figure, or data holds a number that is NaN or infinite, or
            anything that JSON does not know.
    """
    from IPython.display import HTML

    from mlbook import bundle

    code = bundle.script(name)
    try:
        payload = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the data of figure {name!r} cannot be handed over: {_not_json(data) or error}"
        ) from error
    stable = payload.replace("</", "<\\/")  # as it was once handed over: idents stay as they are
    ident = f"figure-{uuid5(NAMESPACE_URL, name + stable).hex[:8]}"
    for sign in "<>&":  # in strings alone; a browser would look for </script> and <!-- there, too
        payload = payload.replace(sign, f"\\u{ord(sign):04x}")
    words = html.escape(alt)
    return HTML(  # type: ignore[no-untyped-call, unused-ignore]
        f'<div class="mlbook-figure" id="{ident}" role="group" aria-label="{words}"><p>{words} '
        "<em>To bring this figure to life, run its cell or trust the notebook; "
        "on the book’s site it is alive.</em></p></div>\n"
        f"<script>(() => {{ const id = {json.dumps(ident)}; const data = {payload};\n"
        f"/* figure {name} */\n{code}\n/* end of figure */\n}})();</script>"
    )


def _not_json(data: Any, at: str = "data") -> str | None:
    """Where in data something stands that JSON cannot say, and what to do about it."""
    if isinstance(data, float) and not math.isfinite(data):
        return f"{at} is {data}; leave it out, or give None"
    if isinstance(data, Mapping):
        for key, value in data.items():
            if not isinstance(key, str | int | float | bool | None):
                return f"{at} has the key {key!r}; give a string"
            if found := _not_json(value, f"{at}[{key!r}]"):
                return found
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            if found := _not_json(value, f"{at}[{i}]"):
                return found
    elif not isinstance(data, str | int | float | bool | None):
        return f"{at} is a {type(data).__name__}; tensors and arrays become lists with .tolist()"
    return None


def forest(
    results: Mapping[str, Result],
    against: Mapping[str, Result] | None = None,
    names: tuple[str, str] = ("right", "wrong"),
    vertical: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw means as dots with their 95 % intervals, one row a result, first row on top.

    Args:
        results: What to draw, by the name of its row: accuracies, or differences of accuracies.
        against: A second result for some of the rows, drawn as an open circle in orange.
        names: What the filled and the open dots are; said only with `against`.
        vertical: Where to draw a dashed line, in percent: chance, say, or 0 for differences.
        ax: Where to draw; a new figure if not given.
    """
    import matplotlib.pyplot as plt

    against = against or {}
    if ax is None:
        figure, ax = plt.subplots(figsize=(7, 0.8 + 0.42 * len(results)))
        plt.close(figure)
    if vertical is not None:
        ax.axvline(vertical, color=COLORS["grey"], linestyle=(0, (3, 3)), linewidth=1.2)
    looks = [(results, "blue", COLORS["blue"], names[0]), (against, "orange", "none", names[1])]
    rows = {name: row for row, name in enumerate(results)}
    for name in rows.keys() & against.keys():
        both = [100 * results[name].mean, 100 * against[name].mean]
        ax.plot(
            both,
            [rows[name]] * 2,
            color=COLORS["line"],
            linewidth=5,
            solid_capstyle="round",
            zorder=1,
        )
    for some, color, face, label in looks:
        for name, result in some.items():
            x, half, row = 100 * result.mean, 100 * result.interval, rows[name]
            ax.errorbar(
                x,
                row,
                xerr=half,
                fmt="o",
                color=COLORS[color],
                markerfacecolor=face,
                capsize=3,
                markersize=6,
            )
        if against:  # each name above its dot in the first row that has both, on the dot's own side
            first = next(name for name in rows if name in against)
            other = against if some is results else results
            left = some[first].mean < other[first].mean
            place = (100 * some[first].mean, rows[first])
            ax.annotate(label, place, (4 if left else -4, 9), textcoords="offset points",
                        ha="right" if left else "left", color=COLORS[color], weight="bold")  # fmt: skip
    ax.set_yticks(list(rows.values()), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.8 if against else -0.5)
    ax.grid(axis="y", visible=False)
    unit = next(iter(results.values())).unit
    ax.set_xlabel("difference, percentage points" if unit == "points" else "accuracy, %")
    return ax.get_figure()  # type: ignore[return-value]


def scatter_images(ax: Axes, xy: Tensor, images: Tensor, labels: Tensor, size: float = 15) -> None:
    """Draw pictures at points of the plane, each in the colour of its class: its ink, or the frame around it.

    Args:
        ax: Where to draw. Its limits are set by others: a picture does not widen them.
        xy: `[n, 2]`, where the middle of each picture goes.
        images: `[n, C, H, W]`, floats in [0, 1] or bytes; 1 channel (ink), 3 (colours), or 4 (colours and opacity).
        labels: `[n]`, the classes.
        size: Width of a picture in points (1/72 inch).

    Raises:
        ValueError: If these are no pictures.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    for point, image, label in zip(xy.tolist(), images, labels.tolist(), strict=True):
        color = class_color(label)
        (rgba,) = _painted(image[None], color)
        box = OffsetImage(
            rgba.permute(1, 2, 0).numpy(), zoom=size / image.shape[-1],
            interpolation="none" if size > image.shape[-1] / 2 else "hanning",
        )  # fmt: skip
        frame = {"edgecolor": color, "facecolor": "none", "linewidth": 1.5}
        ax.add_artist(
            AnnotationBbox(
                box, (point[0], point[1]), frameon=image.shape[0] > 1, pad=0, bboxprops=frame
            )
        )


def regions(
    ax: Axes, scores: Callable[[Tensor], Tensor], xy: Tensor, resolution: int = 240
) -> None:
    """Tint the plane by the class that a classifier answers there, with lines where the answer changes.

    Args:
        ax: Where to draw; its limits are set to hold all of `xy`, in equal units both ways.
        scores: The classifier, from points `[n, 2]` to scores `[n, N]`.
        xy: `[m, 2]`, points that have to be inside.
        resolution: Points a side at which the classifier is asked.
    """
    from matplotlib.colors import ListedColormap

    middle = (xy.amax(0) + xy.amin(0)) / 2
    half = 0.58 * float((xy.amax(0) - xy.amin(0)).max())
    across = [torch.linspace(float(m) - half, float(m) + half, resolution) for m in middle]
    grid = torch.stack(torch.meshgrid(across[0], across[1], indexing="xy"), -1)
    with torch.no_grad():
        at = scores(grid.flatten(0, 1).to(xy.dtype)).reshape(resolution, resolution, -1)
    answer, ways = at.argmax(-1), at.shape[-1]
    (west, east), (south, north) = ((float(a[0]), float(a[-1])) for a in across)
    tints = ListedColormap([class_color(k) for k in range(ways)])
    ax.imshow(answer.numpy(), origin="lower", extent=(west, east, south, north), cmap=tints, vmin=-0.5, vmax=ways - 0.5,
              alpha=0.16, interpolation="nearest", zorder=0)  # fmt: skip
    for k in range(ways):  # where class k and the best of the others have the same score
        others = at.clone()
        others[..., k] = -torch.inf
        lead = (at[..., k] - others.amax(-1)).numpy()
        if lead.min() < 0 < lead.max():
            ax.contour(*(a.numpy() for a in across), lead, levels=[0], colors=COLORS["grey"],
                       linewidths=1, zorder=1)  # fmt: skip
    ax.set(xlim=(west, east), ylim=(south, north), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)


def curves(
    ax: Axes, x: Sequence[float], results: Mapping[str, Sequence[Result]], error: bool = False
) -> None:
    """Draw accuracies against x as lines with their 95 % intervals as bands, each named at its right end.

    Args:
        ax: Where to draw; leave room on the right for the names.
        x: What the results belong to, ascending.
        results: For each name one result a value of x.
        error: Draw 1 minus the accuracy, which a logarithmic axis then spreads.
    """
    for k, (name, line) in enumerate(results.items()):
        color = class_color(k)
        mean = torch.tensor([1 - r.mean if error else r.mean for r in line])
        half = torch.tensor([r.interval for r in line])
        ax.fill_between(list(x), (mean - half).tolist(), (mean + half).tolist(), color=color,
                        alpha=0.18, linewidth=0)  # fmt: skip
        ax.plot(list(x), mean.tolist(), "o-", color=color, markersize=4)
        ax.annotate(name, (x[-1], float(mean[-1])), (7, 0), textcoords="offset points",
                    va="center", color=color, weight="bold")  # fmt: skip
