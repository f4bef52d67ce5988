"""Fits of the proposal where the posterior is known: one mode, several modes, and what a fit costs."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.density import fitting, tiles
from anomaly_vae.density.fitting import ProposalFitter
from anomaly_vae.density.modes import find_modes, posterior_cost
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.sampler import Rows
from anomaly_vae.density.starts import StartingPoints
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork, folded, on_a_grid
from tests.support.models import ALL, features_of, member_of, rows_of, vae_of
from tests.support.networks import FunctionNetwork
from tests.support.same_bits import assert_rows_stand_alone

BOTH = pytest.mark.parametrize("effort", ["quick", "thorough"])


def noise_of(latent_dim):
    return Noise(sobol_normal(16, 64, latent_dim + 1, seed=0))


def fitter_of(network, latent_dim, extra_starts=0):
    return ProposalFitter(network, noise_of(latent_dim), extra_starts)


def encoded(network, x, mask=None):
    x = np.asarray(x, dtype=np.float32)
    mask = np.ones_like(x) if mask is None else mask.astype(np.float32)
    return Rows(x, mask, *tiles.encode(network, x, mask))


@BOTH
def test_a_wrong_encoder_is_replaced_by_the_posterior(effort):
    """A linear model has one mode: mean and covariance of the posterior, from every start. Its evidence is p(x)."""
    network = LinearNetwork(shift=3.0, width=2.0)
    x = np.random.default_rng(1).normal(size=(6, 5))
    rows = encoded(network, x)
    fitter = fitter_of(network, 2)
    mixture, _, log_evidence = fitter.fit(rows, rows.loc, getattr(fitter, effort))
    np.testing.assert_allclose(log_evidence, network.log_px(x), atol=0.02)
    np.testing.assert_array_equal(mixture.num_modes, 1)
    np.testing.assert_allclose(mixture.loc[:, 0], network.posterior_mean(x), atol=5e-3)
    covariance = mixture.root[:, 0] @ np.swapaxes(mixture.root[:, 0], 1, 2)
    np.testing.assert_allclose(covariance, np.tile(np.diag(1.0 / network.precision), (6, 1, 1)), atol=5e-3)
    np.testing.assert_allclose(mixture.encoder_loc, rows.loc)
    np.testing.assert_allclose(mixture.encoder_scale, rows.scale)


def folded_rows(latent_dim):
    """Return the folded model as a network, 60 rows, and log p(x)."""
    vae = folded(latent_dim)
    schema = Schema(columns=tuple(Column(name=f"x{d}", kind="continuous") for d in range(latent_dim)))
    network = member_of(vae, Features(schema, vae.head.column_models())).network
    x = np.random.default_rng(0).uniform(0.7, 2.8, size=(60, latent_dim))
    return network, x, on_a_grid(vae, x)


@pytest.mark.parametrize(("effort", "extra_starts"), [("thorough", 0), ("quick", 4)])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_two_modes_far_apart_are_both_found_by_a_fit_with_several_starts(latent_dim, effort, extra_starts):
    """x_1 = |z_1|: modes at +x_1 and -x_1, 10 to 40 of their standard deviations apart, with equal shares.

    The encoder knows one of them.
    """
    network, x, log_px = folded_rows(latent_dim)
    fitter = fitter_of(network, latent_dim, extra_starts)
    rows = encoded(network, x)
    mixture, _, log_evidence = fitter.fit(rows, rows.loc, getattr(fitter, effort))
    # A few rows have a third component, from a search that ended before its mode: it covers one of the modes again.
    assert np.all(mixture.num_modes >= 2)
    assert np.mean(mixture.num_modes == 2) > 0.9
    first = np.sort(mixture.loc[:, :2, 0], axis=1)
    np.testing.assert_allclose(first[:, 1], x[:, 0] / (1.0 + np.exp(-4.0)), atol=0.1)
    np.testing.assert_allclose(first[:, 0], -first[:, 1], atol=0.05)
    np.testing.assert_allclose(mixture.share[:, 0], mixture.share[:, 1], atol=0.1)
    assert np.all(mixture.share[:, :2].sum(axis=1) > 0.7)
    assert np.median(np.abs(log_evidence - log_px)) < 0.1
    np.testing.assert_allclose(log_evidence, log_px, atol=0.4)


def test_a_quick_fit_without_extra_starts_has_the_mode_that_the_encoder_knows():
    """It misses half of p(x). Training gives such a model extra starts."""
    network, x, log_px = folded_rows(1)
    fitter = fitter_of(network, 1)
    rows = encoded(network, x)
    mixture, _, log_evidence = fitter.fit(rows, rows.loc, fitter.quick)
    np.testing.assert_array_equal(mixture.num_modes, 1)
    assert np.all(mixture.loc[:, 0] > 0.0)
    np.testing.assert_allclose(log_evidence, log_px - np.log(2.0), atol=0.1)


def test_a_fit_climbs_from_its_first_start():
    """From the other side of 0 it finds the mode that the encoder does not know; the encoder's part stays."""
    network, x, _ = folded_rows(1)
    rows, fitter = encoded(network, x), fitter_of(network, 1)
    mixture = fitter.fit(rows, -rows.loc, fitter.quick).mixture
    np.testing.assert_allclose(mixture.loc[:, 0, 0], -x[:, 0] / (1.0 + np.exp(-4.0)), atol=0.1)
    np.testing.assert_array_equal(mixture.encoder_loc, rows.loc)


@pytest.mark.parametrize(("effort", "starts"), [("quick", 2), ("thorough", 4)])
def test_a_fit_searches_from_its_first_start_and_from_the_best_starting_points(monkeypatch, effort, starts):
    network, x, _ = folded_rows(2)
    rows, fitter = encoded(network, x), fitter_of(network, 2, extra_starts=2)
    first, seen = rows.loc + np.float32(0.25), []

    def spy(network, x, mask, start, steps):
        seen.append(start.reshape(-1, 60, 2))
        return find_modes(network, x, mask, start, steps)

    monkeypatch.setattr(fitting, "find_modes", spy)
    chosen = getattr(fitter, effort)
    fitter.fit(rows, first, chosen)
    (start,) = seen
    assert len(start) == 1 + starts
    np.testing.assert_array_equal(start[0], first)
    best = StartingPoints(network, noise_of(2)).best(rows, starts, chosen.among)
    np.testing.assert_array_equal(start[1:], best)


def test_each_of_several_modes_is_found_from_several_starts():
    """x = (|z_1|, |z_2|) has four modes of equal shares. The encoder knows none of them.

    Several of the starts climb to one mode.
    """
    network = FunctionNetwork(
        np.abs, GaussianLikelihood([-4.0, -4.0]), lambda x, mask: (np.zeros_like(x), np.full_like(x, -4.0))
    )
    x = np.array([[1.2, 1.0], [0.8, 1.6]])
    fitter = fitter_of(network, 2)
    rows = encoded(network, x)
    mixture = fitter.fit(rows, rows.loc, fitter.thorough._replace(starts=12, modes=4)).mixture
    np.testing.assert_array_equal(mixture.num_modes, 4)
    for loc, row in zip(mixture.loc, x, strict=True):
        np.testing.assert_allclose(np.abs(loc), np.tile(row / (1.0 + np.exp(-4.0)), (4, 1)), atol=0.05)
        assert {tuple(signs) for signs in np.sign(loc)} == {(-1, -1), (-1, 1), (1, -1), (1, 1)}


def test_a_thorough_fit_is_allowed_more_evaluations():
    for latent_dim in (1, 2, 9, 16):
        fitter, more = (fitter_of(_network_of(latent_dim), latent_dim, extra) for extra in (0, 2))
        assert 0 < fitter.most_evaluations(fitter.quick) < fitter.most_evaluations(fitter.thorough)
        assert fitter.most_evaluations(fitter.quick) < more.most_evaluations(more.quick)


def _network_of(latent_dim):
    return FunctionNetwork(lambda z: z, GaussianLikelihood([0.0] * latent_dim))


@BOTH
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_the_evaluations_are_those_of_the_graphs_and_within_the_promised_most(monkeypatch, effort, latent_dim):
    """The likelihood graph is not counted: it has no decoder."""
    names = ("student_t", "gaussian", "logistic", "count")
    vae = vae_of(*names, latent_dim=latent_dim)
    features = features_of(*names, vae=vae)
    network = member_of(vae, features).network
    fitter = fitter_of(network, latent_dim, extra_starts=1)
    inputs = features.encode(rows_of(30, *names))
    rows = encoded(network, inputs.x, inputs.mask)
    asked = []
    posterior, log_joint_at = tiles.posterior, tiles.log_joint_at

    def counted_posterior(network, x, mask, z):
        asked.append(len(x) * posterior_cost(latent_dim))
        return posterior(network, x, mask, z)

    def counted_log_joint(network, x, mask, z):
        asked.append(z.shape[0] * z.shape[1])
        return log_joint_at(network, x, mask, z)

    monkeypatch.setattr(tiles, "posterior", counted_posterior)
    monkeypatch.setattr(tiles, "log_joint_at", counted_log_joint)
    evaluations = fitter.fit(rows, rows.loc, getattr(fitter, effort)).evaluations
    assert evaluations.sum() == sum(asked)
    assert np.unique(evaluations).size > 1
    assert evaluations.max() <= fitter.most_evaluations(getattr(fitter, effort))
    assert evaluations.min() > 0


@BOTH
@pytest.mark.parametrize("latent_dim", [1, 2, 9])
def test_a_row_s_fit_does_not_depend_on_the_other_rows(effort, latent_dim):
    """Bit for bit, with the graphs of all heads, rows far out and missing cells."""
    vae = vae_of(*ALL, latent_dim=latent_dim)
    features = features_of(*ALL, vae=vae)
    network = member_of(vae, features).network
    fitter = fitter_of(network, latent_dim, extra_starts=2)
    values = rows_of(40, *ALL)
    values[::6, 1] = 1e4
    values[::7, 3] = np.nan
    inputs = features.encode(values)
    rows = encoded(network, inputs.x, inputs.mask)

    def call(chosen):
        fit = fitter.fit(rows.take(chosen), rows.loc[chosen], getattr(fitter, effort))
        return *fit.mixture, fit.evaluations, fit.log_evidence

    assert_rows_stand_alone(call, 40, steps=(1, 7))
