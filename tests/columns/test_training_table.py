"""A table to train on, and the order of its categories."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.reading.records import NumberReading, TextReading
from anomaly_vae.columns.training_table import TrainingTable, sort_categories
from anomaly_vae.errors import InvalidInput


def test_the_codes_of_categories_do_not_depend_on_the_order_of_the_rows():
    rows = np.array([[5.0, 0.0], [6.0, 1.0], [7.0, np.nan], [8.0, 0.0]])
    found, other = rows.copy(), rows[::-1].copy() * [1.0, -1.0] + [0.0, 1.0]
    categories = sort_categories([found], ["x", "town"], {"town": ("Rome", "Oslo")})
    np.testing.assert_array_equal(found, [[5.0, 1.0], [6.0, 0.0], [7.0, np.nan], [8.0, 1.0]])
    assert categories == {"town": ("Oslo", "Rome")}
    same = sort_categories([other], ["x", "town"], {"town": ("Oslo", "Rome")})
    np.testing.assert_array_equal(other[::-1], found)
    assert same == categories


def test_a_column_without_any_text_has_no_codes():
    rows = np.full((2, 1), np.nan)
    categories = sort_categories([rows], ["town"], {"town": ()})
    assert np.isnan(rows).all()
    assert categories == {"town": ()}


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_character_is_refused_by_the_name_of_its_column(text):
    with pytest.raises(InvalidInput, match=r"column 'town' holds .*, which is no valid Unicode text") as caught:
        sort_categories([np.zeros((1, 1))], ["town"], {"town": (text,)})
    assert caught.value.field == "town"


def test_a_table_of_numbers_has_plain_columns_and_the_texts_that_are_listed():
    table = TrainingTable.of_numbers(np.zeros((2, 2)), ("x", "town"), {"town": ("Oslo",)})
    assert [each.reading for each in table.used_inputs] == [NumberReading(), TextReading()]
    assert (table.has_names, table.findings, table.missing_values) == (False, (), ())
