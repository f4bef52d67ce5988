"""The demo of series: scores of the service are compared, and the whole runs with fewer steps of training."""

import contextlib
import os
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.cli import demo_series
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel
from tests.support.command_line import in_process
from tests.support.windows import FakeScorer, window_schema

ROWS = pa.table(
    {"month": [f"2000-{month:02}-01" for month in range(1, 9)], "temperature": [f"{i}.5" for i in range(8)]}
)


def test_the_scores_of_the_service_at_once_and_step_by_step_must_be_the_same(monkeypatch):
    """The scorer in this process stands for the service."""
    schema = window_schema(3, ("temperature",), timestamp="month", step_seconds=30.44 * 86400)
    scorer = FakeScorer(schema)
    client = SimpleNamespace(schema=schema, shape=schema.shape, score_rows=scorer.score_rows)
    monkeypatch.setattr(demo_series, "running_service", lambda _model: contextlib.nullcontext("127.0.0.1:5"))
    monkeypatch.setattr(demo_series, "Client", lambda _address: contextlib.nullcontext(client))
    scores = score_panel(scorer.score_rows, to_panel(ROWS, schema.shape), 3)
    line = demo_series.same_as_served("model", ROWS, scores)
    assert line.startswith("served on 127.0.0.1:5: 6 windows over gRPC in ")
    assert "8 months pushed one by one" in line
    scores.log_px[5] = np.nextafter(scores.log_px[5], 0)
    with pytest.raises(AnomalyVaeError, match="the scores of the service differ"):
        demo_series.same_as_served("model", ROWS, scores)


def test_the_demo_finds_both_events(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_series, "_STEPS", 150)
    done = in_process("demo", "--kind", "series", "-o", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    files = {"train.csv", "held_out.csv", "model", "scores.csv", "demo_series.png"}
    assert set(os.listdir(tmp_path / "demo")) == files
    assert (tmp_path / "demo" / "demo_series.png").read_bytes().startswith(b"\x89PNG")
    assert float(re.search(r"AUROC ([\d.]+)", done.stdout)[1]) > 0.9
    for part in ("1983-", "1997-", "El Niño", "same bits", "Next"):
        assert part in done.stdout
