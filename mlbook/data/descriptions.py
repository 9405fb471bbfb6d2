"""Descriptions of glyphs: the parts that a Unicode name is made of, as numbers, and tasks without examples.

A name such as `GREEK SMALL LETTER ALPHA WITH PSILI AND VARIA` says what the letter is composed of:
its script, its case, its letter and its marks. `parse` takes it apart, a `Vocabulary` turns it into
a vector of zeros and ones, `split_combinations` keeps whole combinations of letter and marks out of
training although each of their parts is seen there, and `ZeroShotTasks` asks for them by
description alone.

A class of the glyphs holds letters that look alike (see `mlbook.data.glyphs`) and keeps the name of
its lowest code point only: the class `LATIN CAPITAL LETTER A` is Greek Alpha too, and its description
says Latin.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlbook.data.glyphs import SCRIPTS
from mlbook.episodes import Dataset, Episode, Episodes, send

COMPOSING = ("Latin", "Greek", "Cyrillic")  # scripts whose names compose of letters and marks


class Parts(NamedTuple):
    """What a letter's name says of it.

    - `script`: one of the 15 scripts, `"Latin"`;
    - `case`: `"capital"`, `"small"`, `"small capital"`, or empty in scripts without;
    - `letter`: `"A"`, `"OMEGA"`, `"OPEN E"`, `"ligature EN GHE"`;
    - `marks`: sorted, `("PSILI", "VARIA")`; empty for a plain letter.
    """

    script: str
    case: str
    letter: str
    marks: tuple[str, ...]

    @property
    def base(self) -> tuple[str, str, str]:
        """The shape that the marks are put on, by script, case and letter."""
        return self[:3]

    @property
    def combination(self) -> tuple[str, str, tuple[str, ...]]:
        """Script, letter and marks, whatever the case."""
        return self.script, self.letter, self.marks

    def words(self) -> list[str]:
        """The parts with their kind, as `["script Latin", "case small", "letter A", "mark ACUTE"]`."""
        case = [f"case {self.case}"] if self.case else []
        marks = [f"mark {mark}" for mark in self.marks]
        return [f"script {self.script}", *case, f"letter {self.letter}", *marks]


def parse(name: str) -> Parts:
    """Take a Unicode name apart.

    >>> parse("LATIN SMALL LETTER O WITH DIAERESIS AND MACRON")
    Parts(script='Latin', case='small', letter='O', marks=('DIAERESIS', 'MACRON'))

    Whatever follows a WITH is a mark, and AND joins several. The rest, after script and case, is
    the letter.

    Raises:
        ValueError: If the name is not that of a letter of one of the 15 scripts of the glyphs.
    """
    start = next((s for s in SCRIPTS if name.startswith(s + " ")), None)
    if start is None:
        raise ValueError(
            f"{name!r} does not begin with a script of the glyphs, which are {', '.join(SCRIPTS)}"
        )
    base, *marks = re.split(r" WITH | AND ", name.removeprefix(start + " "))
    found = re.fullmatch(r"(?:(SMALL CAPITAL|CAPITAL|SMALL) )?(?:(LETTER|LIGATURE) )?(.+)", base)
    assert found is not None  # the last group takes any rest, and the name has one
    case, kind, letter = found.groups()
    if case is None and letter.startswith("SMALL CAPITAL "):  # LATIN LETTER SMALL CAPITAL G
        case, letter = "SMALL CAPITAL", letter.removeprefix("SMALL CAPITAL ")
    if kind == "LIGATURE":
        letter = f"ligature {letter}"
    return Parts(SCRIPTS[start], (case or "").lower(), letter, tuple(sorted(set(marks))))


class Vocabulary:
    """All parts that occur in some names, each with a place in the description vector.

    Args:
        names: Unicode names; sorted by kind, their parts become `words`.

    Attributes:
        words: What the coordinates mean: `"script Latin"`, `"case small"`, `"letter A"`,
            `"mark ACUTE"`, ...
    """

    def __init__(self, names: Iterable[str]) -> None:
        kinds = ("script", "case", "letter", "mark")
        seen = {word for name in names for word in parse(name).words()}
        self.words = sorted(seen, key=lambda word: (kinds.index(word.split()[0]), word))
        self._place = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Multi-hot descriptions `[len(names), len(self)]`, floats: 1 where the name has the part.

        Raises:
            ValueError: If a name has a part that is not in the vocabulary.
        """
        descriptions = torch.zeros(len(names), len(self))
        for row, name in zip(descriptions, names, strict=True):
            for word in parse(name).words():
                if word not in self._place:
                    raise ValueError(
                        f"{name!r} has the part {word!r}, which no name of this vocabulary has"
                    )
                row[self._place[word]] = 1
        return descriptions


class Combinations(NamedTuple):
    """The glyphs divided for zero-shot learning.

    - `train`: seen classes, 16 pictures each;
    - `seen`: the same classes in the same order, their 4 other pictures, never trained on;
    - `val`: unseen combinations for choosing settings, 20 pictures each;
    - `test`: unseen combinations for the final figure, 20 pictures each.
    """

    train: Dataset
    seen: Dataset
    val: Dataset
    test: Dataset


def split_combinations(
    data: Dataset, seed: int = 0, seen: int = 3, scripts: Sequence[str] = COMPOSING
) -> Combinations:
    """Keep combinations of letter and marks out of training, but none of their parts.

    In an order drawn by the seed, a combination (script, letter, marks; capital and small together)
    is held out if afterwards every base (script, case, letter) and every mark of all that is held out
    still occurs in at least `seen` training classes. A fifth of the combinations with marks go to
    test, a tenth to validation, or as many as can be.

    Args:
        data: The glyphs; classes of other scripts are left out, and the later of two classes with the
            same parts (U with diaeresis and macron, U with macron and diaeresis).
        seed: Which combinations are held out, and which 4 of a seen class's pictures.
        seen: Training classes in which each part of a held-out class has to occur; 1 or more.
        scripts: Which scripts to use.

    Raises:
        ValueError: If `seen` is below 1, no class of these scripts is in the data, or some have fewer pictures.
    """
    if seen < 1:
        raise ValueError(f"seen={seen}: a part of a held-out class must occur in training, so >= 1")
    if data.counts is not None:
        raise ValueError(
            f"{data!r}: a fifth of each class's pictures is set aside, so all need as many"
        )
    first: dict[Parts, int] = {}
    for i, (name, group) in enumerate(zip(data.classes, data.groups, strict=True)):
        if group in scripts:
            first.setdefault(parse(name), i)
    parts = {i: p for p, i in first.items()}
    if not parts:
        raise ValueError(
            f"scripts={tuple(scripts)}: {data.name} has {', '.join(sorted(set(data.groups)))}"
        )
    members: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for i, p in parts.items():
        if p.marks:
            members.setdefault(p.combination, []).append(i)
    # in how many classes left in training each base and each mark occurs
    left = Counter(part for p in parts.values() for part in (p.base, *p.marks))
    needed: set[Sequence[str]] = set()  # bases (tuples) and marks (strings)
    generator = torch.Generator().manual_seed(seed)
    combinations = list(members)
    quota = {"test": round(len(combinations) / 5), "val": round(len(combinations) / 10)}
    held_out: dict[str, list[int]] = {"test": [], "val": []}
    for k in torch.randperm(len(combinations), generator=generator).tolist():
        classes = members[combinations[k]]
        goes = next((name for name, n in quota.items() if n), None)
        if goes is None:
            break
        lost = Counter(part for i in classes for part in (parts[i].base, *parts[i].marks))
        if all(left[part] - lost[part] >= seen for part in needed | set(lost)):
            left -= lost
            needed |= set(lost)
            quota[goes] -= 1
            held_out[goes] += classes
    out = {i for classes in held_out.values() for i in classes}
    whole = data.subset([i for i in parts if i not in out])
    pictures = torch.rand(whole.images.shape[:2], generator=generator).argsort(-1)
    pictures = pictures.to(whole.images.device)
    rows = torch.arange(len(whole), device=whole.images.device)[:, None]
    fifth = max(1, pictures.shape[1] // 5)
    train, rest = (
        Dataset(whole.images[rows, part], whole.classes, whole.groups, whole.name)
        for part in (pictures[:, fifth:], pictures[:, :fifth])
    )
    return Combinations(
        train, rest, data.subset(sorted(held_out["val"])), data.subset(sorted(held_out["test"]))
    )


class ZeroShotTasks:
    """Tasks whose support set is a description of each class: `tasks[k]` is task number k.

    The classes and the query pictures are those of `episodes[k]`, whose support pictures are left
    out; `episodes.classes_of(k)` says which classes they are.

    Args:
        episodes: Where classes and queries come from, such as
            `test.episodes(ways=20, shots=1, queries=15)`.
        vocabulary: Turns the names of the classes into descriptions.
        also: A second source whose classes of episode k are further candidates, without queries:
            with seen classes here and unseen ones in `episodes`, or the other way round, these are
            tasks of generalised zero-shot learning.

    Raises:
        ValueError: If the two sources differ in the number of tasks at once or share a class.
    """

    def __init__(
        self, episodes: Episodes, vocabulary: Vocabulary, also: Episodes | None = None
    ) -> None:
        self.episodes, self.vocabulary, self.also = episodes, vocabulary, also
        sources = [episodes] if also is None else [episodes, also]
        self._descriptions = [vocabulary(source.data.classes) for source in sources]
        if also is not None:
            if also.tasks != episodes.tasks:
                raise ValueError(
                    f"tasks={episodes.tasks} in episodes and {also.tasks} in also: they must agree"
                )
            shared = sorted(set(also.data.classes) & set(episodes.data.classes))
            if shared:
                raise ValueError(
                    f"{shared[0]!r} is a class of both episodes and also; candidates must be distinct"
                )

    @property
    def fingerprint(self) -> str:
        """What the tasks depend on, in words; two sources of one fingerprint give the same."""
        also = None if self.also is None else self.also.fingerprint
        digest = hashlib.blake2b(digest_size=8)
        for of_class in self._descriptions:
            digest.update(of_class.cpu().contiguous().numpy().tobytes())
        return f"ZeroShotTasks({self.episodes.fingerprint}, also={also}, descriptions={digest.hexdigest()})"

    def to(self, device: torch.device | str) -> ZeroShotTasks:
        """The same tasks, drawn on `device`."""
        also = None if self.also is None else self.also.to(device)
        return ZeroShotTasks(self.episodes.to(device), self.vocabulary, also)

    def __iter__(self) -> Iterator[Episode]:
        k = 0
        while True:
            yield self[k]
            k += 1

    def __getitem__(self, k: int) -> Episode:
        """`Episode(descriptions [T, N, A], labels [T, N], query_x, query_y)`."""
        _, _, query_x, query_y = self.episodes[k]
        sources = [self.episodes] if self.also is None else [self.episodes, self.also]
        candidates = [
            of_class[source.classes_of(k)]
            for source, of_class in zip(sources, self._descriptions, strict=True)
        ]
        descriptions = send(torch.cat(candidates, 1), query_x.device)
        labels = torch.arange(descriptions.shape[1], device=query_x.device)
        return Episode(
            descriptions, labels.expand(len(descriptions), -1).contiguous(), query_x, query_y
        )
