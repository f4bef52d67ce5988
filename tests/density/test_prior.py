"""The prior in numpy: its density, its points, and the manifest's limits."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.stats import kstest, norm

from anomaly_vae.density.prior import MixturePrior, NormalPrior, Prior
from anomaly_vae.training.noise import sobol_normal

MIXTURE = MixturePrior(
    log_weights=tuple(np.log([0.5, 0.3, 0.2]).tolist()),
    loc=((0.0, 1.0), (3.0, -2.0), (-4.0, 0.5)),
    log_scale=((0.0, -1.0), (-2.0, 0.3), (0.5, 0.0)),
)
WEIGHTS, LOC, SCALE = np.exp(MIXTURE.log_weights), np.array(MIXTURE.loc), np.exp(MIXTURE.log_scale)


def density(z):
    return sum(
        weight * norm.pdf(z, loc, scale).prod(axis=-1) for weight, loc, scale in zip(WEIGHTS, LOC, SCALE, strict=True)
    )


def test_the_density_of_a_mixture_is_scipys():
    z = np.random.default_rng(0).normal(size=(700, 2)) * 4.0
    np.testing.assert_allclose(MIXTURE.log_prob(z), np.log(density(z)), rtol=1e-12)


def test_far_out_the_log_density_is_finite():
    assert np.isfinite(MIXTURE.log_prob(np.full((1, 2), 1e6))).all()


@pytest.mark.parametrize("prior", [NormalPrior(), MIXTURE], ids=["normal", "mixture"])
def test_draws_have_the_distribution_of_the_density(prior: Prior):
    """The distribution function of one coordinate, from the density on a grid."""
    draws = prior.draw(4_000, 2, np.random.default_rng(0))
    grid = np.linspace(-9.0, 9.0, 600)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(prior.log_prob(plane)).reshape(600, 600) * (grid[1] - grid[0]) ** 2
    assert mass.sum() == pytest.approx(1.0, abs=1e-3)
    for axis in (0, 1):
        levels = np.cumsum(mass.sum(axis=1 - axis))
        assert kstest(draws[:, axis], lambda v, levels=levels: np.interp(v, grid, levels)).pvalue > 1e-3


@pytest.mark.parametrize("number", [16, 256])
def test_evenly_spread_points_stay_evenly_spread(number):
    """Each component gets its share of the points, and of every start of their list."""
    points = sobol_normal(1, number, 2, seed=0)[0].astype(np.float64)
    np.testing.assert_array_equal(NormalPrior().spread(points), points)
    spread = MIXTURE.spread(points)
    own = (spread[:, None] - LOC) / SCALE
    component = np.abs(own - points[:, None]).sum(axis=-1).argmin(axis=1)
    np.testing.assert_allclose(own[np.arange(number), component], points, atol=1e-9)
    for end in (number // 2, number):
        shares = np.bincount(component[:end], minlength=3) / end
        np.testing.assert_allclose(shares, WEIGHTS, atol=2.0 / end)


def parsed(**changes):
    record = msgspec.to_builtins(MIXTURE) | changes
    return msgspec.json.decode(msgspec.json.encode(record), type=Prior)


def test_a_prior_survives_the_manifest():
    assert parsed() == MIXTURE
    assert msgspec.json.decode(msgspec.json.encode(NormalPrior()), type=Prior) == NormalPrior()


@pytest.mark.parametrize(
    "changes",
    [
        {"log_weights": [float("nan"), 0.0, 0.0]},
        {"log_weights": [1.0, 0.0, 0.0]},
        {"log_weights": []},
        {"loc": [[1e9, 0.0]] * 3},
        {"log_scale": [[-9.0, 0.0]] * 3},
        {"log_scale": [[3.0, 0.0]] * 3},
        {"kind": "flow"},
        {"extra": 1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(msgspec.MsgspecError):
        parsed(**changes)


def test_sizes_must_agree_and_shares_sum_to_one():
    assert MIXTURE.fits(2)
    assert NormalPrior().fits(7)
    assert not MIXTURE.fits(3)
    for changes in (
        {"log_weights": (0.0, 0.0, 0.0)},
        {"log_weights": (0.0,)},
        {"loc": MIXTURE.loc[:2]},
        {"loc": (MIXTURE.loc * 90)[:257]},
        {"loc": (*MIXTURE.loc[:2], (0.0,))},
        {"log_scale": (*MIXTURE.log_scale[:2], (0.0, 0.0, 0.0))},
    ):
        assert not parsed(**changes).fits(2)
