"""Sums of counters and histograms over processes.

A histogram is a step function: how many values are at most b, by bound b. It is kept as its steps, so a sum of
histograms is the sum of their steps, at all bounds of any of them. At a bound that one of them lacks, its values count
from its next bound on: no value is lost, counted twice or counted too early, and no bucket ever falls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate

from anomaly_vae.service.supervisor.snapshot import Family, Sample

__all__ = ["Key", "Sums", "is_summed", "lost_sums", "samples_of", "sums_of"]

# Name and labels of a sample; of a bucket, with the step at its bound as value.
Key = tuple[str, tuple[tuple[str, str], ...]]
Sums = dict[Key, float]


def is_summed(family: Family) -> bool:
    """Return whether a metric is added up. The CPU time of a process is a counter that belongs to its process."""
    return family.type in ("counter", "histogram") and not family.name.startswith("process_")


def sums_of(family: Family) -> Sums:
    """Return the terms of one process."""
    if family.type != "histogram":
        return {(sample.name, sample.labels): sample.value for sample in family.samples}
    sums: Sums = {}
    for (name, labels), values in _series(family.samples).items():
        bounds = sorted(values, key=_number)
        below = 0.0
        for bound in bounds:
            sums[name, (*labels, ("le", bound))] = values[bound] - below
            below = values[bound]
    for sample in family.samples:
        if not sample.name.endswith("_bucket"):
            sums[sample.name, sample.labels] = sample.value
    return sums


def lost_sums(before: Sums, now: Sums) -> Sums:
    """Return the terms of the series that a process has removed or started again since: none of a counter ever falls.

    The sum of a histogram may fall, if values are negative.
    """
    counts = {key for key in before if not key[0].endswith("_sum")}
    lost = {_series_of(key) for key in counts if key not in now or now[key] < before[key]}
    return {key: value for key, value in before.items() if _series_of(key) in lost} if lost else {}


def samples_of(sums: Mapping[Key, float]) -> list[Sample]:
    """Return the samples of a metric, the opposite of :func:`sums_of`: buckets of a series in order, count and sum."""
    steps = [Sample(name, labels, value) for (name, labels), value in sums.items() if name.endswith("_bucket")]
    others = [Sample(name, labels, value) for (name, labels), value in sums.items() if not name.endswith("_bucket")]
    samples = []
    for (name, labels), values in _series(steps).items():
        bounds = sorted(values, key=_number)
        for bound, value in zip(bounds, accumulate(values[bound] for bound in bounds), strict=True):
            samples.append(Sample(name, (*labels, ("le", bound)), value))
        stem = name.removesuffix("_bucket")
        samples += [s for s in others if s.labels == labels and s.name in (f"{stem}_count", f"{stem}_sum")]
    return samples or others


def _series_of(key: Key) -> Key:
    """Return the name and the labels that all samples of a series share."""
    name, labels = key
    for end in ("_bucket", "_count", "_sum"):
        name = name.removesuffix(end)
    return name, tuple(label for label in labels if label[0] != "le")


def _series(samples: Iterable[Sample]) -> dict[Key, dict[str, float]]:
    """Return the values of buckets by bound, by name and labels of their series."""
    series: dict[Key, dict[str, float]] = {}
    for sample in samples:
        if sample.name.endswith("_bucket"):
            labels = tuple(label for label in sample.labels if label[0] != "le")
            series.setdefault((sample.name, labels), {})[dict(sample.labels)["le"]] = sample.value
    return series


def _number(bound: str) -> float:
    return math.inf if bound == "+Inf" else float(bound)
