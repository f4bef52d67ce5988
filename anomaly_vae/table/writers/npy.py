"""A matrix as numpy.load reads it, written row by row: its header is completed at the end."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import to_float64

__all__ = ["NpyWriter", "fits_matrix"]


class NpyWriter:
    """Writes the columns that are numbers or booleans as float64, false and true as 0 and 1, null as NaN.

    Other columns, such as the texts of ``reason``, are left out. Whole numbers beyond 2**53 are rounded.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._places = [place for place, field in enumerate(schema) if fits_matrix(field.type)]
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        columns = [to_float64(batch.column(place)) for place in self._places]
        self._file.write(np.stack(columns, axis=1).astype("<f8").tobytes())
        self._rows += batch.num_rows

    def __enter__(self) -> NpyWriter:
        self._write_header()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        """Write the header for the rows so far. numpy pads it, so that any number of rows has the same length."""
        facts = {"descr": "<f8", "fortran_order": False, "shape": (self._rows, len(self._places))}
        np.lib.format.write_array_header_1_0(self._file, facts)


def fits_matrix(kind: pa.DataType) -> bool:
    """Return whether the values of a type are numbers or booleans."""
    types = pa.types
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    return any(check(kind) for check in checks)
