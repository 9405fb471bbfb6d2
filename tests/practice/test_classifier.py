"""FewShotClassifier: what it computes, what it keeps in a file, and that scikit-learn takes it for one of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn

from mlbook import Dataset, Episode, load, load_pretrained
from mlbook.backbones import backbone
from mlbook.classifier import (
    FewShotClassifier,
    Resized,
    expected_calibration_error,
    fitted_temperature,
    views,
)
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4

WORDS = ["owl", "owl", "cat", "owl", "cat", "newt"]  # uneven on purpose


def vectors(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh())


def same(a: FewShotClassifier, b: FewShotClassifier, X: Any) -> None:
    assert a.classes_.tolist() == b.classes_.tolist()
    assert a.classes_.dtype == b.classes_.dtype
    assert np.array_equal(a.predict_proba(X), b.predict_proba(X)), "to the bit"
    assert a.predict(X).tolist() == b.predict(X).tolist()


# --- scikit-learn --------------------------------------------------------------------------------


@parametrize_with_checks([FewShotClassifier(), FewShotClassifier(embed=nn.Identity())])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    try:
        check(estimator)
    except BaseException as error:
        assert type(error).__name__ != "SkipTest", f"none is left out: {error}"
        raise


def test_pipelines_cross_validation_and_grids() -> None:
    y = np.repeat(["a", "b", "c"], 8)
    X = vectors(24) + 3 * np.eye(5)[np.repeat([0, 1, 2], 8)]
    pipe = make_pipeline(StandardScaler(), FewShotClassifier())
    assert cross_val_score(pipe, X, y, cv=4).mean() > 0.8
    grid = GridSearchCV(FewShotClassifier(), {"distance": ["cosine", "squared"]}, cv=4).fit(X, y)
    assert grid.best_score_ > 0.8
    pictures = [Image.fromarray(np.full((9, 9), 80 * (i % 3), np.uint8)) for i in range(12)]
    flat = nn.Flatten()
    scores = cross_val_score(
        FewShotClassifier(embed=flat, preprocess=Resized(4, 1), distance="squared"),
        pictures, [f"grey {i % 3}" for i in range(12)], cv=3,
    )  # fmt: skip
    assert scores.tolist() == [1, 1, 1]


def test_without_scikit_learn_the_package_works_and_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import mlbook\n"
        "try:\n    import mlbook.classifier\n"
        "except ImportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "mlbook[practice]"' in run.stdout, run.stderr
    loaded = "import sys, mlbook; print(sorted({'sklearn', 'scipy', 'pandas'} & {*sys.modules}))"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


# --- what it computes ----------------------------------------------------------------------------


def test_plain_vectors_go_to_the_nearest_mean() -> None:
    X, new = vectors(6), vectors(50, seed=1)
    clf = FewShotClassifier().fit(X, WORDS)
    assert clf.classes_.tolist() == ["cat", "newt", "owl"]
    assert clf.predict(new).tolist() == NearestCentroid().fit(X, WORDS).predict(new).tolist()
    means = np.stack([X[np.array(WORDS) == c].mean(0) for c in clf.classes_])
    scores = -((new[:, None] - means) ** 2).sum(-1)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert np.allclose(clf.predict_proba(new), p, atol=1e-9)


def test_behind_an_embedding_it_is_the_cosine_to_the_mean_embedding() -> None:
    X, new, f = vectors(6), vectors(50, seed=1), net().train()
    before = {k: v.clone() for k, v in f.state_dict().items()}
    clf = FewShotClassifier(embed=f).fit(X, WORDS)
    got = clf.predict_proba(new)
    assert f.training, "each network is in the mode in which it was"
    assert all(torch.equal(v, before[k]) for k, v in f.state_dict().items()), "and has its weights"
    with torch.no_grad():
        z, q = (f.eval()(torch.tensor(x, dtype=torch.float32)).numpy() for x in (X, new))
    means = np.stack([z[np.array(WORDS) == c].mean(0) for c in clf.classes_])
    cos = (q / np.linalg.norm(q, axis=1)[:, None]) @ (means / np.linalg.norm(means, axis=1)[:, None]).T  # fmt: skip
    p = np.exp(10 * cos) / np.exp(10 * cos).sum(1, keepdims=True)
    assert np.allclose(got, p, atol=1e-5)


def test_a_method_over_an_embedding_and_one_answers_as_the_method_itself() -> None:
    X, new, f = vectors(6), vectors(9, seed=1), net().eval()
    torch.manual_seed(1)
    method = PrototypicalNetwork(nn.Linear(8, 3)).eval()
    clf = FewShotClassifier(method, embed=f).fit(X, WORDS)
    with torch.no_grad():
        z, q = (f(torch.tensor(x, dtype=torch.float32))[None] for x in (X, new))
        y = torch.tensor([clf.classes_.tolist().index(w) for w in WORDS])[None]
        p = method.adapt(z, y)(q)[0].softmax(-1)
    assert np.allclose(clf.predict_proba(new), p.numpy(), atol=1e-5)


@pytest.mark.parametrize("embed", [None, net()], ids=["plain", "network"])
def test_adding_is_fitting_all_and_removing_is_never_having_seen(embed: nn.Module | None) -> None:
    X, new = vectors(6), vectors(50, seed=1)
    whole = FewShotClassifier(embed=embed).fit(X, WORDS).predict_proba(new)
    known = [i for i, word in enumerate(WORDS) if word != "newt"]
    clf = FewShotClassifier(embed=embed).fit(X[known], [WORDS[i] for i in known])
    before = clf.predict_proba(new)
    # a network rounds one example otherwise than six at a time; without one it is the same to the bit
    atol = 0 if embed is None else 1e-6
    assert np.allclose(clf.add("newt", X[5:]).predict_proba(new), whole, rtol=0, atol=atol)
    assert np.array_equal(clf.remove("newt").predict_proba(new), before)
    clf.remove("cat").add("newt", X[5:]).add("cat", X[[2]]).add("cat", X[[4]])
    assert np.allclose(clf.predict_proba(new), whole, rtol=0, atol=atol)


def test_the_order_of_the_examples_and_of_the_classes_tells_nothing() -> None:
    X, new, order = vectors(6), vectors(50, seed=1), [5, 4, 0, 2, 3, 1]
    a = FewShotClassifier().fit(X, WORDS)
    b = FewShotClassifier().fit(X[order], [WORDS[i] for i in order])
    assert np.allclose(a.predict_proba(new), b.predict_proba(new), atol=1e-12)
    assert a.predict(new).tolist() == b.predict(new).tolist()


@pytest.mark.parametrize(
    "labels",
    [[3, 1, 2], [True, False, True], [("cat", 1), ("cat", 2), ("owl", 1)], ["1", 1, (1,)],
     [frozenset("a"), frozenset("b"), frozenset("c")], np.array(["a", "b", "c"], object)],
    ids=["numbers", "bools", "tuples", "mixed", "sets", "objects"],
)  # fmt: skip
def test_labels_of_any_hashable_sort(labels: Any) -> None:
    X = 9 * np.eye(3)
    clf = FewShotClassifier().fit(X, labels)
    answers = clf.predict(X).tolist()
    expected = [True, False, True] if isinstance(labels[0], bool) else [*labels]
    assert answers == expected
    assert [type(a) for a in answers] == [type(label) for label in expected]
    again = FewShotClassifier().fit(X[::-1], [*labels][::-1])
    assert again.classes_.tolist() == clf.classes_.tolist()


ANY = ["prototypical", "matching", "siamese", "relation", "hypernetwork", "in_context", "centroids"]
FIXED = ["maml", "reptile", "mann", "meta_network", "meta_lstm"]


@pytest.mark.parametrize("name", [*ANY, *FIXED])
def test_every_method_of_the_book_goes_in(name: str) -> None:
    """Drawn glyphs, upright on white as people have them; the weights have seen ink that is bright on dark."""
    data = load("glyphs").images[[5, 60, 130, 200, 300, 400], :6]
    pictures = [[Image.fromarray(255 - x[0].numpy()) for x in c] for c in data]
    support = [x for c in pictures for x in c[:2]]
    new, y = [c[i] for i in (2, 3, 4) for c in pictures[:5]], [*"abcde"] * 3
    clf = FewShotClassifier(load_pretrained(name))
    clf.fit(support[:10], np.repeat([*"abcde"], 2))
    assert clf.score(new, y) >= 0.6
    p = clf.predict_proba(new)
    assert np.allclose(p.sum(1), 1)
    assert np.allclose(clf.predict_proba(new[:1]), p[:1], atol=1e-4), "alone as in company"
    if name in FIXED:
        before = clf.predict_proba(new)
        with pytest.raises(ValueError, match=r"6 classes do not fit .*fixed.*PrototypicalNetwork"):
            clf.add("f", support[10:])
        assert np.array_equal(clf.predict_proba(new), before), "as it was"
    else:
        assert clf.add("f", support[10:]).predict_proba(new).shape == (15, 6)


# --- pictures ------------------------------------------------------------------------------------


def test_one_picture_in_every_form(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    seen = Resized(12)([tmp_path / "a.png"])[0]
    assert torch.equal(seen, torch.from_numpy(rgb).permute(2, 0, 1) / 255)
    opened = Image.open(tmp_path / "a.png")
    deep = (rgb.astype(np.uint16) * 257, rgb / 255, Image.fromarray(rgb).convert("RGBA"))
    forms = [str(tmp_path / "a.png"), opened, opened, Image.fromarray(rgb), rgb, *deep]
    for form in [*forms, torch.from_numpy(rgb).permute(2, 0, 1), seen]:
        assert torch.equal(Resized(12)([form])[0], seen)
    opened.close()


def test_a_picture_given_is_seen_upright_on_white_and_stays_as_it_is() -> None:
    picture = Image.new("RGBA", (4, 8), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 2))  # on top
    picture.getexif()[274] = 3  # stands on its head
    before = picture.tobytes()
    x = Resized(8)([picture])[0]
    assert x[0].min() == 1
    assert x[1, 7].max() == 0, "the red edge is below"
    assert x[:, 0].min() == 1, "and white paper above"
    assert picture.tobytes() == before
    assert picture.getexif()[274] == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"])
def test_an_opened_picture_is_seen_as_its_file_is(mode: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    picture = Image.fromarray(values)
    if mode == "I;16":
        picture = Image.fromarray(values[..., 0].astype(np.uint16) * 200)
    elif mode == "LA":
        picture = picture.convert("L")
        picture.putalpha(Image.fromarray(values[..., 1]))
    elif mode == "RGBA":
        picture.putalpha(Image.fromarray(values[..., 1]))
    elif mode == "F":
        picture = Image.fromarray(values[..., 0].astype(np.float32) / 255)
    else:
        picture = picture.convert(mode)
    file = tmp_path / ("a.tif" if mode in ("CMYK", "F") else "a.png")
    picture.save(file, **({"transparency": 3} if mode == "P" else {}))
    with Image.open(file) as opened:
        assert torch.equal(Resized(8)([opened]), Resized(8)([file]))
        assert torch.equal(Resized(8)([opened]), Resized(8)([file])), "once more, now it is loaded"


def test_ink_is_bright_on_dark_whichever_way_it_came() -> None:
    drawn = np.full((28, 28), 255, np.uint8)
    drawn[10:12] = 0
    seen = Resized(28, 1, ink=True)
    a, b = seen([drawn, 255 - drawn])
    assert torch.equal(a, b)
    assert a[0, 10].min() == 1
    assert torch.equal(Resized(28, 1)([drawn])[0], 1 - a)
    grey = ImageOps.grayscale(Image.fromarray(drawn).convert("RGB"))
    assert torch.equal(seen([grey])[0], a)


def test_batches_of_arrays_and_tensors_are_lists_of_them() -> None:
    x = np.random.default_rng(0).random((6, 7, 7))
    clf = FewShotClassifier(embed=nn.Flatten(), preprocess=Resized(7, 1)).fit([*x], WORDS)
    same(FewShotClassifier(embed=nn.Flatten(), preprocess=Resized(7, 1)).fit(x, WORDS), clf, x)
    t = torch.rand(6, 1, 28, 28)
    f = Conv4(hidden=4)
    same(FewShotClassifier(embed=f).fit(t, WORDS), FewShotClassifier(embed=f).fit([*t], WORDS), t)


# --- several looks at a picture ------------------------------------------------------------------


def test_views_are_the_whole_its_middle_and_its_corners() -> None:
    y, x = np.mgrid[:20, :30]
    array = np.stack([8 * x, 12 * y, 90 + (x + y) % 5 * 15], -1).astype(np.uint8)
    found = views(torch.from_numpy(array).permute(2, 0, 1)[None] / 255)
    assert torch.equal(found[0][0] * 255, torch.from_numpy(array).permute(2, 0, 1).float())
    boxes = [(3, 2, 27, 18), (0, 0, 24, 16), (6, 0, 30, 16), (0, 4, 24, 20), (6, 4, 30, 20)]
    picture = Image.fromarray(array)
    for view, box in zip(found[1:], boxes, strict=True):
        part = picture.crop(box).resize((30, 20), Image.Resampling.BICUBIC)
        assert np.abs(255 * view[0].clamp(0, 1).permute(1, 2, 0).numpy() - part).max() < 1.01
    assert views(torch.rand(2, 1, 1, 1))[5].shape == (2, 1, 1, 1)


def looked_at(x: Tensor, net: nn.Module) -> np.ndarray:
    net.eval()
    with torch.no_grad():
        return torch.stack([net(view) for view in views(x)]).mean(0).double().numpy()


@pytest.mark.parametrize("augment", ["support", "all"])
def test_an_example_is_the_mean_of_its_views(augment: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    f, x, new = Conv4(hidden=4).eval(), torch.rand(6, 1, 28, 28), torch.rand(9, 1, 28, 28)
    clf = FewShotClassifier(embed=f, augment=augment).fit(x, WORDS)
    asked = looked_at(new, f) if augment == "all" else f(new).detach().double().numpy()
    expected = FewShotClassifier(distance="cosine").fit(looked_at(x, f), WORDS)
    assert np.allclose(clf.predict_proba(new), expected.predict_proba(asked), atol=1e-5)
    plain = FewShotClassifier(embed=f).fit(x, WORDS)
    assert not np.allclose(clf.predict_proba(new), plain.predict_proba(new), atol=1e-5)
    added = FewShotClassifier(embed=f, augment=augment).fit(x[:5], WORDS[:5]).add("newt", x[5:])
    assert np.allclose(added.predict_proba(new), clf.predict_proba(new), atol=1e-5)
    clf.save(tmp_path / "a.safetensors")
    loaded = FewShotClassifier.load(tmp_path / "a.safetensors", embed=f)
    assert loaded.augment == augment
    same(loaded, clf, new)


@pytest.mark.parametrize("augment", ["support", "all"])
def test_what_asks_by_itself_looks_as_often(augment: str) -> None:
    """Leaving one out and calibrating: the learned are seen as in fit, the asked as in predict."""
    torch.manual_seed(0)
    f = Conv4(hidden=4).eval()
    held_out = Dataset(torch.rand(6, 5, 1, 28, 28), list("abcdef"), list("abcdef"), "noise")
    x, y = held_out.images[:3, :3].flatten(0, 1), np.repeat([*"abc"], 3).tolist()
    clf = FewShotClassifier(embed=f, augment=augment).fit(x, y)
    expected = []
    for i in range(9):
        others = [j for j in range(9) if j != i]
        one = FewShotClassifier(embed=f, augment=augment).fit(x[others], [y[j] for j in others])
        expected.append(one.predict(x[[i]])[0] == y[i])
    assert clf.leave_one_out(x, y) == expected
    tasks = held_out.episodes(6, 3, 2)
    found = clf.calibrate(tasks, unknown=0.2, episodes=6)

    def seen(x: Tensor, often: bool) -> Tensor:
        return torch.from_numpy(looked_at(x[0], f) if often else f(x[0]).detach().double().numpy())[
            None
        ]

    features = [
        Episode(seen(e.support_x, True), e.support_y, seen(e.query_x, augment == "all"), e.query_y)
        for e in (tasks[k] for k in range(6))
    ]
    again = FewShotClassifier(distance="cosine").fit(looked_at(x, f), y)
    theirs = again.calibrate(features, unknown=0.2, episodes=6)
    assert theirs.threshold == pytest.approx(found.threshold, abs=1e-5)
    assert theirs.temperature == pytest.approx(found.temperature, rel=1e-2)
    data = clf.dataset(x, y)
    whole = torch.from_numpy(looked_at(x, f)).float() if augment == "all" else f(x).detach()
    assert torch.allclose(data.images.flatten(0, 1), whole, atol=1e-5)


def test_what_has_no_parts_is_said() -> None:
    for clf, X, said in (
        (
            FewShotClassifier(augment="mirror"),
            vectors(6),
            "'mirror': give 'support', 'all' or None",
        ),
        (FewShotClassifier(augment="all"), vectors(6), "give embed=, backbone"),
        (FewShotClassifier(embed=net(), augment="support"), vectors(6), r"these are \[6, 5\]"),
        (
            FewShotClassifier(load_pretrained("prototypical"), augment="all"),
            torch.rand(6, 1, 28, 28),
            "augment=None",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            clf.fit(X, WORDS)


class Backbone(nn.Module):
    """Sentences in, by a `preprocess` of its own."""

    def preprocess(self, sentences: list[str]) -> Tensor:
        return torch.tensor([[s.count(c) for c in "abcdefgh"] for s in sentences])

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def test_a_backbone_prepares_its_own_inputs_and_sentences_are_as_good() -> None:
    clf = FewShotClassifier(embed=Backbone()).fit(["aab", "bba", "hhg"], ["a", "b", "h"])
    assert clf.predict(["aaab", "bb", "gh h"]).tolist() == ["a", "b", "h"]


def test_sentences_of_any_length_in_more_than_one_batch(tmp_path: Path) -> None:
    """MiniLM takes whole numbers, as many as a batch's longest sentence has pieces."""
    short = ["play a song", "will it rain"]
    long = [
        "put on something by the band that I listened to all of last week",
        "how warm is it going to be in the mountains on the day after tomorrow",
    ]
    X, y = [*short * 33, *long * 33], ["music", "weather"] * 66
    clf = FewShotClassifier(embed=backbone("minilm")).fit(X, y)
    new = ["which album is this", "is there a storm coming"]
    assert clf.predict(new).tolist() == ["music", "weather"]
    clf.save(tmp_path / "a.safetensors")
    same(FewShotClassifier.load(tmp_path / "a.safetensors"), clf, new)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prototypical", "maml", "siamese"])
def test_weights_of_the_book_come_back_from_the_file_alone(name: str, tmp_path: Path) -> None:
    x = torch.rand(10, 1, 28, 28)
    clf = FewShotClassifier(load_pretrained(name), adapt={"steps": 2} if name == "maml" else None)
    clf.fit(x, np.repeat([*"abcde"], 2))
    clf.save(tmp_path / "a.safetensors")
    again = FewShotClassifier.load(tmp_path / "a.safetensors")
    same(again, clf, torch.rand(5, 1, 28, 28))
    same(again.remove("a").add("z", x[:1]), clf.remove("a").add("z", x[:1]), x)
    same(pickle.loads(pickle.dumps(clf)), clf, x)
    assert b"pickle" not in (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.parametrize("labels", [["a", "b", "b"], [1, 2, 2], [("a", (1,)), "b", 2.5]])
def test_own_networks_are_given_again_and_must_be_the_same(labels: Any, tmp_path: Path) -> None:
    file, X = tmp_path / "a.safetensors", vectors(3)
    clf = FewShotClassifier(embed=net(), distance="squared").fit(X, labels)
    clf.save(file)
    same(FewShotClassifier.load(file, embed=net()), clf, X)
    with pytest.raises(ValueError, match=r"Sequential of your own: load\(path, embed=it\)"):
        FewShotClassifier.load(file)
    with pytest.raises(ValueError, match="other weights than the Sequential"):
        FewShotClassifier.load(file, embed=net(seed=1))
    with pytest.raises(ValueError, match="without model=: leave it out"):
        FewShotClassifier.load(file, model=net(), embed=net())


def test_how_pictures_are_prepared_is_in_the_file(tmp_path: Path) -> None:
    file, f = tmp_path / "a.safetensors", nn.Flatten()
    x = np.random.default_rng(0).random((6, 9, 9))
    clf = FewShotClassifier(embed=f, preprocess=Resized(5, 1, ink=True)).fit(x, WORDS)
    clf.save(file)
    same(FewShotClassifier.load(file, embed=f), clf, x)
    own = FewShotClassifier(embed=f, preprocess=clf.preprocess.__call__).fit(x, WORDS)
    own.save(file)
    with pytest.raises(ValueError, match="give it again"):
        FewShotClassifier.load(file, embed=f)
    same(FewShotClassifier.load(file, embed=f, preprocess=own.preprocess), own, x)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    FewShotClassifier().fit(vectors(6), WORDS).save(file)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged"):
        FewShotClassifier.load(file)
    weights = Path(load.__code__.co_filename).parent.parent / "pretrained" / "maml.safetensors"
    with pytest.raises(ValueError, match="no classifier"):
        FewShotClassifier.load(weights)


# --- probabilities and strangers -----------------------------------------------------------------


def clouds(classes: int, samples: int = 12, width: float = 1.0, seed: int = 0) -> Dataset:
    """Points around means, twice as far from each other as `width`, in ten dimensions."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, 1, 10, generator=generator)
    x = means + width * torch.randn(classes, samples, 10, generator=generator) / 2
    return Dataset(x, [f"c{i}" for i in range(classes)], ["g"] * classes, "clouds")


def test_calibration_error_by_hand() -> None:
    p = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]]
    # of the two at 0.9 one is right, of those at 0.7 and 0.6 (bins of their own) the first
    expected = (abs(1.8 - 1) + abs(0.7 - 1) + abs(0.6 - 0)) / 4
    assert expected_calibration_error(p, [0, 1, 1, 0], bins=8) == pytest.approx(expected)
    assert expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert expected_calibration_error(np.eye(3), [1, 2, 0]) == 1
    assert expected_calibration_error(p, [0, 1, 1, 0], bins=1) == pytest.approx(0.775 - 0.5)
    with pytest.raises(ValueError, match="give"):
        expected_calibration_error(p, [0, 1])


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 30.0])
def test_the_temperature_by_which_labels_were_drawn_is_found(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 5, generator=generator, dtype=torch.float64)
    y = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    assert fitted_temperature(logits * temperature, y) == pytest.approx(temperature, rel=0.03)
    easy = fitted_temperature(10 * torch.eye(5).double().repeat(9, 1), torch.arange(5).repeat(9))
    assert 1 < easy < 10, "answers that are all right do not make it sure of everything"


def test_calibration_tells_strangers_and_mends_probabilities(tmp_path: Path) -> None:
    data, held_out = clouds(5, seed=1), clouds(40)
    X, y = data.images[:, :5].flatten(0, 1), np.repeat(data.classes, 5)
    clf = FewShotClassifier().fit(X, y)
    new, labels = data.images[:, 5:].flatten(0, 1), np.repeat(data.classes, 7)
    assert None not in clf.predict(new).tolist()
    found = clf.calibrate(held_out, unknown=0.1)
    assert clf.temperature_ == found.temperature != 1
    assert found.error <= 0.03
    assert found.by == "score"
    assert found.auroc > 0.9
    assert abs(found.turned_away - 0.1) < 0.04, "as was asked for, on other episodes"
    strangers = clouds(30, seed=2).images[:, 0]
    share = np.mean([answer is None for answer in clf.predict(strangers)])
    assert share == np.mean(clf.known_score(strangers) < found.threshold)
    assert abs(share - found.caught) < 0.2
    answers = clf.predict(new)
    known = np.array([a is not None for a in answers])
    assert known.mean() > 0.7
    assert clf.score(new, labels) == pytest.approx(np.mean(answers == labels))
    assert clf.score(strangers, [None] * 30) == share
    assert "AUROC" in str(found)
    again = clf.calibrate(held_out.episodes(10, 5, 5), unknown=0.1)
    assert again == found, "the same tasks, given as episodes"
    clf.save(tmp_path / "a.safetensors")
    loaded = FewShotClassifier.load(tmp_path / "a.safetensors")
    same(loaded, clf, strangers)
    assert loaded.calibration_ == found
    assert clf.fit(X, y).calibration_ is None, "another fit, another calibration"


def uneven(first: int) -> tuple[FewShotClassifier, Dataset, Dataset]:
    """A classifier, and forty held-out classes of twelve samples: all of them, and `first` alone of the first class."""
    data, held_out = clouds(5, seed=1), clouds(40)
    counts = [first, *[12] * 39]
    fewer = Dataset(held_out.images, held_out.classes, held_out.groups, "uneven", counts=counts)
    clf = FewShotClassifier().fit(data.images[:, :8].flatten(0, 1), np.repeat(data.classes, 8))
    return clf, held_out, fewer


def test_held_out_classes_may_be_of_unequal_size() -> None:
    clf, _, fewer = uneven(4)
    found = clf.calibrate(fewer, episodes=10)
    assert found == clf.calibrate(fewer.episodes(10, 3, 1), episodes=10), "as many as the least has"


def test_a_held_out_class_of_one_example_is_left_out() -> None:
    clf, held_out, fewer = uneven(1)
    found = clf.calibrate(fewer, episodes=10)
    assert found == clf.calibrate(held_out.subset(range(1, 40)).episodes(10, 8, 4), episodes=10)
    alone = Dataset(held_out.images[:, :1], held_out.classes, held_out.groups, "one each")
    with pytest.raises(ValueError, match=r"shots=1 \+ queries=1 = 2 .* one each has 1"):
        clf.calibrate(alone, episodes=4)


def test_a_stranger_is_told_by_what_tells_it_better() -> None:
    """Scores whose level means nothing: there the largest probability decides."""

    class Level(nn.Module):
        def adapt(self, x: Tensor, y: Tensor) -> Any:
            ask = PrototypicalNetwork(nn.Identity()).adapt(x, y)
            return lambda q: ask(q) + 1000 * torch.sin(1000 * q.sum(-1, keepdim=True))

    data = clouds(5, seed=1)
    clf = FewShotClassifier(Level()).fit(data.images[:, :5].flatten(0, 1), [*range(5)] * 5)
    found = clf.calibrate(clouds(40, width=0.5), unknown=0.1)
    assert found.by == "probability"
    assert found.auroc > 0.6


def test_calibration_on_pictures_through_an_embedding_and_its_mistakes() -> None:
    glyphs = load("glyphs").subset(range(12))
    f = Conv4(hidden=8)
    clf = FewShotClassifier(embed=f).fit(torch.rand(6, 1, 28, 28), WORDS)
    a = clf.calibrate(glyphs, episodes=6)
    with torch.no_grad():
        z = f.eval()(glyphs.images.flatten(0, 1) / 255).view(12, -1, 8)
    cached = Dataset(z, glyphs.classes, glyphs.groups, "embedded")
    b = clf.calibrate(cached, episodes=6)
    assert b.temperature == pytest.approx(a.temperature, rel=1e-3)
    assert b.auroc == pytest.approx(a.auroc, abs=0.02)
    for unknown in (0, 1, 5):
        with pytest.raises(ValueError, match=f"unknown={unknown}"):
            clf.calibrate(glyphs, unknown=unknown)
    with pytest.raises(ValueError, match="episodes=3"):
        clf.calibrate(glyphs, episodes=3)
    with pytest.raises(ValueError, match="queries"):
        clf.calibrate(glyphs.episodes(4, 1, 0))
    assert clf.calibration_ == b, "what failed has changed nothing"


# --- mistakes ------------------------------------------------------------------------------------


def test_mistakes_are_named_with_their_remedy() -> None:
    X = vectors(6)
    clf = FewShotClassifier().fit(X, WORDS)
    with pytest.raises(ValueError, match=r"'dog' is no class .*'cat', 'newt', 'owl'"):
        clf.remove("dog")
    with pytest.raises(ValueError, match="only class"):
        FewShotClassifier().fit(X, ["a"] * 6).remove("a")
    with pytest.raises(ValueError, match="label None"):
        clf.add(None, X)
    with pytest.raises(ValueError, match="label None"):
        FewShotClassifier().fit(X, [None, *"abcde"])
    with pytest.raises(ValueError, match="cosine"):
        FewShotClassifier(distance="manhattan").fit(X, WORDS)
    with pytest.raises(ValueError, match=r"nothing says how.*Resized"):
        FewShotClassifier(embed=Conv4()).fit(["a.png"], ["a"])
    with pytest.raises(ValueError, match=r"nobody\.png cannot be read"):
        FewShotClassifier(load_pretrained("prototypical")).fit(["nobody.png"], ["a"])
    with pytest.raises(ValueError, match=r"give a list, \['a.png'\]"):
        FewShotClassifier(load_pretrained("prototypical")).fit("a.png", ["a"])
    with pytest.raises(ValueError, match="embed="):
        FewShotClassifier(Conv4()).fit(torch.rand(2, 1, 28, 28), ["a", "b"])
    with pytest.raises(ValueError, match="channels last"):
        Resized(28)([np.zeros((3, 28, 28), np.uint8)])
    with pytest.raises(ValueError, match="what is white"):
        Resized(28)([np.full((28, 28), 200.0)])
    with pytest.raises(ValueError, match="size=0"):
        Resized(0)
