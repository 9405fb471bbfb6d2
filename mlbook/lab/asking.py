"""A sentence and which of some classes it is: chosen where no kernel runs, typed where one does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mlbook import bundle, plots
from mlbook.data.sentences import rounded
from mlbook.lab.still import alive_or_still

ALT = (
    "A sentence is chosen from a list, or typed where a kernel runs. Below, a bar for each class says how near its "
    "prototype is, with a dashed mark at a threshold that a slider moves; below it the answer is none of these. "
    "Under it stand the sentences that each class has as examples; each can be taken out and put back."
)


def ask(
    embed: Callable[[list[str]], Tensor] | None,
    classes: Mapping[str, Sequence[str]],
    others: Sequence[str],
    vectors: Tensor | None = None,
    shots: int = 3,
    threshold: float = 0.5,
) -> Any:
    """Sentences of some classes and of none, to choose from and to ask; with a kernel, to type.

    The first sentences of each class are its examples to begin with. The output stores all vectors, in 8 bits a number,
    and answers without a kernel; with one, what is typed goes through `embed`.

    Args:
        embed: From a list of sentences to vectors `[n, dim]`. None: nothing can be typed.
        classes: For each class its sentences.
        others: Sentences of none of them.
        vectors: `[n, dim]` for all sentences in this order, the classes' first; `embed` makes them where not given.
        shots: Examples a class to begin with, 1 or more.
        threshold: Of the cosine, below which the answer is none of these, in [0, 1].

    Returns:
        What shows itself at the end of a cell.

    Raises:
        ValueError: If there are fewer than two classes, one has too few sentences, or there is neither `embed` nor
            a vector for each sentence.
    """
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} class: give two or more, with sentences of each")
    for name, texts in classes.items():
        if not 1 <= shots <= len(texts):
            raise ValueError(f"shots={shots}, but {name!r} has {len(texts)} sentences")
    rows = [[*texts] for texts in [*classes.values(), others]]
    flat = [text for row in rows for text in row]
    if vectors is None and embed is not None:
        vectors = embed(flat)
    if vectors is None or len(vectors) != len(flat):
        got = "no vectors" if vectors is None else f"{len(vectors)} vectors"
        raise ValueError(f"{got} for {len(flat)} sentences: give embed=, or a vector for each")
    data = {
        "classes": [*classes],
        "texts": rows,
        "z": _bytes(vectors),
        "dim": vectors.shape[1],
        "shots": shots,
        "threshold": threshold,
    }
    return Asking(embed, data)


class Asking:
    """Sentences to ask; `ask` makes one."""

    def __init__(self, embed: Callable[[list[str]], Tensor] | None, data: dict[str, Any]) -> None:
        self.embed, self.data = embed, data
        self._widget: Any = None

    def __repr__(self) -> str:
        return f"ask({', '.join(self.data['classes'])})"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        still = {
            "text/html": plots.figure("sentences", ALT, self.data).data,
            "text/plain": repr(self),
        }
        return still if self.embed is None else alive_or_still(still, self._live)

    def _live(self) -> Any:
        if self._widget is None:
            self._widget = _alive(self)
        return self._widget


def _alive(asking: Asking) -> Any:
    """The browser says what is typed, and is sent its vector."""
    import anywidget
    import traitlets

    class Sentences(anywidget.AnyWidget):
        _esm = bundle.esm("sentences")
        data = traitlets.Dict().tag(sync=True)
        asked = traitlets.Unicode().tag(sync=True)
        answer = traitlets.Dict().tag(sync=True)

        @traitlets.observe("asked")
        def _embed(self, _: Any) -> None:
            embed: Any = asking.embed
            try:
                self.answer = {"asked": self.asked, "z": _bytes(embed([self.asked]))}
            except Exception as error:
                self.answer = {"asked": self.asked, "error": f"{type(error).__name__}: {error}"}

    return Sentences(data=asking.data)


def _bytes(x: Tensor) -> str:
    """Vectors `[n, dim]` as base64 of signed bytes."""
    small = rounded(x.detach().float().cpu())
    return base64.b64encode(small.contiguous().numpy().tobytes()).decode()
