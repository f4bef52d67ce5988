"""Three series with gaps through a really trained convolutional model: as a table, step by step, and by a service."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.client import Client
from anomaly_vae.scorer import load
from anomaly_vae.series.live import SeriesScorer
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel
from tests.support.command_line import cli, read_csv
from tests.support.conv_models import LENGTH, arrow_table, series_bundle, series_table, write_table
from tests.support.running import running

TABLE = series_table(100, seed=11)
NUMBERS = ("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k", "p_value")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("series") / "model"
    write_bundle(series_bundle(), path)
    return path


@pytest.fixture(scope="module")
def offline(model):
    scorer = load(model)
    return score_panel(scorer.score_rows, to_panel(arrow_table(TABLE), scorer.schema.shape), LENGTH)


def assert_same_rows(results, expected):
    for name in NUMBERS:
        got = np.array([np.nan if getattr(each, name) is None else getattr(each, name) for each in results])
        np.testing.assert_array_equal(got, getattr(expected, name), err_msg=name)
    assert [each.reason for each in results] == expected.reason
    assert [bool(each.is_anomaly) for each in results] == expected.is_anomaly.tolist()


def pushed(scorer):
    live = SeriesScorer(scorer)
    rows = zip(*TABLE.values(), strict=True)
    return [live.push(ts, {"load": load, "flow": flow}, series=host) for ts, host, flow, load in rows]


def test_the_table_has_windows_gaps_and_missing_cells(offline):
    """Otherwise the comparisons below would show little."""
    starts = {(reason or "").partition(":")[0] for reason in offline.reason}
    assert {"warm-up", "gap", "missing"} <= starts
    assert 0 < offline.is_anomaly.sum() < offline.has_window.sum()


def test_steps_that_are_pushed_one_by_one_have_the_bits_of_the_table(model, offline):
    assert_same_rows(pushed(load(model)), offline)


def test_a_service_has_them_too_step_by_step_and_for_a_csv_file(model, offline, tmp_path):
    write_table(tmp_path / "in.csv", TABLE)
    with running(model) as service:
        with Client(service.target) as client:
            assert client.shape.channels == ("flow", "load")
            assert_same_rows(pushed(client), offline)
        by_service = cli(tmp_path, "score", f"grpc://{service.target}", "in.csv", "-o", "-", "--json")
    by_file = cli(tmp_path, "score", model, "in.csv", "-o", "-", "--json")
    assert by_service.stdout == by_file.stdout
    rows = read_csv(by_file.stdout)
    for name in (*NUMBERS, "step_score"):
        got = np.array([float(row[name]) if row[name] else np.nan for row in rows])
        np.testing.assert_array_equal(got, getattr(offline, name), err_msg=name)
    facts, same = (json.loads(done.stderr.splitlines()[-1]) for done in (by_file, by_service))
    for each in (facts, same):
        each.pop("seconds")
    assert facts == same
