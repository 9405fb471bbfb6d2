"""Model-based methods: the network adapts in its activations, its memory, or weights that a network emits."""

from mlbook.model_based.hypernetwork import HyperNetwork
from mlbook.model_based.in_context import InContextTransformer
from mlbook.model_based.lstm_control import LSTMControl
from mlbook.model_based.mann import MANN
from mlbook.model_based.meta_network import MetaNetwork
from mlbook.model_based.neural_process import NeuralProcess
from mlbook.model_based.prior_fitted import PriorFittedNetwork

__all__ = [
    "MANN",
    "HyperNetwork",
    "InContextTransformer",
    "LSTMControl",
    "MetaNetwork",
    "NeuralProcess",
    "PriorFittedNetwork",
]
