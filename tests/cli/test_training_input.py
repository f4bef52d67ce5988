"""A table to train on: the columns that are used, how they are read, and what is said about the others."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.training_input import Selection, read_training_input
from anomaly_vae.columns.reading.records import LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.training.config import TrainConfig
from tests.support.tables import csv_table

TEXT = """,id,price,city,when,broken
0,17,"1,200.50",Rome,2024-01-31,0
1,23,$3,Oslo,2024-02-01,1
2,19,"$1,000",Rome,,0
"""


def trained_on(text=TEXT, config=None, source=None, **selection):
    config = TrainConfig(**config or {})
    return read_training_input(csv_table(text, **source or {}), config, Selection(**selection), quiet=True)


def test_every_column_has_a_reading_and_rows_are_split_by_label():
    found = trained_on(label="broken")
    assert [(each.name, type(each.reading)) for each in found.table.inputs] == [
        ("id", NumberReading),
        ("price", NumberReading),
        ("city", TextReading),
        ("when", TimeReading),
    ]
    day = 86_400e6 * 19_753
    np.testing.assert_array_equal(found.table.rows, [[17, 1200.5, 1, day], [19, 1000, 1, np.nan]])
    np.testing.assert_array_equal(found.anomalous, [[23, 3, 0, day + 86_400e6]])
    assert found.table.categories == {"city": ("Oslo", "Rome")}
    assert (found.table.encoding, found.table.missing_values) == ("utf-8", ())
    assert [str(finding) for finding in found.table.findings] == [
        "column number 1 has no name: left out; to train on it, give it a name in the header",
        "column 'price' holds numbers such as '1,200.50': read with decimal mark '.', thousands mark ',', without $",
    ]


def test_columns_that_are_not_chosen_stay_known_as_left_out():
    """Scoring then does not warn of them as columns that the model does not know."""
    found = trained_on(columns=("price", "city", "id"), exclude=("id",))
    assert found.table.rows.shape == (3, 2)
    assert {each.name: each.reading for each in found.table.inputs if not each.is_read} == {
        "id": LeftOut(why="excluded by --exclude"),
        "when": LeftOut(why="not named in --columns"),
        "broken": LeftOut(why="not named in --columns"),
    }
    assert found.table.required == frozenset({"price", "city", "id"})


def test_the_configuration_sets_how_columns_are_read():
    config = {"columns": {"id": "categorical", "when": "exclude"}, "missing_values": ["Rome", 17]}
    found = trained_on(config=config, label="broken")
    assert found.table.categories == {"id": ("19", "23"), "city": ("Oslo",)}
    np.testing.assert_array_equal(found.table.rows, [[np.nan, 1200.5, np.nan], [0, 1000, np.nan]])
    assert found.table.missing_values == ("Rome", "17")


def test_the_decimal_mark_of_the_file_decides_where_a_column_leaves_it_open():
    text = "a;b\n1,5;1,234\n2,5;5,678\n"
    np.testing.assert_array_equal(trained_on(text).table.rows, [[1.5, 1.234], [2.5, 5.678]])
    rows = trained_on("a,b\n1.5,1.234\n2.5,5.678\n").table.rows
    np.testing.assert_array_equal(rows, [[1.5, 1.234], [2.5, 5.678]])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"columns": ("x",)}, "--columns x: the input has no such column; it has id, price"),
        ({"exclude": ("x",)}, "--exclude x: the input has no such column"),
        ({"label": "x"}, "--label x: the input has no such column"),
        ({"columns": ("id",), "exclude": ("id",)}, "no column is left to train on"),
        ({"label": "city"}, "--label city: expected 0 .* found text: 'Rome' is not a number"),
    ],
)
def test_a_choice_that_is_not_possible_is_refused(selection, message):
    with pytest.raises(InvalidInput, match=message):
        trained_on(**selection)


def test_a_kind_for_an_unknown_column_is_refused_and_for_one_that_is_not_chosen_it_is_not():
    with pytest.raises(ConfigError, match=r"\[columns\] pric: there is no such column; did you mean 'price'"):
        trained_on(config={"columns": {"pric": "continuous"}})
    trained_on(config={"columns": {"city": "categorical"}}, exclude=("city",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "text: holds no rows to train on"),
        ("a,a\n1,2\n", "column 'a' appears 2 times; rename all but one"),
        ("a\x1b,b\n1,2\n", "characters in its name that cannot be printed"),
        (
            "d,e\n01/02/2024,2024-01-31 10:00Z\n03/04/2024,2024-01-31 10:00\n",
            "no column is left to train on: column 'd' holds dates such as '01/02/2024', which may .* column 'e' holds",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text, message):
    with pytest.raises(InvalidInput, match=message):
        trained_on(text)


def test_names_that_are_numbers_are_a_warning(capsys):
    """A file without a header has its first row for names."""
    trained_on("1.5,2.5\n3,4\n")
    trained_on("city,2019,2020\nOslo,3,4\n")
    trained_on("Oslo,1.5,2\nRome,3,4\n")
    first, second = capsys.readouterr().err.splitlines()
    assert "2 of 3 column names are numbers (1.5, 2)" in second
    assert "2 of 2 column names are numbers (1.5, 2.5); the first line must be a header" in first
