"""Training seen while it happens, as a callback of `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlbook import bundle, plots
from mlbook.episodes import Episode
from mlbook.evaluate import modes_kept
from mlbook.progress import in_kernel

EVERY = (
    0.5  # seconds between two pictures: a page that draws more often makes the kernel wait for it
)
POINTS = 200  # of each curve
KEPT = 60  # pictures of the embedding that can be gone back to
ALT = (
    "Training as it happens: the loss and the accuracy over the steps, and a plane with the embedded pictures of one "
    "task, which move together by class as the network learns."
)


class watch:
    """Show training live: `fit(model, tasks, steps, callback=watch(episode))`.

    Loss and accuracy over the steps, and the pictures of one task where the embedding puts them: their two
    principal axes, turned so that one picture follows from the last. In a notebook with ipywidgets it
    draws twice a second at most; elsewhere it does nothing, and there is the progress bar of `fit`. At
    the end of a later cell, the watch shows what it has recorded, with no kernel needed.

    Any code may call it: `callback(step, history, model)`, where `history.metrics` holds `"loss"`, and
    `"accuracy"` if there is one.

    Args:
        episode: The task whose pictures are embedded, the first of a batch; without one there are the
            curves alone.
        embed: From pictures `[n, C, H, W]` to vectors `[n, D]`; `model.embed` if not given, which
            the metric-based methods have.

    Raises:
        ValueError: If the episode is malformed or has no labels.
    """

    def __init__(
        self, episode: Episode | None = None, embed: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.episode, self.embed = None, embed
        self.labels: list[int] = []
        if episode is not None:
            episode = Episode(*episode).check()
            if episode.support_y.is_floating_point():
                raise ValueError(
                    "the episode has numbers for answers: watch shows classes; leave it out"
                )
            self.episode = torch.cat([episode.support_x[0], episode.query_x[0]])
            self.labels = [*episode.support_y[0].tolist(), *episode.query_y[0].tolist()]
        self.supports = episode.support_x.shape[1] if episode is not None else 0
        self.frames: list[dict[str, Any]] = []
        self.curves: dict[str, list[list[float]]] = {}
        self._axes: Tensor | None = None  # coordinates of the last picture
        self._last = -EVERY
        self._latest: tuple[int, Any, Any] = (0, None, None)
        self._widget: Any = None

    def __call__(self, step: int, history: Any, model: Any) -> None:
        """Look, if it is time."""
        if not _in_notebook():
            return
        self._latest = (step, history, model)
        if time.monotonic() - self._last >= EVERY:
            self.look(step, history, model)
            self._last = time.monotonic()

    def look(self, step: int, history: Any, model: Any) -> None:
        """Draw the state of training now."""
        self.curves = {
            name: thinned(history.metrics[name])
            for name in ("loss", "accuracy")
            if name in history.metrics
        }
        if (points := self._embedded(model)) is not None:
            if self.frames and self.frames[-1]["step"] == step:
                self.frames.pop()
            rounded = [[round(v, 3) for v in point] for point in points.tolist()]
            self.frames.append({"step": step, "points": rounded})
            if len(self.frames) > KEPT:  # every second one; the first and the last stay
                self.frames = [*self.frames[:-1:2], self.frames[-1]]
        if self._widget is None and _in_notebook():
            self._widget = _show(self)
        if self._widget is not None:
            self._widget.now = {"step": step, "curves": self.curves, "frames": self.frames}

    def _embedded(self, model: Any) -> Tensor | None:
        """Where the pictures of the task are, `[n, 2]` within [-1, 1]; None if there is no embedding."""
        embed = self.embed or getattr(model, "embed", None)
        if self.episode is None or embed is None:
            return None
        weight = next(model.parameters())
        with modes_kept(model), torch.no_grad():
            model.eval()
            z = embed(self.episode.to(weight.device, weight.dtype)).flatten(1).double().cpu()
        self._axes = followed(z, self._axes)
        return self._axes

    def __repr__(self) -> str:
        return f"watch: {len(self.frames)} pictures, {len(self.curves.get('loss', []))} points of the loss"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if self._latest[1] is not None:
            self.look(*self._latest)
        return {"text/html": plots.figure("watch", ALT, self._data()).data, "text/plain": repr(self)}  # fmt: skip

    def _data(self) -> dict[str, Any]:
        now = {"step": self._latest[0], "curves": self.curves, "frames": self.frames}
        return {"labels": self.labels, "supports": self.supports, "now": now}


def thinned(values: list[float]) -> list[list[float]]:
    """At most some 200 points `[step, mean around it]` of a curve."""
    size = -(-len(values) // POINTS)
    parts = [values[i : i + size] for i in range(0, len(values), size)] if size else []
    return [[min(len(values), (i + 1) * size), round(sum(p) / len(p), 5)] for i, p in enumerate(parts)]  # fmt: skip


def followed(z: Tensor, before: Tensor | None) -> Tensor:
    """The coordinates `[n, 2]` of `z [n, D]` along its two principal axes, the farthest at distance 1.

    Principal axes have no sign, and two that are nearly as long change places: so the plane is turned,
    or turned over, to be as near as may be to the coordinates before (orthogonal Procrustes).
    """
    z = z - z.mean(0)
    u, s, _ = torch.linalg.svd(z, full_matrices=False)
    xy: Tensor = (u * s)[:, :2]
    if xy.shape[1] < 2:
        xy = nn.functional.pad(xy, (0, 2 - xy.shape[1]))
    xy = xy / xy.norm(dim=1).max().clamp_min(1e-12)
    if before is None:
        # one of the two ways round, the same on every machine: the largest coordinate is positive
        largest = xy.gather(0, xy.abs().argmax(0, keepdim=True))
        xy = xy * torch.where(largest < 0, -1.0, 1.0)
    else:
        left, _, right = torch.linalg.svd(xy.T @ before)
        xy = xy @ (left @ right)
    return xy


def _in_notebook() -> bool:
    """Whether there is a kernel with a front end, and anywidget."""
    if not in_kernel():
        return False
    try:
        import anywidget  # noqa: F401
    except ImportError:
        return False
    return True


def _show(watching: watch) -> Any:
    """The widget, displayed, and brought up to date once more when the cell has ended."""
    import anywidget
    import traitlets
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    class Live(anywidget.AnyWidget):
        _esm = bundle.esm("watch")
        data = traitlets.Dict().tag(sync=True)
        now = traitlets.Dict().tag(sync=True)

        def __repr__(self) -> str:
            return "training, live: run the cell to see it"

    data = watching._data()
    widget = Live(data={k: data[k] for k in ("labels", "supports")}, now=data["now"])
    display(widget)  # type: ignore[no-untyped-call, unused-ignore]
    shell: Any = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    events = shell.events

    def ended(*_: Any) -> None:
        events.unregister("post_run_cell", ended)
        watching.look(*watching._latest)

    events.register("post_run_cell", ended)
    return widget
