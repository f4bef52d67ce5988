"""The metrics of several processes as one page."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from anomaly_vae.service.supervisor.merged_metrics import MergedMetrics
from anomaly_vae.service.supervisor.snapshot import from_json, take_snapshot
from anomaly_vae.service.telemetry.histogram import Histogram


class Page:
    """The merged metrics, with a clock that the test sets."""

    def __init__(self):
        self.now, self.scrapes = 0.0, 0
        self.merged = MergedMetrics(self._refresh, clock=lambda: self.now)
        self._registry = CollectorRegistry()
        self._registry.register(self.merged)

    def _refresh(self):
        self.scrapes += 1

    def values(self):
        """Return the value of each sample by name and labels, of both formats."""
        text = text_string_to_metric_families(generate_latest(self._registry).decode())
        openmetrics = parse_openmetrics(generate_openmetrics(self._registry).decode())
        one, other = (
            [((s.name, *sorted(s.labels.items())), s.value) for family in families for s in family.samples]
            for families in (text, openmetrics)
        )
        assert len(dict(one)) == len(one)
        assert dict(one) == dict(other)
        return dict(one)


def snapshot(rows=0, version="1", queue=0.0, threshold=-3.0, cpu=1.0, seconds=()):
    registry = CollectorRegistry()
    Counter("anomaly_vae_rows_total", "Rows.", ("model_version",), registry=registry).labels(version).inc(rows)
    Counter("process_cpu_seconds_total", "CPU.", registry=registry).inc(cpu)
    Gauge("anomaly_vae_queue_rows", "Waiting.", registry=registry).set(queue)
    Gauge("anomaly_vae_threshold_nats", "Threshold.", ("model_version",), registry=registry).labels(version).set(
        threshold
    )
    series = Histogram("anomaly_vae_stage_seconds", "Time.", registry).add_series([0.1])
    for value in seconds:
        series.observe_one(value)
    return from_json([family for family in take_snapshot(registry) if family])


ROWS = ("anomaly_vae_rows_total", ("model_version", "1"))


@pytest.fixture
def page():
    return Page()


def test_counters_add_up_gauges_get_a_worker_and_facts_are_shown_once(page):
    page.merged.update(1, "0", snapshot(rows=5, queue=2.0, cpu=3.0, seconds=[0.05]))
    page.merged.update(2, "1", snapshot(rows=7, queue=4.0, cpu=8.0, seconds=[0.05, 0.5]))
    assert page.values() == {
        ROWS: 12,
        ("process_cpu_seconds_total", ("worker", "0")): 3,
        ("process_cpu_seconds_total", ("worker", "1")): 8,
        ("anomaly_vae_queue_rows", ("worker", "0")): 2,
        ("anomaly_vae_queue_rows", ("worker", "1")): 4,
        ("anomaly_vae_threshold_nats", ("model_version", "1")): -3,
        ("anomaly_vae_stage_seconds_bucket", ("le", "0.1")): 2,
        ("anomaly_vae_stage_seconds_bucket", ("le", "+Inf")): 3,
        ("anomaly_vae_stage_seconds_count",): 3,
        ("anomaly_vae_stage_seconds_sum",): pytest.approx(0.6),
    }
    assert page.scrapes == 2


def test_no_restart_makes_a_counter_fall(page):
    page.merged.update(1, "0", snapshot(rows=5, seconds=[0.05]))
    page.merged.update(2, "1", snapshot(rows=7))
    page.merged.end(1)
    values = page.values()
    assert values[ROWS] == 12
    assert values["anomaly_vae_stage_seconds_count",] == 1
    assert ("anomaly_vae_queue_rows", ("worker", "0")) not in values
    page.merged.update(3, "0", snapshot(rows=1, seconds=[0.2]))
    assert page.values()[ROWS] == 13
    assert page.values()["anomaly_vae_stage_seconds_count",] == 2
    page.merged.end(2)
    page.merged.end(3)
    assert page.values()[ROWS] == 13


def test_of_a_worker_that_is_being_replaced_the_new_process_shows_its_gauges(page):
    page.merged.update(1, "0", snapshot(rows=5, queue=9.0))
    page.merged.update(2, "0", snapshot(rows=1, queue=1.0))
    assert page.values()["anomaly_vae_queue_rows", ("worker", "0")] == 1
    assert page.values()[ROWS] == 6


def test_the_largest_value_of_a_fact_counts(page):
    page.merged.update(1, "0", snapshot(threshold=-3.0))
    page.merged.update(2, "1", snapshot(threshold=-2.5))
    assert page.values()["anomaly_vae_threshold_nats", ("model_version", "1")] == -2.5


def test_series_that_no_process_has_are_dropped_after_a_day(page):
    page.merged.update(1, "0", snapshot(rows=5, version="1"))
    page.merged.end(1)
    page.merged.update(2, "0", snapshot(rows=5, version="2"))
    page.now = 80_000.0
    assert page.values()[ROWS] == 5
    page.now = 90_000.0
    values = page.values()
    assert ROWS not in values
    assert values["anomaly_vae_rows_total", ("model_version", "2")] == 5
    assert values["anomaly_vae_stage_seconds_count",] == 0


def test_no_counter_falls_while_workers_change_a_model_one_after_the_other(page):
    """If the sum fell, a rate would take what is left of it for new counts."""
    for process, worker in ((1, "0"), (2, "1")):
        page.merged.update(process, worker, snapshot(rows=100, seconds=[0.05] * 3))
    page.merged.update(1, "0", snapshot(rows=0, version="2", seconds=[0.05] * 4))  # has another version
    assert page.values()[ROWS] == 200
    page.merged.update(2, "1", snapshot(rows=4, seconds=[0.5]))  # has another bundle of the version, and new series
    values = page.values()
    assert values[ROWS] == 204
    assert values["anomaly_vae_stage_seconds_count",] == 4 + 3 + 1
    assert values["anomaly_vae_stage_seconds_bucket", ("le", "0.1")] == 4 + 3
    assert values["anomaly_vae_stage_seconds_sum",] == pytest.approx(4 * 0.05 + 3 * 0.05 + 0.5)
    page.now = 90_000.0
    page.merged.update(2, "1", snapshot(rows=0, version="2"))
    page.now = 180_000.0
    assert ROWS not in page.values()


def test_a_process_that_never_sent_anything_may_end(page):
    page.merged.end(7)
    assert page.values() == {}
