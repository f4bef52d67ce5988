"""The metrics of callers, by the names in the token file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from anomaly_vae.service.callers import NO_TOKEN, Caller

__all__ = ["CallerMetrics"]

# Refusals that depend on the caller, whose series start at zero, since a rate needs a first value.
_REASONS = ("queue_full", "rows_per_second", "outstanding_rows")


Values = dict[tuple[str, ...], int]


class CallerMetrics(Collector):
    """Counts rows and refusals by caller. Names that left the token file have no series any more.

    Calls without a token count for the caller "-".
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Start with the caller "-" alone."""
        self._rows: Counter[tuple[str, ...]] = Counter()
        self._rejected: Counter[tuple[str, ...]] = Counter()
        self._outstanding: Callable[[], Mapping[str, int]] = dict
        self._known: Callable[[], Collection[Caller]] = tuple
        registry.register(self)

    def watch(self, outstanding: Callable[[], Mapping[str, int]]) -> None:
        """Set the function that returns the outstanding rows by name. It is called at each scrape, by any thread."""
        self._outstanding = outstanding

    def know(self, callers: Callable[[], Collection[Caller]]) -> None:
        """Set the function that returns the callers of the token file. It is called at each scrape, by any thread."""
        self._known = callers

    def count_rows(self, caller: Caller, num_rows: int) -> None:
        """Count admitted rows."""
        self._rows[caller.name, caller.priority] += num_rows

    def count_rejected(self, caller: Caller, reason: str) -> None:
        """Count a refused request."""
        self._rejected[caller.name, reason] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the callers that are known now."""
        known = {caller.name: caller for caller in (NO_TOKEN, *self._known())}
        for counts in (self._rows, self._rejected):
            for key in [key for key in list(counts) if key[0] not in known]:
                del counts[key]
        rows: Values = {(name, str(caller.priority)): 0 for name, caller in known.items()}
        rejected: Values = {(name, reason): 0 for name in known for reason in _REASONS}
        held = self._outstanding()
        outstanding: Values = {(name,): held.get(name, 0) for name in known}
        text = "Rows admitted, by caller (the name of the token, - without one) and priority."
        family = CounterMetricFamily("anomaly_vae_caller_rows", text, labels=("caller", "priority"))
        yield _filled(family, {**rows, **self._rows})
        text = "Requests refused without a score, by caller."
        family = CounterMetricFamily("anomaly_vae_caller_rejected", text, labels=("caller", "reason"))
        yield _filled(family, {**rejected, **self._rejected})
        text = "Rows admitted and not answered, by caller."
        gauge = GaugeMetricFamily("anomaly_vae_caller_outstanding_rows", text, labels=("caller",))
        yield _filled(gauge, outstanding)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: Values) -> Metric:
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family
