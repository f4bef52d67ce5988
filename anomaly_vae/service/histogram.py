"""A Prometheus histogram filled by arrays: one pass per batch of rows, and buckets of its own per series."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from anomaly_vae.densities import FloatArray

__all__ = ["RowHistogram"]


class _Series:
    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = np.array(bounds, dtype=np.float64)
        self.counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.total = 0.0


class RowHistogram(Collector):
    """Counts values into buckets; a value equal to a bound belongs to the bucket that ends there."""

    def __init__(
        self, name: str, documentation: str, registry: CollectorRegistry, label_names: Sequence[str] = ()
    ) -> None:
        """Register under a name; series are added one by one."""
        self._name = name
        self._documentation = documentation
        self._label_names = tuple(label_names)
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def add_series(self, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        """Add the series of some label values, with strictly increasing finite bounds."""
        with self._lock:
            self._series[tuple(labels)] = _Series(bounds)

    def observe(self, values: FloatArray, labels: Sequence[str] = ()) -> None:
        """Count finite values, shape (N,), into a series."""
        series = self._series[tuple(labels)]
        buckets = np.searchsorted(series.bounds, values, side="left")
        counts = np.bincount(buckets, minlength=len(series.counts))
        with self._lock:
            series.counts += counts
            series.total += float(values.sum())

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The family without values, for the registry's check of names."""
        return [self._family()]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The family with all its series; count and sum always, while the library leaves both out below zero."""
        family = self._family()
        with self._lock:
            for values, series in self._series.items():
                labels = dict(zip(self._label_names, values, strict=True))
                cumulative = np.cumsum(series.counts).tolist()
                for bound, count in zip([*map(floatToGoString, series.bounds), "+Inf"], cumulative, strict=True):
                    family.add_sample(f"{self._name}_bucket", {**labels, "le": bound}, count)
                family.add_sample(f"{self._name}_count", labels, cumulative[-1])
                family.add_sample(f"{self._name}_sum", labels, series.total)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._label_names)
