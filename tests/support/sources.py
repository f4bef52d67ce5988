"""Read a whole source, and count what it hands out."""

from __future__ import annotations

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.table.base import BATCH_ROWS
from anomaly_vae.table.sources import open_source


def cells(source, names=None):
    """Return the columns of a source as lists, and its faults as pairs."""
    names = list(source.names) if names is None else names
    columns, faults, positions = {name: [] for name in names}, [], [source.progress()[0]]
    for batch in source.batches(names):
        assert 0 < len(batch.faults) <= BATCH_ROWS
        assert batch.columns.schema.names == names
        assert [column.type for column in batch.columns.columns] == [source.type_of(name) for name in names]
        batch.columns.validate(full=True)
        for name in names:
            columns[name] += batch.columns.column(name).to_pylist()
        faults += [fault and tuple(fault) for fault in batch.faults]
        assert all(len(column) == len(faults) for column in columns.values())
        positions.append(source.progress()[0])
    assert positions == sorted(positions)
    done, total = source.progress()
    assert total is None or done == total
    return columns, faults


def open_bytes(folder, name, data, **options):
    """Open a file with these bytes or this text."""
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return open_source(str(path), ReadOptions(**options))


def read_bytes(folder, name, data, names=None, **options):
    """Return the cells and faults of a file with these bytes or this text."""
    return cells(open_bytes(folder, name, data, **options), names)
