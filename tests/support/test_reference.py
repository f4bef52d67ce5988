"""The reference densities against scipy, closed forms and identities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from tests.support.reference import gaussian_kl, gaussian_log_prob, proposal_log_prob

finite = st.floats(-5, 5)


def test_gaussian_log_prob_is_scipys():
    """Variance, not standard deviation, divides the square; the constants are all there."""
    rng = np.random.default_rng(0)
    x, loc, log_var = rng.normal(size=(20, 4)), rng.normal(size=(20, 4)), rng.normal(size=(20, 4))
    expected = [
        multivariate_normal(m, np.diag(np.exp(v))).logpdf(row) for row, m, v in zip(x, loc, log_var, strict=True)
    ]
    np.testing.assert_allclose(gaussian_log_prob(x, loc, log_var), expected, rtol=1e-12)


def test_density_integrates_to_one():
    """A dropped 2 pi or log-variance would show."""
    grid = np.linspace(-40, 40, 20_001)[:, None]
    density = np.exp(gaussian_log_prob(grid, np.array([1.5]), np.array([0.7])))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1.0, abs=1e-9)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=6))
def test_kl_is_torchs_sum_over_dimensions_and_not_negative(parameters):
    """KL(q || p) the right way round, summed (never averaged) over the latent dimensions."""
    loc, log_var = np.array(parameters).T
    q = torch.distributions.Normal(torch.tensor(loc), torch.exp(0.5 * torch.tensor(log_var)))
    p = torch.distributions.Normal(torch.zeros(len(loc), dtype=torch.float64), 1.0)
    actual = gaussian_kl(loc[None], log_var[None])
    assert actual >= -1e-12
    np.testing.assert_allclose(actual, [torch.distributions.kl_divergence(q, p).sum().item()], rtol=1e-9, atol=1e-12)


def test_proposal_log_prob_is_the_density_of_the_transformed_noise():
    """The change of variables z = loc + scale * noise takes sum(log scale) off."""
    rng = np.random.default_rng(1)
    noise, scale, loc = rng.normal(size=(7, 3)), rng.uniform(0.1, 3, size=(5, 3)), rng.normal(size=(5, 3))
    z = loc[:, None] + scale[:, None] * noise
    expected = norm(loc[:, None], scale[:, None]).logpdf(z).sum(-1)
    np.testing.assert_allclose(proposal_log_prob(noise, scale), expected, rtol=1e-12)
