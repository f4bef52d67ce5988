"""The line of a service's start."""

import logging
from pathlib import Path

from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.start_log import log_start
from tests.support.served import DIGEST, catalogue_of, served_model


def test_the_start_is_one_line_with_the_same_facts_as_fields(caplog):
    caplog.set_level(logging.INFO)
    config = ServeConfig(model=Path("m"), threads=3, max_rows=7, max_queue_rows=70)
    log_start(catalogue_of(served_model()), config, 50_052, 9_465, None)
    (record,) = caplog.records
    assert record.name == "anomaly_vae.service"
    assert record.getMessage() == (
        "serving model version 3, bundle 0123456789ab, threshold 4 nats: gRPC on 127.0.0.1 port 50052, metrics on "
        "127.0.0.1 port 9465, 3 threads, at most 7 rows a request and 70 in the queue"
    )
    assert record.fields == {
        "event": "serving",
        "model_name": "model",
        "model_version": "3",
        "bundle_digest": DIGEST,
        "threshold": 4.0,
        "host": "127.0.0.1",
        "port": 50_052,
        "metrics_host": "127.0.0.1",
        "metrics_port": 9_465,
        "threads": 3,
        "max_rows": 7,
        "max_queue_rows": 70,
    }


def test_the_start_of_a_model_with_two_thresholds_has_both_as_fields(caplog):
    caplog.set_level(logging.INFO)
    log_start(catalogue_of(served_model(tail="both")), ServeConfig(model=Path("m")), 1, 2, None)
    fields = caplog.records[0].fields
    assert (fields["threshold"], fields["upper_threshold"]) == (1.0, 97.0)


def test_the_port_of_http_is_named_if_there_is_one(caplog):
    caplog.set_level(logging.INFO)
    log_start(catalogue_of(served_model()), ServeConfig(model=Path("m"), http_host="::1"), 1, 2, 8_000)
    (record,) = caplog.records
    assert ": gRPC on 127.0.0.1 port 1, HTTP on ::1 port 8000, metrics on 127.0.0.1 port 2, " in record.getMessage()
    assert (record.fields["http_host"], record.fields["http_port"]) == ("::1", 8_000)
