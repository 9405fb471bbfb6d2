"""The weights that `make results` produced, in half precision where that costs no accuracy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


def _centroids() -> nn.Module:
    from mlbook.baselines import PretrainedCentroids
    from mlbook.nets import Conv4

    return PretrainedCentroids(Conv4(), 64, classes=1100)


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


def _meta_lstm() -> nn.Module:
    from mlbook.lstm_meta_learner import MetaLSTM
    from mlbook.nets import Conv4

    return MetaLSTM(nn.Sequential(Conv4(hidden=32), nn.Linear(32, 5)), hidden=0)


def _bandit_agent() -> nn.Module:
    from mlbook.data.bandits import BanditTables
    from mlbook.lstm_meta_learner import RecurrentAgent

    return RecurrentAgent(BanditTables, 1, 2)


def _learned_optimizer() -> nn.Module:
    from mlbook.data.problems import quadratic
    from mlbook.lstm_meta_learner import LearnedOptimizer

    return LearnedOptimizer(quadratic, scale=0.1)


def _hypernetwork() -> nn.Module:
    from mlbook.model_based import HyperNetwork
    from mlbook.nets import Conv4

    return HyperNetwork(Conv4())


def _in_context() -> nn.Module:
    from mlbook.model_based import InContextTransformer
    from mlbook.nets import Conv4

    return InContextTransformer(Conv4(), ways=20)


def _robot(memory: str = "all") -> nn.Module:
    from mlbook.data.slopes import cost, step
    from mlbook.lstm_meta_learner import RecurrentPolicy

    return RecurrentPolicy(step, cost, memory=memory)


def _prior_fitted() -> nn.Module:
    from mlbook.model_based import PriorFittedNetwork

    return PriorFittedNetwork()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "bandit_agent": _bandit_agent,
    "centroids": _centroids,
    "first_order_maml": _first_order_maml,
    "hypernetwork": _hypernetwork,
    "in_context": _in_context,
    "learned_optimizer": _learned_optimizer,
    "maml": _maml,
    "maml_5_shot": _maml,
    "mann": _mann,
    "matching": _matching,
    "meta_lstm": _meta_lstm,
    "meta_lstm_5_shot": _meta_lstm,
    "meta_network": _meta_network,
    "prior_fitted": _prior_fitted,
    "prototypical": _prototypical,
    "relation": _relation,
    "relation_5_shot": _relation,
    "reptile": _reptile,
    "robot": _robot,
    "robot_no_memory": partial(_robot, "nothing"),
    "siamese": _siamese,
}


def load_pretrained(name: str) -> nn.Module:
    """Rebuild a trained model from the weights that come with the package, in `eval()` mode on the CPU.

    Args:
        name: `"maml"` (for one shot), `"maml_5_shot"`, `"first_order_maml"`, `"hypernetwork"`,
            `"in_context"` (up to 20 classes), `"mann"`, `"matching"`, `"meta_lstm"` (for one shot),
            `"meta_lstm_5_shot"`, `"meta_network"`, `"prototypical"`, `"relation"` (for one shot),
            `"relation_5_shot"`, `"reptile"` or `"siamese"`: the method of that name with `Conv4`,
            trained on Omniglot's 1,100 training characters. Those of MAML, Reptile, MANN, Meta
            Networks and the LSTM meta-learner tell 5 classes apart; MAML and Reptile were measured
            with `steps=10` and `steps=20`. `"centroids"` is `PretrainedCentroids`, trained in the
            ordinary way on the same characters, upright only. `"learned_optimizer"` was trained on
            quadratics of 10 dimensions, `"bandit_agent"` on two-armed bandits of 100 pulls; in
            `train()` mode it draws its arms. `"robot"` is the `RecurrentPolicy` of the carts of
            `mlbook.data.slopes`, `"robot_no_memory"` the same network without a memory.
            `"prior_fitted"` (up to 5 classes) was trained on tables drawn from the prior of
            `mlbook.data.tables`, and takes rows of any table.

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
    model.pretrained = name  # type: ignore[assignment]  # says how it is rebuilt, and what it was trained on
    return model.eval()
