"""Data sets of classes, and the few-shot episodes that are drawn from them."""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor


class Episode(NamedTuple):
    """One batch of tasks, in the order in which a method takes them: `model.loss(*episode)`.

    Shape:
        - `support_x`: `[T, S, *x]`, what a task is learned from; T tasks of S = ways x shots
          examples.
        - `support_y`: `[T, S]`, labels 0..N-1 (int64), or targets `[T, S, *y]` (float) in
          regression.
        - `query_x`: `[T, Q, *x]`, what the learner is then asked.
        - `query_y`: `[T, Q]` or `[T, Q, *y]`, the answers.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    def check(self) -> Episode:
        """Return the episode, its labels as int64, if its shapes, labels and numbers make sense.

        It reads one small tensor of flags: on a GPU that waits for all work given to it before.
        `check_shapes` and `faults` are the two halves that do not wait.

        Raises:
            ValueError: As in `check_shapes`; if a label lies outside 0..N-1, a class has no support
                in one of the tasks, or the tasks are not of equally many classes.
            FloatingPointError: If x, or a float y, holds NaN or infinity.
        """
        episode = self.check_shapes()
        flags = episode._flags().tolist()
        if any(flags):
            episode._name_fault(flags)
        return episode

    def check_shapes(self) -> Episode:
        """Return the episode, its labels as int64, if shapes and types make sense; no value is looked at.

        Raises:
            ValueError: If ranks, sizes, types or devices disagree, or a dimension is empty that must
                not be (only the queries may be).
        """
        sx, sy, qx, qy = self
        for name, t in zip(self._fields, self, strict=True):
            if not isinstance(t, Tensor):
                raise ValueError(
                    f"{name} is a {type(t).__name__}; make it a tensor with torch.as_tensor"
                )
            if t.device != sx.device:
                raise ValueError(
                    f"support_x is on {sx.device} and {name} on {t.device}: move them to one device with .to"
                )
        for name, x, y in (("support", sx, sy), ("query", qx, qy)):
            if x.dim() < 3 or y.dim() < 2 or x.shape[:2] != y.shape[:2]:
                raise ValueError(
                    f"{name}_x {list(x.shape)} and {name}_y {list(y.shape)} must begin with the same two dimensions, "
                    "tasks and examples; a single task is x[None], y[None], and examples of one number are x[..., None]"
                )
            if x.dtype == torch.uint8:
                raise ValueError(
                    f"{name}_x is uint8: pictures enter as floats in [0, 1], x.float() / 255"
                )
            for what, values in (("x", x), ("y", y)):
                if values.is_complex():
                    raise ValueError(
                        f"{name}_{what} is {values.dtype}: numbers must be real, torch.view_as_real gives two for one"
                    )
            if not y.is_floating_point() and y.dim() > 2:
                raise ValueError(
                    f"{name}_y {list(y.shape)} is {y.dtype}, so it holds labels, which are [tasks, examples]: "
                    "y.squeeze(-1) drops a last dimension of 1, one-hot labels are y.argmax(-1), and targets to "
                    "regress on are y.float()"
                )
        # of another rank, the support is a description of each class (zero-shot): sizes may differ
        if sx.shape[0] != qx.shape[0] or (sx.dim() == qx.dim() and sx.shape[2:] != qx.shape[2:]):
            raise ValueError(
                f"support_x {list(sx.shape)} and query_x {list(qx.shape)} must agree in all but the number of examples"
            )
        if sy.is_floating_point() != qy.is_floating_point() or sy.shape[2:] != qy.shape[2:]:
            raise ValueError(
                f"support_y {list(sy.shape)} of {sy.dtype} and query_y {list(qy.shape)} of {qy.dtype} must agree "
                "in all but the number of examples: both labels (integers) or both targets (floats)"
            )
        if len(sx) == 0:
            raise ValueError("there are no tasks: support_x begins with 0; give it one at least")
        if sy.shape[1] == 0:
            raise ValueError(
                "the support set is empty: a task needs at least one example to learn from"
            )
        for name, t in zip(self._fields, self, strict=True):
            if 0 in t.shape[2:]:
                raise ValueError(
                    f"{name} {list(t.shape)}: an example of no numbers; only the queries' dimension may be 0"
                )
        if sy.is_floating_point():
            return self
        return Episode(sx, sy.long(), qx, qy.long())

    def faults(self) -> Tensor:
        """Flags `bool [4]`, on the episode's device: if any is set, `check` raises and says what is wrong.

        Nothing here waits for the device, so that a training loop can read the flags later, along
        with its losses.

        Raises:
            ValueError: As in `check_shapes`.
        """
        return self.check_shapes()._flags()

    def _flags(self) -> Tensor:
        sx, sy, qx, qy = self

        def not_finite(t: Tensor) -> Tensor:
            if t.numel() == 0 or not t.is_floating_point():
                return sx.new_zeros((), dtype=torch.bool)
            t = t.detach()
            return (t.amin() * 0 + t.amax() * 0) != 0  # NaN goes through both, and inf * 0 is NaN

        if sy.is_floating_point():
            return torch.stack([not_finite(t) for t in self])
        # sorted, the labels of a task go from 0 to N-1 in steps of 0 or 1
        labels = sy.sort(1).values
        gap = (labels[:, 0] != 0).any() | (labels[:, 1:] - labels[:, :-1] > 1).any()
        uneven = (labels[:, -1] != labels[0, -1]).any()
        outside = ((qy < 0) | (qy > labels[:, -1:])).any()
        return torch.stack([not_finite(sx), not_finite(qx), gap | uneven, outside])

    def _name_fault(self, flags: list[bool]) -> NoReturn:
        """Raise what `_flags` found, with value and remedy."""
        sx, sy, qx, qy = (t.detach().cpu() for t in self)
        for name, t in (("support_x", sx), ("query_x", qx), ("support_y", sy), ("query_y", qy)):
            bad = (~t.isfinite()).nonzero()
            if len(bad):
                task, example = bad[0, :2].tolist()
                raise FloatingPointError(
                    f"{name} holds {t[tuple(bad[0].tolist())].item()} (task {task}, example {example}): "
                    "every number must be finite; mend the data or leave the example out"
                )
        remedy = (
            "relabel the classes of each task t 0..N-1: "
            "torch.unique(torch.cat([support_y[t], query_y[t]]), return_inverse=True)[1]"
        )
        for task, y in enumerate(sy.tolist()):
            seen, most = set(y), max(y)
            if min(y) < 0:
                raise ValueError(
                    f"support_y holds the label {min(y)} in task {task}, outside 0..N-1; {remedy}"
                )
            if most >= len(y):  # there cannot be so many classes
                raise ValueError(
                    f"support_y of task {task} holds the label {most}, though it has {len(seen)} classes, "
                    f"which are to be 0..{len(seen) - 1}; {remedy}"
                )
            for label in range(most):
                if label not in seen:
                    raise ValueError(
                        f"class {label} of task {task} has no support example, though labels go up to {most}; "
                        f"give it one, or {remedy}"
                    )
        ways = (sy.amax(1) + 1).tolist()
        for task, n in enumerate(ways):
            if n != ways[0]:
                raise ValueError(
                    f"task 0 has {ways[0]} classes and task {task} has {n}: the tasks of a batch must have equally "
                    "many; put them into batches of their own"
                )
        for task, y in enumerate(qy.tolist()):
            for label in y:
                if not 0 <= label < ways[0]:
                    raise ValueError(
                        f"query_y holds the label {label}, outside 0..{ways[0] - 1}, in task {task}: no support "
                        f"example is of that class; {remedy}"
                    )
        raise AssertionError(f"flags {flags} were set, and nothing was found")  # not reached


def whole(name: str, value: Any, least: int | None = None) -> int:
    """The argument `name` as an int, from an int of Python, NumPy or torch.

    Raises:
        ValueError: If it is not a whole number, or below `least`, or a count that no machine could hold.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        hint = ", one at a time: [source[k] for k in range(3)]" if isinstance(value, slice) else ""
        raise ValueError(f"{name}={value!r}: must be a whole number{hint}") from None
    if least is not None and number < least:
        raise ValueError(f"{name}={number}: must be at least {least}")
    if least is not None and least >= 0 and number >= 2**31:
        raise ValueError(f"{name}={number}: must be below {2**31:,}")
    return number


def generator_of(seed: int, k: int) -> torch.Generator:
    """The random generator of episode k: each has its own, so that any can be made without those before it.

    A resumed run therefore goes on exactly where it stopped. It is on the CPU, so every device sees
    the same tasks. Seeds less than 1,000 apart share no episode among their first million. Any whole
    number is a seed; torch keeps 32 bits, so that seeds 2^32 apart are the same.

    Raises:
        IndexError: If k is negative.
        ValueError: If one of them is not a whole number.
    """
    seed, k = whole("seed", seed), whole("episode", k)
    if k < 0:
        raise IndexError(f"episode {k}: episodes are numbered from 0")
    # the two odd constants spread neighbouring seeds and episodes over all 64 bits
    return torch.Generator().manual_seed(
        (seed * 0x9E3779B97F4A7C15 + k * 0xD1B54A32D192ED03) % 2**63
    )


def send(t: Tensor, device: torch.device | str) -> Tensor:
    """`t` on `device`; a GPU gets it without being waited for, which is not safe the other way, nor on MPS."""
    return t.to(device, non_blocking=torch.device(device).type not in ("cpu", "mps"))


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Turn square pictures `x [..., C, H, H]` in place, each by so many quarters as `turns` says.

    `turns` holds 0..3 for x's first dimensions and is on the CPU: there it is known how many are to be
    turned, and a GPU need not be asked, as with a mask of its own.
    """
    for quarter in (1, 2, 3):
        chosen = tuple(send(i, x.device) for i in (turns == quarter).nonzero(as_tuple=True))
        x[chosen] = x[chosen].rot90(quarter, (-2, -1))
    return x


class Dataset:
    """Examples by class, in memory as one tensor, from which episodes are drawn by indexing.

    Args:
        images: Pictures, `uint8 [classes, samples, C, H, W]`, that episodes give as floats in [0, 1]; 0
            is paper and 255 is ink for the two built-in sets. Or anything else as floats
            `[classes, samples, *x]`, embeddings for instance, that episodes give as they are. An
            array of NumPy is copied. None for sentences that nothing has embedded yet: episodes then
            give the number of each, `[1]`, counted class by class, and `texts_of` says which it is.
        classes: The name of each class.
        groups: The alphabet, script or folder that each class belongs to.
        name: What the set is called, `"omniglot"` for instance.
        rotate: Whether `episodes` turns each class by a random multiple of 90 degrees if not told
            otherwise; pictures only.
        texts: The sentences that the examples are, or were before they were embedded,
            `[classes][samples]`. They go along into subsets and splits.
        descriptions: What is said of each class, for learning it without an example. They go along, too.
        counts: How many samples each class has, where some have fewer than others; what lies behind in
            `images` is never drawn.

    Raises:
        ValueError: If the tensor is not as above or names or texts do not match it in number.
        FloatingPointError: If a float is NaN or infinite.
    """

    def __init__(
        self,
        images: Tensor | None,
        classes: Sequence[str],
        groups: Sequence[str],
        name: str,
        rotate: bool = False,
        *,
        texts: Sequence[Sequence[str]] | None = None,
        descriptions: Sequence[str] | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self.texts = None if texts is None else _texts(texts)
        self._numbered = images is None and self.texts is not None
        given: Any = images
        if images is None and self.texts is not None:
            given = _numbering(self.texts)
        if type(given).__module__ == "numpy":
            images = torch.from_numpy(given.copy())
        elif isinstance(given, Tensor):
            images = given
        else:
            raise ValueError(f"images is a {type(given).__name__}; give a tensor or a NumPy array")
        shape, pictures = list(images.shape), images.dtype == torch.uint8
        if images.dim() != 5 if pictures else images.dim() < 3 or not images.is_floating_point():
            raise ValueError(
                "images must be uint8 [classes, samples, C, H, W], or floats [classes, samples, *x], and are "
                f"{images.dtype} {shape}"
            )
        if 0 in shape:
            raise ValueError(f"images {shape} are empty: every dimension must be 1 or more")
        last = len(shape) == 5 and shape[4] in (1, 3, 4) and min(shape[2:4]) > 4
        if last and (pictures or shape[2] == shape[3]):
            raise ValueError(
                f"images {shape} have their channels last; [classes, samples, C, H, W] is "
                "images.permute(0, 1, 4, 2, 3)"
            )
        if not len(images) == len(classes) == len(groups):
            raise ValueError(
                f"{len(images)} classes of images, {len(classes)} class names and {len(groups)} groups"
            )
        if self.texts is not None and (len(self.texts), len(self.texts[0])) != (*shape[:2],):
            raise ValueError(
                f"{len(self.texts)} x {len(self.texts[0])} texts for {shape[0]} x {shape[1]} examples: give one each"
            )
        if rotate and not pictures:
            raise ValueError(
                f"rotate=True, but only pictures (uint8) are turned; these are {images.dtype}"
            )
        if not pictures and not images.isfinite().all():
            c, sample = (~images.isfinite()).nonzero()[0, :2].tolist()
            raise FloatingPointError(
                f"sample {sample} of class {c} ({classes[c]}) holds NaN or infinity; mend it or leave it out"
            )
        for what, given in (("descriptions", descriptions), ("counts", counts)):
            if given is not None and len(given) != len(images):
                raise ValueError(f"{len(given)} {what} for {len(images)} classes: give one each")
        self.descriptions = None if descriptions is None else list(descriptions)
        self.counts = None if counts is None else [whole("counts", n, 1) for n in counts]
        if self.counts is not None and max(self.counts) > shape[1]:
            raise ValueError(
                f"counts say {max(self.counts)} samples, and images {shape} hold fewer"
            )
        self.images, self.classes, self.groups = images, list(classes), list(groups)
        self.name, self.rotate = name, rotate
        self._digest: tuple[int, str] | None = None

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.images)

    def __repr__(self) -> str:
        c, most, *picture = self.images.shape
        s = f"{most}" if self.counts is None else f"{min(self.counts)} to {max(self.counts)}"
        shape = "x".join(map(str, picture))
        what = "pictures" if self.images.dtype == torch.uint8 else "floats"
        if self._numbered:
            return (
                f"{self.name}: {c:,} classes in {len(set(self.groups))} groups, {s} sentences each"
            )
        return f"{self.name}: {c:,} classes in {len(set(self.groups))} groups, {s} samples each, {what} {shape}"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the examples and the names of the classes, on every device the same.

        All examples are read once, about a second a gigabyte.
        """
        version = 0 if self.images.is_inference() else self.images._version
        if self._digest is None or self._digest[0] != version:  # changed in place since
            digest = hashlib.blake2b(digest_size=8)
            digest.update(repr((self.images.dtype, self.images.shape, self.classes)).encode())
            if self.texts is not None:
                digest.update(repr(self.texts).encode())
            if self.counts is not None:
                digest.update(repr(self.counts).encode())
            for one in self.images:
                digest.update(one.cpu().contiguous().flatten().view(torch.uint8).numpy())
            self._digest = version, digest.hexdigest()
        return self._digest[1]

    @property
    def per_class(self) -> list[int]:
        """How many samples each class has."""
        return self.counts or [self.images.shape[1]] * len(self)

    def by_chance(self, chance: Tensor, classes: Tensor) -> Tensor:
        """The places of the samples of `classes [T, N]` in the order of `chance [T, N, samples]`, numbers in [0, 1).

        What is not there, in a class that has fewer samples than others, comes last.
        """
        if self.counts is not None:
            there = torch.tensor(self.counts)[classes]
            chance = chance.masked_fill(torch.arange(chance.shape[-1]) >= there[..., None], 2.0)
        return chance.argsort(-1)

    def to(self, device: torch.device | str) -> Dataset:
        """The same set with its examples on `device`."""
        there = copy.copy(self)
        there.images = self.images.to(device)
        if there.images is not self.images and self._digest is not None:
            there._digest = (there.images._version, self.fingerprint)
        return there

    def subset(self, indices: Sequence[int] | Tensor) -> Dataset:
        """The classes with these indices, in this order, or those where a mask is true.

        Args:
            indices: Each in 0..classes-1, none twice; or a mask, one bool a class.

        Raises:
            ValueError: If they are not, or there are none.
        """
        try:
            given: Any = indices  # a copy, for not every array of NumPy can be shared
            index = torch.as_tensor(given.copy() if type(given).__module__ == "numpy" else given)
        except (TypeError, ValueError, RuntimeError, AttributeError):
            raise ValueError(
                f"indices of classes are whole numbers or a mask, and not {indices!r}"
            ) from None
        if index.dtype == torch.bool:
            if index.shape != (len(self),):
                raise ValueError(
                    f"a mask of shape {list(index.shape)} for {len(self)} classes: it needs one bool a class"
                )
            index = index.nonzero()[:, 0]
        if index.numel() == 0:
            raise ValueError("no class is chosen: give the index of one at least")
        if index.dim() != 1 or index.is_floating_point() or index.is_complex():
            raise ValueError(
                f"indices are {index.dtype} {list(index.shape)}; give whole numbers in one dimension"
            )
        index = index.long()
        chosen = index.tolist()
        seen: set[int] = set()
        for i in chosen:
            if not 0 <= i < len(self):
                raise ValueError(f"index {i}: the classes are numbered 0..{len(self) - 1}")
            if i in seen:
                raise ValueError(
                    f"index {i} comes twice: a class cannot be told from itself; give each once"
                )
            seen.add(i)
        part = copy.copy(self)
        part.images, part._digest = self.images[index.to(self.images.device)], None
        part.classes = [self.classes[i] for i in chosen]
        part.groups = [self.groups[i] for i in chosen]
        if self.descriptions is not None:
            part.descriptions = [self.descriptions[i] for i in chosen]
        if self.counts is not None:
            part.counts = [self.counts[i] for i in chosen]
        if self.texts is not None:
            part.texts = [self.texts[i] for i in chosen]
            if self._numbered:
                part.images = _numbering(part.texts).to(self.images.device)
        return part

    def samples(self, indices: Sequence[int]) -> Dataset:
        """The same classes, of each these samples alone: the style, drawer or place that stands at an index, say.

        Args:
            indices: Each in 0..samples-1, none twice.

        Raises:
            ValueError: If they are not, there are none, or the classes have unequally many samples.
        """
        if self.counts is not None:
            raise ValueError(
                f"{self!r}: a sample's index means something only where all have as many"
            )
        chosen, n = [whole("samples", i, 0) for i in indices], self.images.shape[1]
        if not chosen or max(chosen) >= n or len({*chosen}) < len(chosen):
            raise ValueError(
                f"samples={chosen}: give indices from 0..{n - 1}, each once, one at least"
            )
        part = copy.copy(self)
        part.images, part._digest = self.images[:, chosen], None
        if self.texts is not None:
            part.texts = [[row[i] for i in chosen] for row in self.texts]
            if self._numbered:
                part.images = _numbering(part.texts).to(self.images.device)
        return part

    def texts_of(self, x: Tensor) -> list[str]:
        """The sentences with the numbers `x [*, 1]` that episodes of a set not embedded yet give, one after the other.

        Raises:
            ValueError: If the set has no texts, or there is no sentence of such a number.
        """
        if not self._numbered or self.texts is None:
            raise ValueError(f"{self!r} is not a set of sentences, so its examples are no numbers")
        texts, numbers = [t for row in self.texts for t in row], x.flatten().long().tolist()
        if wrong := [n for n in numbers if not 0 <= n < len(texts)]:
            raise ValueError(f"number {wrong[0]}: the sentences are numbered 0..{len(texts) - 1}")
        return [texts[n] for n in numbers]

    def split(
        self, by: str, seed: int = 0, sizes: Sequence[int] | None = None
    ) -> tuple[Dataset, Dataset, Dataset]:
        """Divide the classes into meta-train, meta-validation and meta-test; no class is in two of them.

        Args:
            by: `"alphabets"`, whole groups: no alphabet is shared (the strict split). Omniglot's
                evaluation alphabets are the test set and 5 of its 30 background alphabets the
                validation set; elsewhere a third of the groups goes to test and a tenth to
                validation. `"characters"`, classes at random: on Omniglot 1,100 / 100 / 423
                as in Finn et al. (2017), elsewhere in the same proportion. Validation and test get 2
                classes at least, for a task needs so many.
            seed: Which random division; any whole number.
            sizes: Classes (`"characters"`) or groups (`"alphabets"`) of train, validation and test in
                place of these proportions, such as `(12, 4, 8)`. What is left over is in none.

        Returns:
            `(train, val, test)`. On Omniglot `train` turns its classes by multiples of 90 degrees,
            which makes new classes.

        Raises:
            ValueError: If `by` is neither, or there are too few groups or classes to divide.
        """
        seed = whole("seed", seed)
        generator = torch.Generator().manual_seed(
            seed if -(2**63) <= seed < 2**64 else seed % 2**63
        )
        if sizes is not None:
            if not hasattr(sizes, "__len__") or len(sizes) != 3:
                raise ValueError(f"sizes={sizes!r}: give three numbers, (train, validation, test)")
            sizes = [whole("sizes", n, 1) for n in sizes]

        def shuffled(units: list[Any]) -> list[Any]:
            return [units[i] for i in torch.randperm(len(units), generator=generator).tolist()]

        def enough(groups: list[str], n: int) -> int:
            """The first n groups, or as many more as have 2 classes."""
            while n < len(groups) and sum(self.groups.count(g) for g in groups[:n]) < 2:
                n += 1
            return n

        units: list[list[Any]]  # of train, validation and test
        if by == "characters":
            what, order = "classes", shuffled(list(range(len(self))))
            n_val = max(2, round(len(self) * 100 / 1623))
            n_train = max(0, min(round(len(self) * 1100 / 1623), len(self) - n_val - 2))
            if sizes is not None:
                n_train, n_val, _ = sizes
            units = [order[:n_train], order[n_train : n_train + n_val], order[n_train + n_val :]]
        elif by == "alphabets":
            what, names = "groups", sorted(set(self.groups))
            omniglot = self.name == "omniglot"
            held_out = [g for g in names if omniglot and g.startswith("evaluation/")]
            rest = shuffled([g for g in names if g not in held_out])
            if not held_out:
                n_test = enough(rest, max(1, len(names) // 3)) if sizes is None else sizes[2]
                held_out, rest = rest[:n_test], rest[n_test:]
            elif sizes is not None:
                held_out = shuffled(held_out)
            n_val = enough(rest, 5 if omniglot else max(1, len(names) // 10))
            n_val = n_val if sizes is None else sizes[1]
            units = [rest[n_val:], rest[:n_val], held_out]
        else:
            raise ValueError(
                f"split({by!r}): use 'characters' (classes at random) or 'alphabets' (whole groups)"
            )
        has = f"{self.name} has {len(self)} classes in {len(set(self.groups))} groups"
        if sizes is not None:
            if any(len(part) < n for part, n in zip(units, sizes, strict=True)):
                most = [len(part) for part in units]
                raise ValueError(
                    f"sizes={tuple(sizes)}: {has}, too few to split by {by!r} so; of the {what}, {most} would be left"
                )
            units = [part[:n] for part, n in zip(units, sizes, strict=True)]
        parts = units
        if by == "alphabets":
            parts = [[i for i, g in enumerate(self.groups) if g in set(part)] for part in units]
        for part, name in zip(parts, ("train", "validation", "test"), strict=True):
            if len(part) < 2:
                raise ValueError(
                    f"{has}, too few to split by {by!r}: {name} would get {len(part)}, and a task needs 2 at least; "
                    f"sizes=(train, validation, test) says how many {what} each is to get"
                )
        train_set, val_set, test_set = (self.subset(sorted(part)) for part in parts)
        train_set.rotate = self.name == "omniglot"
        return train_set, val_set, test_set

    def episodes(
        self,
        ways: int,
        shots: int | tuple[int, int],
        queries: int,
        tasks: int = 1,
        rotations: bool | None = None,
        seed: int = 0,
        *,
        queries_from: Dataset | None = None,
        aligned: bool = False,
    ) -> Episodes:
        """An endless, reproducible source of N-way K-shot tasks from these classes.

        Numbers may be of Python, NumPy or torch.

        Args:
            ways: N, classes in a task; 2 or more.
            shots: K, support examples a class; 1 or more. A pair `(1, 10)` draws for each class of an
                episode how many it has, both ends included; the tasks of a meta-batch share these numbers.
            queries: Query examples a class; may be 0.
            tasks: T, tasks in an episode (the meta-batch).
            rotations: Turn each drawn class by a random multiple of 90 degrees; None takes the data
                set's default.
            seed: Any whole number; episode k of a seed is always the same, on every device.
            queries_from: Another set of the same classes that gives the queries, while this one gives the
                support: catalogue and shop, or two styles. Two sets that share pictures may ask what was shown.
            aligned: All classes of a task get the samples of the same indices, so that, where an index is a
                style (emoji) or a drawer (Omniglot), no query is of a style that any support example has.

        Raises:
            ValueError: If there are too few classes, or too few samples a class, for what is asked, or the
                two sets do not fit together.
        """
        turn = self.rotate if rotations is None else rotations
        return Episodes(self, ways, shots, queries, tasks, turn, seed, queries_from, aligned)


class Episodes:
    """A sequence of episodes: `episodes[k]` is episode number k, and iterating counts k up from 0 without end.

    Within a task the classes are distinct, support and query never share a picture, and both come
    shuffled, labels too, so that neither the order of the examples nor the label itself says
    anything about the answer. Made by `Dataset.episodes`, which documents the arguments.
    """

    def __init__(
        self,
        data: Dataset,
        ways: int,
        shots: int | tuple[int, int],
        queries: int,
        tasks: int,
        rotations: bool,
        seed: int,
        queries_from: Dataset | None = None,
        aligned: bool = False,
    ) -> None:
        classes, samples = len(data), min(data.per_class, default=0)
        ways = whole("ways", ways, 2)
        if isinstance(shots, tuple):
            if len(shots) != 2:
                raise ValueError(f"shots={shots}: give a number, or two, the fewest and the most")
            shots = whole("shots", shots[0], 1), whole("shots", shots[1], 1)
            self._shots = shots
            if shots[0] > shots[1]:
                raise ValueError(f"shots={shots}: the fewest come first, {shots[::-1]}")
        else:
            shots = whole("shots", shots, 1)
            self._shots = shots, shots
        queries, tasks = whole("queries", queries, 0), whole("tasks", tasks, 1)
        if classes < 2:
            raise ValueError(
                f"{data.name} has {classes} class here, and a task needs 2 at least; where it comes from a split, "
                "sizes= gives it more"
            )
        if ways > classes:
            raise ValueError(
                f"ways={ways}, but {data.name} has {classes} classes here; ask for {classes} ways at most"
            )
        most, other = self._shots[1], queries_from
        if other is None and most + queries > samples:
            raise ValueError(
                f"shots={shots} + queries={queries} = {most + queries} pictures a class, but {data.name} has {samples}"
                + _too_few(data, most + queries)
            )
        if other is not None:
            if other.classes != data.classes:
                raise ValueError(
                    f"queries_from={other!r} has other classes than {data!r}, or in another order: split both by the "
                    "same seed and sizes"
                )
            if other.images.shape[2:] != data.images.shape[2:] or (
                other.images.dtype != data.images.dtype
            ):
                raise ValueError(
                    f"queries_from has {other.images.dtype} {list(other.images.shape[2:])} and the support "
                    f"{data.images.dtype} {list(data.images.shape[2:])}: load both at one size"
                )
            for what, n, source in (("shots", most, data), ("queries", queries, other)):
                if n > (has := min(source.per_class)):
                    raise ValueError(
                        f"{what}={n} a class, but {source.name} has {has}{_too_few(source, n)}"
                    )
        if aligned and (
            data.counts is not None or (other is not None and other.counts is not None)
        ):
            raise ValueError(
                f"aligned=True, but in {data!r} classes have unequally many samples: aligned=False"
            )
        self.queries_from, self.aligned = other, bool(aligned)
        self.data, self.ways, self.shots, self.queries = data, ways, shots, queries
        self.tasks, self.rotations = tasks, _rotations(data, rotations)
        self.seed = whole("seed", seed)

    def __repr__(self) -> str:
        tasks = f"{self.tasks} x {self.ways}-way {self.shots}-shot tasks"
        return f"{tasks} with {self.queries} queries a class, {self.data!r}"

    @property
    def fingerprint(self) -> str:
        """What the episodes depend on, in words; two sources of one fingerprint give the same."""
        more = ", aligned=True" if self.aligned else ""
        if self.queries_from is not None:
            more += f", queries_from={self.queries_from.fingerprint}"
        return (
            f"Episodes(ways={self.ways}, shots={self.shots}, queries={self.queries}, tasks={self.tasks}, "
            f"rotations={self.rotations}, seed={self.seed}, data={self.data.fingerprint}{more})"
        )

    def to(self, device: torch.device | str) -> Episodes:
        """The same episodes, drawn on `device`."""
        other = self.queries_from
        return Episodes(
            self.data.to(device),
            self.ways,
            self.shots,
            self.queries,
            self.tasks,
            self.rotations,
            self.seed,
            None if other is None else other.to(device),
            self.aligned,
        )

    def __iter__(self) -> Iterator[Episode]:
        k = 0
        while True:
            yield self[k]
            k += 1

    def _draw(self, k: int) -> tuple[torch.Generator, Tensor]:
        generator = generator_of(self.seed, k)
        classes = torch.stack(
            [
                torch.randperm(len(self.data), generator=generator)[: self.ways]
                for _ in range(self.tasks)
            ]
        )
        return generator, classes

    def classes_of(self, k: int) -> Tensor:
        """Which classes stand behind the labels 0..N-1 of episode k: indices `[T, ways]` into `data.classes`."""
        return self._draw(k)[1]

    def __getitem__(self, k: int) -> Episode:
        generator, classes = self._draw(k)
        t, n = classes.shape
        fewest, most = self._shots
        other = self.queries_from
        rows = self._rows(self.data, classes, most + (0 if other else self.queries), generator)
        turns = torch.randint(4, (t, n), generator=generator) if self.rotations else None
        given = None  # how many support examples a class has, where they differ
        if fewest < most:
            given = torch.randint(fewest, most + 1, (n,), generator=generator)
        support = n * most if given is None else int(given.sum())
        mix_support = torch.rand(t, support, generator=generator).argsort(-1)
        mix_query = torch.rand(t, n * self.queries, generator=generator).argsort(-1)

        def drawn(data: Dataset, rows: Tensor) -> Tensor:
            device = data.images.device
            x = data.images[send(classes, device)[..., None], send(rows, device)]
            return x if turns is None else turned(x, turns)  # [T, N, rows, *x]

        def mixed(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
            """The examples at these places of `[N, rows]`, counted through, and their labels."""
            at = send(at, x.device)
            task = torch.arange(t, device=x.device)[:, None]
            return _numbers(x.flatten(1, 2)[task, at]), at // max(1, x.shape[2])

        x = drawn(self.data, rows)
        shown, asked = x[:, :, :most], x[:, :, most:]
        if given is not None:  # the first of each class
            mix_support = (torch.arange(most) < given[:, None]).flatten().nonzero()[mix_support, 0]
        if other is not None:
            asked = drawn(other, self._rows(other, classes, self.queries, generator))
        return Episode(*mixed(shown, mix_support), *mixed(asked, mix_query))

    def _rows(self, data: Dataset, classes: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Which n samples of each of the `classes [T, N]` are drawn: `[T, N, n]`."""
        tasks, ways = classes.shape
        chance = torch.rand(
            tasks, 1 if self.aligned else ways, data.images.shape[1], generator=generator
        )
        return data.by_chance(chance, classes)[..., :n].expand(-1, ways, -1)


def _too_few(data: Dataset, n: int) -> str:
    """Which classes have fewer than n samples where not all have, and what to do about them."""
    if data.counts is None or max(data.counts) < n:
        return ""
    few = [f"{c!r} ({k})" for c, k in zip(data.classes, data.counts, strict=True) if k < n]
    more = f" and {len(few) - 3} more" if len(few) > 3 else ""
    return (
        f" of {', '.join(few[:3])}{more}: ask for fewer, or leave such classes out with "
        f"data.subset([n >= {n} for n in data.counts])"
    )


def by_class(examples: Tensor, counts: Sequence[int]) -> tuple[Tensor, list[int] | None]:
    """Examples that stand class after class as `Dataset` takes them, and its `counts`.

    Args:
        examples: `[sum(counts), *x]`.
        counts: How many each class has, 1 or more.

    Returns:
        `[classes, max(counts), *x]`, with 0 behind the examples of a class that has fewer, and the counts; or, where
        all have as many, a view and None.

    Raises:
        MemoryError: If there is no room for it.
    """
    most, x = max(counts), examples.shape[1:]
    if min(counts) == most:
        return examples.view(len(counts), most, *x), None
    # of NumPy: its zeros take no memory before they are read or written, and here most may never be
    kind = torch.empty(0, dtype=examples.dtype).numpy().dtype
    out = torch.from_numpy(np.zeros((len(counts), most, *x), kind))
    for rows, own in zip(out, torch.split(examples, [*counts]), strict=True):
        rows[: len(own)] = own
    return out, list(counts)


def _texts(texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """The texts as lists, `[classes][samples]`.

    Raises:
        ValueError: If they are not, are none, or a class has more than another.
    """
    if not len(texts) or isinstance(texts, str) or any(isinstance(row, str) for row in texts):
        raise ValueError("texts must be one list of sentences a class, [classes][samples]")
    rows = [list(row) for row in texts]
    for c, row in enumerate(rows):
        if not row or len(row) != len(rows[0]):
            raise ValueError(
                f"class {c} has {len(row)} texts and class 0 has {len(rows[0])}: every class needs equally many"
            )
        for text in row:
            if not isinstance(text, str):
                raise ValueError(f"class {c} holds {text!r}, which is not a text; make it a str")
    return rows


def _numbering(texts: list[list[str]]) -> Tensor:
    """The number of each text, class by class, `[classes, samples, 1]`; floats, exact up to 2^24."""
    return torch.arange(len(texts) * len(texts[0])).float().view(len(texts), -1, 1)


def _rotations(data: Dataset, rotations: bool | None) -> bool:
    """Whether classes are turned: as asked for, or as is the data set's default.

    Raises:
        ValueError: If they cannot be.
    """
    if rotations not in (None, True, False):
        raise ValueError(f"rotations={rotations!r}: must be True, False or None, the set's default")
    turn = bool(data.rotate if rotations is None else rotations)
    if turn and data.images.dtype != torch.uint8:
        raise ValueError(
            f"rotations turn pictures (uint8); these are {data.images.dtype}: rotations=False"
        )
    if turn and data.images.shape[-1] != data.images.shape[-2]:
        raise ValueError(
            f"rotations need square pictures; these are {list(data.images.shape[-2:])}: rotations=False"
        )
    return turn


def _numbers(x: Tensor) -> Tensor:
    """Bytes as floats in [0, 1]; floats as they are."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


class Batches:
    """Ordinary minibatches of labelled pictures, for baselines that are trained without episodes.

    `batches[k]` is the pair of pictures `[size, C, H, W]` and labels `[size]` in 0..classes-1,
    always the same.

    Args:
        data: Training classes.
        size: Pictures in a batch.
        rotations: A class turned by 90, 180 or 270 degrees is a further class; None takes the data
            set's default.
        seed: Which random sequence.

    Raises:
        ValueError: If `size` is below 1, or pictures are to be turned that cannot be.
    """

    def __init__(
        self, data: Dataset, size: int = 128, rotations: bool | None = None, seed: int = 0
    ) -> None:
        self.data, self.size, self.seed = data, whole("size", size, 1), whole("seed", seed)
        self.rotations = _rotations(data, rotations)

    @property
    def classes(self) -> int:
        """How many classes there are to tell apart, turned ones included."""
        return len(self.data) * (4 if self.rotations else 1)

    @property
    def fingerprint(self) -> str:
        """What the batches depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Batches(size={self.size}, rotations={self.rotations}, seed={self.seed}, "
            f"data={self.data.fingerprint})"
        )

    def to(self, device: torch.device | str) -> Batches:
        """The same batches, drawn on `device`."""
        return Batches(self.data.to(device), self.size, self.rotations, self.seed)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        generator = generator_of(self.seed, k)
        labels = torch.randint(self.classes, (self.size,), generator=generator)
        samples = torch.randint(self.data.images.shape[1], (self.size,), generator=generator)
        device = self.data.images.device
        classes, turns = labels % len(self.data), labels // len(self.data)
        if self.data.counts is not None:
            there = torch.tensor(self.data.counts)[classes]
            samples = (torch.rand(self.size, generator=generator) * there).long()
        x = self.data.images[send(classes, device), send(samples, device)]
        if self.rotations:
            x = turned(x, turns)
        return _numbers(x), send(labels, device)
