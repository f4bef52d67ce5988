"""The Gaussian head whose variance depends on z, in training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.heads import RAW_LIMIT, ConditionalHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.training.torch_heads import STD_FLOOR
from anomaly_vae.training.torch_heads.conditional import Conditional
from tests.support.training import column_data, doubles, head_of


def test_the_density_is_scipys_summed_over_the_columns_that_are_present():
    """The decoder gives the means of all columns first, then the raw log-variances."""
    head = head_of("conditional", "conditional")
    x, loc, raw = doubles([1.0, -2.0]), doubles([0.5, 0.5]), doubles([-1.0, 0.3])
    terms = stats.norm(loc.numpy(), np.sqrt(STD_FLOOR**2 + np.exp(raw.numpy()))).logpdf(x.numpy())
    params = torch.cat([loc, raw], dim=-1)
    np.testing.assert_allclose(head(x, params, torch.ones_like(x)), terms.sum(axis=1), rtol=1e-8)
    np.testing.assert_allclose(head(x, params, doubles([0.0, 1.0])), terms[:, 1], rtol=1e-8)


@pytest.mark.parametrize("raw", [-1e9, 1e9])
def test_the_variance_is_bounded_on_both_sides(raw):
    """Without the lower bound an exactly predicted column would have an infinite density."""
    variance = STD_FLOOR**2 + math.exp(math.copysign(RAW_LIMIT, raw))
    density = head_of("conditional")(doubles([0.0]), doubles([0.0, raw]), doubles([1.0]))
    assert float(density) == pytest.approx(-0.5 * math.log(2.0 * math.pi * variance), rel=1e-7)


def test_the_floor_is_that_of_the_column_and_goes_into_the_record():
    """Half of a step of 2, in units of a standard deviation of 4."""
    column = Column(name="a", kind="integer", step=2.0)
    record = Conditional.initial(column_data([1, 3], column, Standardise(center=0.0, scale=4.0)))
    assert record == ConditionalHead(floor=0.25, step=2.0)
    (again,) = head_of("conditional", step=0.25).heads()  # the transform of the example has scale 0.25
    assert again == ConditionalHead(floor=0.5, step=0.25)
