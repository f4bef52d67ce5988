"""Tables as people save them: some rows of each day, written to files of all kinds."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

__all__ = ["CITIES", "ROWS", "csv", "days", "frame", "saved"]

ROWS = 160
CITIES = ("Malmö", "Oslo", "Zürich")


def frame(day: int = 0, num_rows: int = ROWS) -> pd.DataFrame:
    """Return rows with two dependent numbers, a count and a text."""
    rng = np.random.default_rng(day)
    t = rng.normal(size=num_rows)
    return pd.DataFrame(
        {
            "x": np.round(t, 3),
            "y": np.round(100.0 + 2.0 * t + rng.normal(size=num_rows), 1),
            "n": rng.poisson(4.0, size=num_rows),
            "city": rng.choice(CITIES, size=num_rows),
        }
    )


def days(day: int = 0, num_rows: int = ROWS) -> pd.Series:
    """Return the times of these rows: three a day from 2024-01-01 on, and from 2024-04-01 on for another day."""
    start = pd.Timestamp("2024-01-01") + pd.Timedelta(days=91 * day)
    hours = np.random.default_rng(day).integers(6, 20, size=num_rows)
    row = np.arange(num_rows)
    return pd.Series(start + pd.to_timedelta(row // 3, unit="D") + pd.to_timedelta(hours, unit="h"))


def csv(change=None, **options):
    """Return a writer of CSV; ``change`` turns the rows and the day into the table to write."""

    def write(path, day):
        table = frame(day) if change is None else change(frame(day), day)
        path.write_bytes(table.to_csv(**{"index": False} | options).encode(options.get("encoding", "utf-8")))

    return write


def saved(how, change=None):
    """Return a writer of another format by its name."""

    def write(path, day):
        table = frame(day) if change is None else change(frame(day), day)
        _WRITERS[how](table, path)

    return write


def _compressed(kind):
    def write(table, path):
        with pa.output_stream(path, compression=kind) as file:
            file.write(table.to_csv(index=False).encode())

    return write


def _stream(table, path):
    table = pa.Table.from_pandas(table, preserve_index=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def _lines(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))


_WRITERS = {
    "gzip": lambda table, path: path.write_bytes(gzip.compress(table.to_csv(index=False).encode())),
    "zstd": _compressed("zstd"),
    "parquet": lambda table, path: table.to_parquet(path, index=False),
    "arrow parquet": lambda table, path: pq.write_table(table, path),
    "feather": lambda table, path: feather.write_feather(table, path),
    "stream": _stream,
    "pandas jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    "jsonl": _lines,
    "pickle": lambda table, path: table.to_pickle(path),
}
