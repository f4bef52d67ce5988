"""Quantiles, levels and entropies of known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nbinom, norm, vonmises

from anomaly_vae.columns.schema import Column
from anomaly_vae.density.expectations import expected


class Known:
    """A conditional with a distribution of scipy, or with probabilities of levels."""

    def __init__(self, log_prob, draw):
        self._log_prob, self._draw = log_prob, draw

    def log_prob(self, values):
        return self._log_prob(values[:, 0])

    def draw(self, count, seed):
        return self._draw(count, np.random.default_rng(seed))[:, None]


def of(distribution):
    return Known(distribution.logpdf, lambda count, rng: distribution.rvs(count, random_state=rng))


def test_a_gaussian():
    found = expected(of(norm(50.0, 3.0)), Column(name="x", kind="continuous"))
    np.testing.assert_allclose(found[:3], norm(50.0, 3.0).ppf([0.05, 0.5, 0.95]), atol=0.01)
    assert found.usual == pytest.approx(norm(50.0, 3.0).entropy(), abs=0.01)
    assert found.levels is None


def test_two_separate_peaks():
    left, right = norm(-100.0, 1.0), norm(100.0, 1.0)
    mixed = Known(
        lambda x: np.logaddexp(np.log(0.3) + left.logpdf(x), np.log(0.7) + right.logpdf(x)),
        lambda count, rng: np.where(rng.random(count) < 0.3, -100.0, 100.0) + rng.normal(size=count),
    )
    found = expected(mixed, Column(name="x", kind="continuous"))
    assert found.low == pytest.approx(-100.0 + norm.ppf(0.05 / 0.3), abs=0.1)
    assert found.middle == pytest.approx(100.0 + norm.ppf(0.2 / 0.7), abs=0.1)
    assert found.usual == pytest.approx(norm.entropy() - 0.3 * np.log(0.3) - 0.7 * np.log(0.7), abs=0.05)


@pytest.mark.parametrize("column", [{"kind": "count"}, {"kind": "integer", "step": 1.0}])
def test_whole_numbers_have_whole_quantiles(column):
    distribution = nbinom(5, 0.2)
    known = Known(distribution.logpmf, lambda count, rng: distribution.rvs(count, random_state=rng).astype(float))
    found = expected(known, Column(name="x", **column))
    assert found[:3] == tuple(distribution.ppf([0.05, 0.5, 0.95]))
    assert found.usual == pytest.approx(distribution.entropy(), abs=0.01)


def test_a_fine_grid_with_many_values_is_integrated():
    distribution = norm(0.0, 5.0)
    known = Known(
        lambda x: distribution.logpdf(x) + np.log(0.001),
        lambda count, rng: np.round(distribution.rvs(count, random_state=rng), 3),
    )
    found = expected(known, Column(name="x", kind="continuous", step=0.001))
    np.testing.assert_allclose(found[:3], distribution.ppf([0.05, 0.5, 0.95]), atol=0.03)
    assert found.usual == pytest.approx(distribution.entropy() - np.log(0.001), abs=0.01)


def test_a_range_on_a_circle_may_cross_the_end_of_the_period():
    distribution = vonmises(4.0)  # around 23 o'clock
    to_angle = 2.0 * np.pi / 24.0
    known = Known(
        lambda x: distribution.logpdf((x - 23.0) * to_angle) + np.log(to_angle),
        lambda count, rng: (23.0 + distribution.rvs(count, random_state=rng) / to_angle) % 24.0,
    )
    found = expected(known, Column(name="hour", kind="cyclic", period=24.0))
    half = distribution.ppf(0.95) / to_angle
    np.testing.assert_allclose(found[:3], [23.0 - half, 23.0, 23.0 + half - 24.0], atol=0.1)
    assert found.usual == pytest.approx(distribution.entropy() - np.log(to_angle), abs=0.02)


def test_all_directions_of_a_circle_count():
    known = Known(lambda x: np.full(len(x), -np.log(24.0)), lambda count, rng: rng.uniform(0.0, 24.0, count))
    found = expected(known, Column(name="hour", kind="cyclic", period=24.0))
    assert (found.high - found.low) % 24.0 == pytest.approx(0.9 * 24.0, abs=0.01)
    assert found.usual == pytest.approx(np.log(24.0))


def test_one_possible_value():
    known = Known(np.zeros_like, lambda count, rng: np.full(count, 7.0))
    assert expected(known, Column(name="x", kind="integer", step=1.0))[:3] == (7.0, 7.0, 7.0)
    assert expected(known, Column(name="x", kind="continuous"))[:3] == (7.0, 7.0, 7.0)


def shares_of(*shares):
    known = Known(lambda codes: np.log(shares)[codes.astype(int)], None)
    known.log_levels = lambda: np.log(shares)
    return known


def test_the_likeliest_levels_of_a_text():
    column = Column(name="colour", kind="categorical", categories=("blue", "green", "red", "white"))
    found = expected(shares_of(0.1, 0.06, 0.8, 0.04), column)
    assert [name for name, _ in found.levels] == ["red", "blue", "green"]
    np.testing.assert_allclose([share for _, share in found.levels], [0.8, 0.1, 0.06])
    assert found[:3] == (None, None, None)
    assert found.usual == pytest.approx(-sum(p * np.log(p) for p in (0.1, 0.06, 0.8, 0.04)))


def test_rare_texts_are_one_level_of_the_model():
    column = Column(name="colour", kind="categorical", categories=("blue", "green", "red", "white"), rare=(1, 3))
    found = expected(shares_of(0.2, 0.3, 0.5), column)
    assert [name for name, _ in found.levels] == ["another text", "red", "blue"]


def test_zero_and_one_are_levels():
    found = expected(shares_of(0.97, 0.03), Column(name="open", kind="binary"))
    assert [name for name, _ in found.levels] == ["0"]
