"""Metric-based methods: learn an embedding in which a distance to the support examples answers the query."""

from mlbook.metric.prototypical import PrototypicalNetwork

__all__ = ["PrototypicalNetwork"]
