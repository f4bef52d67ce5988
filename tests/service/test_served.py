"""The served model: its options, what it computes, and the line of its start."""

import logging
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.served import log_start
from anomaly_vae.service.settings import ServeConfig
from tests.support.served import DIGEST, served_model


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((), {}, ScoreOptions(num_samples=1_024)),
        ((0,), {}, ScoreOptions(num_samples=1_024)),
        ((1_024,), {}, ScoreOptions(num_samples=1_024)),
        ((64,), {"max_std_error": 0.5}, ScoreOptions(num_samples=64, max_std_error=0.5)),
        ((), {"flag_only": True}, ScoreOptions(flag_only=True)),
        ((1_024,), {"flag_only": True}, ScoreOptions(flag_only=True)),
    ],
)
def test_requests_for_the_same_computation_have_equal_options(arguments, options, expected):
    """Rows with equal options may share a batch."""
    assert served_model().options(*arguments, **options) == expected


def test_the_options_decide_what_the_scorer_computes():
    calls = []
    served = served_model(
        score_rows=lambda rows, **options: calls.append(("scores", rows, options)),
        flag_rows=lambda rows, **options: calls.append(("flags", rows, options)),
    )
    rows = np.zeros((1, 5))
    served.compute(rows, ScoreOptions(num_samples=64, max_std_error=0.5))
    served.compute(rows, ScoreOptions(flag_only=True))
    assert [name for name, _, _ in calls] == ["scores", "flags"]
    assert all(found is rows for _, found, _ in calls)
    assert calls[0][2] == {"num_samples": 64, "max_std_error": 0.5, "target_fpr": None, "tail": None}
    assert calls[1][2] == {"target_fpr": None, "tail": None}


def test_the_start_is_one_line_with_the_same_facts_as_fields(caplog):
    caplog.set_level(logging.INFO)
    config = ServeConfig(model=Path("m"), threads=3, max_rows=7, max_queue_rows=70)
    log_start(served_model(), config, 50_052, 9_465)
    (record,) = caplog.records
    assert record.name == "anomaly_vae.service"
    assert record.getMessage() == (
        "serving model version 3, bundle 0123456789ab, threshold 4 nats: gRPC on 127.0.0.1 port 50052, HTTP on "
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
    log_start(served_model(tail="both"), ServeConfig(model=Path("m")), 1, 2)
    fields = caplog.records[0].fields
    assert (fields["threshold"], fields["upper_threshold"]) == (1.0, 97.0)
