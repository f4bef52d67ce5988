"""The plan of a fit within the budget, and the fitted proposal of a linear model, whose posterior is known."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density import tiles
from anomaly_vae.density.fitting import FitPlan, ProposalFitter, plan_fit
from anomaly_vae.density.modes import find_modes
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.sampler import EncoderSampler, Rows
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork, linear_model


def test_decoder_evaluations_are_those_planned():
    """L + 1 at the start and L + 1 for each step, for every starting point."""
    decode, likelihood, x, loc, *_ = linear_model()
    seen = []

    def counting(z):
        seen.append(len(z))
        return decode(z)

    plan = plan_fit(3, 1024, 64)
    x_of_starts, start = np.tile(x, (plan.starts, 1)), np.tile(loc, (plan.starts, 1))
    find_modes(counting, likelihood, x_of_starts, np.ones_like(x_of_starts), start, plan.steps)
    assert sum(seen) == plan.evaluations * len(x)


@pytest.mark.parametrize("latent_dim", [1, 2, 8, 16, 50, 200])
@pytest.mark.parametrize("budget", [64, 128, 256, 1024, 4096])
def test_a_plan_leaves_half_of_the_budget_for_the_estimate(latent_dim, budget):
    plan = plan_fit(latent_dim, budget, 64)
    assert plan is None or 64 + plan.evaluations <= budget // 2
    assert plan_fit(2, 1024, 64) is not None
    assert plan_fit(2, 64, 64) is None


def test_the_most_thorough_plan_within_two_fifths_is_preferred():
    """Of 1,024 samples, 5 starts with 4 steps and L = 1 need 50; of 256 samples, the fit may need 102."""
    assert plan_fit(1, 1024, 64) == FitPlan(5, 4, 50)
    assert plan_fit(15, 1024, 64) == FitPlan(5, 4, 400)
    assert plan_fit(20, 1024, 64) == FitPlan(4, 3, 336)  # the first two plans need 525 and 504
    assert plan_fit(1, 128, 64) is None


@pytest.mark.parametrize(("features", "rows"), [(1, 2**21 // 200), (100, 2**21 // 20_000), (10**7, 1)])
def test_the_rows_of_a_fit_are_limited_by_its_largest_array(features, rows):
    """2^21 numbers: (evaluations of one step) times features times rows."""
    assert FitPlan(starts=5, steps=4, evaluations=1000).rows_at_once(features) == rows


def test_a_wrong_encoder_is_replaced_by_the_posterior():
    """A linear model has one mode: mean and covariance of the posterior, from every start."""
    network = LinearNetwork(shift=3.0, width=2.0)
    noise = Noise(sobol_normal(16, 64, 2, seed=0))
    x = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    mask = np.ones_like(x)
    pilot = EncoderSampler(network, noise, Rows(x, mask, *tiles.encode(network, x, mask)))
    pilot.extend(4)
    mixture = ProposalFitter(network, noise, network.likelihood).fit(pilot, FitPlan(3, 3, 36))
    np.testing.assert_allclose(mixture.first.loc, network.posterior_mean(x.astype(np.float64)), atol=1e-3)
    covariance = mixture.first.root @ np.swapaxes(mixture.first.root, 1, 2)
    np.testing.assert_allclose(covariance, np.tile(np.diag(1.0 / network.precision), (6, 1, 1)), atol=1e-3)
    np.testing.assert_array_equal(mixture.share, 0.0)
    np.testing.assert_allclose(mixture.loc, pilot.rows.loc)
