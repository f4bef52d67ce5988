"""Rows to assess: which are read, with which labels and cells, and how they are scored."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.cli.assessed_rows import judge, open_model, own_promise, rates_of, read_rows, refuse_series
from anomaly_vae.columns.reading.records import NumberReading, TimeReading
from anomaly_vae.errors import ConfigError, InvalidInput
from tests.support.data import NAMES, make_rows
from tests.support.tables import csv_table, reader_of


def text_of(rows, extra=("y", "site")):
    lines = [",".join([*NAMES, *extra])]
    lines += [",".join([*map(repr, map(float, row)), *more]) for row, *more in rows]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def rows():
    return make_rows(6, seed=3)


def table_of(rows, marks, sites, **options):
    return csv_table(text_of(zip(rows, marks, sites, strict=True)), **options)


def test_rows_keep_their_numbers_labels_and_cells(scorer, rows, capsys):
    broken = rows.copy()
    broken[1, 0] = np.inf
    table = table_of(broken, ["0", "0", "1", "", "1", "0"], ["n", "n", "s", "n", "", "NA"])
    found = read_rows(table, scorer, label="y", by=["site", "flow"], quiet=True)
    np.testing.assert_array_equal(found.numbers, [1, 3, 5, 6])
    np.testing.assert_array_equal(found.labels, [False, True, True, False])
    np.testing.assert_array_equal(found.rows, rows[[0, 2, 4, 5]])
    assert found.cells == {"site": ["n", "s", None, None], "flow": rows[[0, 2, 4, 5], 1].tolist()}
    assert found.left_out == 2
    assert "1 of 6 rows cannot be used" in capsys.readouterr().err


def test_cells_that_are_all_numbers_or_missing_are_numbers(scorer, rows):
    table = table_of(rows, ["0"] * 6, ["1", "?", "2.5", "", "-9", "1e3"])
    assert read_rows(table, scorer, label="y", by=["site"], quiet=True).cells["site"] == [
        1.0,
        None,
        2.5,
        None,
        -9.0,
        1e3,
    ]
    table = table_of(rows, ["0"] * 6, ["1", "-9", "x", "x", "x", "x"], missing_values=["-9"])
    assert read_rows(table, scorer, label="y", by=["site"], quiet=True).cells["site"] == ["1", None, *"xxxx"]


def test_numbers_and_times_are_those_that_the_model_reads():
    inputs = {"price": NumberReading(decimal=",", thousands="."), "when": TimeReading(parts=("day_of_year",))}
    schema = SimpleNamespace(
        names=("price", "when"), reader=lambda: reader_of(**inputs), encoding=None, expand=lambda cells: cells
    )
    table = csv_table("price;when\n1.234,5;2024-01-31\n;2024-02-01 12:00\n", decimal=",", separator=";")
    found = read_rows(table, SimpleNamespace(schema=schema), by=["price", "when"], quiet=True)
    assert found.cells == {"price": [1234.5, None], "when": [datetime(2024, 1, 31), datetime(2024, 2, 1, 12)]}


def test_without_a_label_no_row_is_an_anomaly(scorer, rows):
    found = read_rows(table_of(rows, ["7"] * 6, ["n"] * 6), scorer, quiet=True)
    assert (len(found.numbers), found.labels.any(), found.cells) == (6, False, {})


@pytest.mark.parametrize(
    ("options", "marks", "words"),
    [
        ({"label": "z"}, "000000", "--label z: the input has no such column; it has pressure"),
        ({"label": "y"}, "000020", "found 2"),
        (
            {"label": "y"},
            ["ok", "ok", "bad", "ok", "ok", "ok"],
            "found text; write 1 for the texts that mean an anomaly",
        ),
        ({"label": "y", "by": ["z"]}, "000000", "--by z: the input has no such column; it has pressure"),
        ({"label": "y", "by": ["y"]}, "000000", "--by y: this is the label column"),
        ({"label": "y"}, [""] * 6, "no row can be used"),
    ],
)
def test_wrong_columns_are_refused_by_name(scorer, rows, options, marks, words):
    with pytest.raises((InvalidInput, ConfigError), match=words):
        read_rows(table_of(rows, marks, ["n"] * 6), scorer, quiet=True, **options)


def test_rows_have_the_scores_of_one_call(scorer):
    rows = make_rows(1100, seed=4)
    rows[1050, 4] = 8.0
    judged = judge(scorer, rows, quiet=True)
    np.testing.assert_array_equal(judged.scores.score[1000:], scorer.score(rows[1000:]).score)
    assert judged.ranks_lowest.nonzero()[0].tolist() == [1050]
    assert judged.levels[1050] == 0
    assert judged.thresholds == (scorer.threshold, None)


def test_rates_have_the_promise_of_their_threshold_or_a_reason(scorer):
    calibration = scorer.bundle.manifest.calibration
    high, low = rates_of(scorer, [0.1, 0.0001])
    assert high.promise.effective_fpr == pytest.approx(
        np.floor(0.1 * (calibration.num_rows + 1)) / (calibration.num_rows + 1)
    )
    assert (low.promise, "needs at least 9999 calibration rows" in low.reason) == (None, True)
    assert own_promise(scorer).effective_fpr == calibration.effective_fpr
    scores = scorer.score(make_rows(200, seed=5), target_fpr=0.1)
    np.testing.assert_array_equal(scores.is_anomaly, scores.p_value <= high.promise.effective_fpr)


def test_a_service_is_refused():
    with pytest.raises(ConfigError, match="MODEL grpc://host:1 is a service; `anomaly-vae compare` needs"):
        open_model("grpc://host:1", "compare", threads=None)


def test_models_of_series_are_refused():
    scorer = SimpleNamespace(schema=SimpleNamespace(kind="series"))
    with pytest.raises(ConfigError, match="MODEL m scores windows of series"):
        refuse_series(scorer, "m", "evaluate")
    refuse_series(SimpleNamespace(schema=SimpleNamespace(kind="image")), "m", "evaluate")
