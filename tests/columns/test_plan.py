"""What a model learns of each column, and which columns it does without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.plan import model_rows, numbering_columns, plan_schema, recognise_inputs
from anomaly_vae.columns.reading.recognise import Sample
from anomaly_vae.columns.reading.records import LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.rows import to_rows, to_training_table
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.errors import ConfigError, InvalidInput

N = 120
RNG = np.random.default_rng(0)
LOAD = RNG.normal(size=N)


def planned(columns, wanted=None):
    """Return the schema and the findings by column; every table also has a column of numbers, load."""
    table = to_training_table(pd.DataFrame({"load": LOAD, **columns}), wanted or {})
    schema, findings = plan_schema(table, np.arange(len(table.rows)), wanted or {})
    return schema, {each.column: each for each in findings}


@pytest.mark.parametrize(
    ("name", "values", "taken_for", "text"),
    [
        ("row", np.arange(N), "row number", "numbers the rows (0, 1, 2, ...): left out"),
        ("row", np.arange(N) * 1.0 + 7, "row number", "numbers the rows (7, 8, 9, ...)"),
        ("row", np.cumsum(np.where(np.arange(N) % 3 == 0, 2, 1)), "row number", "numbers the rows"),
        ("user_id", RNG.permutation(N), "identifier", "a different whole number in every row and is named like"),
        ("userID", RNG.permutation(N), "identifier", "named like an identifier"),
        ("index", RNG.permutation(N), "identifier", "named like an identifier"),
        ("__index_level_0__", RNG.permutation(N), "identifier", "named like an identifier"),
        ("Unnamed: 0", RNG.permutation(N), "identifier", "named like an identifier"),
        ("note", [f"remark {i}" for i in range(N)], "names or free text", "120 different texts in 120 rows"),
        ("gap", [None] * N, "empty", "is empty in all 120 training rows: left out"),
        ("gap", [np.nan] * N, "empty", "is empty"),
        ("tags", [[1]] * N, "nested values (lists or objects)", "holds nested values (lists or objects): left out"),
        ("day", ["03/04/2024"] * N, "dates and times", "may be day/month or month/day"),
        ("start", pd.date_range("2024-01-01", periods=N, freq="min"), "dates and times", "too few days to learn"),
        ("start", ["2024-01-01"] * N, "dates and times", "holds one time, 2024-01-01 00:00:00, too few"),
    ],
)
def test_a_column_that_describes_no_row_is_left_out_with_the_reason(name, values, taken_for, text):
    schema, findings = planned({name: values})
    found = findings[name]
    assert found.is_left_out
    assert found.taken_for == taken_for
    assert text in str(found)
    assert schema.left_out == (name,)
    assert schema.column_names == ("load",)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("growing", np.cumsum(RNG.integers(2, 9, size=N))),
        ("even", np.arange(N) * 2),
        ("row", np.arange(N)[::-1].copy()),
        ("row", np.where(np.arange(N) == 5, np.nan, np.arange(N))),
        ("row", np.arange(N) + 0.5),
        ("paid", RNG.permutation(N)),
        ("valid", RNG.permutation(N)),
        ("grid", RNG.permutation(N)),
        ("user_id", RNG.integers(0, 50, size=N)),
        ("town", RNG.choice(["Oslo", "Rome"], size=N)),
    ],
)
def test_a_column_that_may_describe_its_rows_stays(name, values):
    assert planned({name: values})[0].left_out == ()


@pytest.mark.parametrize("wanted", ["integer", "continuous"])
def test_a_kind_that_the_user_sets_keeps_a_column_that_numbers_the_rows(wanted):
    assert planned({"row": np.arange(N)}, {"row": wanted})[0].left_out == ()


def test_columns_that_the_user_asked_for_and_short_tables_are_not_judged():
    table = to_training_table(pd.DataFrame({"row": np.arange(N)}))
    assert [each.column for each in numbering_columns(table)] == ["row"]
    assert numbering_columns(table._replace(required=frozenset({"row"}))) == []
    assert numbering_columns(to_training_table(pd.DataFrame({"row": np.arange(19)}))) == []


def test_columns_of_an_array_may_be_in_any_order_and_are_not_judged():
    table = to_training_table(np.column_stack([np.arange(N), LOAD]))
    assert plan_schema(table, np.arange(len(table.rows)), {})[0].left_out == ()


def test_times_become_cyclic_columns_and_the_user_is_told():
    when = pd.date_range("2024-01-01", periods=N, freq="7h", tz="Europe/Oslo")
    schema, findings = planned({"when": when})
    assert schema.column_names == ("load", "when.time_of_day", "when.day_of_week")
    assert [(column.kind, column.period) for column in schema.columns[1:]] == [("cyclic", 24.0), ("cyclic", 7.0)]
    assert schema.inputs[1].reading == TimeReading(zone="Europe/Oslo", parts=("time_of_day", "day_of_week"))
    text = "column 'when' holds dates and times: the model learns time of day and day of week in Europe/Oslo"
    assert str(findings["when"]) == text
    assert not findings["when"].is_left_out


def test_the_parts_that_the_user_lists_are_learned_and_a_trend_is_a_number():
    when = pd.date_range("2024-01-01", periods=N, freq="h")
    schema, _ = planned({"when": when}, {"when": ("time_of_day", "trend")})
    assert schema.column_names == ("load", "when.time_of_day", "when.trend")
    assert schema.columns[2].kind == "continuous"


def test_times_of_day_without_a_date_are_cyclic():
    schema, findings = planned({"at": [f"{i % 24}:{i % 60:02d}" for i in range(N)]})
    assert schema.column_names == ("load", "at.time_of_day")
    assert findings["at"].text == "holds times of day"


@pytest.mark.parametrize("kind", ["continuous", "integer", "count", "binary"])
def test_a_kind_of_numbers_does_not_fit_dates_and_times(kind):
    """It would be ignored in silence otherwise: the columns of the model are the parts of the time."""
    with pytest.raises(ConfigError, match=rf"\[columns\] when = '{kind}': the column holds dates and times; list the"):
        planned({"when": pd.date_range("2024-01-01", periods=N, freq="7h")}, {"when": kind})


def test_a_constant_stays_and_the_user_is_told():
    """A changed constant is novel, so the model keeps the column."""
    schema, findings = planned({"unit": ["kg"] * N, "rate": 7.5})
    assert schema.column_names == ("load", "unit", "rate")
    assert findings["unit"].text.startswith("is always 'kg': not modelled, and a row with another value is flagged")
    assert findings["rate"].text.startswith("is always 7.5: not modelled")


def test_nothing_is_said_about_an_excluded_column_and_the_model_keeps_no_cell_of_those_left_out():
    table = to_training_table(pd.DataFrame({"z": ["x"] * N, "gap": [None] * N, "load": LOAD}), {"z": "exclude"})
    schema, findings = plan_schema(table, np.arange(len(table.rows)), {"z": "exclude"})
    assert [(each.column, each.is_left_out) for each in findings] == [("gap", True)]
    assert [each.reading for each in schema.inputs] == [
        LeftOut(why="is excluded by the configuration"),
        LeftOut(why="empty"),
        NumberReading(),
    ]


def test_what_only_the_fitting_rows_show_decides():
    """A column that is empty in the fitting rows cannot be learned, whatever the calibration rows hold."""
    table = to_training_table(pd.DataFrame({"load": LOAD, "late": np.where(np.arange(N) < 60, np.nan, LOAD)}))
    assert plan_schema(table, np.arange(60), {})[0].left_out == ("late",)
    assert plan_schema(table, np.arange(len(table.rows)), {})[0].left_out == ()


def test_a_table_of_nothing_that_can_be_learned_is_refused_with_every_reason():
    table = to_training_table(pd.DataFrame({"gap": [None] * N, "row": np.arange(N)}))
    with pytest.raises(InvalidInput, match=r"no column is left to train on: .*'gap' is empty.*'row' numbers the rows"):
        plan_schema(table, np.arange(len(table.rows)), {})


def test_the_rows_of_the_model_are_those_that_scoring_reads():
    frame = pd.DataFrame(
        {
            "row": np.arange(N),
            "town": RNG.choice(["Oslo", "Rome", None], size=N),
            "when": pd.date_range("2024-01-01", periods=N, freq="7h"),
            "note": [f"remark {i}" for i in range(N)],
            "load": LOAD,
        }
    )
    table = to_training_table(frame)
    schema, _ = plan_schema(table, np.arange(len(table.rows)), {})
    assert schema.names == ("town", "when", "load")
    rows = model_rows(schema, table, table.rows)
    assert rows.shape == (N, 4)
    np.testing.assert_array_equal(to_rows(frame, schema), rows)


def test_an_unknown_column_is_refused_with_the_closest_name():
    samples = {"town": Sample("text", "text", {"Oslo": 2})}
    with pytest.raises(ConfigError, match=r"\[columns\] twon: there is no such column; did you mean 'town'\?"):
        recognise_inputs(samples, {"twon": "categorical"})
    with pytest.raises(ConfigError, match="the columns are town"):
        recognise_inputs(samples, {"xyz": "categorical"})
    table = TrainingTable.of_numbers(np.zeros((3, 1)), ("a",))
    with pytest.raises(ConfigError, match="there is no such column"):
        plan_schema(table, np.arange(len(table.rows)), {"b": "integer"})


@pytest.mark.parametrize(
    ("texts", "reading", "text"),
    [
        ({"007": 2}, TextReading(), 'read as categories; to change that, set [columns] a = "continuous"'),
        ({"9007199254740993": 2}, TextReading(), "float64 would round: read as categories"),
        ({"1,5": 2}, NumberReading(decimal=","), "holds numbers such as '1,5': read with decimal mark ','"),
        ({"Oslo": 2}, TextReading(), None),
    ],
)
def test_what_is_not_obvious_about_a_reading_is_said(texts, reading, text):
    inputs, findings = recognise_inputs({"a": Sample("text", "text", texts)}, {})
    assert inputs[0].reading == reading
    assert [str(each).endswith(text) for each in findings] == ([] if text is None else [True])


def test_a_finding_is_a_sentence_with_its_remedy():
    assert str(Finding("a", "x", "is odd", remedy="fix it")) == "column 'a' is odd; fix it"
    assert str(Finding("a", "x", "is odd")) == "column 'a' is odd"


def test_a_column_with_the_name_of_a_part_of_a_time_is_refused():
    """Two columns of the model would have one name, and the finished model could not be loaded."""
    when = pd.date_range("2024-01-01", periods=N, freq="7h")
    with pytest.raises(
        InvalidInput, match=r"column 'when.time_of_day' has the name of a part .* of column 'when'; rename"
    ):
        planned({"when": when, "when.time_of_day": LOAD})
