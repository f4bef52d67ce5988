"""The negative binomial head in training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.errors import ConfigError
from anomaly_vae.training.torch_heads.count import Count
from tests.support.training import column_data, doubles, head_of

R = math.exp(0.5)


def test_the_density_is_scipys_summed_over_the_columns_that_are_present():
    """With n = r and success probability sigmoid(-logit) in scipy's terms."""
    head = head_of("count", "count", log_dispersion=0.5)
    x, logits = doubles([0.0, 7.0], [3.0, 200.0]), doubles([0.3, -1.0], [0.3, 2.0])
    terms = stats.nbinom(R, 1.0 / (1.0 + np.exp(logits.numpy()))).logpmf(x.numpy())
    np.testing.assert_allclose(head(x, logits, torch.ones_like(x)).detach(), terms.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(head(x, logits, doubles([0.0, 1.0])).detach(), terms[:, 1], rtol=1e-6)


def test_the_base_is_the_part_that_the_decoder_does_not_change():
    head = head_of("count", log_dispersion=0.5)
    x, mask = doubles([4.0]), doubles([1.0])
    for logit in (0.3, -1.0):
        p = 1.0 / (1.0 + math.exp(-logit))
        rest = head(x, doubles([logit]), mask) - head.base(x)[0]
        assert rest.item() == pytest.approx(4.0 * math.log(p) + R * math.log1p(-p), rel=1e-6)


def test_training_starts_at_the_mean_of_the_column():
    """The mean is r exp(logit)."""
    start = head_of("count", log_dispersion=0.5).start(doubles(4.0, 0.0))
    np.testing.assert_allclose(R * torch.exp(start), [4.0, 0.001], rtol=1e-6)  # a mean of 0 has no logarithm


@pytest.mark.parametrize(
    ("values", "dispersion"),
    [
        ([0, 0, 0, 8], 4.0 / (12.0 - 2.0)),  # mean 2, variance 12: r = mean^2 / (variance - mean)
        ([2, 2, 2, 3], 100.0),  # the variance is below the mean: close to Poisson
        ([0] * 999 + [1000], math.exp(-4.0)),  # r is 0.001 by moments: the lower limit
    ],
)
def test_the_first_dispersion_is_that_of_the_moments_within_limits(values, dispersion):
    record = Count.initial(column_data(values))
    assert math.exp(record.log_dispersion) == pytest.approx(dispersion, rel=1e-9)
    assert (record.center, record.scale) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values)))


@pytest.mark.parametrize(("raw", "learned"), [(-50.0, -5.0), (50.0, 10.0), (1.0, 1.0)])
def test_the_learned_dispersion_stays_within_limits(raw, learned):
    head = head_of("count")
    with torch.no_grad():
        head.raw_log_dispersion.fill_(raw)
    assert head.heads()[0].log_dispersion == learned


@pytest.mark.parametrize(("values", "shown"), [([1, -2], "-2"), ([0.5, 1.5], "0.5")])
def test_only_whole_numbers_from_0_are_accepted(values, shown):
    with pytest.raises(ConfigError, match=f"likelihood 'count': column 'a' holds {shown}, not whole numbers"):
        Count.initial(column_data(values))
