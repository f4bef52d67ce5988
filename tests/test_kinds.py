"""What a column is taken for, what the user may say instead, and what is new to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.features import Features
from anomaly_vae.kinds import infer_schema, recode
from anomaly_vae.rows import to_matrix, to_rows
from anomaly_vae.schema import Column
from anomaly_vae.training.columns import standardise, yeo_johnson
from anomaly_vae.transforms import Standardise, YeoJohnson
from tests.models import ALL, BEND, columns_of, rows_of, schema_of

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
def test_kinds_are_read_off_the_values(values, kind, step):
    column = kind_of(values)
    assert column.kind == kind
    assert column.step == (None if step is None else pytest.approx(step, rel=1e-6))
    gaps = np.where(RNG.random(N) < 0.2, np.nan, values)
    assert kind_of(gaps).kind == kind


def test_texts_are_categories_and_those_of_training_only():
    """What only calibration rows have must be as new to the model as it would be in a row to score."""
    matrix = to_matrix(pd.DataFrame({"a": ["x", "y", None, "x"] * 5, "b": range(20)}))
    assert matrix.categories == {"a": ("x", "y")}
    rows = matrix.rows[matrix.rows[:, 0] != 1.0]
    schema = infer_schema(rows, matrix.names, categories=matrix.categories)
    assert schema.columns[0] == Column(name="a", kind="categorical", categories=("x",))
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


def test_the_user_knows_better():
    counts = RNG.integers(0, 30, size=N)
    assert kind_of(counts, kinds={"a": "count"}).kind == "count"
    assert kind_of(counts, kinds={"a": "continuous"}).kind == "continuous"
    matrix = to_matrix(pd.DataFrame({"zip": [1011, 9000, 1011, 8001] * 5, "b": range(20)}), frozenset({"zip"}))
    assert matrix.categories == {"zip": ("1011", "8001", "9000")}
    with pytest.raises(ConfigError, match="there is no such column"):
        kind_of(counts, kinds={"c": "count"})
    with pytest.raises(ConfigError, match="holds text such as 'x', so is categorical"):
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


def test_numbers_and_texts_of_a_category_are_the_same_in_every_form():
    schema = schema_of("categorical", "gaussian")
    wanted = [[0.0, 40.0], [2.0, np.nan], [np.nan, 41.0], [-1.0, 42.0]]
    texts, numbers = ["blue", "red", None, "mauve"], [40.0, None, 41.0, 42.0]
    frame = pd.DataFrame({"pressure": numbers, "colour": texts})
    forms = [
        frame,
        frame.assign(colour=pd.Categorical(texts)),
        frame.convert_dtypes(),
        pa.table({"colour": pa.array(texts).dictionary_encode(), "pressure": pa.array(numbers)}),
        pa.table({"colour": texts, "pressure": numbers, "extra": texts}),
        np.array([[t, n] for t, n in zip(texts, numbers, strict=True)], dtype=object),
        [[t, n] for t, n in zip(texts, numbers, strict=True)],
    ]
    for form in forms:
        np.testing.assert_array_equal(to_rows(form, schema), wanted)


def test_features_and_back_again_lose_nothing():
    """Model units and one-hot codes, then rows: what sampling undoes is what scoring does."""
    rows = rows_of(50, *ALL)
    features = Features(schema_of(*ALL), columns_of(*ALL))
    inputs = features.encode(rows)
    values = []
    for block in features.layout.blocks:
        part = inputs.x[:, block.features]
        if block.kind == "categorical":
            part = part.reshape(len(rows), -1, 3).argmax(axis=2).astype(np.float64)
        values.append(part)
    np.testing.assert_allclose(features.decode(np.concatenate(values, axis=1)), rows, rtol=1e-9, atol=1e-9)
    assert np.all(inputs.mask == 1.0)


def test_novel_cells_are_missing_to_the_model_and_named():
    schema, columns = schema_of("categorical", "bernoulli", "count"), columns_of("categorical", "bernoulli", "count")
    rows = np.array([[0.0, 1.0, 3.0], [-1.0, 1.0, 3.0], [0.0, 0.5, 3.0], [0.0, 1.0, -2.0], [0.0, 1.0, 2.5]])
    novel = schema.novel_cells(rows)
    np.testing.assert_array_equal(novel.sum(axis=1), [0, 1, 1, 1, 1])
    inputs = Features(schema, columns).encode(rows)
    np.testing.assert_array_equal(inputs.mask.sum(axis=1), [5, 2, 4, 4, 4])
    assert np.isfinite(inputs.x).all()
    assert schema.describe(novel, rows) == [
        None,
        "column 'colour' holds a category that training never had",
        "column 'is_open' was always 0 or 1 in training, is 0.5",
        "column 'visits' was always a whole number from 0 in training, is -2.0",
        "column 'visits' was always a whole number from 0 in training, is 2.5",
    ]


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.7, 2.0])
def test_yeo_johnson_is_scipy_s_and_has_an_inverse_and_a_slope(power):
    bend = YeoJohnson(power=power, origin=2.0, unit=1.5, center=0.1, scale=0.8)
    x = np.concatenate([np.linspace(-50.0, 60.0, 301), [2.0]])
    wanted = (stats.yeojohnson((x - 2.0) / 1.5, lmbda=power) - 0.1) / 0.8
    np.testing.assert_allclose(bend.forward(x), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bend.inverse(bend.forward(x)), x, rtol=1e-9)
    slope = (bend.forward(x + 1e-6) - bend.forward(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(bend.log_slope(x), np.log(slope), atol=1e-6)


def test_only_skewed_columns_are_bent():
    skewed, symmetric = RNG.lognormal(sigma=0.5, size=2000), RNG.normal(size=2000)
    bent = yeo_johnson(skewed, standardise(skewed, "a"))
    assert bent is not None
    y = bent.forward(skewed)
    assert abs(stats.skew(y)) < 0.5 < 1.0 < stats.skew(skewed)
    assert (y.mean(), y.std()) == pytest.approx((0.0, 1.0), abs=0.05)
    assert yeo_johnson(symmetric, standardise(symmetric, "a")) is None


def test_a_stray_value_cannot_flatten_its_column():
    values = np.concatenate([RNG.normal(size=1000), [1e12]])
    assert standardise(values, "a").scale < 2.0
    with pytest.raises(InvalidInput, match="column 'big' spans"):
        standardise(np.array([1e308, -1e308, 1e308]), "big")


def test_a_line_is_its_own_inverse():
    line = Standardise(center=5.0, scale=1e-6)
    x = RNG.normal(size=20)
    np.testing.assert_allclose(line.inverse(line.forward(x)), x, rtol=1e-9)
    assert line.log_slope(x)[0] == pytest.approx(6 * np.log(10.0))
    assert BEND.log_slope(np.array([2.0]))[0] == pytest.approx(-np.log(1.5 * 0.8))
