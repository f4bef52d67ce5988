"""The metrics of a service with several workers: of those that run, and of those that have ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from anomaly_vae.service.supervisor.snapshot import Family, Sample
from anomaly_vae.service.supervisor.sums import Key, Sums, is_summed, lost_sums, samples_of, sums_of

__all__ = ["MergedMetrics"]

# Gauges that are facts of a model or of the program: all workers say the same, except while they load a version one
# after the other. The largest value is shown, without a label for the worker.
_FACTS = frozenset(
    {
        "anomaly_vae_calibration_rows",
        "anomaly_vae_expected_anomaly_ratio",
        "anomaly_vae_model_info",
        "anomaly_vae_model_loaded_timestamp_seconds",
        "anomaly_vae_model_refused",
        "anomaly_vae_model_share",
        "anomaly_vae_threshold_nats",
        "anomaly_vae_upper_threshold_nats",
        "python_info",
    }
)

# Seconds that a series of ended processes is kept although no process has it any more, such as a version that is no
# longer served. Chosen, not measured: long enough for rates, short enough that series do not pile up over months.
_FORGOTTEN_AFTER_S = 86_400.0


@dataclass
class _Ended:
    """The sums of ended processes for one metric, and when each series was last part of a process."""

    family: Family
    sums: Sums = field(default_factory=dict)
    seen: dict[Key, float] = field(default_factory=dict)


class MergedMetrics(Collector):
    """Adds up counters and histograms, gives gauges a label ``worker``, and shows facts once.

    The sums include ended processes, so a restart makes no counter fall. Any thread may call the methods.
    """

    def __init__(self, refresh: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Start without processes.

        Args:
            refresh: Called at each scrape, from its thread: asks the processes for snapshots, for a short time.
            clock: Seconds.
        """
        self._refresh = refresh
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[int, tuple[str, list[Family]]] = {}
        self._ended: dict[str, _Ended] = {}

    def update(self, process: int, worker: str, snapshot: list[Family]) -> None:
        """Keep the latest snapshot of a process."""
        with self._lock:
            before = self._running.get(process)
            self._running[process] = worker, snapshot
            if before is not None:
                self._keep_lost(before[1], snapshot)

    def end(self, process: int) -> None:
        """Add the last snapshot of a process that has ended to the sums of ended processes."""
        with self._lock:
            _, snapshot = self._running.pop(process, ("", []))
            for family in filter(is_summed, snapshot):
                self._add_ended(family, sums_of(family))

    def _keep_lost(self, before: list[Family], now: list[Family]) -> None:
        """Add the series that a running process has removed, or started again, to the sums of ended processes.

        Workers change a model one after the other: without this, the sums would fall at each of them, and a rate would
        take what is left for new counts.
        """
        families = {family.name: family for family in now}
        for family in filter(is_summed, before):
            found = families.get(family.name)
            if found is not None and found == family:
                continue
            lost = lost_sums(sums_of(family), {} if found is None else sums_of(found))
            if lost:
                self._add_ended(family, lost)

    def _add_ended(self, family: Family, sums: Sums) -> None:
        ended = self._ended.setdefault(family.name, _Ended(family))
        for key, value in sums.items():
            ended.sums[key] = ended.sums.get(key, 0.0) + value
            ended.seen[key] = self._clock()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of all processes. If one does not answer, its last snapshot counts."""
        self._refresh()
        with self._lock:
            running = list(self._running.values())
            families = {family.name: family for _, snapshot in running for family in snapshot}
            families |= {name: ended.family for name, ended in self._ended.items() if name not in families}
            merged = [(family, self._merged(family, running)) for family in families.values()]
        for family, samples in merged:
            metric = Metric(family.name, family.help, family.type)
            for sample in samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric

    def _merged(self, family: Family, running: Sequence[tuple[str, list[Family]]]) -> list[Sample]:
        parts = [(worker, found) for worker, snapshot in running for found in snapshot if found.name == family.name]
        if is_summed(family):
            return samples_of(self._summed(family.name, [part for _, part in parts]))
        if family.name in _FACTS:
            return _largest([sample for _, part in parts for sample in part.samples])
        newest = dict(parts)  # while a worker is replaced, it has two processes
        return [
            Sample(sample.name, (*sample.labels, ("worker", worker)), sample.value)
            for worker, part in newest.items()
            for sample in part.samples
        ]

    def _summed(self, name: str, parts: Sequence[Family]) -> Sums:
        sums: Sums = {}
        for part in parts:
            for key, value in sums_of(part).items():
                sums[key] = sums.get(key, 0.0) + value
        if (ended := self._ended.get(name)) is not None:
            self._forget(ended, sums)
            for key, value in ended.sums.items():
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def _forget(self, ended: _Ended, current: Sums) -> None:
        """Drop the series that no process has had for a day."""
        now = self._clock()
        ended.seen |= {key: now for key in ended.seen if key in current}
        for key in [key for key, seen in ended.seen.items() if now - seen > _FORGOTTEN_AFTER_S]:
            del ended.seen[key], ended.sums[key]


def _largest(samples: Sequence[Sample]) -> list[Sample]:
    found: dict[Key, Sample] = {}
    for sample in samples:
        key = sample.name, sample.labels
        if key not in found or sample.value > found[key].value:
            found[key] = sample
    return list(found.values())
