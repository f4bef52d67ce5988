"""The transform and the head of each column before training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.heads import (
    BernoulliHead,
    CategoricalHead,
    ConditionalHead,
    CountHead,
    GaussianHead,
    LogisticHead,
    PixelHead,
    StudentTHead,
)
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.transforms import Standardise, YeoJohnson
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.training.columns import plan_columns, standardise, yeo_johnson
from anomaly_vae.training.config import TrainConfig

GAUSSIAN = TrainConfig(likelihood="gaussian", column_transform="standardise")
CONTINUOUS = Column(name="a", kind="continuous")
GRID = Column(name="a", kind="integer", step=2.0)
WHOLE = np.arange(8.0)[:, None]


def planned(column, values=WHOLE, **options):
    (model,) = plan_columns(Schema(columns=(column,)), np.asarray(values), replace(GAUSSIAN, **options))
    return model


@pytest.mark.parametrize(
    ("column", "options", "head"),
    [
        (CONTINUOUS, {}, GaussianHead),
        (CONTINUOUS, {"likelihood": "auto"}, GaussianHead),
        (CONTINUOUS, {"decoder_variance": "conditional"}, ConditionalHead),
        (CONTINUOUS, {"likelihood": "student_t"}, StudentTHead),
        (CONTINUOUS, {"likelihood": "logistic"}, GaussianHead),  # its values are not on a grid
        (GRID, {"likelihood": "logistic"}, LogisticHead),
        (GRID, {"likelihood": "count"}, CountHead),
        (GRID, {"likelihood": "pixel"}, GaussianHead),  # it is no image in bytes
        (Column(name="a", kind="binary"), {"likelihood": "student_t"}, BernoulliHead),
        (Column(name="a", kind="count"), {"likelihood": "student_t"}, CountHead),
        (Column(name="a", kind="categorical", categories=("x", "y")), {}, CategoricalHead),
    ],
)
def test_the_head_follows_the_kind_of_the_column_and_then_the_options(column, options, head):
    values = WHOLE % 2 if column.kind in ("binary", "categorical") else WHOLE
    model = planned(column, values, **options)
    assert type(model.head) is head
    assert (model.transform is not None) == head.takes_transform


@pytest.mark.parametrize(
    ("shape", "options", "head"),
    [
        (ImageShape(height=2, width=2), {"likelihood": "pixel"}, PixelHead),
        (ImageShape(height=2, width=2), {"likelihood": "logistic"}, LogisticHead),
        (ImageShape(height=2, width=2), {"decoder_variance": "conditional"}, ConditionalHead),
        (ImageShape(height=2, width=2, depth="float", high=200.0), {"likelihood": "pixel"}, GaussianHead),
    ],
)
def test_bytes_of_images_may_have_the_head_of_pixels(shape, options, head):
    rows = np.random.default_rng(0).integers(3, 200, size=(50, 4)).astype(np.float64)
    models = plan_columns(plan_cells(shape, rows), rows, replace(GAUSSIAN, **options))
    assert {type(model.head) for model in models} == {head}
    if head is PixelHead:  # the range is that of bytes, not of the training images
        assert models[0].head == PixelHead(low=0.0, step=1.0, levels=256)
        assert models[0].transform == Standardise(center=127.5, scale=127.5)


def test_images_of_two_levels_keep_the_head_of_binary_columns():
    rows = np.random.default_rng(0).integers(2, size=(50, 4)).astype(np.float64)
    shape = ImageShape(height=2, width=2)
    models = plan_columns(plan_cells(shape, rows), rows, replace(GAUSSIAN, likelihood="pixel"))
    assert {type(model.head) for model in models} == {BernoulliHead}


def test_a_head_that_does_not_fit_is_refused_with_the_column():
    with pytest.raises(ConfigError, match="likelihood 'bernoulli': column 'a'"):
        planned(CONTINUOUS, likelihood="bernoulli")


def test_constant_columns_have_no_model_and_missing_cells_do_not_count():
    schema = Schema(columns=(Column(name="c", kind="constant", value=7.0), CONTINUOUS))
    rows = np.array([[7.0, 1.0], [7.0, np.nan], [7.0, 2.0], [7.0, 3.0]])
    (model,) = plan_columns(schema, rows, GAUSSIAN)
    assert model.transform == Standardise(center=2.0, scale=pytest.approx(np.sqrt(2.0 / 3.0)))


def test_a_skewed_column_is_bent_only_if_allowed_and_not_on_a_grid():
    """A power would make the cells of a grid unequal in width."""
    values = np.random.default_rng(0).lognormal(size=(500, 1))
    assert type(planned(CONTINUOUS, values, column_transform="auto").transform) is YeoJohnson
    assert type(planned(CONTINUOUS, values, column_transform="standardise").transform) is Standardise
    assert type(planned(GRID, np.ceil(values), column_transform="auto").transform) is Standardise


def test_values_are_standardised_after_far_ones_are_clipped_to_20_robust_deviations():
    """The quartiles of a normal distribution are 1.349 standard deviations apart."""
    values = stats.norm.ppf(np.linspace(0.001, 0.999, 999))
    line = standardise(values, "a")
    assert (line.center, line.scale) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    low, middle, high = np.percentile(outlier := np.append(values, 1e12), [25, 50, 75])
    clipped = np.minimum(outlier, middle + 20.0 * (high - low) / 1.349)
    line = standardise(outlier, "a")
    assert (line.center, line.scale) == (pytest.approx(clipped.mean()), pytest.approx(clipped.std()))


def test_mostly_equal_values_have_no_quartiles_and_are_not_clipped():
    values = np.array([0.0] * 99 + [1000.0])
    assert standardise(values, "a").scale == pytest.approx(values.std())


@pytest.mark.parametrize("values", [[1e308, -1e308, 1e308], [1e-320, 2e-320, 3e-320]])
def test_values_beyond_float64_are_refused_by_name(values):
    with pytest.raises(InvalidInput, match=r"column 'big' spans .* beyond what float64 can standardise") as error:
        standardise(np.array(values), "big")
    assert error.value.field == "big"


@pytest.mark.parametrize(("power", "mean", "std"), [(0.0, 1.0, 0.8), (0.5, 3.0, 2.0), (2.0, -1.0, 0.8)])
def test_the_power_that_made_the_values_is_found(power, mean, std):
    """Values that are normal after a Yeo-Johnson transform: the held-out density is largest near its power."""
    normal = np.random.default_rng(1).normal(size=4000)
    values = YeoJohnson(power=power, origin=0.0, unit=1.0, center=0.0, scale=1.0).inverse(mean + std * normal)
    line = Standardise(center=0.0, scale=1.0)
    bent = yeo_johnson(values, line)
    assert bent.power == pytest.approx(power, abs=0.11)
    y = bent.forward(values)
    assert (y.mean(), y.std()) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert yeo_johnson(normal, line) is None
