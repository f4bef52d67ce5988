"""Small CSV tables, readers of their columns, and a function to read a whole table."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading
from anomaly_vae.table import ReadOptions, Table
from anomaly_vae.table.sources.files import open_pipe

CITIES = "id,city\n1,Oslo\n2,Rome\n3,\n4,Oslo\n"


def reader_of(*names, texts=None, markers=(), grows=False, **readings):
    """Return a reader of numbers; of the categories in ``texts`` by column, or of the given readings by column."""
    readings = {name: NumberReading() for name in names} | readings
    inputs = [Input(name=name, reading=reading) for name, reading in readings.items()]
    inputs += [Input(name=name, reading=TextReading()) for name in texts or {} if name not in readings]
    return CellReader(inputs, CodeBook(texts, grows=grows), Markers(markers))


def read(table, reader=None, keep=()):
    """Return all rows, faults and kept columns of a table; by default, and for a list of names, read as numbers."""
    reader = reader if isinstance(reader, CellReader) else reader_of(*(reader or table.names))
    batches = list(table.batches(reader, keep))
    rows = np.concatenate([batch.rows for batch in batches]) if batches else np.empty((0, len(reader.names)))
    faults = [fault and (fault.kind, fault.text) for batch in batches for fault in batch.faults]
    kept = pa.Table.from_batches([batch.kept for batch in batches]) if batches else None
    return rows, faults, kept


def csv_table(text: str | bytes, missing_values=(), **options) -> Table:
    """Return a table that is read from a pipe called "text"."""
    data = text.encode() if isinstance(text, str) else text
    return Table(open_pipe(io.BytesIO(data), "text", ReadOptions(**options)), missing_values)
