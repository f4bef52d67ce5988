"""A Prometheus histogram that costs little: arrays in one pass, single values by bisection, buckets for each series."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from anomaly_vae.densities import FloatArray

__all__ = ["Histogram", "Series"]


class Series:
    """Counts values into buckets; a value equal to a bound belongs to the bucket that ends there."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Start at zero, with strictly increasing finite bounds."""
        self.bounds = [float(bound) for bound in bounds]
        self._counts = [0] * (len(self.bounds) + 1)  # a list: adding 1 to an array's element takes five times as long
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, values: FloatArray) -> None:
        """Count finite values, shape (N,)."""
        buckets = np.searchsorted(self.bounds, values, side="left")
        found, counts = np.unique(buckets, return_counts=True)
        total = float(values.sum())
        with self._lock:
            for bucket, count in zip(found.tolist(), counts.tolist(), strict=True):
                self._counts[bucket] += count
            self._total += total

    def observe_one(self, value: float) -> None:
        """Count one finite value."""
        bucket = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._total += value

    def read(self) -> tuple[list[int], float]:
        """Values up to each bound and in all, and their sum."""
        with self._lock:
            return list(accumulate(self._counts)), self._total


class Histogram(Collector):
    """Series of one name."""

    def __init__(
        self, name: str, documentation: str, registry: CollectorRegistry, label_names: Sequence[str] = ()
    ) -> None:
        """Register under a name; series are added one by one."""
        self._name = name
        self._documentation = documentation
        self._label_names = tuple(label_names)
        self._series: dict[tuple[str, ...], Series] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def add_series(self, bounds: Sequence[float], labels: Sequence[str] = ()) -> Series:
        """The series of some label values, started at zero."""
        with self._lock:
            series = self._series[tuple(labels)] = Series(bounds)
        return series

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The family without values, for the registry's check of names."""
        return [self._family()]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The family with all its series; count and sum always, while the library leaves both out below zero."""
        family = self._family()
        with self._lock:
            known = dict(self._series)
        for values, series in known.items():
            labels = dict(zip(self._label_names, values, strict=True))
            cumulative, total = series.read()
            for bound, count in zip([*map(floatToGoString, series.bounds), "+Inf"], cumulative, strict=True):
                family.add_sample(f"{self._name}_bucket", {**labels, "le": bound}, count)
            family.add_sample(f"{self._name}_count", labels, cumulative[-1])
            family.add_sample(f"{self._name}_sum", labels, total)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._label_names)
