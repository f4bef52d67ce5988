"""Texts become the codes of categories, from CSV and Parquet alike."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.table import CodeBook, open_table
from tests.support.tables import CITIES, csv_table, read


def cities(ending, folder):
    """The same table as CSV, or as Parquet."""
    if ending == "csv":
        return csv_table(CITIES)
    path = folder / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "city": ["Oslo", "Rome", None, "Oslo"]}), path)
    return open_table(str(path))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_becomes_categories_in_training(ending, tmp_path):
    book = CodeBook(grows=True)
    rows, faults, _ = read(cities(ending, tmp_path), book=book)
    np.testing.assert_array_equal(rows, [[1, 0], [2, 1], [3, np.nan], [4, 0]])
    assert faults == [None] * 4
    assert book.categories == {"city": ("Oslo", "Rome")}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_is_read_with_the_categories_of_the_model(ending, tmp_path):
    """A text that is not a category becomes -1, which the model treats as novel; no category is added."""
    book = CodeBook({"city": ("Bonn", "Oslo")})
    rows, faults, _ = read(cities(ending, tmp_path), book=book)
    np.testing.assert_array_equal(rows, [[1, 1], [2, -1], [3, np.nan], [4, 1]])
    assert faults == [None] * 4
    assert book.categories == {"city": ("Bonn", "Oslo")}
