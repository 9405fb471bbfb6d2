"""What `FewShotClassifier.export` writes, run by onnxruntime and by torch.export, against the classifier itself."""

from __future__ import annotations

import copy
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mlbook import load, load_pretrained
from mlbook.__main__ import main
from mlbook.backbones import backbone
from mlbook.baselines import BaselinePlusPlus, FineTuning, NearestNeighbour
from mlbook.classifier import FewShotClassifier, Resized
from mlbook.export import Deployed
from mlbook.metric import MatchingNetwork, PrototypicalNetwork
from mlbook.optimization import ANIL, MAML, MetaSGD

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _with_onnx() -> None:
    missing = [m for m in ("onnxscript", "onnxruntime") if find_spec(m) is None]
    if missing and os.environ.get("CI"):
        raise ImportError(f'{missing} missing: pip install "mlbook[test]"')
    if missing:
        pytest.skip(f'{missing} missing: pip install "mlbook[export]"')


class Run:
    """A file in onnxruntime, asked as many at a time as it takes."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.path = path
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        (self.input,) = self.session.get_inputs()
        meta = self.session.get_modelmeta()
        self.texts, self.says = meta.custom_metadata_map, meta.description
        self.labels = json.loads(self.texts["labels"])

    def __call__(self, x: Any, many: int = 50) -> list[np.ndarray]:
        many = 1 if self.input.shape[0] == 1 else many
        parts = [x[i : i + many] for i in range(0, len(x), many)]
        done = [self.session.run(None, {self.input.name: np.asarray(part)}) for part in parts]
        return [np.concatenate(out) for out in zip(*done, strict=True)]


def saved_program(path: Path, names: dict[str, str]) -> tuple[Callable[[Any], Any], dict[str, str]]:
    texts = dict.fromkeys(names, "")
    made = torch.export.load(path, extra_files=texts).module()
    return lambda x: [out.numpy() for out in made(torch.from_numpy(np.asarray(x)))], texts


def agree(out: list[np.ndarray], clf: FewShotClassifier, X: Any, labels: list[Any]) -> None:
    """To 1e-4, and with the same answers."""
    scores, clf = clf._asked(X), copy.copy(clf)
    clf._asked = lambda _: scores  # type: ignore[method-assign]
    probabilities, known, answer = out
    assert answer.dtype == np.int64
    assert np.abs(probabilities - clf.predict_proba(X)).max() <= 1e-4
    right = clf.known_score(X)
    assert (np.abs(known - right) <= 1e-4 * np.maximum(1, np.abs(right))).all()
    assert [labels[i] if i >= 0 else None for i in answer] == clf.predict(X).tolist()


# --- every method --------------------------------------------------------------------------------

PRETRAINED = [
    *("prototypical", "matching", "siamese", "relation", "hypernetwork", "in_context", "centroids"),
    *("maml", "reptile", "mann", "meta_network", "meta_lstm"),
]


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_method_of_the_book_answers_1000_queries_alike(name: str, tmp_path: Path) -> None:
    """Glyphs, drawn upright on white as people have them; most of the queries are of no class at all."""
    glyphs = load("glyphs").images
    drawn = 255 - glyphs[[5, 60, 130, 200, 300]][:, :2].flatten(0, 1).numpy()
    clf = FewShotClassifier(load_pretrained(name)).fit(
        [Image.fromarray(x[0]) for x in drawn], np.repeat([*"abcde"], 2)
    )
    clf.export(tmp_path / "a.onnx")
    run, x = Run(tmp_path / "a.onnx"), 255 - glyphs[:, 6:10].flatten(0, 1)[::3][:1000].numpy()
    x[::10] = 255 - x[::10]  # white chalk is as good
    assert len(x) == 1000
    agree(run(x), clf, [Image.fromarray(a[0]) for a in x], run.labels)
    alone = name in ("maml", "reptile")
    assert run.input.shape == [1 if alone else "batch", 1, 28, 28]

    clf.export(tmp_path / "a.pt2")
    program, texts = saved_program(tmp_path / "a.pt2", run.texts)
    assert texts == run.texts
    x = x[:1] if alone else x[:7]
    agree(program(x), clf, [Image.fromarray(a[0]) for a in x], run.labels)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.onnx", "a.pt2"], "one file each"


def net(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(*sizes), nn.Tanh())


def by_batch(*sizes: int) -> nn.Sequential:
    """As gradient-based methods have it, so that each query is answered in the company of the support set."""
    norm = nn.BatchNorm1d(sizes[1], track_running_stats=False)
    return nn.Sequential(net(*sizes), norm)


OTHERS: dict[str, Callable[[], nn.Module | None]] = {
    "prototypes": lambda: None,
    "prototypes, euclidean": lambda: PrototypicalNetwork(net(5, 8), "euclidean"),
    "nearest neighbour": NearestNeighbour,
    "baseline++": lambda: BaselinePlusPlus(net(5, 8), 8, 10),
    "fine-tuning": lambda: FineTuning(net(5, 8), 8, 10),
    "matching in full context": lambda: MatchingNetwork(net(5, 8), full_context=True, dim=8),
    "maml": lambda: MAML(nn.Sequential(by_batch(5, 8), net(8, 3)), steps=3),
    "anil": lambda: ANIL(by_batch(5, 8), nn.Linear(8, 3), steps=3),
    "meta-sgd": lambda: MetaSGD(nn.Sequential(by_batch(5, 8), net(8, 3)), steps=3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_on_vectors(name: str, tmp_path: Path) -> None:
    """As far from 0 as one another: there squared distances in single precision would be rounded away."""
    draw = np.random.default_rng(0)
    offset = 1000 if name == "prototypes" else 0
    X, new = (draw.normal(size=(n, 5)).astype(np.float32) + offset for n in (9, 100))
    torch.manual_seed(0)
    model = OTHERS[name]()
    clf = FewShotClassifier(model).fit(X.astype(np.float64), [3, 3, 4, 4, 5, 5, 5, 5, 5])
    clf.export(tmp_path / "a.onnx")
    run = Run(tmp_path / "a.onnx")
    assert (run.input.name, run.input.shape[1], run.labels) == ("vectors", 5, [3, 4, 5])
    agree(run(new), clf, new.astype(np.float64), run.labels)


# --- pictures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[FewShotClassifier, Run]:
    """Twelve concepts of emoji behind a backbone, with strangers told, as a file."""
    clf = FewShotClassifier(embed=backbone("efficientnet_lite0"))
    emoji = load("emoji")
    X = [x for c in range(0, 120, 10) for x in emoji.images[c, :2].numpy()]
    clf.fit([x.transpose(1, 2, 0) for x in X], np.repeat([f"emoji {c}" for c in range(12)], 2))
    clf.calibrate(emoji.subset(range(300, 316)), unknown=0.1, episodes=8)
    path = tmp_path_factory.mktemp("seen") / "a.onnx"
    clf.export(path)
    return clf, Run(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_1000_pictures_behind_a_backbone(seen: tuple[FewShotClassifier, Run]) -> None:
    """Bytes go in; they are made larger, cut and normalised inside."""
    clf, run = seen
    assert (run.input.name, run.input.type) == ("pictures", "tensor(uint8)")
    assert run.input.shape == ["batch", 3, "height", "width"]
    x = load("emoji").images[:120].flatten(0, 1).numpy()
    x = np.concatenate([x, x[:, :, ::-1]])[:1000]
    out = run(x)
    agree(out, clf, [*torch.from_numpy(x)], run.labels)
    assert 0 < (out[2] == -1).mean() < 1, "some are of no class, and some are"
    assert clf.calibration_ is not None
    assert json.loads(run.texts["threshold"]) == clf.calibration_.threshold
    assert json.loads(run.texts["temperature"]) == clf.temperature_
    assert json.loads(run.texts["by"]) == clf.calibration_.by
    assert run.says.startswith("pictures: uint8 [batch, 3, height, width]: red, green and blue")


@pytest.mark.parametrize(
    "size", [(224, 224), (256, 341), (1200, 901), (97, 640), (1, 3), (513, 512)], ids=str
)
def test_pictures_of_any_size_are_resized_inside(
    seen: tuple[FewShotClassifier, Run], size: tuple[int, int]
) -> None:
    clf, run = seen
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (2, 3, *size), np.uint8)
    x[1] = np.linspace(0, 255, size[1]) // 16 * 16  # steps, and no noise
    agree(run(x), clf, [*torch.from_numpy(x)], run.labels)


def photographs(n: int) -> list[bytes]:
    path = Path(os.environ.get("MLBOOK_DATA", "missing")) / "groceries" / "train.zip"
    if not path.exists():
        pytest.skip("the photographs of groceries are not in $MLBOOK_DATA")
    with zipfile.ZipFile(path) as archive:
        files = sorted(f for f in archive.namelist() if f.endswith(".jpg"))
        return [archive.read(f) for f in files[:: len(files) // n][:n]]


def test_photographs_as_they_are_decoded(seen: tuple[FewShotClassifier, Run]) -> None:
    clf, run = seen
    pictures = [Image.open(io.BytesIO(raw)) for raw in photographs(24)]
    for picture in pictures:
        x = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)[None]
        agree(run(x), clf, [picture], run.labels)


@pytest.mark.parametrize("augment", ["support", "all"])
def test_several_looks_are_taken_inside(augment: str, tmp_path: Path) -> None:
    small = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), net(48, 6))
    clf = FewShotClassifier(embed=small, preprocess=Resized(8), augment=augment)
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8)
    clf.fit([*x[:4]], [*"aabb"]).export(tmp_path / "a.onnx")
    agree(Run(tmp_path / "a.onnx")(x.transpose(0, 3, 1, 2)), clf, [*x], ["a", "b"])


# --- sentences and one's own ---------------------------------------------------------------------


def test_sentences_by_the_tokenizer_in_the_file(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    X = ["play a song", "put on some music", "will it rain", "how warm is it going to be"]
    clf = FewShotClassifier(embed=backbone("minilm")).fit(X, ["music"] * 2 + ["weather"] * 2)
    clf.export(tmp_path / "a.onnx")
    run = Run(tmp_path / "a.onnx")
    assert (run.input.name, run.input.shape) == ("pieces", ["batch", "length"])
    tokenizer = Tokenizer.from_str(run.texts["tokenizer"])
    words = re.findall("[a-z]+", inspect.getsource(inspect).lower())
    new = [" ".join(words[9 * i : 9 * i + i % 13 + 1]) for i in range(100)]
    new.append(" ".join(words[:500]))  # more than it takes
    for some in (new[:1], new[1:9], new[9:-1], new[-1:]):
        pieces = np.array([e.ids for e in tokenizer.encode_batch(some)])
        agree(run(pieces), clf, some, run.labels)


class Letters(nn.Module):
    """Words in, by a `preprocess` of its own; how often each letter occurs."""

    def preprocess(self, words: list[str]) -> Tensor:
        return torch.tensor([[w.count(c) for c in "abcdefgh"] for w in words])

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Spelling(Letters):
    """The letters in their order, of any number."""

    def preprocess(self, words: list[str]) -> Tensor:
        longest = max(map(len, words))
        return torch.tensor([[ord(c) - 96 for c in f"{w:`<{longest}}"] for w in words])

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(27)[x].sum(1)


def test_words_of_ones_own_may_have_any_length(tmp_path: Path) -> None:
    clf = FewShotClassifier(embed=Spelling()).fit(["aabca", "bbabc", "hhgab"], ["a", "b", "h"])
    clf.export(tmp_path / "a.onnx", example=["spelling"])
    run, new = Run(tmp_path / "a.onnx"), ["aaab", "bbb", "gahhaa", "gorilla"]
    assert run.input.shape == ["batch", "length"]
    agree(run(Spelling().preprocess(new).numpy()), clf, new, run.labels)


def test_what_nobody_can_know_is_shown_by_an_example(tmp_path: Path) -> None:
    clf = FewShotClassifier(embed=Letters()).fit(["aab", "bba", "hhg"], ["a", "b", ("h", 1)])
    with pytest.raises(ValueError, match=r"shape .* export\(path, example=\[one\]\)"):
        clf.export(tmp_path / "a.onnx")
    clf.export(tmp_path / "a.onnx", example=["abc"])
    run, new = Run(tmp_path / "a.onnx"), ["aaab", "bb", "gh h"]
    assert (run.input.name, run.input.shape) == ("inputs", ["batch", 8])
    assert run.labels == ["a", "b", {"tuple": ["h", 1]}]
    agree(run(Letters().preprocess(new).numpy()), clf, new, ["a", "b", ("h", 1)])


def test_a_model_that_takes_tensors_needs_no_example(tmp_path: Path) -> None:
    x = torch.rand(4, 2, 3, 3)
    clf = FewShotClassifier(PrototypicalNetwork(nn.Sequential(nn.Flatten(), net(18, 4))))
    clf.fit(x, [*"aabb"]).export(tmp_path / "a.onnx")
    agree(Run(tmp_path / "a.onnx")(x.numpy()), clf, x, ["a", "b"])


def test_a_backbone_prepares_for_what_stands_on_it(tmp_path: Path) -> None:
    """An adapter of one's own over a backbone, prepared by the backbone's method; colours in a square of ours."""
    lite0 = backbone("efficientnet_lite0")
    whole = nn.Sequential(lite0, net(1280, 16))
    clf = FewShotClassifier(embed=whole, preprocess=lite0.preprocess)
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 40, 50), np.uint8)
    clf.fit([*torch.from_numpy(x)], [*"aabb"])
    assert list(Deployed(clf).sizes.values()) == ["batch", "height", "width"]
    small = nn.Sequential(nn.Flatten(), net(192, 6))
    clf = FewShotClassifier(embed=small, preprocess=Resized(8))
    clf.fit([*x.transpose(0, 2, 3, 1)], [*"aabb"]).export(tmp_path / "a.onnx")
    squares = np.random.default_rng(1).integers(0, 256, (20, 3, 8, 8), np.uint8)
    agree(Run(tmp_path / "a.onnx")(squares), clf, [*squares.transpose(0, 2, 3, 1)], ["a", "b"])


# --- without torch -------------------------------------------------------------------------------


def test_the_lines_of_the_docstring_need_no_torch(
    seen: tuple[FewShotClassifier, Run], tmp_path: Path
) -> None:
    """As a stranger runs them: NumPy, Pillow and onnxruntime. A photograph that lies on its side, and a drawing."""
    text = inspect.getdoc(FewShotClassifier.export) or ""
    backbones, drawings = (
        textwrap.dedent(re.search(rf"{start}.*?::\n\n(.*?)\n\n(?! )", text, re.DOTALL)[1])  # type: ignore[index]
        for start in ("Without torch", r"For `Resized\(28, 1\)`")
    )
    begin, end = backbones.splitlines()[:2], backbones.splitlines()[-1]
    draw = np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 256, (300, 400, 3), np.uint8))
    exif = photo.getexif()
    exif[274] = 6
    photo.save(tmp_path / "new.jpg", exif=exif, quality=95)
    Image.fromarray(255 - load("glyphs").images[60, 3, 0].numpy()).resize((300, 310)).save(
        tmp_path / "new.png"
    )
    glyphs = 255 - load("glyphs").images[[5, 60, 130]][:, :2].flatten(0, 1).numpy()
    omniglot = FewShotClassifier(load_pretrained("prototypical"))
    omniglot.fit([Image.fromarray(x[0]) for x in glyphs], np.repeat(["x", "y", "z"], 2))
    for clf, lines, file in (
        (seen[0], backbones, "new.jpg"),
        (omniglot, "\n".join([*begin, drawings, end]), "new.png"),
    ):
        if clf is seen[0]:
            shutil.copy(seen[1].path, tmp_path / "cats.onnx")
        else:
            clf.export(tmp_path / "cats.onnx")
        code = (
            "import sys; sys.modules['torch'] = sys.modules['mlbook'] = None\n"
            "import json, onnxruntime, numpy as np\nfrom PIL import Image, ImageOps\n"
            f"{lines}\nprint(json.dumps([labels, probabilities.tolist(), answer.tolist()]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        labels, probabilities, answer = json.loads(done.stdout)
        p = clf.predict_proba([tmp_path / file])
        assert labels == clf.classes_.tolist()
        assert np.abs(np.array(probabilities) - p).max() <= 1e-4
        assert [labels[i] if i >= 0 else None for i in answer] == clf.predict([tmp_path / file]).tolist()  # fmt: skip


# --- files and mistakes --------------------------------------------------------------------------


def fitted(model: nn.Module | None = None, **options: Any) -> FewShotClassifier:
    X = np.random.default_rng(0).normal(size=(6, 5))
    return FewShotClassifier(model, **options).fit(X, [*"aabbcc"])


def test_nothing_of_the_users_is_changed_and_nothing_of_this_machine_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Sigmoid()).train()
    body[1].eval()
    before = {k: v.clone() for k, v in body.state_dict().items()}
    modes = [m.training for m in body.modules()]
    clf = fitted(embed=body)
    wanted = clf.predict_proba(np.eye(5))
    for name in ("a.onnx", "a.pt2"):
        clf.export(tmp_path / "deep" / name)
        raw = (tmp_path / "deep" / name).read_bytes()
        assert str(ROOT).encode() not in raw
        assert str(Path(torch.__file__).parents[1]).encode() not in raw
    assert [m.training for m in body.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in body.state_dict().items())
    assert all(p.requires_grad for p in body.parameters())
    assert np.array_equal(clf.predict_proba(np.eye(5)), wanted)


def test_a_loaded_classifier_is_exported_as_the_one_that_was_saved(tmp_path: Path) -> None:
    clf = FewShotClassifier(load_pretrained("prototypical"))
    clf.fit([np.full((9, 9), 40 * i, np.uint8) for i in range(4)], [*"aabb"])
    clf.export(tmp_path / "a.onnx")
    clf.save(tmp_path / "a.safetensors")
    FewShotClassifier.load(tmp_path / "a.safetensors").export(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.new_full((len(x), 1), float(x.shape[0]))], 1)


class Dice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("clf", "said"),
    [
        (lambda: fitted(embed=Decides()), r"Decides: torch\.export cannot follow .*torch\.where"),
        (lambda: fitted(embed=Dice()), r"Dice: probabilities of the export are up to .* random"),
        (
            lambda: fitted(MAML(net(5, 3)), adapt={"transductive": True}),
            r"'transductive': True\} makes an answer depend",
        ),
        (
            lambda: FewShotClassifier().fit(np.eye(2), np.array([b"a", b"b"], object)),
            r"label b'a' cannot be saved",
        ),
    ],
)
@pytest.mark.parametrize("name", ["a.onnx", "a.pt2"])
def test_what_cannot_be_exported_is_named_and_nothing_is_written(
    clf: Callable[[], FewShotClassifier], said: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("an older one")
    with pytest.raises(ValueError, match=said):
        clf().export(tmp_path / name)
    assert (tmp_path / name).read_text() == "an older one"
    assert len([*tmp_path.iterdir()]) == 1


def test_mistakes_are_named_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"cats\.h5: name it \.onnx, or \.pt2"):
        fitted().export(tmp_path / "cats.h5")
    with pytest.raises(ValueError, match="not fitted"):
        FewShotClassifier().export(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'pip install "mlbook\[export\]"'):
        fitted().export(tmp_path / "a.onnx")
    fitted().export(tmp_path / "a.pt2")  # needs none of them
    assert [f.name for f in tmp_path.iterdir()] == ["a.pt2"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clf = FewShotClassifier(load_pretrained("prototypical"))
    x = [np.full((9, 9), 40 * i, np.uint8) for i in range(4)]
    clf.fit(x, [*"aabb"]).save(tmp_path / "cats.safetensors")
    main(["export", str(tmp_path / "cats.safetensors"), "-o", str(tmp_path / "a.pt2")])
    said = capsys.readouterr().out
    assert said == f"{tmp_path / 'a.pt2'} answers as {tmp_path / 'cats.safetensors'} does\n"
    program, _ = saved_program(tmp_path / "a.pt2", {})
    drawn = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), np.uint8)
    agree(program(drawn), clf, [*drawn[:, 0]], ["a", "b"])
    main(["export", str(tmp_path / "cats.safetensors"), "--json"])
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "cats.onnx")}
    assert Run(tmp_path / "cats.onnx").labels == ["a", "b"]
