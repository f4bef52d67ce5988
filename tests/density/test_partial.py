"""What is known of rows: it is taken, put and joined by row, and it ends as the estimates of the ensemble."""

from __future__ import annotations

import numpy as np

from anomaly_vae.density.ensemble import ensemble_estimates, log_mean_exp
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.partial import Partial
from tests.support.partials import flat


def partial_of(num_rows, latent_dims, seed=0):
    rng = np.random.default_rng(seed)
    estimates = []
    for _ in latent_dims:
        made = Estimates.empty(num_rows)
        for values in made[:5]:
            values[:] = rng.uniform(0.1, 0.5, size=num_rows)
        made.num_samples[:] = 64
        made.reliable[:] = True
        estimates.append(made)
    shape = (len(latent_dims), num_rows)
    elbo, spent = rng.normal(size=shape), rng.integers(1, 99, size=shape)
    modes = tuple(rng.normal(size=(num_rows, size)).astype(np.float32) for size in latent_dims)
    return Partial(tuple(estimates), elbo, spent, rng.random(num_rows) < 0.5, modes)


def test_parts_are_taken_put_and_joined_by_row():
    whole = partial_of(7, (2, 3))
    parts = [whole.take(np.arange(start, start + 2)) for start in (0, 2)] + [whole.take(np.arange(4, 7))]
    for values, expected in zip(flat(Partial.joined(parts, (2, 3))), flat(whole), strict=True):
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype
    target, chosen = partial_of(7, (2, 3), seed=1), np.array([5, 0])
    before = [values.copy() for values in flat(target)]
    target.put(chosen, whole.take(chosen))
    for values, old, new in zip(flat(target), before, flat(whole), strict=True):
        np.testing.assert_array_equal(values[chosen], new[chosen])
        np.testing.assert_array_equal(np.delete(values, chosen, axis=0), np.delete(old, chosen, axis=0))


def test_no_parts_are_no_rows_of_every_member():
    got = Partial.joined([], (2, 3))
    assert len(got.estimates) == 2
    assert got.elbo.shape == got.spent.shape == (2, 0)
    assert [modes.shape for modes in got.modes] == [(0, 2), (0, 3)]
    assert {modes.dtype for modes in got.modes} == {np.dtype(np.float32)}
    assert len(got.final().log_px) == 0


def test_the_final_estimates_are_those_of_the_ensemble():
    whole = partial_of(7, (2, 3))
    final, combined = whole.final(), ensemble_estimates(whole.estimates)
    for name in ("log_px", "std_error", "ess_ratio", "pareto_k", "reliable"):
        np.testing.assert_array_equal(getattr(final, name), getattr(combined, name))
    np.testing.assert_array_equal(final.num_samples, whole.spent.sum(axis=0))
    assert np.all(final.elbo <= final.log_px)
    np.testing.assert_allclose(whole.log_px(), log_mean_exp(np.array([each.log_px for each in whole.estimates])))
