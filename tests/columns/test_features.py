"""Rows in data units to the networks' input, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import CategoricalHead, ColumnModel, VonMisesHead
from anomaly_vae.columns.schema import Column, Schema
from tests.support.heads import ONE, log_prob, wide_grid
from tests.support.models import ALL, COLUMNS, columns_of, features_of, rows_of, schema_of


def test_a_power_transformed_column_has_the_density_of_scipys_transform():
    """Yeo-Johnson by scipy and its slope by differences share no code with ours."""
    grid = np.linspace(-4.0, 12.0, 20001)
    transformed = stats.yeojohnson((grid - 2.0) / 1.5, lmbda=0.3)
    slope = np.abs(np.gradient(transformed, grid))
    wanted = stats.norm(ONE[0] * 0.8 + 0.1, 0.8 * math.exp(-0.25)).logpdf(transformed) + np.log(slope)
    np.testing.assert_allclose(log_prob("bent", grid, ONE)[1:-1], wanted[1:-1], atol=1e-5)


def test_a_power_transformed_density_integrates_to_one():
    grid = wide_grid(2.0)
    assert np.trapezoid(np.exp(log_prob("bent", grid, ONE)), grid) == pytest.approx(1.0, abs=2e-4)


def test_decoding_inverts_encoding():
    """Rows to model units and one-hot codes and back: sampling inverts what scoring does."""
    rows = rows_of(50, *ALL)
    features = Features(schema_of(*ALL), columns_of(*ALL))
    inputs = features.encode(rows)
    values = []
    for block in features.layout.blocks:
        part = inputs.x[:, block.features]
        if block.kind == "categorical":
            part = part.reshape(len(rows), -1, 3).argmax(axis=2).astype(np.float64)
        elif block.kind == "von_mises":
            part = np.arctan2(part[:, 1::2], part[:, ::2])
        values.append(part)
    np.testing.assert_allclose(features.decode(np.concatenate(values, axis=1)), rows, rtol=1e-9, atol=1e-9)
    assert np.all(inputs.mask == 1.0)


def test_a_value_on_a_circle_is_the_cosine_and_sine_of_its_angle():
    """So the features are continuous where the period starts again, and any number of whole periods changes nothing."""
    features = features_of("gaussian", "cyclic")
    hours = np.array([0.0, 6.0, 12.0, 23.999999])
    inputs = features.encode(np.column_stack([np.full(4, 40.0), hours]))
    np.testing.assert_allclose(inputs.x[:, 1:], [[1, 0], [0, 1], [-1, 0], [1, 0]], atol=1e-6)
    for periods in (1, -1, 1000):
        shifted = features.encode(np.column_stack([np.full(4, 40.0), hours + periods * 24.0]))
        np.testing.assert_allclose(shifted.x, inputs.x, atol=1e-10)
    gap = features.encode(np.array([[40.0, np.nan]]))
    np.testing.assert_array_equal(gap.mask, [[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(gap.x[:, 1:], 0.0)
    assert gap.base[0] == pytest.approx(inputs.base[0] - np.log(2.0 * np.pi / 24.0))


def test_decoded_angles_are_on_the_grid_and_within_one_period():
    column = Column(name="day", kind="cyclic", period=7.0, step=1.0, origin=0.0)
    features = Features(Schema(columns=(column,)), [ColumnModel(head=VonMisesHead(period=7.0, limit=4.0, step=1.0))])
    angles = np.array([-0.1, 0.0, 0.5, 3.1, 6.2, 2.0 * np.pi])
    np.testing.assert_array_equal(features.decode(angles[:, None])[:, 0], [0.0, 0.0, 1.0, 3.0, 0.0, 0.0])


def test_the_part_of_a_missing_angle_is_that_of_the_uniform_distribution():
    """Nothing is known about it: 1 / period, or 1 / 7 for the days of a week."""
    assert features_of("cyclic").unit_log_density(0) == pytest.approx(-np.log(24.0))
    head = VonMisesHead(period=7.0, limit=4.0, step=1.0)
    assert head.unit_log_density(None) == pytest.approx(-np.log(7.0))


def test_a_missing_cell_has_mask_0_and_adds_nothing_to_the_base():
    """Its features are 0. Categories are one-hot, so all three features of the column are masked."""
    names = ("categorical", "gaussian", "count")
    rows = rows_of(6, *names)
    whole = features_of(*names).encode(rows)
    rows[:, 0] = np.nan
    gap = features_of(*names).encode(rows)
    np.testing.assert_array_equal(gap.mask, [[1.0, 1.0, 0.0, 0.0, 0.0]] * 6)
    np.testing.assert_array_equal(gap.x[:, 2:], 0.0)
    np.testing.assert_array_equal(gap.x[:, :2], whole.x[:, :2])
    np.testing.assert_array_equal(gap.base, whole.base)  # a category has no units
    rows[:, 1] = np.nan
    np.testing.assert_allclose(features_of(*names).encode(rows).base, whole.base - math.log(4.0))


def test_a_huge_value_is_clipped_so_that_its_square_fits_float32():
    inputs = features_of("gaussian", "bent").encode(np.array([[1e300, -1e300], [-1.7e308, 1.7e308]]))
    assert np.isfinite(np.square(inputs.x).astype(np.float32)).all()
    assert np.abs(inputs.x).max() == 1e15
    assert np.isfinite(inputs.base).all()


def test_a_density_of_one_in_standardised_units_is_given_in_data_units():
    """1 / scale for numbers, its product with the step on a grid, the cell of a logistic head; none without units."""
    names = ("categorical", "gaussian", "grid", "logistic", "count")
    got = [features_of(*names).unit_log_density(m) for m in range(5)]
    assert got == [None, pytest.approx(math.log(4.0)), pytest.approx(math.log(0.4)), pytest.approx(math.log(0.5)), None]


def test_decoded_rows_hold_constants_and_points_of_the_grid():
    constant = Column(name="unit", kind="constant", value=7.0)
    schema = Schema(columns=(COLUMNS["grid"][0], constant, COLUMNS["gaussian"][0]))
    rows = Features(schema, columns_of("grid", "gaussian")).decode(np.array([[0.13, 0.13]]))
    np.testing.assert_allclose(rows, [[40.0, 7.0, 40.0 + 0.25 * 0.13]], rtol=1e-12)


RARE = Column(name="name", kind="categorical", categories=tuple("abcde"), rare=(0, 3, 4))
UNLEARNED = Column(name="name", kind="categorical", categories=tuple("abcd"), rare=(1,), other_share=0.05)
CONSTANT = Column(name="unit", kind="constant", value=7.0, other_share=0.01)


def with_head(column, size):
    schema = Schema(columns=(column, COLUMNS["gaussian"][0], CONSTANT))
    return Features(schema, (ColumnModel(head=CategoricalHead(size=size)), COLUMNS["gaussian"][1]))


def test_rare_and_unknown_categories_are_the_last_level():
    """So the networks know both, and an unknown category has the probability that rare ones taught."""
    features = with_head(RARE, 3)
    codes = np.array([0.0, 1.0, 2.0, 3.0, 4.0, -1.0, np.nan])
    inputs = features.encode(np.column_stack([codes, np.full((7, 2), [40.0, 7.0])]))
    expected = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(inputs.x[:, 1:], expected)
    np.testing.assert_array_equal(inputs.mask[:, 1:], np.repeat([[1.0], [0.0]], [6, 1], axis=0) * np.ones(3))
    np.testing.assert_array_equal(inputs.base, inputs.base[0])


def test_the_level_of_rare_categories_is_drawn_as_one_of_them():
    """The others keep their category. Without a generator it is the first rare one."""
    features = with_head(RARE, 3)
    levels = np.column_stack([np.zeros(600), np.repeat([0.0, 1.0, 2.0], 200)])
    drawn = features.decode(levels, np.random.default_rng(0))[:, 0]
    assert [sorted(set(part)) for part in np.split(drawn, 3)] == [[1.0], [2.0], [0.0, 3.0, 4.0]]
    assert set(features.decode(levels)[400:, 0]) == {0.0}
    plain = with_head(UNLEARNED, 3).decode(levels, np.random.default_rng(0))[:, 0]
    assert [set(part) for part in np.split(plain, 3)] == [{0.0}, {2.0}, {3.0}]


def test_values_outside_a_column_have_its_share_and_the_others_the_rest():
    """The probabilities of all values of a column sum to 1: log p(x) is a log-density with novel values as well."""
    features = with_head(UNLEARNED, 3)
    rows = np.array([[0, 40, 7], [1, 40, 7], [-1, 40, 7], [0, 40, 8], [-1, 40, 8], [np.nan, 40, np.nan]], dtype=float)
    inputs = features.encode(rows)
    known, unknown = math.log(0.95), math.log(0.05)
    shares = [known, unknown, unknown, known, unknown, 0.0]
    changed = [math.log(0.99)] * 3 + [math.log(0.01)] * 2 + [0.0]
    np.testing.assert_allclose(inputs.base - math.log(4.0), np.add(shares, changed), atol=1e-12)
    np.testing.assert_array_equal(inputs.mask[:, 1], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0])


def test_the_base_of_a_row_has_the_same_bits_alone_and_in_any_batch():
    """A table of many columns: the order of a sum must not depend on the number of rows or their layout in memory."""
    columns = [Column(name=str(i), kind="constant", value=0.0, other_share=1 / (i + 3)) for i in range(300)]
    features = Features(Schema(columns=(COLUMNS["gaussian"][0], *columns)), columns_of("gaussian"))
    rows = np.column_stack([rows_of(40, "gaussian"), np.random.default_rng(0).random((40, 300)) < 0.3])
    whole = features.encode(rows).base
    np.testing.assert_array_equal(features.encode(np.asfortranarray(rows)).base, whole)
    np.testing.assert_array_equal([features.encode(row[None]).base[0] for row in rows], whole)
