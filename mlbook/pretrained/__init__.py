"""The weights that `make results` produced, in half precision where that costs no accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from mlbook.data.files import read_tensors


def _prototypical() -> nn.Module:
    from mlbook.metric import PrototypicalNetwork
    from mlbook.nets import Conv4

    return PrototypicalNetwork(Conv4())


MODELS: dict[str, Callable[[], nn.Module]] = {"prototypical": _prototypical}


def load_pretrained(name: str) -> nn.Module:
    """Rebuild a trained model from the weights that come with the package, in `eval()` mode on the CPU.

    Args:
        name: `"prototypical"`: Prototypical Networks with `Conv4`, trained on Omniglot's 1,100
            training characters.

    Raises:
        ValueError: If there are no weights of that name.
    """
    if name not in MODELS:
        raise ValueError(
            f"load_pretrained({name!r}): there are weights for {', '.join(map(repr, MODELS))}"
        )
    tensors, _ = read_tensors(Path(__file__).parent / f"{name}.safetensors")
    model = MODELS[name]()
    model.load_state_dict(tensors)  # copying into the model brings half precision back to single
    return model.eval()
