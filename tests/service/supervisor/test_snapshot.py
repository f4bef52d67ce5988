"""Metrics of a process as JSON."""

import json

from prometheus_client import CollectorRegistry, Counter, Gauge

from anomaly_vae.service.supervisor.snapshot import Family, Sample, from_json, take_snapshot
from anomaly_vae.service.telemetry.histogram import Histogram


def test_a_snapshot_keeps_names_types_labels_and_values():
    registry = CollectorRegistry()
    Counter("calls_total", "Calls.", ("code",), registry=registry).labels("OK").inc(3)
    Gauge("rows", "Rows.", registry=registry).set(float("inf"))
    Histogram("seconds", "Time.", registry).add_series([0.5]).observe_one(0.25)
    Counter("empty_total", "No series yet.", ("code",), registry=registry)
    families = from_json(json.loads(json.dumps(take_snapshot(registry))))
    assert families == [
        Family("calls", "counter", "Calls.", (Sample("calls_total", (("code", "OK"),), 3.0),)),
        Family("rows", "gauge", "Rows.", (Sample("rows", (), float("inf")),)),
        Family(
            "seconds",
            "histogram",
            "Time.",
            (
                Sample("seconds_bucket", (("le", "0.5"),), 1),
                Sample("seconds_bucket", (("le", "+Inf"),), 1),
                Sample("seconds_count", (), 1),
                Sample("seconds_sum", (), 0.25),
            ),
        ),
    ]
