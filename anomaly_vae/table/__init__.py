"""Tables of numbers and categories as streams of batches, in bounded memory: CSV and Parquet, CSV on standard input.

An empty cell is a missing value. A cell that should be a number and is not makes its row faulty; the other rows are
read. A column of the wrong type raises InvalidInput for the whole table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import Batch, Fault, Table, first_line
from anomaly_vae.table.codes import CodeBook
from anomaly_vae.table.csv import CsvTable
from anomaly_vae.table.output import Writer, check_ending, fits_csv, open_writer
from anomaly_vae.table.parquet import ParquetTable

__all__ = ["Batch", "CodeBook", "Fault", "Table", "Writer", "check_ending", "fits_csv", "open_table", "open_writer"]


def open_table(path: str) -> Table:
    """Open a table; its format follows from the ending, and ``-`` is CSV on standard input.

    Raises:
        InvalidInput: The file does not exist, its ending is unknown, or it is damaged.
    """
    if path == "-":
        if sys.stdin is None:
            raise InvalidInput("standard input is closed; give the name of a file")
        return CsvTable(sys.stdin.buffer, "standard input", None)
    file = Path(path)
    opener = {".csv": _open_csv, ".parquet": ParquetTable}.get(file.suffix.lower())
    if opener is None:
        raise InvalidInput(f"{path}: expected a file ending in .csv or .parquet, or - for CSV on standard input")
    try:
        return opener(file)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path}: damaged, or not the format of its ending: {first_line(error)}") from error


def _open_csv(path: Path) -> Table:
    return CsvTable(path.open("rb"), str(path), path.stat().st_size)
