"""The metrics of changes of models."""

import time

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from anomaly_vae.service.telemetry.change_metrics import ChangeMetrics, ShadowMetrics
from tests.support.served import scores_of

KEY = ("fraud", "4")
LABELS = {"model_name": "fraud", "model_version": "4"}


@pytest.fixture
def registry():
    return CollectorRegistry()


def value(registry, name, **labels):
    return registry.get_sample_value(f"anomaly_vae_{name}", labels)


def test_counters_of_a_model_start_at_zero_and_go_with_it(registry):
    changes = ChangeMetrics(registry)
    changes.show("fraud")
    changes.count("fraud", "loaded")
    found = {change: value(registry, "model_changes_total", model_name="fraud", change=change)
             for change in ("loaded", "removed", "refused")}  # fmt: skip
    assert found == {"loaded": 1, "removed": 0, "refused": 0}
    changes.forget("fraud")
    assert value(registry, "model_changes_total", model_name="fraud", change="loaded") is None


def test_exactly_the_given_refusals_and_shares_are_shown(registry):
    changes = ChangeMetrics(registry)
    changes.set_refused({KEY, ("fraud", "5")})
    changes.set_refused({KEY})
    assert value(registry, "model_refused", **LABELS) == 1
    assert value(registry, "model_refused", model_name="fraud", model_version="5") is None
    changes.set_shares({("fraud", "3", "default"): 0.9, ("fraud", "4", "canary"): 0.1})
    changes.set_shares({("fraud", "4", "default"): 1.0})
    assert value(registry, "model_share", **LABELS, role="default") == 1
    assert value(registry, "model_share", **LABELS, role="canary") is None


def test_looks_are_counted_as_complete_or_failed(registry, monkeypatch):
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    changes = ChangeMetrics(registry)
    changes.check(complete=True)
    assert value(registry, "model_check_timestamp_seconds") is None  # a service that never looks again is not late
    changes.show_checks()
    now += 20
    changes.check(complete=False)
    assert value(registry, "model_check_failures_total") == 1
    assert value(registry, "model_check_timestamp_seconds") == 1e9  # its start, so that it is late in time
    changes.check(complete=True)
    assert value(registry, "model_check_timestamp_seconds") == 1e9 + 20


def test_a_shadow_is_compared_by_flags_and_p_values(registry):
    shadows, served, shadow = ShadowMetrics(registry), scores_of(100, seed=1), scores_of(100, seed=2)
    shadows.keep({KEY})
    shadows.compare(KEY, served, shadow)
    counts = [value(registry, "shadow_rows_total", **LABELS, agreement=name)
              for name in ("both_normal", "both_anomaly", "only_shadow", "only_served")]  # fmt: skip
    a, b = served.is_anomaly, shadow.is_anomaly
    assert counts == [(~a & ~b).sum(), (a & b).sum(), (~a & b).sum(), (a & ~b).sum()]
    assert value(registry, "shadow_p_value_shift_count", **LABELS) == 100
    total = float(np.sum(shadow.p_value - served.p_value))
    assert value(registry, "shadow_p_value_shift_sum", **LABELS) == pytest.approx(total)
    shadows.drop(KEY, 3)
    assert value(registry, "shadow_dropped_rows_total", **LABELS) == 3
    shadows.compare(KEY, served, scores_of(100, calibrated=False))
    shadows.keep(set())
    shadows.compare(KEY, served, shadow)
    shadows.drop(KEY, 3)
    assert value(registry, "shadow_dropped_rows_total", **LABELS) is None
    assert value(registry, "shadow_p_value_shift_count", **LABELS) is None
