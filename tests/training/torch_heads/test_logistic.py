"""The logistic head in training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.heads import LogisticHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.torch_heads import STD_FLOOR
from anomaly_vae.training.torch_heads.logistic import Logistic
from tests.support.models import BEND
from tests.support.training import column_data, doubles, head_of


def test_the_probability_is_that_of_the_cell_around_x():
    head = head_of("logistic", "logistic", log_scale=-0.7, cell=0.5)
    x, loc = doubles([0.5, -1.0]), doubles([0.2, 0.3])
    law = stats.logistic(loc.numpy(), np.exp(head.log_scale.detach().numpy()))
    terms = np.log(law.cdf(x.numpy() + 0.25) - law.cdf(x.numpy() - 0.25))
    np.testing.assert_allclose(head(x, loc, torch.ones_like(x)).detach(), terms.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(head(x, loc, doubles([1.0, 0.0])).detach(), terms[:, 0], rtol=1e-6)


def test_a_far_cell_has_a_finite_log_probability():
    """The difference of two values of the distribution function would be 0 there; the tail falls by 1 / scale."""
    head = head_of("logistic", log_scale=0.0, cell=0.5)
    near, far = (head(doubles([x]), doubles([0.0]), doubles([1.0])).item() for x in (1000.0, 2000.0))
    scale = torch.exp(head.log_scale).item()
    assert near - far == pytest.approx(1000.0 / scale, rel=1e-6)


def test_the_scale_has_a_floor():
    """A logistic distribution with standard deviation s has scale s sqrt(3) / pi."""
    head = head_of("logistic")
    with torch.no_grad():
        head.raw_log_scale.fill_(-100.0)
    floor = stats.logistic(scale=math.exp(head.heads()[0].log_scale)).std()
    assert floor == pytest.approx(STD_FLOOR, rel=1e-6)


def test_training_starts_at_half_a_standard_deviation_with_the_cell_of_the_grid():
    record = Logistic.initial(
        column_data([1, 3], Column(name="a", kind="integer", step=2.0), Standardise(center=0.0, scale=4.0))
    )
    assert record == LogisticHead(log_scale=math.log(0.5), step=2.0, cell=0.5)


@pytest.mark.parametrize(("step", "transform"), [(None, Standardise(center=0.0, scale=1.0)), (1.0, BEND)])
def test_only_values_on_a_grid_are_accepted(step, transform):
    with pytest.raises(ConfigError, match="likelihood 'logistic': the values of column 'a' are not on a grid"):
        Logistic.initial(column_data([1, 2], Column(name="a", kind="continuous", step=step), transform))
