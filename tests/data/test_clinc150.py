"""CLINC150: sentences through the same sets, splits and episodes as pictures."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn as nn

from mlbook import Dataset, evaluate, load
from mlbook.data import clinc150
from mlbook.metric import PrototypicalNetwork

HERE = Path(os.environ.get("MLBOOK_DATA", "/nowhere"), "clinc150", clinc150.FILE)
needed = pytest.mark.skipif(not HERE.is_file(), reason="CLINC150 is not in $MLBOOK_DATA")


@cache
def intents() -> Dataset:
    return load("clinc150")


@needed
def test_it_has_the_authors_sentences_intents_and_domains() -> None:
    data, parts = intents(), json.loads(HERE.read_text())
    assert data.images.shape == (150, 150, 1) and data.texts is not None
    assert set(Counter(data.groups).values()) == {15} and len(set(data.groups)) == 10
    for part, where in (("train", slice(100)), ("val", slice(100, 120)), ("test", slice(120, 150))):
        expected: dict[str, list[str]] = {}
        for text, intent in parts[part]:
            expected.setdefault(intent, []).append(text)
        assert expected == {
            name: texts[where] for name, texts in zip(data.classes, data.texts, strict=True)
        }
    unknown = load("clinc150:unknown")
    assert unknown.texts is not None and len(unknown.texts[0]) == 1200 and len(unknown) == 1
    assert unknown.texts[0] == [text for p in ("train", "val", "test") for text, _ in parts[f"oos_{p}"]]  # fmt: skip
    assert repr(data) == "clinc150: 150 classes in 10 groups, 150 sentences each"


@needed
@pytest.mark.parametrize("by", ["characters", "alphabets"])
def test_sentences_go_along_into_splits_and_come_back_from_episodes(by: str) -> None:
    whole = intents()
    assert whole.texts is not None
    parts = whole.split(by, seed=1)
    of = dict(zip(whole.classes, whole.texts, strict=True))
    names = [set(part.classes) for part in parts]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    if by == "alphabets":
        assert not set(parts[0].groups) & set(parts[2].groups)
    for part in parts:
        assert part.texts == [of[name] for name in part.classes]
        source = part.episodes(2, 2, 3, tasks=2, seed=3)
        episode = source[4].check()
        assert all(torch.equal(a, b) for a, b in zip(episode, source[4], strict=True))
        drawn = source.classes_of(4)
        for x, y in (episode[:2], episode[2:]):
            for t in range(2):
                for text, label in zip(part.texts_of(x[t]), y[t].tolist(), strict=True):
                    assert text in of[part.classes[int(drawn[t, label])]]


@needed
def test_embedded_sentences_are_evaluated_like_pictures() -> None:
    """Letters counted tell intents apart better than chance, by the same `evaluate`."""
    _, _, test = intents().split("characters")
    assert test.texts is not None
    letters = "abcdefghijklmnopqrstuvwxyz"
    counts = [[[float(t.count(a)) for a in letters] for t in row] for row in test.texts]
    data = Dataset(torch.tensor(counts), test.classes, test.groups, "letters", texts=test.texts)
    result = evaluate(PrototypicalNetwork(nn.Identity()), data.episodes(5, 5, 5), n=50)
    assert result.mean > 0.3
    assert data.subset([3, 1]).texts == [test.texts[3], test.texts[1]]
    with pytest.raises(ValueError, match="not a set of sentences"):
        data.texts_of(torch.zeros(1))


def test_another_file_is_refused_and_a_missing_one_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLBOOK_DATA", str(tmp_path))
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(clinc150, "SOURCE", "http://127.0.0.1:9/data_full.json")
    with pytest.raises(FileNotFoundError, match=r"put it as data_full\.json into a folder D/clinc"):
        load("clinc150")
    assert load("clinc150", fallback="glyphs").name == "glyphs"
    assert "Clinc150 could not be had, so this runs on 'glyphs'" in capsys.readouterr().out
    (tmp_path / "clinc150").mkdir()
    (tmp_path / "clinc150" / clinc150.FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"data_full\.json has the SHA-256 44136fa3.*not 36923c37"):
        load("clinc150")


def test_sets_of_sentences_are_checked_and_known_by_their_words() -> None:
    texts = [["a", "b"], ["c", "d"], ["e", "f"]]
    data = Dataset(None, "xyz", "ggg", "words", texts=texts)
    assert data.subset([2, 0]).texts_of(torch.tensor([[0.0], [3.0]])) == ["e", "b"]
    assert data.texts_of(data.to("cpu").images) == list("abcdef")
    other = Dataset(None, "xyz", "ggg", "words", texts=[*texts[:2], ["e", "g"]])
    assert len({d.fingerprint for d in (data, other, data.subset([0, 2]), data.subset([0, 1]))}) == 4  # fmt: skip
    assert Dataset(None, "xyz", "ggg", "other name", texts=texts).fingerprint == data.fingerprint
    bad: list[tuple[object, str]] = [
        ("abc", r"\[classes\]\[samples\]"),
        (["ab", "cd", "ef"], r"\[classes\]\[samples\]"),
        ([["a"], ["b", "c"], ["d"]], "class 1 has 2 texts and class 0 has 1"),
        ([["a"], ["b"], [3]], "class 2 holds 3, which is not a text"),
        ([["a"], ["b"]], "2 classes of images, 3 class names"),
    ]
    for wrong, says in bad:
        with pytest.raises(ValueError, match=says):
            Dataset(None, "xyz", "ggg", "words", texts=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 x 2 texts for 3 x 4 examples"):
        Dataset(torch.zeros(3, 4, 5), "xyz", "ggg", "words", texts=texts)
    with pytest.raises(ValueError, match=r"number 6: the sentences are numbered 0\.\.5"):
        data.texts_of(torch.tensor([6.0]))
