"""What is said about the columns of two models."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from anomaly_vae.cli.schema_differences import schema_differences
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from tests.support.schemas import infer_schema
from tests.support.shaped_scorers import image_schema

RNG = np.random.default_rng(0)
ROWS = np.column_stack([RNG.normal(size=200), RNG.integers(0, 3, 200), RNG.normal(size=200)])


def schema(names=("a", "city", "c"), cities=("Bern", "Oslo", "Rome"), whole=False):
    rows = ROWS.copy()
    if whole:
        rows[:, 0] = np.round(20 * rows[:, 0])
    return infer_schema(rows, names, categories={"city": cities}, kinds={"a": "integer"} if whole else {})


def test_equal_columns_have_no_differences():
    assert schema_differences(schema(), schema()) == ([], [])


def test_columns_of_one_model_and_other_kinds_are_named():
    found = schema_differences(schema(), schema(("a", "city", "other"), whole=True))
    assert found.columns == [
        "only A uses 'c'",
        "only B uses 'other'",
        "column 'a' is continuous in A and integer in steps of 1 in B",
    ]


def test_another_grid_is_another_kind():
    """The density of whole numbers is one per step: with another step, log p(x) has another unit."""
    whole = np.round(ROWS * 20)
    a, b = (infer_schema(rows, ("a", "b", "c"), kinds={"b": "integer"}) for rows in (whole, whole * 2))
    assert any(
        "in steps of 1 in A" in text and "in steps of 2 in B" in text for text in schema_differences(a, b).columns
    )


def test_images_are_compared_by_size_and_by_their_constant_pixels():
    grey, wide = (image_schema(ImageShape(height=2, width=width)) for width in (2, 3))
    assert schema_differences(grey, grey) == ([], [])
    assert schema_differences(grey, wide).columns == [
        "A takes images of 2 x 2 x 1 and B of 2 x 3 x 1 (height x width x channels)"
    ]
    border = replace(grey, columns=(replace(grey.columns[0], kind="constant", value=0.0), *grey.columns[1:]))
    assert schema_differences(grey, border).columns == ["1 of 4 pixels are constant in one model only"]
    with pytest.raises(ConfigError, match="MODEL_A scores images and MODEL_B rows of a table"):
        schema_differences(grey, schema())


def test_categories_are_told_apart_from_columns():
    found = schema_differences(schema(), schema(cities=("Bern", "Oslo", "Turin")))
    assert found == ([], ["column 'city': only A knows 'Rome'", "column 'city': only B knows 'Turin'"])
