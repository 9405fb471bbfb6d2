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


def _siamese() -> nn.Module:
    from mlbook.metric import SiameseNetwork
    from mlbook.nets import Conv4

    return SiameseNetwork(Conv4())


def _matching() -> nn.Module:
    from mlbook.metric import MatchingNetwork
    from mlbook.nets import Conv4

    return MatchingNetwork(Conv4())


def _relation() -> nn.Module:
    from mlbook.metric import RelationModule, RelationNetwork
    from mlbook.nets import Conv4

    return RelationNetwork(Conv4(pools=2, flatten=False), RelationModule())


def _adaptable() -> nn.Module:
    from mlbook.nets import Conv4

    return nn.Sequential(Conv4(hidden=32, track_running_stats=False), nn.Linear(32, 5))


def _maml() -> nn.Module:
    from mlbook.optimization import MAML

    return MAML(_adaptable())


def _first_order_maml() -> nn.Module:
    from mlbook.optimization import MAML

    return MAML(_adaptable(), inner_lr=0.1, steps=5, first_order=True)


def _reptile() -> nn.Module:
    from mlbook.optimization import Reptile

    return Reptile(_adaptable(), inner_lr=4e-3)


def _mann() -> nn.Module:
    from mlbook.model_based import MANN
    from mlbook.nets import Conv4

    embed = nn.Sequential(Conv4(), nn.BatchNorm1d(64, affine=False))
    return MANN(embed, 64, ways=5, scale=None)


def _meta_network() -> nn.Module:
    from mlbook.model_based import MetaNetwork
    from mlbook.nets import Conv4

    return MetaNetwork(Conv4(hidden=32), 32, ways=5)


def _hypernetwork() -> nn.Module:
    from mlbook.model_based import HyperNetwork
    from mlbook.nets import Conv4

    return HyperNetwork(Conv4())


def _in_context() -> nn.Module:
    from mlbook.model_based import InContextTransformer
    from mlbook.nets import Conv4

    return InContextTransformer(Conv4(), ways=20)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "first_order_maml": _first_order_maml,
    "hypernetwork": _hypernetwork,
    "in_context": _in_context,
    "maml": _maml,
    "maml_5_shot": _maml,
    "mann": _mann,
    "matching": _matching,
    "meta_network": _meta_network,
    "prototypical": _prototypical,
    "relation": _relation,
    "relation_5_shot": _relation,
    "reptile": _reptile,
    "siamese": _siamese,
}


def load_pretrained(name: str) -> nn.Module:
    """Rebuild a trained model from the weights that come with the package, in `eval()` mode on the CPU.

    Args:
        name: `"maml"` (for one shot), `"maml_5_shot"`, `"first_order_maml"`, `"hypernetwork"`,
            `"in_context"` (up to 20 classes), `"mann"`, `"matching"`, `"meta_network"`,
            `"prototypical"`, `"relation"` (for one shot), `"relation_5_shot"`, `"reptile"` or
            `"siamese"`: the method of that name with `Conv4`, trained on Omniglot's 1,100 training
            characters. Those of MAML, Reptile, MANN and Meta Networks tell 5 classes apart; MAML
            and Reptile were measured with `steps=10` and `steps=20`.

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
