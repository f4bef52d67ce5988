"""Inferred kinds of columns, kinds set by the user, and their transforms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from anomaly_vae.columns.kinds import recode
from anomaly_vae.columns.rows import to_training_table
from anomaly_vae.columns.schema import Column
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.training.columns import standardise, yeo_johnson
from tests.support.schemas import infer_schema

RNG = np.random.default_rng(0)
N = 400


def kind_of(values, **options):
    rows = np.column_stack([np.asarray(values, dtype=np.float64), RNG.normal(size=len(values))])
    return infer_schema(rows, ("a", "b"), **options).columns[0]


@pytest.mark.parametrize(
    ("values", "kind", "step"),
    [
        (RNG.normal(size=N), "continuous", None),
        (np.round(RNG.normal(size=N), 1), "continuous", 0.1),
        (np.round(RNG.normal(size=N), 1) / 3.0 + 7.0, "continuous", 0.1 / 3.0),
        (RNG.integers(0, 9, size=N) * 5, "integer", 5.0),
        (RNG.integers(-1000, 1000, size=N), "integer", 1.0),
        (RNG.integers(0, 2, size=N), "binary", None),
        (RNG.integers(0, 2, size=N) * 4.0 - 1.0, "integer", 4.0),
        (np.where(RNG.random(N) < 0.6, 0.0, RNG.normal(size=N)), "continuous", None),
        (np.full(N, 0.1), "constant", None),
        (0.1 + 1e-17 * RNG.integers(0, 3, size=N), "constant", None),
        (1e8 + RNG.normal(size=N), "continuous", None),
        (np.exp(20 * RNG.normal(size=N)), "continuous", None),
        (RNG.choice([1e-300, 1.0, 1e300], size=N), "continuous", None),
    ],
)
def test_kinds_are_inferred_from_the_values(values, kind, step):
    column = kind_of(values)
    assert column.kind == kind
    assert column.step == (None if step is None else pytest.approx(step, rel=1e-6))
    gaps = np.where(RNG.random(N) < 0.2, np.nan, values)
    assert kind_of(gaps).kind == kind


def test_only_texts_of_training_rows_are_categories():
    """A text that only calibration rows have must be novel, as it would be in a row to score."""
    matrix = to_training_table(pd.DataFrame({"a": ["x", "y", None, "x"] * 5, "b": range(20)}))
    assert matrix.categories == {"a": ("x", "y")}
    rows = matrix.rows[matrix.rows[:, 0] != 1.0]
    schema = infer_schema(rows, ("a", "b"), categories=matrix.categories)
    assert schema.columns[0] == Column(
        name="a", kind="categorical", categories=("x",), other_share=1 / 12, novelty="lowest"
    )
    codes = recode(matrix.rows, schema, matrix.categories)[:4, 0]
    np.testing.assert_array_equal(codes, [0.0, -1.0, np.nan, 0.0])
    np.testing.assert_array_equal(
        schema.novel_cells(recode(matrix.rows, schema, matrix.categories))[:4, 0], codes == -1
    )


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (RNG.normal(size=N), "integer", "400 values, such as"),
        (RNG.integers(-3, 3, size=N), "count", "such as -3"),
        (RNG.integers(0, 3, size=N), "binary", "such as 2"),
        (RNG.normal(size=N), "colour", "400 values, such as"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused_by_name(values, kind, message):
    with pytest.raises(ConfigError, match=rf"a = '{kind}'.*{message}"):
        kind_of(values, kinds={"a": kind})


def test_the_user_can_set_the_kind():
    counts = RNG.integers(0, 30, size=N)
    assert kind_of(counts, kinds={"a": "count"}).kind == "count"
    assert kind_of(counts, kinds={"a": "continuous"}).kind == "continuous"
    frame = pd.DataFrame({"zip": [1011, 9000, 1011, 8001] * 5, "b": range(20)})
    assert to_training_table(frame, {"zip": "categorical"}).categories == {"zip": ("1011", "8001", "9000")}
    with pytest.raises(ConfigError, match="holds text such as 'x', so it is categorical"):
        infer_schema(np.zeros((3, 1)), ("a",), categories={"a": ("x",)}, kinds={"a": "integer"})


@pytest.mark.parametrize(
    ("rows", "categories", "message"),
    [
        (np.full((20, 2), np.nan), {}, "'a' is empty in all 20 training rows; exclude it"),
        (np.arange(60.0).reshape(30, 2), {"a": tuple(f"id{i}" for i in range(60))}, "30 different texts in 30 rows"),
        (np.ones((20, 2)), {}, "one single value"),
    ],
)
def test_columns_that_cannot_be_modelled_are_refused_by_name(rows, categories, message):
    with pytest.raises(InvalidInput, match=message):
        infer_schema(rows, ("a", "b"), categories=categories)


def test_only_skewed_columns_get_a_power_transform():
    skewed, symmetric = RNG.lognormal(sigma=0.5, size=2000), RNG.normal(size=2000)
    bent = yeo_johnson(skewed, standardise(skewed, "a"))
    assert bent is not None
    y = bent.forward(skewed)
    assert abs(stats.skew(y)) < 0.5 < 1.0 < stats.skew(skewed)
    assert (y.mean(), y.std()) == pytest.approx((0.0, 1.0), abs=0.05)
    assert yeo_johnson(symmetric, standardise(symmetric, "a")) is None


def test_an_outlier_cannot_flatten_its_column():
    values = np.concatenate([RNG.normal(size=1000), [1e12]])
    assert standardise(values, "a").scale < 2.0
    with pytest.raises(InvalidInput, match="column 'big' spans"):
        standardise(np.array([1e308, -1e308, 1e308]), "big")


def test_kinds_are_inferred_from_the_rows():
    """Two different values fit many kinds: whole numbers become integers with their distance as the step."""
    rows = np.array([[1.0, 3.0, 2.0], [4.0, 3.0, 5.5]])
    schema = infer_schema(rows, ("a", "b", "c"))
    assert schema.columns == (
        Column(name="a", kind="integer", step=3.0, origin=1.0),
        Column(name="b", kind="constant", value=3.0, other_share=1 / 4, novelty="lowest"),
        Column(name="c", kind="continuous"),
    )
    np.testing.assert_array_equal(schema.modelled, [0, 2])


@pytest.mark.parametrize(
    ("counts", "rare", "other_share", "num_levels"),
    [
        ((50, 50), (), 1 / 102, 2),
        ((50, 5, 5), (), 1 / 62, 3),
        ((50, 4, 1), (1, 2), None, 2),
        ((50, 4, 46), (1,), 5 / 102, 2),
        ((96, 3, 1), (1, 2), 5 / 102, 1),
        ((4, 4, 4), (0, 1, 2), None, 1),
        ((2, 1), (0, 1), 4 / 5, 0),
    ],
)
def test_rare_categories_share_a_level_if_together_they_have_five_rows(counts, rare, other_share, num_levels):
    """Fewer rows cannot teach a level: then a rare or unknown category has the probability (m + 1) / (n + 2)."""
    values = np.repeat(np.arange(len(counts)), counts).astype(float)
    rows = np.column_stack([values, RNG.normal(size=len(values))])
    column = infer_schema(rows, ("a", "b"), categories={"a": tuple("xyz")}).columns[0]
    assert (column.rare, column.other_share, column.num_levels) == (rare, other_share, num_levels)
    assert column.is_modelled == (num_levels > 1)
    assert column.novelty == ("density" if other_share is None else "lowest")


def test_every_kind_to_which_values_may_be_new_has_a_probability_for_them():
    """1 / (n + 2) with n values that are not missing; numbers and whole numbers have a density for every value."""
    gap = np.where(np.arange(100) < 10, np.nan, 1.0)
    rows = np.column_stack([gap * 3.0, np.arange(100) % 2, RNG.poisson(3.0, 100), RNG.normal(size=100), np.arange(100)])
    schema = infer_schema(rows, tuple("abcde"), kinds={"c": "count"})
    assert [column.kind for column in schema.columns] == ["constant", "binary", "count", "continuous", "integer"]
    assert [column.other_share for column in schema.columns] == [1 / 92, 1 / 102, 1 / 102, None, None]
    assert [column.novelty for column in schema.columns] == ["lowest", "lowest", "lowest", None, None]


def test_only_rare_categories_are_nothing_to_model():
    with pytest.raises(InvalidInput, match=r"or only categories in fewer than 5 rows"):
        infer_schema(np.arange(12.0)[:, None] // 2, ("a",), categories={"a": tuple("uvwxyz")})


def test_nothing_to_model_is_refused():
    with pytest.raises(InvalidInput, match="one single value"):
        infer_schema(np.array([[1.0, 3.0, 2.0]]), ("a", "b", "c"))


@pytest.mark.parametrize(
    ("values", "period", "step", "origin"),
    [
        (RNG.uniform(0.0, 24.0, size=N), 24.0, None, 0.0),
        (RNG.integers(0, 7, size=N), 7.0, 1.0, 0.0),
        (RNG.integers(0, 5, size=N) + 7.0 * RNG.integers(0, 9, size=N), 7.0, 1.0, 0.0),
        (RNG.integers(-50, 50, size=N) / 4.0, 24.0, 0.25, 0.0),
        (RNG.integers(0, 12, size=N) * 2.0 + 0.5, 24.0, 2.0, 0.5),
        (RNG.choice([9.0, 17.0], size=N), 24.0, None, 0.0),  # a few times of a day are no grid
        (RNG.integers(0, 4, size=N) * 7.0, 24.0, None, 0.0),  # whole steps do not lead around the circle
    ],
)
def test_a_cyclic_column_has_the_period_of_the_caller_and_the_grid_of_its_values(values, period, step, origin):
    column = kind_of(values, cyclic={"a": period})
    assert (column.kind, column.period) == ("cyclic", period)
    assert column.step == (None if step is None else pytest.approx(step, rel=1e-12))
    assert column.origin == pytest.approx(origin, abs=1e-12)
    assert column.is_modelled
    assert not column.can_be_novel


def test_a_cyclic_column_with_one_value_is_constant():
    column = kind_of(np.array([1.0, 25.0] * 50), cyclic={"a": 24.0})
    assert (column.kind, column.value, column.period) == ("constant", 1.0, None)


def test_a_cyclic_column_has_no_other_kind():
    with pytest.raises(ConfigError, match=r"a = 'integer': the values repeat after 7, so the column is cyclic"):
        kind_of(np.arange(50.0), cyclic={"a": 7.0}, kinds={"a": "integer"})
