"""The fitted proposal: which modes enter it, how points are divided, and its density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

from anomaly_vae.density import proposals
from anomaly_vae.density.modes import Modes
from anomaly_vae.density.noise import FREEDOM, Noise
from anomaly_vae.density.proposals import (
    allocate,
    distinct_modes,
    draw,
    fit_mixture,
    mixture_log_prob,
    refit,
    squared_distances,
)
from anomaly_vae.training.noise import sobol_normal
from tests.support.same_bits import assert_rows_stand_alone

# Latent dimensions. In two, the constant of Student's t with 4 degrees of freedom is that of a Gaussian.
DIM = 3

HEAVY = pytest.mark.parametrize("heavy", [False, True], ids=["gaussian", "student_t"])


def modes_at(loc, evidence, seed=3):
    """Return modes (M, N) with random roots near the identity."""
    loc = np.asarray(loc, dtype=np.float64)
    root = np.random.default_rng(seed).normal(size=(*loc.shape, loc.shape[-1])) * 0.2 + np.eye(loc.shape[-1])
    root = np.triu(root)
    evidence = np.asarray(evidence, dtype=np.float64)
    return Modes(loc, root, np.linalg.inv(root), np.linalg.slogdet(root)[1], evidence.copy(), evidence)


def three_rows():
    """Return a mixture of three modes at most; the second row has one mode only, the third has two."""
    rng = np.random.default_rng(3)
    modes = modes_at(rng.normal(size=(3, 3, DIM)) * 4, [[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0], [-2.0, -2.0, -2.0]])
    present = np.array([[True, True, True], [True, False, True], [True, False, False]])
    return fit_mixture(modes, present, rng.normal(size=(3, DIM)), rng.uniform(0.5, 2, size=(3, DIM))), modes


def test_modes_are_ordered_by_evidence_and_those_near_a_better_one_are_left_out():
    """Row 0: two searches that ended at one mode, and another mode. Row 1: three modes. Row 2: one counts."""
    loc = np.zeros((3, 3, 2))
    loc[:, 0] = [[0.0, 0.0], [9.0, 9.0], [0.3, 0.0]]
    loc[:, 1] = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]
    loc[:, 2] = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]
    modes = modes_at(loc, [[1.0, 0.0, 0.0], [0.5, 3.0, -50.0], [0.9, 2.0, -60.0]])
    chosen, present = distinct_modes(modes, 3)
    assert present.tolist() == [[True, True, True], [True, True, False], [False, True, False]]
    np.testing.assert_array_equal(chosen.loc[:2, 0], [[0.0, 0.0], [9.0, 9.0]])
    np.testing.assert_array_equal(chosen.loc[:, 1], [[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]])
    np.testing.assert_array_equal(chosen.root[0, 1], modes.root[1, 1])
    assert distinct_modes(modes, 2)[1].shape == (2, 3)
    assert distinct_modes(modes, 9)[1].shape == (3, 3)


def test_a_row_always_has_a_mode():
    """Also where no evidence is a number."""
    modes = modes_at(np.zeros((2, 2, 1)), [[np.nan, -np.inf], [np.nan, -np.inf]])
    with np.errstate(invalid="ignore"):
        _, present = distinct_modes(modes, 2)
    assert present[0].all()


def test_the_mode_of_one_start_is_chosen_as_it_is():
    """It is what the choice among several would give; no distances are computed, and no array is copied."""
    rng = np.random.default_rng(0)
    two = modes_at(rng.normal(size=(2, 4, DIM)), [[0.0, -70.0, 5.0, -1e300], [-900.0, -900.0, -900.0, -np.inf]])
    one = Modes(*(values[:1] for values in two))
    chosen, present = distinct_modes(one, 3)
    assert chosen is one
    assert present.tolist() == [[True] * 4]
    expected, first = distinct_modes(two, 1)
    np.testing.assert_array_equal(present, first)
    for values, wanted in zip(chosen, expected, strict=True):
        np.testing.assert_array_equal(values, wanted)
    without_evidence = one._replace(log_evidence=np.full((1, 4), np.nan))
    assert distinct_modes(without_evidence, 1)[1].all()


def test_the_shares_of_modes_are_those_of_their_evidence():
    mixture, modes = three_rows()
    weights = np.exp([0.0, -1.0, -2.0])
    np.testing.assert_allclose(mixture.share[0], weights / weights.sum())
    np.testing.assert_allclose(mixture.share[1], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(mixture.share[2], [*(weights[:2] / weights[:2].sum()), 0.0])
    np.testing.assert_array_equal(mixture.num_modes, [3, 1, 2])
    np.testing.assert_array_equal(mixture.loc, np.swapaxes(modes.loc, 0, 1))
    narrow = mixture.take(np.array([2, 1])).with_modes(2)
    np.testing.assert_array_equal(narrow.loc, mixture.loc[[2, 1], :2])
    np.testing.assert_array_equal(narrow.encoder_loc, mixture.encoder_loc[[2, 1]])


@pytest.mark.parametrize(("start", "end"), [(0, 4), (4, 8), (8, 16), (0, 8), (0, 64), (64, 128), (3, 256)])
def test_every_point_goes_to_a_component_that_the_row_has(start, end):
    mixture, _ = three_rows()
    components = allocate(mixture, start, end)
    assert components.shape == (3, end - start)
    assert set(components[1]) <= {0, 3}
    assert set(components[2]) <= {0, 1, 3}
    np.testing.assert_array_equal(components == 3, np.tile(components[0] == 3, (3, 1)))


@pytest.mark.parametrize(("start", "end", "of_encoder"), [(1, 4, 0), (4, 8, 0), (16, 32, 1), (1, 64, 3), (0, 256, 16)])
def test_the_encoder_has_the_last_of_the_new_points(start, end, of_encoder):
    """One in 16, rounded down, next to the first point of every scrambling."""
    mixture, _ = three_rows()
    components = allocate(mixture, start, end)
    np.testing.assert_array_equal((components == 3).sum(axis=1), of_encoder)
    assert np.all(components[:, len(components[0]) - of_encoder :] == 3)


def test_the_modes_divide_the_other_points_by_their_shares():
    """Within one point; a mode with a tiny share gets a point too, so that its samples are never missing."""
    mixture, _ = three_rows()
    components = allocate(mixture, 0, 128)
    of_modes = (components < 3).sum(axis=1)
    for m in range(3):
        np.testing.assert_allclose((components == m).sum(axis=1), of_modes * mixture.share[:, m], atol=1.01)
    tiny = mixture._replace(share=np.tile([1.0 - 2e-4, 1e-4, 1e-4], (3, 1)))
    assert (np.stack([(allocate(tiny, 0, 8) == m).sum(axis=1) for m in (1, 2)]) == 1).all()
    assert np.all((allocate(tiny, 0, 4) == 0).sum(axis=1) >= 1)


def parts_of(mixture, row, heavy):
    """Return scipy's distribution of each component of a row."""
    parts = []
    for loc, root in zip(mixture.loc[row], mixture.root[row], strict=True):
        shape = proposals._WIDTH**2 * root @ root.T
        parts.append(multivariate_t(loc, shape, df=FREEDOM) if heavy else multivariate_normal(loc, shape))
    encoder = np.diag(mixture.encoder_scale[row] ** 2)
    return [*parts, multivariate_normal(mixture.encoder_loc[row], encoder)]


def points_of(noise):
    """Return the points with the samples last, (L, R, n)."""
    return np.moveaxis(noise.values.astype(np.float64), 2, 0)


def samples(mixture, heavy, scramblings=16, points=256):
    """Return the samples (N, L, S), the counts of the components and the log-density of the samples."""
    noise = Noise(sobol_normal(scramblings, points, DIM + 1, seed=1))
    components = allocate(mixture, 0, points)
    z = draw(mixture, points_of(noise), noise.radii if heavy else None, components)
    assert z.shape == (3, DIM, scramblings, points)
    counts = np.stack([(components == m).sum(axis=1) for m in range(mixture.share.shape[1] + 1)], axis=1)
    z = z.reshape(len(z), DIM, -1)
    return z, counts, mixture_log_prob(mixture, squared_distances(mixture, z), counts, heavy=heavy)


@HEAVY
def test_the_mixture_s_density_is_scipy_s(heavy):
    mixture, _ = three_rows()
    z, counts, log_q = samples(mixture, heavy)
    for i in range(3):
        kept = [(c, part) for c, part in zip(counts[i], parts_of(mixture, i, heavy), strict=True) if c]
        expected = logsumexp([np.log(c / counts[i].sum()) + part.logpdf(z[i].T) for c, part in kept], axis=0)
        np.testing.assert_allclose(log_q[i], expected, atol=1e-9)


@HEAVY
def test_the_mixture_s_density_is_that_of_its_samples(heavy):
    """Samples weighted by 1 / q integrate to the volume of a box, within 4 standard errors over the scramblings.

    A box at a mode has many samples; one at the encoder's mean may have those of the encoder only.
    """
    mixture, _ = three_rows()
    z, _, log_q = samples(mixture, heavy, scramblings=256, points=64)
    for i in range(3):
        for center, most in ((mixture.loc[i, 0], 0.05), (mixture.loc[i, 0] + 0.5, 0.1), (mixture.encoder_loc[i], 0.2)):
            weights = np.all(np.abs(z[i] - center[:, None]) < 1.0, axis=0) * np.exp(-log_q[i])
            by_scrambling = weights.reshape(256, -1).mean(axis=1)
            error = by_scrambling.std(ddof=1) / 16.0
            assert abs(weights.mean() - 2.0**DIM) < 4.0 * error
            assert error < most * 2.0**DIM


@HEAVY
def test_each_component_draws_its_own_samples(heavy):
    """Squared distances of a mode's Gaussian samples have the mean L width^2; those of Student's t are larger."""
    mixture, _ = three_rows()
    noise = Noise(sobol_normal(16, 4096, DIM + 1, seed=1))
    for m in range(3):
        components = np.tile(np.repeat([m, 3], [3840, 256]), (3, 1))
        z = draw(mixture, points_of(noise), noise.radii if heavy else None, components)
        distances = squared_distances(mixture, z.reshape(3, DIM, -1)).reshape(3, 4, 16, 4096)
        of_mode, of_encoder = (distances[:, part][..., components[0] == part].mean(axis=(1, 2)) for part in (m, 3))
        np.testing.assert_allclose(of_encoder, DIM, rtol=0.02)
        if heavy:
            # E[F] of an F distribution with L and nu degrees is nu / (nu - 2); its variance is infinite at nu = 4.
            expected = DIM * proposals._WIDTH**2 * FREEDOM / (FREEDOM - 2.0)
            np.testing.assert_allclose(of_mode, expected, rtol=0.15)
        else:
            np.testing.assert_allclose(of_mode, DIM * proposals._WIDTH**2, rtol=0.02)


@HEAVY
def test_a_mode_draws_the_same_samples_with_and_without_places_for_other_modes(heavy):
    """With one place, all rows are drawn in one product."""
    mixture, _ = three_rows()
    noise = Noise(sobol_normal(16, 64, DIM + 1, seed=1))
    alone = mixture._replace(share=np.eye(3)[[0] * 3])
    one, three = (
        draw(each, points_of(noise), noise.radii if heavy else None, allocate(each, 0, 64))
        for each in (alone.with_modes(1), alone)
    )
    np.testing.assert_allclose(one, three, rtol=1e-12)


def weighted_samples(num_samples=4096, seed=5):
    """Return Gaussians (mean, covariance), standard normal samples of 3 rows, and the log-weights of the Gaussians."""
    rng = np.random.default_rng(seed)
    mean, root = rng.normal(size=(3, DIM)) * 0.3, np.tril(rng.normal(size=(3, DIM, DIM)) * 0.2 + 0.6 * np.eye(DIM))
    covariance = root @ np.swapaxes(root, 1, 2)
    z = rng.normal(size=(3, num_samples, DIM))
    wanted = [multivariate_normal(*each).logpdf(row) for *each, row in zip(mean, covariance, z, strict=True)]
    weights = np.array(wanted) - multivariate_normal(np.zeros(DIM)).logpdf(z)
    return mean, covariance, np.swapaxes(z, 1, 2), weights.reshape(3, 16, -1)


def test_a_refitted_proposal_has_a_component_with_the_moments_of_the_weighted_samples():
    """Many samples give the moments of the density behind the weights. The modes keep their ratios."""
    mixture, _ = three_rows()
    mean, covariance, z, weights = weighted_samples()
    got = refit(mixture, z, weights)
    np.testing.assert_allclose(got.loc[:, 0], mean, atol=0.08)
    np.testing.assert_allclose(got.root[:, 0] @ np.swapaxes(got.root[:, 0], 1, 2), covariance, atol=0.12)
    np.testing.assert_allclose(got.inverse_root[:, 0] @ got.root[:, 0], np.tile(np.eye(DIM), (3, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(got.log_scale[:, 0], np.linalg.slogdet(got.root[:, 0])[1], atol=1e-9)
    np.testing.assert_allclose(got.share.sum(axis=1), 1.0)
    assert np.all(got.share[:, 0] > 0.0)
    np.testing.assert_allclose(got.share[:, 1:] / got.share[:, 1:].sum(axis=1, keepdims=True), mixture.share)
    for name in ("loc", "root", "inverse_root", "log_scale"):
        np.testing.assert_array_equal(getattr(got, name)[:, 1:], getattr(mixture, name))
    np.testing.assert_array_equal(got.encoder_loc, mixture.encoder_loc)
    np.testing.assert_array_equal(got.num_modes, mixture.num_modes + 1)


def test_with_few_effective_samples_the_covariance_is_that_of_the_first_mode():
    """One sample with all weight has no spread. Samples with equal weights have one, so they count for more."""
    mixture, _ = three_rows()
    *_, z, weights = weighted_samples(64)
    alone = np.full_like(weights, -900.0)
    alone[:, 3, 1] = 0.0
    first = mixture.root[:, 0] @ np.swapaxes(mixture.root[:, 0], 1, 2)
    got = refit(mixture, z, alone)
    np.testing.assert_allclose(got.loc[:, 0], z[:, :, 3 * 4 + 1], atol=1e-9)
    for row in range(3):
        share = (got.root[row, 0] @ got.root[row, 0].T) / first[row]
        np.testing.assert_allclose(share, share[0, 0], rtol=1e-6)
        assert 0.5 < share[0, 0] < 1.0
    equal = refit(mixture, z, np.zeros_like(weights))
    sample = np.array([np.cov(row, bias=True) for row in z])
    distance = [np.abs(equal.root[:, 0] @ np.swapaxes(equal.root[:, 0], 1, 2) - each).max() for each in (sample, first)]
    assert distance[0] < 0.3 * distance[1]


@pytest.mark.parametrize("value", [-np.inf, -1e300])
def test_samples_without_weight_give_a_finite_proposal(value):
    mixture, _ = three_rows()
    *_, z, weights = weighted_samples(64)
    got = refit(mixture, z, np.full_like(weights, value))
    assert all(np.isfinite(values).all() for values in got)
    one = np.full_like(weights, value)
    one[:, 0, 0] = -5.0
    assert all(np.isfinite(values).all() for values in refit(mixture, z, one))


@pytest.mark.parametrize(("latent_dim", "num_samples"), [(1, 64), (5, 256), (16, 1024), (64, 1024)])
def test_a_row_s_refitted_proposal_does_not_depend_on_the_other_rows(latent_dim, num_samples):
    rng = np.random.default_rng(0)
    modes = modes_at(rng.normal(size=(2, 12, latent_dim)), rng.normal(size=(2, 12)))
    mixture = fit_mixture(*distinct_modes(modes, 2), np.zeros((12, latent_dim)), np.ones((12, latent_dim)))
    z, weights = rng.normal(size=(12, latent_dim, num_samples)), rng.normal(size=(12, 16, num_samples // 16))
    weights[3], weights[7, :, 1:] = -np.inf, -np.inf
    assert_rows_stand_alone(lambda rows: tuple(refit(mixture.take(rows), z[rows], weights[rows])), 12)


@HEAVY
@pytest.mark.parametrize("most", [1, 4])
def test_a_row_s_proposal_does_not_depend_on_the_other_rows(heavy, most):
    """Bit for bit: the choice of modes, the mixture, the points, the samples and their density."""
    rng = np.random.default_rng(0)
    modes = modes_at(rng.normal(size=(6, 20, 5)) * 2, rng.normal(size=(6, 20)) * 6)
    encoder = rng.normal(size=(20, 5)), rng.uniform(0.5, 2, size=(20, 5))
    noise = Noise(sobol_normal(16, 16, 6, seed=1))

    def call(rows):
        chosen, present = distinct_modes(Modes(*(values[:, rows] for values in modes)), most)
        mixture = fit_mixture(chosen, present, *(values[rows] for values in encoder))
        components = allocate(mixture, 0, 16)
        z = draw(mixture, points_of(noise), noise.radii if heavy else None, components)
        counts = np.stack([(components == m).sum(axis=1) for m in range(most + 1)], axis=1)
        distances = squared_distances(mixture, z.reshape(len(rows), 5, -1))
        log_q = mixture_log_prob(mixture, distances, counts, heavy=heavy)
        return *mixture, present.T, components, z, distances, log_q

    assert np.unique((call(np.arange(20))[4] > 0.0).sum(axis=1)).size > 1 or most == 1
    assert_rows_stand_alone(call, 20)
