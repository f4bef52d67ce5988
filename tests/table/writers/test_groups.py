"""Small batches become large groups, in order."""

from __future__ import annotations

import contextlib

import pyarrow as pa

from anomaly_vae.table.writers.groups import RowGroups


def batch(start, rows):
    return pa.RecordBatch.from_pydict({"x": list(range(start, start + rows))})


def test_groups_are_large_and_complete():
    tables = []
    with RowGroups(tables.append) as groups:
        for start in range(0, 100_000, 1000):
            groups.write(batch(start, 1000))
    assert [table.num_rows for table in tables] == [66_000, 34_000]
    assert pa.concat_tables(tables)["x"].to_pylist() == list(range(100_000))


def test_nothing_is_written_after_an_error():
    tables = []
    with contextlib.suppress(ZeroDivisionError), RowGroups(tables.append) as groups:
        groups.write(batch(0, 1))
        raise ZeroDivisionError
    assert tables == []
    with RowGroups(tables.append):
        pass
    assert tables == []
