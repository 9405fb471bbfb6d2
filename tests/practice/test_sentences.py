"""The page on one's own sentences: the set that the package carries for it, and its first program, alone."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mlbook import evaluate, load
from mlbook.data import clinc150, sentences
from mlbook.lab import ask
from mlbook.metric import PrototypicalNetwork
from tests.practice.programs import figures

HERE = Path(os.environ.get("MLBOOK_DATA", "/nowhere"), "clinc150", clinc150.FILE)


def test_it_comes_with_the_package_and_names_its_authors() -> None:
    data, unknown = load("sentences"), load("sentences:unknown")
    assert data.images.shape == (150, 10, 384) and unknown.images.shape == (1, 120, 384)
    assert torch.allclose(data.images.norm(dim=-1), torch.ones(150, 10), atol=1e-5)
    assert data.texts is not None and unknown.texts is not None
    assert len({text for row in [*data.texts, *unknown.texts] for text in row}) > 1_600
    assert sentences.FILE.stat().st_size <= 1_000_000
    notice = sentences.FILE.with_name("SENTENCES.md").read_text(encoding="utf-8")
    assert "Stefan Larson" in notice and "creativecommons.org/licenses/by/3.0" in notice


@pytest.mark.skipif(not HERE.is_file(), reason="CLINC150 is not in $MLBOOK_DATA")
def test_it_is_a_tenth_of_the_authors_set_in_their_order() -> None:
    for few, whole in (("sentences", "clinc150"), ("sentences:unknown", "clinc150:unknown")):
        data, full = load(few), load(whole)
        assert data.classes == full.classes and data.groups == full.groups
        assert data.texts is not None and full.texts is not None
        step = len(full.texts[0]) // len(data.texts[0])
        assert data.texts == [row[::step] for row in full.texts]


def test_classes_lie_apart_and_strangers_from_all() -> None:
    """Rounded to bytes the embeddings still tell 50 intents apart, as the page says of the exact ones."""
    test = load("sentences").split("characters", seed=0, sizes=(85, 15, 50))[2]
    model = PrototypicalNetwork(torch.nn.Identity(), "cosine")
    tasks = test.episodes(50, 5, 5, seed=1)
    assert evaluate(model, tasks, n=20).mean > 0.9
    learner = model.adapt(*tasks[0][:2])
    known, strange = (learner(x).amax(-1) for x in (tasks[0].query_x, load("sentences:unknown").images))  # fmt: skip
    assert (strange < known.T).float().mean() > 0.93


def test_the_first_program_runs_alone(tmp_path: Path) -> None:
    """In an empty folder, with no cache and no data but the package's; what it prints is in the page."""
    mine, theirs = figures("sentences", tmp_path)
    assert len(mine) == 4 and mine == pytest.approx(theirs, abs=0.5)
    assert mine[0] > 93 and mine[3] > 92


def test_sentences_to_ask_are_stored_with_their_vectors() -> None:
    data = load("sentences")
    assert data.texts is not None
    x = data.images[:2, :4].flatten(0, 1)
    asking = ask(None, {"a": data.texts[0][:4], "b": data.texts[1][:4]}, [], x)
    raw = torch.frombuffer(bytearray(base64.b64decode(asking.data["z"])), dtype=torch.int8)
    cosine = torch.cosine_similarity(raw.view(8, 384).float(), x)
    assert cosine.min() > 0.9999
    shown = asking._repr_mimebundle_()
    page = (shown if isinstance(shown, dict) else shown[0])["text/html"]
    assert data.texts[1][3] in page and "aria-label" in page


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ({"a": ["x"]}, {}, "1 class: give two or more"),
        ({"a": ["x"], "b": ["y"]}, {"shots": 2}, "shots=2, but 'a' has 1 sentences"),
        ({"a": ["x"], "b": ["y"]}, {"shots": 1}, "no vectors for 3 sentences"),
        ({"a": ["x"], "b": ["y"]}, {"shots": 1, "vectors": torch.ones(2, 4)}, "2 vectors for 3"),
    ],
)
def test_what_cannot_be_asked_is_said(classes: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(None, classes, ["z"], **options)
