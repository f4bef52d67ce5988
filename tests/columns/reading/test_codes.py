"""Texts become the codes of categories."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.reading import codes
from anomaly_vae.columns.reading.codes import UNSEEN, CodeBook


def test_a_book_of_training_grows_in_the_order_of_the_texts():
    book = CodeBook(grows=True)
    np.testing.assert_array_equal(book.encode("city", ["Oslo", "Rome", None, "Oslo"]), [0, 1, np.nan, 0])
    np.testing.assert_array_equal(book.encode("city", ["Bonn", "Rome"]), [2, 1])
    assert book.categories == {"city": ("Oslo", "Rome", "Bonn")}


def test_a_book_of_a_model_does_not_grow():
    """A text that is not a category becomes -1, which the model treats as novel."""
    book = CodeBook({"city": ("Bonn", "Oslo")})
    np.testing.assert_array_equal(book.encode("city", ["Oslo", "Rome", None]), [1, UNSEEN, np.nan])
    assert book.categories == {"city": ("Bonn", "Oslo")}


@pytest.mark.parametrize("grows", [False, True])
def test_no_cells_are_an_empty_array_of_numbers(grows):
    found = CodeBook({"city": ("Oslo",)}, grows=grows).encode("city", [])
    assert (found.shape, found.dtype) == ((0,), np.float64)


def test_texts_beyond_the_limit_of_a_book_share_one_code(monkeypatch):
    """It bounds the memory that names take. Such a column will be left out: its codes only have to be many."""
    monkeypatch.setattr(codes, "_MOST_TEXTS", 3)
    book = CodeBook(grows=True)
    np.testing.assert_array_equal(book.encode("name", list("abcde")), [0, 1, 2, 3, 3])
    np.testing.assert_array_equal(book.encode("name", ["b", None, "f", "d"]), [1, np.nan, 3, 3])
    assert book.categories == {"name": ("a", "b", "c", "(other texts)")}
