"""A classifier that never saw the data: its training, and real tables beside seven rivals.

    python results/run.py tables          # or: make results METHOD=tables

The 24 tables, all in `mlbook.data.tables.REAL`, were named before anything was run on them; of four (iris, wine, breast
cancer, crabs) results were looked at while the network was built. Three stages, each resumed where it stopped: the
rivals (about 25 minutes on one core), the network (about 40), the network on the tables (a minute).
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import write

from mlbook import fit
from mlbook.data.files import write_tensors
from mlbook.data.tables import REAL, real
from mlbook.data.tables import tables as prior
from mlbook.model_based import PriorFittedNetwork
from mlbook.results import FOLDER

SIZES = (10, 20, 50)
SPLITS = 20
ASKED = 300  # rows of a table that are asked, at most; at fewer than LEAST a table is left out
LEAST = 25
LOOKED_AT = ("iris", "wine", "breast cancer", "crabs")
WEIGHTS = FOLDER.parent / "pretrained" / "prior_fitted.safetensors"
STEPS, TASKS, RATE = 4800, 16, 3e-3
TURN = 2500  # until then the rate falls as if there were 9,000 steps, from then on to 0 at the last
PROTOCOL = (
    "tables of mlbook.data.tables.REAL, numbers as they are, words as columns of 0 and 1; 20 splits each, seeds "
    "0..19: one row of each class and then rows at random, the same for all; up to 300 of the other rows are asked, "
    "and a table is left out where fewer than 25 remain. Rivals standardise, put the median for what is missing, and "
    "are tuned by accuracy in 3 folds of the labelled rows, ties to the first: logistic regression C in 1, 0.1, 10, "
    "0.01, 100; SVM (Gaussian kernel) C in 1, 10, 100, 0.1 and width 1, 0.3, 3 times scikit-learn's scale; k-NN k in "
    "3, 1, 5, 9, 15; naive Bayes smoothing 1e-2, 1e-9, 1e-1, 1; boosting 40 trees, depth 1 or 3; forest of 60 trees, "
    "features sqrt or all by out-of-bag accuracy; Gaussian process (one width, one amplitude) by its marginal "
    "likelihood. Log-loss with probabilities of at least 0.001"
)


def splits(y: np.ndarray, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which rows are labelled and which are asked, for each split; none if too few would be left."""
    found = []
    for seed in range(SPLITS if len(y) - rows >= LEAST else 0):
        order = np.random.default_rng(seed).permutation(len(y))
        first = [int(order[y[order] == c][0]) for c in np.unique(y)]
        order = np.array(first + [i for i in order if i not in first])
        found.append((order[:rows], order[rows : rows + ASKED]))
    return found


def rivals(n: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """Each rival, and what is tuned, for n labelled rows."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    forest = RandomForestClassifier(60, random_state=0, oob_score=True)
    return {
        "logistic regression": (
            LogisticRegression(max_iter=200),
            {"C": [1, 0.1, 10, 0.01, 100]},
        ),
        "random forest": (forest, {"max_features": ["sqrt", None]}),
        "Gaussian process": (GaussianProcessClassifier(1.0 * RBF(2.0), random_state=0), {}),
        "k-NN": (
            KNeighborsClassifier(),
            {"n_neighbors": [k for k in (3, 1, 5, 9, 15) if k <= n * 2 // 3]},
        ),
        "boosting": (
            GradientBoostingClassifier(n_estimators=40, random_state=0),
            {"max_depth": [1, 3]},
        ),
        "SVM": (SVC(), {"C": [1, 10, 100, 0.1], "gamma": [1.0, 0.3, 3.0]}),
        "naive Bayes": (GaussianNB(), {"var_smoothing": [1e-2, 1e-9, 1e-1, 1.0]}),
    }


def tuned(name: str, model: Any, grid: dict[str, list[Any]], x: np.ndarray, y: np.ndarray) -> Any:
    """The model of the settings that do best within the labelled rows, fitted to all of them."""
    from sklearn.base import clone
    from sklearn.model_selection import ParameterGrid, StratifiedKFold

    best, at = -1.0, None
    for setting in ParameterGrid(grid):
        if name == "SVM":
            setting["gamma"] /= x.shape[1]  # columns are standardised
        candidate = clone(model).set_params(**setting)
        if name == "random forest":
            candidate.fit(x, y)
            if candidate.oob_score_ > best:
                best, at = candidate.oob_score_, candidate
            continue
        if len(ParameterGrid(grid)) == 1:
            return candidate.fit(x, y)
        folds = min(3, int(np.bincount(y).max()))
        score = 0
        for a, b in StratifiedKFold(folds, shuffle=True, random_state=0).split(x, y):
            if len(np.unique(y[a])) > 1:
                score += int((clone(candidate).fit(x[a], y[a]).predict(x[b]) == y[b]).sum())
        if score > best:
            best, at = score, candidate
    assert at is not None
    return at if name == "random forest" else at.fit(x, y)


def judged(p: np.ndarray | None, answer: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Accuracy in percent, and log-loss (NaN without probabilities)."""
    loss = math.nan
    if p is not None:
        loss = float(-np.log(p[np.arange(len(y)), y].clip(1e-3)).mean())
    return round(100 * float((answer == y).mean()), 2), round(loss, 4)


def of_table(name: str, rows: int) -> dict[str, dict[str, list[float]]]:
    """All rivals on one table: a list over splits of accuracy and of log-loss."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = (t.numpy() for t in real(name)[:2])
    found: dict[str, dict[str, list[float]]] = {}
    for a, b in splits(y, rows):
        fill = SimpleImputer(strategy="median", keep_empty_features=True)
        prepare = make_pipeline(fill, StandardScaler())
        xa = prepare.fit_transform(x[a].astype(float))
        xb = prepare.transform(x[b].astype(float))
        for rival, (model, grid) in rivals(rows).items():
            fitted = tuned(rival, model, grid, xa, y[a])
            p = fitted.predict_proba(xb) if hasattr(fitted, "predict_proba") else None
            accuracy, loss = judged(p, fitted.predict(xb), y[b])
            entry = found.setdefault(rival, {"accuracy": [], "log_loss": []})
            entry["accuracy"].append(accuracy)
            if p is not None:
                entry["log_loss"].append(loss)
    return found


def measure_rivals() -> None:
    """Every table and size that is not there yet, one file a size, written after each table."""
    warnings.filterwarnings("ignore")
    for rows in SIZES:
        file = FOLDER / f"tables_rivals_{rows}.json"
        done = json.loads(file.read_text())["tables"] if file.exists() else {}
        for name in REAL:
            if name in done or not splits(real(name)[1].numpy(), rows):
                continue
            done[name] = of_table(name, rows)
            write("tables", f"rivals_{rows}", steps=0, rows=rows, protocol=PROTOCOL, tables=done)
            means = {k: round(float(np.mean(v["accuracy"])), 1) for k, v in done[name].items()}
            print(rows, name, means, flush=True)


def falling(k: int) -> float:
    """The factor on the rate at step k."""
    warm = min(1, (k + 1) / 100)
    return warm * (0.5 + 0.5 * math.cos(math.pi * k / (9000 if k < TURN else STEPS)))


def train(checkpoint: Path) -> PriorFittedNetwork:
    """The network that is shipped; resumed from its checkpoint."""
    torch.manual_seed(0)
    model = PriorFittedNetwork()
    history = fit(
        model,
        prior(tasks=TASKS),
        steps=STEPS,
        optimizer=torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2),
        schedule=falling,
        checkpoint=checkpoint,
        checkpoint_every=250,
        progress=False,
        callback=lambda k, h, _: (
            print(k, round(sum(h.loss[-250:]) / 250, 4), flush=True) if k % 250 == 0 else None
        ),
    )
    write_tensors(WEIGHTS, {k: v.half() for k, v in model.state_dict().items()}, {})
    loss = [round(sum(history.loss[i : i + 100]) / 100, 4) for i in range(0, STEPS, 100)]
    facts = {"steps": STEPS, "tasks": TASKS, "rate": RATE, "seconds": round(history.seconds)}
    write("tables", "training", seed=0, **facts, loss=loss)
    return model


@torch.no_grad()
def measure_network() -> None:
    """The shipped weights on the same splits."""
    from mlbook import load_pretrained

    model = load_pretrained("prior_fitted")
    found: dict[str, Any] = {}
    for rows in SIZES:
        for name in REAL:
            x, y = real(name)[:2]
            entry: dict[str, list[float]] = {"accuracy": [], "log_loss": []}
            for a, b in splits(y.numpy(), rows):
                p = model.adapt(x[a][None], y[a][None])(x[b][None])[0].softmax(-1).numpy()
                for key, value in zip(entry, judged(p, p.argmax(-1), y[b].numpy()), strict=True):
                    entry[key].append(value)
            if entry["accuracy"]:
                found.setdefault(str(rows), {})[name] = entry
    write("tables", "network", steps=STEPS, protocol=PROTOCOL, looked_at=LOOKED_AT, sizes=found)


def tables() -> None:
    """All stages."""
    measure_rivals()
    if not WEIGHTS.exists():
        train(Path(__file__).parent / "runs" / "prior_fitted.safetensors")
    measure_network()
