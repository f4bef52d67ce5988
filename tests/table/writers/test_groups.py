"""Small batches become large groups, in order."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from anomaly_vae.table.writers.groups import RowGroups


def batch(start, rows):
    return pa.RecordBatch.from_pydict({"x": list(range(start, start + rows))})


class Written(list):
    write = list.append


@pytest.mark.parametrize("sizes", [[1000] * 100, [99_000, 1000], [100_000], [1, 65_535, 0, 34_464]])
def test_groups_have_one_size_and_are_complete(sizes):
    groups, start = Written(), 0
    with RowGroups(groups) as cut:
        for size in sizes:
            cut.write(batch(start, size))
            start += size
    assert [group.num_rows for group in groups] == [65_536, 34_464]
    assert pa.Table.from_batches(groups)["x"].to_pylist() == list(range(100_000))


def test_the_size_can_be_chosen():
    groups = Written()
    with RowGroups(groups, 3) as cut:
        cut.write(batch(0, 7))
    assert [group.num_rows for group in groups] == [3, 3, 1]


def test_nothing_is_written_after_an_error():
    tables = Written()
    with contextlib.suppress(ZeroDivisionError), RowGroups(tables) as groups:
        groups.write(batch(0, 1))
        raise ZeroDivisionError
    assert tables == []
    with RowGroups(tables):
        pass
    assert tables == []
