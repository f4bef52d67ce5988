"""The metrics of callers, by name."""

import pytest
from prometheus_client import CollectorRegistry

from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.telemetry.caller_metrics import CallerMetrics

ONLINE, NIGHTLY = Caller("online"), Caller("nightly", Priority.BATCH)


@pytest.fixture
def registry():
    return CollectorRegistry()


def value(registry, name, **labels):
    return registry.get_sample_value(f"anomaly_vae_caller_{name}", labels)


def test_every_known_caller_starts_at_zero(registry):
    CallerMetrics(registry).know(lambda: [ONLINE, NIGHTLY])
    for name, priority in (("-", "online"), ("online", "online"), ("nightly", "batch")):
        assert value(registry, "rows_total", caller=name, priority=priority) == 0
        assert value(registry, "rejected_total", caller=name, reason="rows_per_second") == 0
        assert value(registry, "outstanding_rows", caller=name) == 0


def test_rows_and_refusals_are_counted_by_name(registry):
    metrics = CallerMetrics(registry)
    metrics.know(lambda: [ONLINE])
    metrics.watch(lambda: {"online": 7, "-": 3})
    metrics.count_rows(ONLINE, 5)
    metrics.count_rows(Caller("online", Priority.BATCH, rows_per_second=9), 6)
    metrics.count_rows(NO_TOKEN, 2)
    metrics.count_rejected(ONLINE, "deadline")
    assert value(registry, "rows_total", caller="online", priority="online") == 5
    assert value(registry, "rows_total", caller="online", priority="batch") == 6
    assert value(registry, "rows_total", caller="-", priority="online") == 2
    assert value(registry, "rejected_total", caller="online", reason="deadline") == 1
    assert (value(registry, "outstanding_rows", caller="online"), value(registry, "outstanding_rows", caller="-")) == (
        7,
        3,
    )


def test_a_name_that_left_the_token_file_has_no_series_and_starts_again_at_zero(registry):
    metrics, known = CallerMetrics(registry), [ONLINE, NIGHTLY]
    metrics.know(lambda: known)
    metrics.watch(lambda: {"nightly": 1})
    metrics.count_rows(NIGHTLY, 5)
    metrics.count_rejected(NIGHTLY, "queue_full")
    known.remove(NIGHTLY)
    for name, labels in (("rows_total", {"priority": "batch"}), ("rejected_total", {"reason": "queue_full"})):
        assert value(registry, name, caller="nightly", **labels) is None
    assert value(registry, "outstanding_rows", caller="nightly") is None
    known.append(NIGHTLY)
    assert value(registry, "rows_total", caller="nightly", priority="batch") == 0
