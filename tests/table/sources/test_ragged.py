"""Ragged rows return to their place, at the edges and in runs."""

from __future__ import annotations

from types import SimpleNamespace

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.table.sources.dialect import Dialect
from anomaly_vae.table.sources.ragged import RaggedRows


def noted(*rows):
    ragged = RaggedRows(Dialect(";", "'"))
    for number, text in rows:
        assert ragged.note(SimpleNamespace(number=number, text=text, actual_columns=1, expected_columns=2)) == "skip"
    return ragged


def test_rows_are_inserted_first_last_and_in_runs():
    ragged = noted((1, "'x;y'"), (4, "p;q;r"), (5, ""), (8, "z"))
    columns, faults = ragged.insert([from_strings(["b", "c"]), from_strings(["B", "C"])], [0, 1])
    assert [column.to_pylist() for column in columns] == [
        ["x;y", "b", "c", "p", None],
        [None, "B", "C", "q", None],
    ]
    assert [fault and fault.kind for fault in faults] == ["ragged", None, None, "ragged", "ragged"]
    columns, faults = ragged.insert([from_strings(["f", "g"])], [0])
    assert columns[0].to_pylist() == ["f", "g", "z"]
    columns, faults = ragged.insert([from_strings(["i"])], [0])
    assert (columns[0].to_pylist(), faults) == (["i"], [None])


def test_a_row_over_several_lines_hints_at_an_open_quote():
    columns, faults = noted((1, "'a\nb")).insert([from_strings([])], [0])
    assert columns[0].to_pylist() == [None]
    assert faults[0].text == "the row has 1 cells, the header 2; is a quote left open?"


def test_a_cell_that_is_too_long_is_left_out():
    columns, _ = noted((1, "x" * 200_000)).insert([from_strings([])], [0])
    assert columns[0].to_pylist() == [None]
