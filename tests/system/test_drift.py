"""Files that are not what the training table was: refused by name, warned of, or read as they are meant."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from anomaly_vae import load
from anomaly_vae.errors import InvalidInput
from tests.support.command_line import in_process, one_line, read_csv

# The process of a refused file ends, and closes it; here the process goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")

ROWS_PER_DAY = 8
START = pd.Timestamp("2024-03-04")


def table(first_day=0, num_days=60):
    """Return the rows of some days: more happens in the evening, and less on Sundays."""
    rng = np.random.default_rng(first_day + 1000)
    day = np.repeat(np.arange(first_day, first_day + num_days), ROWS_PER_DAY)
    hour = rng.normal(17.0, 3.0, size=len(day)) % 24.0
    busy = hour / 8.0 + (day % 7 != 6) + 0.3 * rng.normal(size=len(day))
    return pd.DataFrame(
        {
            "when": (START + pd.to_timedelta(day, unit="D") + pd.to_timedelta((hour * 3600).astype(int), unit="s")),
            "amount": np.round(20.0 * busy, 2),
            "visits": rng.poisson(3.0 + busy),
            "zip": rng.choice(["AB1", "CD2", "ÉF3"], size=len(day)),
        }
    )


def save(frame, path, **options):
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        path.write_bytes(frame.to_csv(index=False, **options).encode(options.get("encoding", "utf-8")))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    save(table(), folder / "train.csv")
    options = ("--search", "off", "--max-steps", "1500", "--target-fpr", "0.05", "--force")
    done = in_process("train", folder / "train.csv", "-o", folder / "model", *options)
    assert done.returncode == 0, done.stderr
    return folder / "model"


def score(model, path, *options):
    output = path.with_name("scores.csv")
    done = in_process("score", model, path, "-o", output, "--json", "--overwrite", *options)
    return done, json.loads(done.stdout) if done.returncode == 0 else None


def test_the_next_days_are_not_flagged_for_their_dates(model, tmp_path):
    """The model learns the time of day and the day of the week, not the date: the next day is like those before."""
    for first_day in (60, 61, 66, 75, 300):
        _, facts = score(model, save(table(first_day, 7), tmp_path / "new.csv"))
        assert facts["anomalies"] <= 0.2 * facts["rows"], first_day


def test_a_row_at_an_hour_without_any_before_is_flagged(model, tmp_path):
    """The dates count: the same rows twelve hours later are unlike those of training."""
    rows = table(60, 14)
    rows["when"] += pd.Timedelta(hours=12)
    _, facts = score(model, save(rows, tmp_path / "new.csv"))
    assert facts["anomalies"] > 0.5 * facts["rows"]


CHANGED = {
    "numbers became texts": ({"amount": "high"}, "column 'amount' holds text such as 'high', expected numbers"),
    "numbers became dates": (
        {"amount": START},
        "column 'amount' holds (dates and times|text such as '2024-03-04'), expected numbers as in training",
    ),
    "dates became numbers": (
        {"when": 1_709_510_400},
        r"column 'when' holds (numbers \(int64\)|text such as '1709510400'), expected dates and times",
    ),
    "dates became texts": ({"when": "Monday"}, "column 'when' holds text such as 'Monday', expected dates and times"),
    "dates of another order": (
        {"when": "31.01.2024"},
        "column 'when' holds text such as '31.01.2024', expected dates and times( such as 2024-01-31|) as in training",
    ),
    "a time zone appeared": (
        {"when": START.tz_localize("Europe/Oslo")},
        "column 'when' holds (times in the time zone Europe/Oslo, expected times without a time zone as in training|"
        r"text such as '2024-03-04 00:00:00\+01:00' \(has a time zone, the training table had none\), expected dates|"
        r"'2024-03-04 00:00:00\+01:00' has a time zone, the training table had none)",
    ),
    "thousands are marked": (
        {"amount": "1,234.50"},
        "column 'amount' holds text such as '1,234.50', expected numbers as in training; write it as the training",
    ),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_column_that_holds_something_else_is_refused_by_name(model, tmp_path, name, ending):
    cells, message = CHANGED[name]
    frame = table(60, 5).assign(**cells)
    done, _ = score(model, save(frame, tmp_path / f"new.{ending}"))
    one_line(done, 2, "or train again")
    with pytest.raises(InvalidInput, match=message):
        raise InvalidInput(done.stderr)
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize("name", CHANGED)
def test_a_frame_with_such_a_column_is_refused_as_well(model, name):
    cells, message = CHANGED[name]
    frame = table(60, 5).assign(**cells)
    with pytest.raises(InvalidInput, match=message) as error:
        load(model).score(frame)
    assert error.value.field == next(iter(cells))


def test_texts_that_became_numbers_are_refused_by_type_and_warned_of_in_a_text(model, tmp_path):
    """In CSV a category 90210 looks like a number: the file can only be strange as a whole."""
    frame = table(60, 5).assign(zip=90210)
    done, _ = score(model, save(frame, tmp_path / "new.parquet"))
    one_line(
        done, 2, "column 'zip' holds numbers (int64), expected text as in training; write it as the training table"
    )
    with pytest.raises(InvalidInput, match=r"column 'zip' holds numbers \(int64\), expected text"):
        load(model).score(frame)
    done, facts = score(model, save(frame, tmp_path / "new.csv"))
    assert (
        "none of the first 40 values of column 'zip', such as '90210', was in the training table, which" in done.stderr
    )
    assert facts["anomalies"] == 40


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_categories_that_are_all_new_are_a_warning(model, tmp_path, ending):
    done, facts = score(model, save(table(60, 5).assign(zip="XY9"), tmp_path / f"new.{ending}"))
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "column 'zip', such as 'XY9', was in the training table, which had values such as 'AB1'" in warning
    assert facts["anomalies"] == 40


def test_one_known_category_is_no_warning(model, tmp_path):
    frame = table(60, 5)
    frame.loc[1:, "zip"] = "XY9"
    frame.loc[0, "zip"] = "AB1"
    done, _ = score(model, save(frame, tmp_path / "new.csv"))
    assert done.stderr == ""


def test_a_single_cell_that_cannot_be_read_is_a_row_without_a_score(model, tmp_path):
    frame = table(60, 5).astype({"amount": object, "when": object})
    frame.loc[3, "amount"], frame.loc[4, "when"] = "high", "Monday"
    _, facts = score(model, save(frame, tmp_path / "new.csv"))
    assert facts["unscored"] == {"unreadable": 2}
    rows = read_csv((tmp_path / "scores.csv").read_text())
    assert [row["reason"] for row in rows[3:5]] == [
        "column 'amount': 'high' is not a number",
        "column 'when': 'Monday' is not a date or time",
    ]


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"sep": ";", "decimal": ","}, "cells separated by ';', decimal commas\n"),
        ({"sep": "\t", "decimal": ","}, "cells separated by tabs, decimal commas\n"),
        ({"encoding": "utf-16"}, "encoding UTF-16\n"),
        (
            {"encoding": "latin-1"},
            "is read as cp1252, the training table was utf-8; if letters such as é look wrong in the output, give",
        ),
    ],
)
def test_another_separator_decimal_mark_or_encoding_gives_the_same_scores_and_is_said(model, tmp_path, options, note):
    frame = table(60, 5)
    score(model, save(frame, tmp_path / "new.csv"))
    expected = (tmp_path / "scores.csv").read_bytes()
    done, _ = score(model, save(frame, tmp_path / "new.csv", **options))
    assert note in done.stderr
    assert (tmp_path / "scores.csv").read_bytes() == expected


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_missing_columns_are_all_named(model, tmp_path, ending):
    frame = table(60, 5).drop(columns=["when", "visits"]).rename(columns={"amount": "Amount"})
    done, _ = score(model, save(frame, tmp_path / f"new.{ending}"))
    one_line(done, 2, "3 of the model's 4 columns are missing: 'when', 'amount', 'visits'; found 'Amount', 'zip'")
    assert "(is 'Amount' meant to be 'amount'?)" in done.stderr
    with pytest.raises(InvalidInput, match="3 of the model's 4 columns are missing: 'when', 'amount', 'visits'"):
        load(model).score(frame)


def test_a_column_that_is_empty_is_no_drift(model, tmp_path):
    """Empty cells say nothing about what a column holds."""
    frame = table(60, 5).assign(amount=None, zip=None, when=None)
    done, facts = score(model, save(frame, tmp_path / "new.csv"))
    assert facts["unscored"] == {}
    assert len(load(model).score(frame)) == len(load(model).score(frame.assign(when=pd.NaT, zip=np.nan))) == 40
    done, facts = score(model, save(frame, tmp_path / "new.parquet"))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "new.parquet").schema.field("zip").type == "null"
    assert facts["unscored"] == {}


def test_calibrate_and_encode_refuse_what_score_refuses(model, tmp_path):
    path = save(table(60, 5).assign(amount="high"), tmp_path / "new.csv")
    for command in ("calibrate", "encode"):
        done = in_process(command, model, path, "-o", tmp_path / "output.csv")
        one_line(done, 2, "column 'amount' holds text such as 'high', expected numbers as in training")
