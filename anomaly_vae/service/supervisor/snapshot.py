"""The metrics of one process at one moment, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

__all__ = ["Family", "Sample", "from_json", "take_snapshot"]


class Sample(NamedTuple):
    """A value of a metric. The labels are pairs of name and value, in the metric's order."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    """A metric with its samples. The type is Prometheus's: counter, gauge, histogram."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


def take_snapshot(registry: CollectorRegistry) -> list[Any]:
    """Return the metrics of a registry as lists that JSON can hold, for :func:`from_json`."""
    return [
        [family.name, family.type, family.documentation, [[s.name, list(s.labels.items()), s.value] for s in samples]]
        for family in registry.collect()
        if (samples := [sample for sample in family.samples if not sample.name.endswith("_created")])
    ]


def from_json(snapshot: Sequence[Any]) -> list[Family]:
    """Return the metrics of a snapshot."""
    return [
        Family(
            name,
            kind,
            text,
            tuple(Sample(sample, tuple((key, val) for key, val in labels), value) for sample, labels, value in samples),
        )
        for name, kind, text, samples in snapshot
    ]
