"""A matrix is written in parts, and numpy reads it."""

from __future__ import annotations

import contextlib
import decimal
import io

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.table.writers.npy import NpyWriter, fits_matrix


def written(*batches):
    file = io.BytesIO()
    with NpyWriter(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write(batch)
    file.seek(0)
    return np.load(file, allow_pickle=False)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1000])
def test_any_number_of_rows_is_read_back(count):
    batches = [pa.RecordBatch.from_pydict({"x": [0.1, 0.2], "y": [i, i]}) for i in range(max(count, 1))]
    rows = written(*[batch if count else batch.slice(0, 0) for batch in batches])
    assert rows.dtype == np.float64
    assert rows.shape == (2 * count, 2)
    np.testing.assert_array_equal(rows[1::2, 0], [0.2] * count)
    np.testing.assert_array_equal(rows[::2, 1], range(count))


def test_booleans_are_0_and_1_nulls_are_nan_and_texts_are_left_out():
    batch = pa.RecordBatch.from_pydict(
        {"b": [True, False, None], "reason": ["a", "b", "c"], "n": [None, 2, 3], "d": [decimal.Decimal("1.5")] * 3}
    )
    np.testing.assert_array_equal(written(batch), [[1, np.nan, 1.5], [0, 2, 1.5], [np.nan, 3, 1.5]])


def test_the_header_is_not_completed_after_an_error():
    file = io.BytesIO()
    batch = pa.RecordBatch.from_pydict({"x": [1.0]})
    with contextlib.suppress(ZeroDivisionError), NpyWriter(file, batch.schema) as writer:
        writer.write(batch)
        raise ZeroDivisionError
    file.seek(0)
    assert np.load(file).shape == (0, 1)


def test_types_that_fit():
    assert all(map(fits_matrix, (pa.int8(), pa.float16(), pa.bool_(), pa.decimal128(3, 1), pa.null())))
    assert not any(map(fits_matrix, (pa.string(), pa.timestamp("s"), pa.list_(pa.int8()), pa.binary())))
