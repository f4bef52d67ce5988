"""The Student's t head in training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.heads import StudentTHead
from anomaly_vae.columns.schema import Column
from anomaly_vae.training.torch_heads import STD_FLOOR
from anomaly_vae.training.torch_heads.student_t import StudentT
from tests.support.training import column_data, doubles, head_of


def test_the_density_is_scipys_summed_over_the_columns_that_are_present():
    head = head_of("student_t", "student_t", freedom=4.0)
    x, loc = doubles([1.0, -30.0]), doubles([0.5, 0.5])
    scale, freedom = (values.detach().numpy() for values in (torch.exp(head.log_scale), head.freedom))
    np.testing.assert_allclose(freedom, 4.0, rtol=1e-6)
    terms = stats.t(freedom, loc.numpy(), scale).logpdf(x.numpy())
    np.testing.assert_allclose(head(x, loc, torch.ones_like(x)).detach(), terms.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(head(x, loc, doubles([1.0, 0.0])).detach(), terms[:, 0], rtol=1e-9)


def test_the_scale_has_a_floor():
    """A column that the decoder predicts exactly must not have an infinite density."""
    head = head_of("student_t")
    with torch.no_grad():
        head.raw_log_scale.fill_(-100.0)
    assert math.exp(head.heads()[0].log_scale) == pytest.approx(STD_FLOOR, rel=1e-6)


@pytest.mark.parametrize(("raw", "freedom"), [(-100.0, 2.0 + math.exp(-4.0)), (100.0, 2.0 + math.exp(4.6)), (0.0, 3.0)])
def test_the_variance_stays_finite_and_the_freedom_bounded(raw, freedom):
    """A t distribution has a finite variance above 2 degrees of freedom."""
    head = head_of("student_t")
    with torch.no_grad():
        head.raw_freedom.fill_(raw)
    (record,) = head.heads()
    assert record.freedom == pytest.approx(freedom, rel=1e-9)
    assert math.isfinite(stats.t(record.freedom).var())


def test_training_starts_near_a_gaussian_of_the_column_s_variance():
    record = StudentT.initial(column_data([1, 2], Column(name="a", kind="continuous", step=0.5)))
    assert record == StudentTHead(log_scale=math.log(0.7), freedom=6.0, step=0.5)
    assert stats.t(6.0, scale=0.7).std() == pytest.approx(1.0, abs=0.2)
