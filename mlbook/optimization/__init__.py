"""Optimization-based methods: learning to compare is replaced by learning where gradient descent starts."""

from mlbook.optimization.anil import ANIL
from mlbook.optimization.maml import MAML
from mlbook.optimization.meta_sgd import MetaSGD
from mlbook.optimization.reptile import Reptile

__all__ = ["ANIL", "MAML", "MetaSGD", "Reptile"]
