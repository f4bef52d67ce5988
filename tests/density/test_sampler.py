"""Samplers under a linear model, whose posterior and log p(x) are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from anomaly_vae.density import tiles
from anomaly_vae.density.fitting import ProposalFitter
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import mixture_log_prob, squared_distances
from anomaly_vae.density.sampler import EncoderSampler, MixtureSampler, Rows
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork
from tests.support.models import ALL, features_of, member_of, rows_of, vae_of
from tests.support.same_bits import assert_rows_stand_alone

X = np.random.default_rng(3).normal(size=(7, 5)) * 2.0
NOISE = Noise(sobol_normal(16, 64, 3, seed=0))


def encoder_sampler(**options):
    network = LinearNetwork(**options)
    x, mask = X.astype(np.float32), np.ones(X.shape, dtype=np.float32)
    return network, EncoderSampler(network, NOISE, Rows(x, mask, *tiles.encode(network, x, mask)))


def mixture_sampler(heavy=False, **options):
    network, pilot = encoder_sampler(**options)
    pilot.extend(1)
    fitter = ProposalFitter(network, NOISE, extra_starts=0)
    mixture = fitter.fit(pilot.rows, pilot.rows.loc, fitter.quick).mixture
    return network, MixtureSampler(network, NOISE, pilot.rows, mixture, pilot.log_joint(), heavy=heavy)


def heavy_sampler(**options):
    return mixture_sampler(heavy=True, **options)


MAKERS = pytest.mark.parametrize("make", [encoder_sampler, mixture_sampler, heavy_sampler])
MIXTURES = pytest.mark.parametrize("make", [mixture_sampler, heavy_sampler])


def test_with_the_exact_posterior_every_weight_is_p_of_x():
    """p(x, z) / p(z|x) is p(x) for every z: no constant and no density is missing."""
    network, sampler = encoder_sampler()
    sampler.extend(4)
    weights, largest_term = sampler.log_weights()
    np.testing.assert_allclose(weights, np.broadcast_to(network.log_px(X)[:, None, None], (7, 16, 4)), atol=1e-4)
    assert np.all(largest_term >= np.abs(weights).max(axis=(1, 2)) / 2.0)


def test_samples_of_the_encoder_are_drawn_in_passes_of_bounded_size(monkeypatch):
    """A fixed budget may ask for thousands of samples of every row of a block."""
    _, whole = encoder_sampler()
    whole.extend(64)
    sizes = []

    def spy(network, x, mask, z, call=tiles.log_joint_at):
        sizes.append(z.size)
        return call(network, x, mask, z)

    monkeypatch.setattr("anomaly_vae.density.sampler._PASS_NUMBERS", 2 * 1024 * 2)
    monkeypatch.setattr(tiles, "log_joint_at", spy)
    _, parted = encoder_sampler()
    parted.extend(64)
    assert len(sizes) == 4
    assert max(sizes) <= 2 * 1024 * 2
    np.testing.assert_array_equal(parted.log_weights()[0], whole.log_weights()[0])


@MAKERS
def test_the_mean_weight_of_a_wrong_encoder_is_p_of_x(make):
    """Importance sampling is unbiased for every proposal; 1,024 quasi-random points, within 0.02 nats."""
    network, sampler = make(shift=0.4, width=1.4)
    sampler.extend(64)
    flat = sampler.log_weights()[0].reshape(7, -1)
    np.testing.assert_allclose(logsumexp(flat, axis=1) - np.log(1024), network.log_px(X), atol=0.02)
    assert flat.std(axis=1).min() > 0.01, "the weights are not all equal, so they say something about the proposal"


def test_log_p_of_x_and_z_is_kept_without_the_proposal_s_density():
    """With the exact posterior, log p(x, z) is log p(x) + log q(z|x)."""
    network, sampler = encoder_sampler()
    sampler.extend(4)
    log_normal = NOISE.slice(0, 4)[1]
    log_q = log_normal - np.log(sampler.rows.scale.astype(np.float64)).sum(axis=1)[:, None]
    expected = network.log_px(X)[:, None] + log_q
    np.testing.assert_allclose(sampler.log_joint().reshape(7, -1), expected, atol=1e-4)


@MIXTURES
def test_a_mixture_starts_with_the_pilot_s_point_of_every_scrambling(make):
    """They are the encoder's, and are weighed by its density alone before others are drawn."""
    options = {"shift": 0.4, "width": 1.4}
    (_, pilot), (_, sampler) = encoder_sampler(**options), make(**options)
    pilot.extend(1)
    assert sampler.num_points == 1
    np.testing.assert_allclose(sampler.log_weights()[0], pilot.log_weights()[0], atol=1e-4)
    sampler.extend(8)
    assert sampler.log_weights()[0].shape == (7, 16, 8)


@pytest.mark.parametrize("heavy", [False, True])
def test_the_shares_of_the_components_are_those_of_their_points(heavy):
    """8 points of a scrambling: the first one is the encoder's, the mode has the other 7."""
    network, sampler = mixture_sampler(heavy, shift=0.4, width=1.4)
    sampler.extend(8)
    z = sampler._z.reshape(7, 2, -1).astype(np.float64)
    shares = np.tile([7, 1], (7, 1))
    log_q = mixture_log_prob(sampler._mixture, squared_distances(sampler._mixture, z), shares, heavy=heavy)
    expected = network.exact(X[:, None], np.ones_like(X)[:, None], np.swapaxes(z, 1, 2)) - log_q
    np.testing.assert_allclose(sampler.log_weights()[0].reshape(7, -1), expected, atol=1e-3)


@MIXTURES
def test_the_pilot_s_samples_are_not_evaluated_again(make, monkeypatch):
    _, sampler = make(shift=0.4, width=1.4)
    asked = []
    original = tiles.log_joint_at

    def counting(network, x, mask, z):
        asked.append(z.shape[0] * z.shape[1])
        return original(network, x, mask, z)

    monkeypatch.setattr(tiles, "log_joint_at", counting)
    sampler.extend(8)
    assert sum(asked) == 7 * 16 * 7


@MIXTURES
def test_a_refitted_proposal_has_the_posterior_s_moments(make):
    """The weighted samples are those of the posterior, whatever the proposal."""
    network, sampler = make(shift=0.4, width=1.4)
    sampler.extend(64)
    got = sampler.refitted()
    std = 1.0 / np.sqrt(network.precision)
    assert np.abs((got.loc[:, 0] - network.posterior_mean(X)) / std).max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(got.root[:, 0], axis=2), np.tile(std, (7, 1)), rtol=0.06)


@MAKERS
def test_a_selection_of_rows_has_their_samples_and_goes_on_with_the_next_points(make):
    _, sampler = make(shift=0.4, width=1.4)
    sampler.extend(8)
    chosen = np.array([5, 1])
    taken = sampler.take(chosen)
    assert (taken.num_rows, taken.num_points) == (2, 8)
    for values, expected in zip(taken.log_weights(), sampler.log_weights(), strict=True):
        np.testing.assert_array_equal(values, expected[chosen])
    sampler.extend(32)
    assert taken.num_points == 8, "a selection does not share the state of its source"
    taken.extend(32)
    np.testing.assert_allclose(taken.log_weights()[0], sampler.log_weights()[0][chosen], rtol=1e-6)


def test_rounds_of_the_encoder_are_one_sample_of_all_points():
    _, whole = encoder_sampler(width=1.4)
    _, rounds = encoder_sampler(width=1.4)
    whole.extend(32)
    for num_points in (1, 4, 4, 32):
        rounds.extend(num_points)
    assert rounds.num_points == 32
    for values, expected in zip(rounds.log_weights(), whole.log_weights(), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6)


@MIXTURES
@pytest.mark.parametrize("rounds", [(4, 8, 16), (8, 16, 32, 64), (3, 5, 11, 64)])
def test_rounds_of_a_mixture_are_weighed_by_the_shares_of_all_rounds(make, rounds):
    """Deterministic-mixture weights: log q has the shares of all points, so the mean weight stays unbiased."""
    network, sampler = make(shift=0.4, width=1.4)
    for num_points in rounds:
        sampler.extend(num_points)
    flat = sampler.log_weights()[0].reshape(7, -1)
    assert flat.shape[1] == 16 * rounds[-1]
    expected = network.log_px(X)
    np.testing.assert_allclose(logsumexp(flat, axis=1) - np.log(flat.shape[1]), expected, atol=0.06)


@MIXTURES
@pytest.mark.parametrize("rounds", [(3, 4), (4, 8, 12), (1, 2, 3, 4, 5, 9, 16)])
def test_with_one_mode_rounds_of_a_mixture_are_one_sample_of_all_points(make, rounds):
    """Up to 16 points: the encoder has the first one only, and the mode the others."""
    (_, whole), (_, parts) = (make(shift=0.4, width=1.4) for _ in range(2))
    whole.extend(rounds[-1])
    for num_points in rounds:
        parts.extend(num_points)
    for values, expected in zip(parts.log_weights(), whole.log_weights(), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6)


@MIXTURES
def test_mixture_weights_have_a_bound(make):
    """The modes have most of the points: no weight is far above the mean, though the encoder is wrong."""
    network, sampler = make(shift=3.0, width=0.3)
    sampler.extend(64)
    assert np.all(sampler.log_weights()[0].max(axis=(1, 2)) < network.log_px(X) + np.log(8.0))


@pytest.mark.parametrize("make", [encoder_sampler, heavy_sampler])
def test_the_largest_term_is_that_of_the_density_or_of_the_proposal(make):
    """It bounds the rounding of float32, so it must not be below the log-weights' own terms."""
    _, sampler = make(shift=0.4, width=1.4)
    sampler.extend(4)
    weights, largest = sampler.log_weights()
    assert largest.shape == (7,)
    assert np.all(2.0 * largest >= np.abs(weights).max(axis=(1, 2)))
    sampler.extend(8)
    assert np.all(sampler.log_weights()[1] >= largest - 1.0)


@pytest.mark.parametrize("heavy", [None, False, True], ids=["encoder", "gaussian", "student_t"])
@pytest.mark.parametrize("latent_dim", [1, 2, 9])
def test_a_row_s_weights_do_not_depend_on_the_other_rows(heavy, latent_dim):
    """Bit for bit, with the graphs of all heads, in rounds."""
    vae = vae_of(*ALL, latent_dim=latent_dim)
    features = features_of(*ALL, vae=vae)
    network = member_of(vae, features).network
    noise = Noise(sobol_normal(16, 64, latent_dim + 1, seed=0))
    inputs = features.encode(rows_of(40, *ALL))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    rows = Rows(x, mask, *tiles.encode(network, x, mask))
    fitter = ProposalFitter(network, noise, extra_starts=0)
    mixture = fitter.fit(rows, rows.loc, fitter.thorough).mixture

    def call(chosen):
        sampler = EncoderSampler(network, noise, rows.take(chosen))
        if heavy is not None:
            sampler.extend(1)
            own, pilot = mixture.take(chosen), sampler.log_joint()
            sampler = MixtureSampler(network, noise, rows.take(chosen), own, pilot, heavy=heavy)
        sampler.extend(4)
        sampler.extend(16)
        refitted = () if heavy is None else sampler.refitted()
        return *sampler.log_weights(), *refitted

    assert_rows_stand_alone(call, 40, steps=(1, 7))
