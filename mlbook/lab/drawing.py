"""The drawing lab: a support set and a query drawn by hand, and what every model makes of them."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor, nn

from mlbook import bundle, plots
from mlbook.episodes import Dataset, Episode, whole
from mlbook.evaluate import modes_kept, outputs_for
from mlbook.metric import RelationNetwork, SiameseNetwork

FEWEST, MOST = 2, 10  # classes
ALT = (
    "A drawing lab. Above, a support set of pictures by class and a query; below, a table with a row for each model "
    "and a column for each class, that says how probable the model finds each class for the query."
)


class Lab(anywidget.AnyWidget):
    """Draw a few examples of each class, then one more picture, and see what each of your models says of it.

    Shown at the end of a cell. Python sees what is drawn, and what Python sets is shown::

        lab = Lab({"prototypes": model, "MAML": maml}, test)
        lab                                          # draw
        model.adapt(*lab.support)(lab.query)         # and go on with it
        lab.query = test.images[7, 3] / 255          # or ask about a picture of your own
        lab.observe(lambda change: print(lab.answers), "answers")

    Args:
        models: Meta-learners by name, or one of them: anything with `adapt(support_x, support_y)`.
        data: Pictures `[classes, samples, 1, H, W]` of the size that the models know, square; sets to
            begin with are dealt from it.
        ways: Classes of the set to begin with, 2 to 10.
        shots: Examples a class of that set.
        steps: Of a model that adapts by gradient steps (`adapt` has `steps=`), the answers after 0 to
            so many are shown.
        seed: Of the sets that are dealt.

    Attributes:
        support: `(x [1, S, 1, H, W], y [1, S])`, pictures in [0, 1] and labels 0..N-1, 2 to 10 classes
            with any number of examples each; as `adapt` takes them.
        query: `[1, 1, 1, H, W]`, or None while there is none. May be set to anything of that many pixels.
        answers: For each model's name the probabilities of the classes, `[N]`, or `[steps + 1, N]` for
            one that adapts by steps. A Relation Network's scores and a Siamese Network's p are made to
            sum to 1, and of other models this is the softmax of the scores.
        messages: For each model that cannot answer, why.

    Raises:
        ValueError: If a model is none, the data are not such pictures, or a number is out of range; and
            if `support` or `query` is set to something else than said above.
    """

    support = traitlets.Any()
    query = traitlets.Any()
    answers = traitlets.Dict()
    messages = traitlets.Dict()

    # what the browser knows: `task` is written by both sides, `deal` by the browser, the others here
    data = traitlets.Dict().tag(sync=True)
    task = traitlets.Dict().tag(sync=True)
    deal = traitlets.Dict().tag(sync=True)
    more = traitlets.Unicode().tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, nn.Module] | nn.Module,
        data: Dataset,
        ways: int = 5,
        shots: int = 1,
        steps: int = 5,
        seed: int = 0,
    ) -> None:
        if isinstance(models, nn.Module):
            models = {type(models).__name__: models}
        self._models: dict[str, Any] = dict(models)
        for name, model in self._models.items():
            if not hasattr(model, "adapt"):
                raise ValueError(
                    f"{name!r} is a {type(model).__name__} and no meta-learner, which has adapt(support_x, support_y)"
                )
        if not self._models:
            raise ValueError("models is empty: give one at least, {'prototypes': model} say")
        shape = list(getattr(data, "images", torch.empty(0)).shape)
        if len(shape) != 5 or shape[2] != 1 or shape[3] != shape[4]:
            raise ValueError(
                f"data holds {shape}: the lab draws square pictures of one channel, [classes, samples, 1, H, H]"
            )
        self._data, self._side = data, shape[3]
        self._steps, self._seed = whole("steps", steps, least=1), whole("seed", seed)
        self._check_ways(ways)
        self._learners: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        self._answered: dict[str, Any] = {}  # the task that the answers are about
        self._esm = bundle.esm("drawing")
        super().__init__()
        self.data = {
            "side": self._side,
            "names": list(self._models),
            "set": data.name,
            "steps": self._steps,
        }
        self.deal = {"ways": ways, "shots": shots, "n": 0}

    def __repr__(self) -> str:
        return f"Lab({', '.join(self._models)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and beside it what is shown where there is no kernel: the set dealt, with answers worked out."""
        found: Any = super()._repr_mimebundle_(**kwargs)
        (live, metadata) = found if isinstance(found, tuple) else (found, {})
        still = plots.figure("drawing", ALT, {**self.data, **self._recorded()}).data
        return {"text/html": still, **live, "text/plain": repr(self)}, metadata

    # --- what Python sets, and what it is told

    @traitlets.validate("support")
    def _check_support(self, proposal: Any) -> Any:
        try:
            x, y = (torch.as_tensor(t) for t in proposal["value"])
        except (TypeError, ValueError) as error:
            raise ValueError(
                "support is (x [1, S, 1, H, W], y [1, S]), pictures and labels"
            ) from error
        size = [1, y.numel(), 1, self._side, self._side]
        if x.numel() != torch.Size(size).numel() or y.is_floating_point():
            raise ValueError(
                f"support is x {list(x.shape)} and y {list(y.shape)} of {y.dtype}: give {size} and whole numbers "
                f"{[1, y.numel()]}"
            )
        x, y = self._pictures(x).reshape(size), y.reshape(1, -1).long()
        self._check_ways(int(y.max()) + 1 if y.numel() else 0)
        Episode(x, y, x[:, :0], y[:, :0]).check()
        return x, y

    @traitlets.validate("query")
    def _check_query(self, proposal: Any) -> Any:
        if proposal["value"] is None:
            return None
        x = torch.as_tensor(proposal["value"])
        if x.numel() != self._side**2:
            raise ValueError(
                f"query {list(x.shape)} is no picture of {self._side} x {self._side}: one has {self._side**2} pixels"
            )
        return self._pictures(x).reshape(1, 1, 1, self._side, self._side)

    @traitlets.observe("support")
    def _learn(self, _: Any) -> None:
        self._learners, self._answered = {}, {}
        self._answer()

    @traitlets.observe("query")
    def _asked(self, _: Any) -> None:
        self._answer()

    @traitlets.observe("task")
    def _drawn(self, _: Any) -> None:
        """The browser says what is drawn; or repeats what it was told."""
        if self.task == self._told():
            return
        y = torch.tensor(self.task["labels"])[None]
        x = self._decoded(self.task["support"])
        with self.hold_trait_notifications():  # one answer for both
            self.support = (x, y)
            self.query = self._decoded(self.task["query"]) if self.task["query"] else None

    @traitlets.observe("deal")
    def _dealt(self, _: Any) -> None:
        """A set of classes from the data, and one more picture of each to ask about."""
        ways, shots, n = (int(self.deal[key]) for key in ("ways", "shots", "n"))
        tasks = self._data.episodes(ways, shots, 1, rotations=False, seed=self._seed)
        x, y, queries, _labels = (t.cpu() for t in tasks[n])
        self.more = _encoded(queries)
        with self.hold_trait_notifications():
            self.support = (x, y)
            self.query = queries[:, 0]

    def _told(self) -> dict[str, Any]:
        x, y = self.support
        query = "" if self.query is None else _encoded(self.query)
        return {"support": _encoded(x), "labels": y[0].tolist(), "query": query}

    # --- the models

    def _answer(self) -> None:
        if self.support is None or (told := self._told()) == self._answered:
            return
        self._answered = told
        answers, messages, rows = {}, {}, []
        if self.query is not None:
            for name in self._models:
                try:
                    answers[name] = self._probabilities(name, self.query)[0]
                except Exception as error:  # whatever it is, it is said in the model's row
                    messages[name] = str(error) or type(error).__name__
                rows.append(self._row(name, answers.get(name), messages.get(name, "")))
        self.task = told
        self.rows = rows
        self.messages = messages
        self.answers = answers

    @staticmethod
    def _row(name: str, p: Tensor | None, message: str) -> dict[str, Any]:
        lines = [] if p is None else p.reshape(-1, p.shape[-1]).tolist()
        shares = [[round(v, 4) for v in line] for line in lines]
        return {"name": name, "shares": shares, "message": message}

    def _probabilities(self, name: str, queries: Tensor) -> Tensor:
        """What a model says of each of `queries [1, Q, ...]`: `[Q, N]`, or `[Q, steps + 1, N]`."""
        model = self._models[name]
        x, y = self.support
        ways = int(y.max()) + 1
        net = model if isinstance(model, nn.Module) else nn.Module()  # anything with adapt will do
        weight = next(net.parameters(), None)
        device = torch.device("cpu") if weight is None else weight.device
        with modes_kept(net), torch.no_grad(), outputs_for(y):
            net.eval()
            if name not in self._learners:
                counts = [{"steps": k} for k in range(self._steps + 1)]
                self._learners[name] = [
                    model.adapt(x.to(device), y.to(device), **given)
                    for given in (counts if takes_steps(model) else [{}])
                ]
            # one query at a time, as it is drawn: batch norm may look at all that come together
            scores = [
                torch.cat([learner(q[None, None].to(device)) for q in queries[0]], 1)[0]
                for learner in self._learners[name]
            ]
        shares = shares_of(model, torch.stack(scores, 1)[..., :ways].float().cpu())
        if not shares.isfinite().all():
            raise FloatingPointError("its scores are not finite")
        return shares if takes_steps(model) else shares[:, 0]

    def _recorded(self) -> dict[str, Any]:
        """The set as it stands, with the answers to this query and to one more picture of each class."""
        more = self._decoded(self.more)
        if self.query is not None and not (more == self.query).flatten(2).all(2).any():
            more = torch.cat([self.query, more], 1)
        by_query: list[list[Any]] = [[] for _ in range(more.shape[1])]
        for name in self._models:
            try:
                p, said = self._probabilities(name, more), ""
            except Exception as error:
                p, said = None, str(error) or type(error).__name__
            for i, rows in enumerate(by_query):
                rows.append(self._row(name, None if p is None else p[i], said))
        return {"task": self._told(), "more": _encoded(more), "recorded": by_query}

    # --- pictures

    def _pictures(self, x: Tensor) -> Tensor:
        x = x.detach().cpu().float() / (255 if x.dtype == torch.uint8 else 1)
        if not (x.isfinite().all() and x.min() >= 0 and x.max() <= 1):
            raise ValueError(
                f"pictures are floats in [0, 1] or bytes, and these go from {x.min():.3g} to {x.max():.3g}"
            )
        return x

    def _decoded(self, text: str) -> Tensor:
        raw = torch.tensor(list(base64.b64decode(text)), dtype=torch.float32) / 255
        return raw.reshape(1, -1, 1, self._side, self._side)

    def _check_ways(self, ways: int) -> None:
        if not FEWEST <= whole("ways", ways) <= MOST:
            raise ValueError(f"ways={ways}: the lab takes {FEWEST} to {MOST} classes")


def takes_steps(model: Any) -> bool:
    """Whether a model adapts by a number of steps that can be asked for."""
    return "steps" in inspect.signature(model.adapt).parameters


def shares_of(model: Any, scores: Tensor) -> Tensor:
    """Scores `[..., N]` as numbers that sum to 1: the probabilities of the classes, as far as a model defines them."""
    if isinstance(model, RelationNetwork | SiameseNetwork):
        p = scores.sigmoid() if isinstance(model, SiameseNetwork) else scores
        return p / p.sum(-1, keepdim=True)
    return scores.softmax(-1)


def _encoded(x: Tensor) -> str:
    """Pictures in [0, 1] as base64 of bytes."""
    return base64.b64encode(bytes((255 * x).round().to(torch.uint8).flatten().tolist())).decode()
