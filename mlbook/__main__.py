"""A classifier of one's own without writing Python: `python -m mlbook fit|predict|evaluate|export`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlbook.data.files import printable
from mlbook.data.table import ENDINGS

if TYPE_CHECKING:
    from mlbook.classifier import FewShotClassifier
    from mlbook.episodes import Dataset, Episode, Episodes
    from mlbook.evaluate import Result

PICTURES, SENTENCES = "efficientnet_lite0", "minilm"
# what --calibrate knows by name: of these kinds of examples, and as `load` knows it
SETS = {
    "pictures": {"emoji": "emoji", "groceries": "groceries:test"},
    "sentences": {"clinc150": "clinc150"},
    "characters": {"glyphs": "glyphs", "omniglot": "omniglot"},
}
EXAMPLES = "a folder of pictures, FOLDER/class/picture.jpg, or a table, FILE.csv, with the columns text and label"


def main(arguments: list[str] | None = None) -> None:
    """What the command line asks for; a mistake is one line on stderr, and 1 is returned to the shell."""
    parser = argparse.ArgumentParser(prog="python -m mlbook", description=__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="fit|predict|evaluate|export"
    )
    fit = commands.add_parser("fit", help=f"learn {EXAMPLES}")
    fit.add_argument("-o", "--output", type=Path, help="the file to write; EXAMPLES.safetensors")
    fit.add_argument(
        "--calibrate",
        metavar="DATA",
        help="classes that are not yours, in a folder or a table of their own or by name (emoji, groceries; for "
        "sentences clinc150; for characters glyphs, omniglot), from which probabilities learn what they mean",
    )
    fit.add_argument(
        "--unknown",
        type=float,
        metavar="SHARE",
        help="answer 'none of these' to what is like none of the classes; of examples that are of one, this share may "
        "be lost, 0.05 say. Needs --calibrate",
    )
    predict = commands.add_parser("predict", help="say what pictures or sentences are")
    predict.add_argument("file", type=Path, help="what fit wrote")
    predict.add_argument("inputs", nargs="+", metavar="PICTURE|SENTENCE")
    evaluate = commands.add_parser(
        "evaluate",
        help="ask for each example with all the others to learn from, beside baselines; or draw tasks, see --shots",
    )
    evaluate.add_argument("--episodes", type=int, metavar="N", help="draw so many tasks; 600")
    evaluate.add_argument(
        "--ways", type=int, metavar="N", help="classes of a task; 5, if there are"
    )
    evaluate.add_argument(
        "--shots", type=int, metavar="K", help="examples a class to learn from; 1"
    )
    for command in (fit, evaluate):
        command.add_argument("examples", type=Path, metavar="FOLDER|FILE.csv", help=EXAMPLES)
        command.add_argument(
            "--with",
            dest="network",
            metavar="NAME",
            help=f"a backbone ({PICTURES}, for sentences {SENTENCES}, if none is named), or weights of "
            "load_pretrained for drawn characters (prototypical, say)",
        )
        command.add_argument(
            "--augment",
            action="store_true",
            help="look at each photograph six times, whole and in parts: more often right, six times as slow",
        )
    export = commands.add_parser("export", help="write what fit wrote for programs without mlbook")
    export.add_argument("file", type=Path, help="what fit wrote")
    export.add_argument(
        "-o", "--output", type=Path, help="ONNX, or .pt2 for torch.export; FILE.onnx"
    )
    for command in (fit, predict, evaluate, export):
        command.add_argument("--json", action="store_true", help="answer in JSON")
    asked = parser.parse_args(arguments)
    do = {"fit": _fit, "predict": _predict, "evaluate": _evaluate, "export": _export}[asked.command]
    try:
        facts, text = do(asked)
    except (ValueError, FloatingPointError, ImportError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(130)  # as shells say it
    print(json.dumps(facts, ensure_ascii=False, indent=1) if asked.json else text)


# --- examples and networks -----------------------------------------------------------------------


def _examples(path: Path) -> tuple[list[Any], list[str], str]:
    """Examples, their labels, and what they are: pictures or sentences."""
    found: dict[str, list[Any]]
    if path.suffix.lower() in ENDINGS and not path.is_dir():
        from mlbook.data.table import sentences_of

        found, kind = sentences_of(path), "sentences"
    else:
        from mlbook.data.folder import pictures_of

        if path.is_file():
            raise ValueError(f"{printable(path)} is neither {EXAMPLES}")
        found, kind = pictures_of(path), "pictures"
    labels = [label for label, of_class in found.items() for _ in of_class]
    return [example for of_class in found.values() for example in of_class], labels, kind


def _classifier(name: str | None, kind: str, augment: bool) -> tuple[FewShotClassifier, str]:
    """A classifier of pictures or sentences that has learned nothing yet, and the name of its network."""
    from mlbook import load_pretrained
    from mlbook.classifier import FewShotClassifier
    from mlbook.pretrained import MODELS

    name = name or (PICTURES if kind == "pictures" else SENTENCES)
    if name in MODELS:
        clf, takes = FewShotClassifier(load_pretrained(name)), "pictures"
    else:
        from mlbook.backbones import backbone

        clf = FewShotClassifier(embed=backbone(name))
        takes = _takes(clf)
    if takes != kind:
        fits = PICTURES if kind == "pictures" else SENTENCES
        raise ValueError(f"--with {name} takes {takes}, and these are {kind}: --with {fits} does")
    if augment and (kind == "sentences" or clf.embed is None):
        raise ValueError(
            f"--augment is for photographs and a backbone such as {PICTURES}; leave it out"
        )
    return clf.set_params(augment="all" if augment else None), name


def _takes(clf: FewShotClassifier) -> str:
    """Whether a classifier takes pictures or sentences."""
    from mlbook.backbones import Sentences

    sentences = isinstance(getattr(clf.embed, "preparation", None), Sentences)
    return "sentences" if sentences else "pictures"


def _held_out(given: str, clf: FewShotClassifier, kind: str) -> tuple[Dataset, list[str]]:
    """Classes to calibrate on, and the names of those that are left out, since they are the user's as well."""
    from mlbook.backbones import VERSION
    from mlbook.classifier import FewShotClassifier
    from mlbook.data.files import cache_folder, cached

    sets = SETS["characters" if clf.embed is None else kind]
    if Path(given).exists():
        X, y, of = _examples(Path(given))
        if of != kind:
            raise ValueError(f"--calibrate {given} holds {of}, and the examples are {kind}")
        data = clf.dataset(X, y, printable(given))
    elif given in sets:
        from mlbook import load

        size = getattr(clf.embed, "size", None)
        data = load(sets[given], size=size if given == "groceries" else None)
        if clf.augment is not None:
            at = [(c, i) for c, n in enumerate(data.per_class) for i in range(n)]
            X, y = [data.images[c, i] for c, i in at], [data.classes[c] for c, _ in at]
            key = f"{data.fingerprint}-{clf.embed.digest}"  # type: ignore[union-attr]
            path = cache_folder() / f"looked-at-{clf.augment}-v{VERSION}-{key}.safetensors"
            found, _ = cached(
                path,
                f"{given} in six looks",
                lambda: ({"x": clf._embedded(X, reset=True).cpu()}, {}),
            )
            data = FewShotClassifier(distance=clf.distance).dataset(found["x"], y, given)
        elif clf.embed is not None:
            from mlbook.backbones import embed_dataset

            data = embed_dataset(data, clf.embed)  # type: ignore[arg-type]
    else:
        raise ValueError(
            f"--calibrate {given}: there is no such folder or file; give one with classes that are not yours, or "
            f"{' or '.join(sets)}"
        )
    own = {str(label).casefold() for label in clf.classes_.tolist()}
    theirs = [name.casefold() not in own for name in data.classes]
    if sum(theirs) < 2:
        raise ValueError(
            f"--calibrate {given}: two classes at least are needed that are not among those to be learned"
        )
    common = [c for c, other in zip(data.classes, theirs, strict=True) if not other]
    return data.subset(theirs) if common else data, common


# --- commands ------------------------------------------------------------------------------------


def _fit(asked: argparse.Namespace) -> tuple[dict[str, Any], str]:
    if asked.unknown is not None and asked.calibrate is None:
        raise ValueError(
            "--unknown needs --calibrate DATA, classes that are not yours: only from strangers can be learned what a "
            "stranger looks like"
        )
    if asked.unknown is not None and not 0 < asked.unknown < 1:
        raise ValueError(f"--unknown {asked.unknown}: give a share above 0 and below 1, 0.05 say")
    path: Path = asked.examples
    output = asked.output or Path(f"{path.stem if path.is_file() else path.resolve().name}.safetensors")  # fmt: skip
    if not output.parent.is_dir() or output.is_dir():
        raise ValueError(
            f"{printable(output)} is a folder; name the file to write, with -o"
            if output.is_dir()
            else f"{printable(output.parent)} is not a folder to write into"
        )
    X, labels, kind = _examples(path)
    clf, network = _classifier(asked.network, kind, asked.augment)
    clf.fit(X, labels)
    counts = Counter(labels)
    classes = {label: counts[label] for label in clf.classes_.tolist()}
    facts: dict[str, Any] = {"file": str(output), "with": network, kind: len(X), "classes": classes}
    lines = [f"{len(classes)} classes from {len(X)} {kind} are in {printable(output)}"]
    if asked.calibrate is not None:
        data, common = _held_out(asked.calibrate, clf, kind)
        found = clf.calibrate(data, asked.unknown)
        facts["calibration"] = {
            "classes": len(data),
            "left_out": common,
            "unknown": asked.unknown,
            **{k: v if math.isfinite(v) else None for k, v in asdict(found).items() if k != "by"},
            "by": found.by,
        }
        lines.append(f"calibrated on {len(data)} other classes: {_said(found, asked.unknown)}")
        if common:
            lines.append(f"left out there, since they are learned here: {', '.join(common)}")
    clf.save(output)
    lines.append(f"ask it with: python -m mlbook predict {printable(output)} {kind[:-1].upper()}")
    return facts, "\n".join(lines)


def _said(found: Any, unknown: float | None) -> str:
    """What calibration found, in a shell's words."""
    said = f"{found.accuracy:.1%} right, and probabilities off by {found.error:.1%} on average"
    if unknown is not None:
        said += f"; 'none of these' to {found.caught:.0%} of strangers and {found.turned_away:.0%} of the known"
    return said


def _predict(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    from mlbook.classifier import FewShotClassifier

    clf = FewShotClassifier.load(asked.file)
    kind = _takes(clf)
    if kind == "pictures" and (folders := [p for p in asked.inputs if Path(p).is_dir()]):
        raise ValueError(f"{folders[0]} is a folder; give its pictures, {Path(folders[0]) / '*'}")
    scores = clf._asked(asked.inputs)
    answers = clf._answers(scores).tolist()
    probabilities = (scores / clf.temperature_).softmax(-1).tolist()
    classes = [str(label) for label in clf.classes_.tolist()]
    facts = [
        {kind[:-1]: given, "label": label, "probabilities": dict(zip(classes, p, strict=True))}
        for given, label, p in zip(asked.inputs, answers, probabilities, strict=True)
    ]
    lines = [
        f"{printable(given)}\t{'none of these' if label is None else label}\t{max(p):.1%}"
        for given, label, p in zip(asked.inputs, answers, probabilities, strict=True)
    ]
    return facts, "\n".join(lines)


def _export(asked: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mlbook.classifier import FewShotClassifier

    output = asked.output or asked.file.with_suffix(".onnx")
    FewShotClassifier.load(asked.file).export(output)
    return {"file": str(output)}, f"{printable(output)} answers as {printable(asked.file)} does"


def _evaluate(asked: argparse.Namespace) -> tuple[dict[str, Any], str]:
    X, labels, kind = _examples(asked.examples)
    clf, network = _classifier(asked.network, kind, asked.augment)
    if (asked.episodes, asked.ways, asked.shots) != (None, None, None):
        return _in_episodes(asked, X, labels, kind, clf, network)
    counts = Counter(labels)
    alone = [label for label, n in counts.items() if n == 1]
    if len(alone) == len(counts):
        raise ValueError(
            f"{printable(asked.examples)} has one {kind[:-1]} a class; two are needed, so that one can be left out"
        )
    baseline, plain, given = _baseline(X, kind)
    right = {
        network: clf.leave_one_out(X, labels),
        baseline: plain.leave_one_out(given, labels),
    }
    n = len(right[baseline])
    right["the commonest class"] = [True] * max(counts.values()) + [False] * (n - max(counts.values()))  # fmt: skip
    shares = {
        name: dict(zip(("accuracy", "low", "high"), wilson(sum(r), n), strict=True))
        for name, r in right.items()
    }
    lines = [f"{len(counts)} classes; {n} {kind}, each asked with all the others as examples:"]
    lines += _lines(shares)
    if alone:
        lines.append(f"not asked, with one {kind[:-1]} alone: {', '.join(alone)}")
    return {"classes": counts, "asked": n, "methods": shares}, "\n".join(lines)


def _in_episodes(
    asked: argparse.Namespace,
    X: list[Any],
    labels: list[str],
    kind: str,
    clf: FewShotClassifier,
    network: str,
) -> tuple[dict[str, Any], str]:
    from mlbook.evaluate import evaluate
    from mlbook.progress import progress_bar

    shots = 1 if asked.shots is None else asked.shots
    counts = Counter(labels)
    few = [label for label, n in counts.items() if n <= shots]
    keep = [i for i, label in enumerate(labels) if label not in few]
    X, labels = [X[i] for i in keep], [labels[i] for i in keep]
    enough = len(counts) - len(few)
    if enough < 2:
        raise ValueError(
            f"--shots {shots}: {enough} classes of {printable(asked.examples)} have so many {kind} and one more to ask "
            "about; two are needed"
        )
    ways = min(5, enough) if asked.ways is None else asked.ways
    n = 600 if asked.episodes is None else asked.episodes
    queries = min(15, min(counts[label] for label in labels) - shots)
    baseline, plain, given = _baseline(X, kind)
    results: dict[str, Result] = {}
    for name, one, examples in ((network, clf, X), (baseline, plain, given)):
        data = one.dataset(examples, labels, printable(asked.examples))
        tasks = data.episodes(ways, shots, queries)
        with progress_bar(total=n, desc=name, unit=" tasks", disable=n < 300) as bar:
            results[name] = evaluate(one._method(), _Counted(tasks, bar), n)
    ahead = results[network] - results[baseline]
    shares = {name: _interval(r) for name, r in results.items()}
    shares["guessing"] = dict.fromkeys(("accuracy", "low", "high"), 1 / ways)
    task = f"{ways} classes, {shots} {kind if shots > 1 else kind[:-1]} of each to learn from and {queries} to ask"
    lines = [f"{n} tasks of {task}:", *_lines(shares)]
    lines += [f"{network} ahead of {baseline} on the same tasks: {str(ahead).split(' over')[0]}"]
    if few:
        lines.append(f"left out, with too few {kind}: {', '.join(few)}")
    facts = {"classes": counts, "left_out": few, "episodes": n, "ways": ways, "shots": shots}
    facts |= {"queries": queries, "methods": shares, "ahead": _interval(ahead, "mean")}
    return facts, "\n".join(lines)


class _Counted:
    """Tasks that move a bar when they are asked for; on the device that they are wanted on."""

    def __init__(self, tasks: Episodes, bar: Any) -> None:
        self.tasks, self.bar = tasks, bar

    def to(self, device: Any) -> _Counted:
        return _Counted(self.tasks.to(device), self.bar)

    def __getitem__(self, k: int) -> Episode:
        self.bar.update(k + 1 - self.bar.n)
        return self.tasks[k]


def _interval(r: Result, mean: str = "accuracy") -> dict[str, float]:
    return {mean: r.mean, "low": r.mean - r.interval, "high": r.mean + r.interval}


def _baseline(X: list[Any], kind: str) -> tuple[str, FewShotClassifier, Any]:
    """What needs no network: its name, a classifier, and the examples as it takes them."""
    from mlbook.classifier import FewShotClassifier, Resized

    if kind == "pictures":
        from mlbook.baselines import NearestNeighbour

        return "nearest pixels", FewShotClassifier(NearestNeighbour(), preprocess=Resized(28)), X
    from sklearn.feature_extraction.text import TfidfVectorizer

    words: Callable[[list[str]], Any] = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform
    return "words in common", FewShotClassifier(distance="cosine"), words(X).toarray()


def _lines(shares: dict[str, dict[str, float]]) -> list[str]:
    width = max(map(len, shares))
    return [
        f"{name:{width}}  {100 * s['accuracy']:5.1f} %  (95 %: {100 * s['low']:.1f} to {100 * s['high']:.1f})"
        if s["low"] < s["high"]
        else f"{name:{width}}  {100 * s['accuracy']:5.1f} %"
        for name, s in shares.items()
    ]


def wilson(right: int, n: int) -> tuple[float, float, float]:
    """The share `right` of n and its 95 % interval by Wilson (1927), which stays within [0, 1] for few examples."""
    z, p = 1.96, right / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, max(0.0, (middle - half) / (1 + z**2 / n)), min(1.0, (middle + half) / (1 + z**2 / n))


if __name__ == "__main__":
    main()
