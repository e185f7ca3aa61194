"""Metric families from definitions and values; a value of None is left out."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from cloudpulse.names import Definition

Family = Metric
"""What a collector yields: a metric family with its samples."""

Row = tuple[tuple[str, ...], float | None]
"""The values of the definition's labels, in its order, and the sample's value."""


def many(definition: Definition, rows: Iterable[Row]) -> Family:
    """A family of several samples."""
    family = definition.family()
    for labels, value in rows:
        if value is not None:
            family.add_sample(definition.name, dict(zip(definition.labels, labels, strict=True)), value)
    return family


def one(definition: Definition, value: float) -> Family:
    """A family of one sample without labels."""
    return many(definition, [((), value)])
