"""The middle of p(x|z) as rows."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.reconstruction import middle_rows
from tests.support.models import ALL, features_of, member_of, schema_of, vae_of

NUMBERS = ("gaussian", "conditional", "student_t", "bernoulli", "count")


def test_the_middle_of_numbers_is_the_mean_of_many_draws():
    """The mean of 20,000 draws is within 5 standard errors of it, for every head whose values are not rounded."""
    vae = vae_of(*NUMBERS, seed=1)
    member = member_of(vae, features_of(*NUMBERS, vae=vae))
    z = np.random.default_rng(0).normal(size=(3, vae.latent_dim))
    middle, rng = middle_rows(member, z), np.random.default_rng(1)
    for i in range(3):
        copies = np.repeat(z[i : i + 1], 20_000, axis=0).astype(np.float32)
        params = member.network.decode(copies).astype(np.float64)
        draws = member.features.decode(member.likelihood.draw(params, rng), rng)
        error = draws.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(draws.mean(axis=0) - middle[i]) <= 5 * error).all()


def test_every_head_has_a_middle_that_is_a_possible_value():
    """On a grid it is a grid point, a category an index, an angle below its period."""
    vae = vae_of(*ALL, seed=2)
    member, schema = member_of(vae, features_of(*ALL, vae=vae)), schema_of(*ALL)
    rows = middle_rows(member, np.random.default_rng(0).normal(size=(70, vae.latent_dim)))
    by_name = {column.name: rows[:, d] for d, column in enumerate(schema.columns)}
    assert np.isfinite(rows).all()
    assert set(by_name["colour"]) <= {0.0, 1.0, 2.0}
    np.testing.assert_allclose(by_name["tenths"], np.round(by_name["tenths"], 1))
    assert (by_name["year"] == np.round(by_name["year"])).all()
    assert ((by_name["is_open"] >= 0) & (by_name["is_open"] <= 1)).all()
    assert ((by_name["hour"] >= 0) & (by_name["hour"] < 24)).all()


@pytest.mark.parametrize("name", ["categorical", "cyclic"])
def test_the_middle_of_a_category_or_an_angle_is_the_most_common_draw(name):
    vae = vae_of(name, seed=3, wild=4.0)
    member = member_of(vae, features_of(name, vae=vae))
    z, rng = np.random.default_rng(0).normal(size=(4, vae.latent_dim)), np.random.default_rng(1)
    params = member.network.decode(z.astype(np.float32)).astype(np.float64)
    draws = np.array([member.likelihood.draw(params, rng)[:, 0] for _ in range(4000)])  # (S, N), model units
    middle = member.likelihood.center(params)[:, 0]
    if name == "categorical":
        expected = [np.bincount(column.astype(int)).argmax() for column in draws.T]
        np.testing.assert_array_equal(middle, expected)
    else:
        mean = np.angle(np.exp(1j * draws).mean(axis=0))
        assert np.abs(np.angle(np.exp(1j * (middle - mean)))).max() < 0.25


def test_no_position_gives_no_row():
    vae = vae_of("gaussian")
    member = member_of(vae, features_of("gaussian", vae=vae))
    assert middle_rows(member, np.empty((0, vae.latent_dim))).shape == (0, 1)
