"""A classifier of one's own without writing Python: `python -m mlbook fit|predict|evaluate`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlbook.data.files import printable

if TYPE_CHECKING:
    from mlbook.classifier import FewShotClassifier

BACKBONE = "efficientnet_lite0"


def main(arguments: list[str] | None = None) -> None:
    """What the command line asks for; a mistake is one line on stderr, and 1 is returned to the shell."""
    parser = argparse.ArgumentParser(prog="python -m mlbook", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="fit|predict|evaluate")
    fit = commands.add_parser("fit", help="learn a folder of pictures, FOLDER/class/picture.jpg")
    fit.add_argument("-o", "--output", type=Path, help="the file to write; FOLDER.safetensors")
    predict = commands.add_parser("predict", help="say what is on pictures")
    predict.add_argument("file", type=Path, help="what fit wrote")
    predict.add_argument("pictures", nargs="+", type=Path)
    evaluate = commands.add_parser(
        "evaluate",
        help="ask for each picture of a folder with all the others as examples, beside baselines",
    )
    for command in (fit, evaluate):
        command.add_argument("folder", type=Path)
        command.add_argument(
            "--with",
            dest="network",
            default=BACKBONE,
            metavar="NAME",
            help=f"a backbone ({BACKBONE} if none is named), or weights of load_pretrained for drawn characters "
            "(prototypical, say)",
        )
    for command in (fit, predict, evaluate):
        command.add_argument("--json", action="store_true", help="answer in JSON")
    asked = parser.parse_args(arguments)
    do = {"fit": _fit, "predict": _predict, "evaluate": _evaluate}[asked.command]
    try:
        facts, text = do(asked)
    except (ValueError, FloatingPointError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(facts, ensure_ascii=False, indent=1) if asked.json else text)


def _classifier(name: str) -> FewShotClassifier:
    from mlbook import load_pretrained
    from mlbook.classifier import FewShotClassifier
    from mlbook.pretrained import MODELS

    if name in MODELS:
        return FewShotClassifier(load_pretrained(name))
    from mlbook.backbones import backbone

    return FewShotClassifier(embed=backbone(name))


def _pictures(folder: Path) -> tuple[list[Path], list[str]]:
    from mlbook.data.folder import pictures_of

    found = pictures_of(folder)
    return [file for files in found.values() for file in files], [
        label for label, files in found.items() for _ in files
    ]


def _fit(asked: argparse.Namespace) -> tuple[dict[str, Any], str]:
    files, labels = _pictures(asked.folder)
    output = asked.output or Path(f"{asked.folder.resolve().name}.safetensors")
    clf = _classifier(asked.network).fit(files, labels)
    clf.save(output)
    facts = {"file": str(output), "with": asked.network, "pictures": len(files)}
    classes = {label: labels.count(label) for label in clf.classes_.tolist()}
    return facts | {"classes": classes}, (
        f"{len(classes)} classes from {len(files)} pictures are in {printable(output)}; ask it with\n"
        f"python -m mlbook predict {printable(output)} PICTURE"
    )


def _predict(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    from mlbook.classifier import FewShotClassifier

    clf = FewShotClassifier.load(asked.file)
    scores = clf.predict_proba(asked.pictures).tolist()
    answers = clf.predict(asked.pictures).tolist()
    classes = [str(label) for label in clf.classes_.tolist()]
    facts = [
        {"picture": str(file), "label": label, "probabilities": dict(zip(classes, p, strict=True))}
        for file, label, p in zip(asked.pictures, answers, scores, strict=True)
    ]
    lines = [
        f"{printable(file)}\t{'none of these' if label is None else label}\t{max(p):.1%}"
        for file, label, p in zip(asked.pictures, answers, scores, strict=True)
    ]
    return facts, "\n".join(lines)


def _evaluate(asked: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mlbook.baselines import NearestNeighbour
    from mlbook.classifier import FewShotClassifier, Resized

    files, labels = _pictures(asked.folder)
    counts = {label: labels.count(label) for label in labels}
    alone = [label for label, n in counts.items() if n == 1]
    if len(alone) == len(counts):
        raise ValueError(
            f"{printable(asked.folder)} has one picture a class; two are needed, so that one can be left out"
        )
    pixels = FewShotClassifier(NearestNeighbour(), preprocess=Resized(28))
    right = {
        asked.network: _classifier(asked.network).leave_one_out(files, labels),
        "nearest pixels": pixels.leave_one_out(files, labels),
    }
    n = len(right["nearest pixels"])
    right["the commonest class"] = [True] * max(counts.values()) + [False] * (n - max(counts.values()))  # fmt: skip
    shares = {
        name: dict(zip(("accuracy", "low", "high"), wilson(sum(r), n), strict=True))
        for name, r in right.items()
    }
    width = max(map(len, shares))
    lines = [f"{len(counts)} classes; {n} pictures, each asked with all the others as examples:"]
    lines += [
        f"{name:{width}}  {100 * s['accuracy']:5.1f} %  (95 %: {100 * s['low']:.1f} to {100 * s['high']:.1f})"
        for name, s in shares.items()
    ]
    if alone:
        lines.append(f"not asked, with one picture alone: {', '.join(alone)}")
    return {"classes": counts, "asked": n, "methods": shares}, "\n".join(lines)


def wilson(right: int, n: int) -> tuple[float, float, float]:
    """The share `right` of n and its 95 % interval by Wilson (1927), which stays within [0, 1] for few examples."""
    z, p = 1.96, right / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, max(0.0, (middle - half) / (1 + z**2 / n)), min(1.0, (middle + half) / (1 + z**2 / n))


if __name__ == "__main__":
    main()
