"""The metrics of changes of models: what was loaded, removed and refused, and who answers which share."""

from __future__ import annotations

import time

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.telemetry.histogram import Histogram, Series
from anomaly_vae.service.telemetry.model_metrics import ModelKey

__all__ = ["CHANGES", "ROLES", "ChangeMetrics", "ShadowMetrics"]

CHANGES = ("loaded", "removed", "refused")
ROLES = ("default", "canary", "shadow")

_LABELS = ("model_name", "model_version")
# Upper bounds of the buckets of p_shadow - p_served. Chosen, not measured: finer near 0, where the two agree.
_SHIFTS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_AGREEMENTS = ("both_normal", "both_anomaly", "only_shadow", "only_served")


class ChangeMetrics:
    """Counts changes of the served models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics, without a model."""
        self._changes = Counter(
            "anomaly_vae_model_changes_total",
            "Versions that were loaded, removed, or refused because their bundle cannot be used.",
            ("model_name", "change"),
            registry=registry,
        )
        text = "1 for a version whose bundle is refused: an older one is served, or none."
        self._refused = Gauge("anomaly_vae_model_refused", text, _LABELS, registry=registry)
        text = "Share of the requests without a version that a version answers; of a shadow, that it scores as well."
        self._share = Gauge("anomaly_vae_model_share", text, (*_LABELS, "role"), registry=registry)
        self._registry = registry
        self._checked: Gauge | None = None
        text = "Looks at the place of the models that failed; what was served before stays."
        self._failures = Counter("anomaly_vae_model_check_failures_total", text, registry=registry)
        self._known_refused: set[ModelKey] = set()
        self._known_shares: set[tuple[str, str, str]] = set()

    def show_checks(self) -> None:
        """Show when the place of the models was last looked at: for a service that looks again and again."""
        text = "When the place of the models was last looked at completely; before the first time, when it started."
        self._checked = Gauge("anomaly_vae_model_check_timestamp_seconds", text, registry=self._registry)
        self._checked.set(time.time())  # a service that starts, and never succeeds, is late after the same time

    def show(self, name: str) -> None:
        """Start the counters of a model at zero, since a rate needs a first value."""
        for change in CHANGES:
            self._changes.labels(name, change)

    def forget(self, name: str) -> None:
        """Remove the counters of a model that is gone."""
        self._changes.remove_by_labels({"model_name": name})

    def count(self, name: str, change: str) -> None:
        """Count a change of a model: one of :data:`CHANGES`."""
        self._changes.labels(name, change).inc()

    def check(self, *, complete: bool) -> None:
        """Count a look for versions."""
        if not complete:
            self._failures.inc()
        elif self._checked is not None:
            self._checked.set(time.time())

    def set_refused(self, keys: set[ModelKey]) -> None:
        """Show exactly these versions as refused."""
        for key in self._known_refused - keys:
            self._refused.remove(*key)
        for key in keys:
            self._refused.labels(*key).set(1)
        self._known_refused = set(keys)

    def set_shares(self, shares: dict[tuple[str, str, str], float]) -> None:
        """Show exactly these shares, by name, version and role."""
        for labels in self._known_shares - shares.keys():
            self._share.remove(*labels)
        for labels, share in shares.items():
            self._share.labels(*labels).set(share)
        self._known_shares = set(shares)


class ShadowMetrics:
    """Compares a shadow's flags and p-values with those of the version that answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics, without a shadow."""
        text = "Rows that a shadow scored as well, by its flag and that of the version that answered."
        self._rows = Counter("anomaly_vae_shadow_rows_total", text, (*_LABELS, "agreement"), registry=registry)
        text = "Rows that a shadow should have scored, and did not: it had no time, or failed."
        self._dropped = Counter("anomaly_vae_shadow_dropped_rows_total", text, _LABELS, registry=registry)
        text = "p-value of the shadow minus that of the version that answered."
        self._shift = Histogram("anomaly_vae_shadow_p_value_shift", text, registry, _LABELS)
        self._shifts: dict[ModelKey, Series] = {}

    def keep(self, keys: set[ModelKey]) -> None:
        """Keep the series of these shadows, start those of new ones at zero, and remove all others."""
        for key in self._shifts.keys() - keys:
            self._remove(key)
        for key in keys - self._shifts.keys():
            for agreement in _AGREEMENTS:
                self._rows.labels(*key, agreement)
            self._dropped.labels(*key)
            self._shifts[key] = self._shift.add_series(_SHIFTS, key)

    def compare(self, key: ModelKey, served: Scores | Flags, shadow: Scores | Flags) -> None:
        """Count rows that both have flagged."""
        if key not in self._shifts or served.is_anomaly is None or shadow.is_anomaly is None:
            return
        a, b = np.asarray(served.is_anomaly), np.asarray(shadow.is_anomaly)
        for agreement, rows in zip(_AGREEMENTS, (~a & ~b, a & b, ~a & b, a & ~b), strict=True):
            self._rows.labels(*key, agreement).inc(int(rows.sum()))
        if isinstance(served, Flags) or isinstance(shadow, Flags):
            return
        if served.p_value is not None and shadow.p_value is not None:
            self._shifts[key].observe(shadow.p_value - served.p_value)

    def drop(self, key: ModelKey, num_rows: int) -> None:
        """Count rows that a shadow did not score."""
        if key in self._shifts:
            self._dropped.labels(*key).inc(num_rows)

    def _remove(self, key: ModelKey) -> None:
        labels = dict(zip(_LABELS, key, strict=True))
        self._rows.remove_by_labels(labels)
        self._dropped.remove_by_labels(labels)
        self._shift.remove_series(key)
        del self._shifts[key]
