"""A table of steps: labels, rows that cannot be used, and what is said about both."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.series_input import read_series_table, say_notes
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.grid import make_panel
from tests.support.tables import csv_table

TEXT = "t,x,bad\n1,0.5,0\n2,0.25\n3,0.125,1\n4,,\n"


def read(text=TEXT, label="bad", **options):
    return read_series_table(csv_table(text).source, ["t", "x"], label, **options)


def test_a_row_with_a_fault_is_left_out_and_counted(capsys):
    found = read()
    assert found.columns.column("x").to_pylist() == ["0.5", "0.125", None]
    np.testing.assert_array_equal(found.labels, [0, 1, np.nan])
    np.testing.assert_array_equal(found.numbers, [1, 3, 4])
    said = capsys.readouterr().err
    assert (
        "1 of 4 rows cannot be used: their steps are missing, from row 2 on: the row has 2 cells, the header 3" in said
    )
    assert "1 of 3 rows have no value in bad; they are left out" in said


def test_where_rows_are_steps_a_row_with_a_fault_stays_a_step(capsys):
    found = read(keeps_steps=True)
    assert found.columns.column("x").to_pylist() == ["0.5", None, "0.125", None]
    np.testing.assert_array_equal(found.labels, [0, np.nan, 1, np.nan])
    assert "1 of 4 rows have no value in bad" in capsys.readouterr().err  # the faulty row is not counted again


def test_without_a_label_nothing_is_left_out():
    assert read("t,x\n1,2\n", label=None).labels is None


@pytest.mark.parametrize(
    ("cell", "part"), [("2", "expected 0 (normal) or 1 (anomaly) in every row, found 2"), ("no", "found text")]
)
def test_a_label_is_0_or_1(cell, part):
    with pytest.raises(InvalidInput, match=r"--label bad: ") as error:
        read(f"t,x,bad\n1,2,0\n2,3,{cell}\n")
    assert part in str(error.value)


def test_a_file_of_faults_is_refused():
    with pytest.raises(InvalidInput, match="no row can be used: the row has 1 cells, the header 3"):
        read("t,x,bad\n1\n2\n")


def test_notes_are_said_left_out_rows_also_if_quiet(capsys):
    panel = make_panel(np.arange(4.0)[:, None], np.array([2.0, np.nan, 1.0, 3.0]))
    say_notes(panel, quiet=True)
    said = capsys.readouterr().err
    assert said.startswith("anomaly-vae: warning: 1 row")
    assert len(said.splitlines()) == 1
    say_notes(panel, quiet=False)
    assert "in the order of time" in capsys.readouterr().err
