"""Metric-based methods: learn an embedding in which a distance to the support examples answers the query."""

from mlbook.metric.matching import MatchingNetwork
from mlbook.metric.prototypical import PrototypicalNetwork
from mlbook.metric.relation import RelationModule, RelationNetwork
from mlbook.metric.siamese import SiameseNetwork
from mlbook.metric.zero_shot import ZeroShotPrototypicalNetwork

__all__ = [
    "MatchingNetwork",
    "PrototypicalNetwork",
    "RelationModule",
    "RelationNetwork",
    "SiameseNetwork",
    "ZeroShotPrototypicalNetwork",
]
