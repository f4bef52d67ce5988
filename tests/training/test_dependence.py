"""Correlated columns, and columns that are copies of others."""

from __future__ import annotations

import numpy as np

from anomaly_vae.columns.features import Features
from anomaly_vae.training.columns import plan_columns
from anomaly_vae.training.dependence import has_structure, linear_copies
from anomaly_vae.training.fit import resolve_config
from tests.support.schemas import infer_schema
from tests.support.training import QUICK


def test_correlation_is_found_despite_missing_cells_and_categories():
    """It is computed over the rows with both cells; the features of one categorical column do not count."""
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=600).astype(float)
    linked = np.column_stack([group, group * 2.0 + rng.normal(size=600)])
    apart = np.column_stack([rng.permutation(group), linked[:, 1]])
    for rows, expected in ((linked, True), (apart, False)):
        gaps = np.where(rng.random(rows.shape) < 0.4, np.nan, rows)
        schema = infer_schema(gaps, ("a", "b"), categories={"a": ("x", "y", "z")})
        columns = plan_columns(schema, gaps, resolve_config(QUICK, schema, 600))
        assert has_structure(Features(schema, columns), gaps) is expected


def features_of(rows):
    schema = infer_schema(rows, tuple("abcdefgh"[: rows.shape[1]]))
    return Features(schema, plan_columns(schema, rows, resolve_config(QUICK, schema, 600)))


def test_a_column_that_others_determine_is_a_copy_and_one_with_noise_is_not():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 3))
    copied = np.column_stack([z, z[:, 0] - 2.0 * z[:, 1]])
    np.testing.assert_array_equal(linear_copies(features_of(copied), copied), [True, True, False, True])
    noisy = copied + 0.2 * rng.normal(size=copied.shape)
    assert not linear_copies(features_of(noisy), noisy).any()


def test_few_rows_show_no_copies():
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(10, 1)), 8, axis=1)
    assert not linear_copies(features_of(rows), rows).any()
