"""Scores as Arrow columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.arrow.results import CONTRAST, FLAG_SCHEMA, OUTPUT_SCHEMA, result_columns
from tests.support.served import scores_of

FIELDS = pa.schema([OUTPUT_SCHEMA.field(name) for name in ("score", "is_anomaly", "reason")])


def test_given_columns_take_the_place_of_scores():
    usable = np.ones(4, dtype=bool)
    given = {"score": pa.array([1.0, None, 2.0, 3.0])}
    columns = result_columns(FIELDS, scores_of(4), usable, [None] * 4, given)
    assert columns[0].to_pylist() == [1.0, None, 2.0, 3.0]
    assert columns[2].to_pylist() == ["reason 0", None, "reason 2", None]


def test_rows_with_a_fault_have_nulls_and_its_text():
    usable = np.array([True, False, True])
    faults = [None, Fault("unreadable", "broken"), None]
    columns = result_columns(OUTPUT_SCHEMA, scores_of(2), usable, faults)
    assert [column.type for column in columns] == OUTPUT_SCHEMA.types
    by_name = dict(zip(OUTPUT_SCHEMA.names, columns, strict=True))
    assert by_name.pop("reason").to_pylist() == ["reason 0", "broken", None]
    assert [column.is_valid().to_pylist()[1] for column in by_name.values()] == [False] * len(by_name)


def test_flags_and_the_contrast_are_among_the_columns_of_scores():
    """A reader of scores may take the flags of either, and a contrast is one column more."""
    assert set(FLAG_SCHEMA) <= set(OUTPUT_SCHEMA)
    assert CONTRAST.name not in OUTPUT_SCHEMA.names
