"""The number of starts of quick fits, chosen for a model with two equal modes and for a model with one."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from msgspec import structs

from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.estimator import Precision
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.starts import choose_extra_starts
from tests.support.exact_models import estimator_of, folded, on_a_grid, student, wrong_encoder

PRECISION = Precision(target_error=0.1, num_samples=4096)


def maker_of(vae):
    return partial(_estimator, vae)


def _estimator(vae, extra_starts):
    return estimator_of(vae, points=256, extra_starts=extra_starts)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_a_model_with_two_equal_modes_gets_extra_starts_and_then_right_scores(latent_dim):
    """x_1 = |z_1|, and the encoder knows one of two modes: quick fits from its mean alone miss half of p(x)."""
    vae = folded(latent_dim)
    held_out, x = (np.random.default_rng(seed).uniform(0.7, 2.8, size=(60, latent_dim)) for seed in (1, 0))
    chosen = choose_extra_starts(maker_of(vae), held_out, PRECISION)
    assert chosen > 0
    exact = on_a_grid(vae, x)
    without, got = (_estimator(vae, number).estimate(x, PRECISION) for number in (0, chosen))
    assert np.median(exact - without.log_px) > 0.5
    assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97
    assert np.abs(got.log_px - exact).max() < 0.4


def test_a_model_with_one_mode_keeps_the_encoder_s_mean_as_the_only_start():
    """The posterior of a linear model is one Gaussian, and a wrong encoder does not change that."""
    exact, vae, rows = wrong_encoder()
    assert choose_extra_starts(maker_of(vae), rows[:60], PRECISION) == 0
    got = _estimator(vae, 0).estimate(rows, PRECISION)
    assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97


class Scripted:
    """An estimator whose quick fits with few starts are a number of nats too low for some rows."""

    def __init__(self, missed, needed, extra_starts):
        self.missed, self.is_enough = missed, extra_starts >= needed

    def estimate(self, rows, precision, careful_below=None):
        assert precision == PRECISION
        thorough = careful_below is not None
        assert not thorough or np.all(careful_below == np.inf)
        estimates = Estimates.empty(len(rows))
        estimates.log_px[:] = np.where(thorough | self.is_enough | ~self.missed[: len(rows)], -5.0, -5.7)
        estimates.std_error[:] = 0.05
        return estimates


@pytest.mark.parametrize(
    ("share", "needed", "expected"), [(0.0, 9, 0), (0.1, 1, 1), (0.1, 2, 2), (0.1, 3, 4), (0.1, 9, 4)]
)
def test_the_fewest_starts_that_agree_with_the_thorough_search_are_chosen(share, needed, expected):
    """If none agrees, it is the largest number."""
    missed = np.arange(200) < 200 * share
    assert choose_extra_starts(partial(Scripted, missed, needed), np.zeros((200, 2)), PRECISION) == expected


@pytest.mark.parametrize(("needed", "expected"), [(0, 0), (1, 2), (3, 4), (5, 8), (9, 8)])
def test_images_get_more_starts(needed, expected):
    maker = partial(Scripted, np.arange(200) < 20, needed)
    assert choose_extra_starts(maker, np.zeros((200, 2)), PRECISION, images=True) == expected


def test_a_single_row_that_differs_by_chance_does_not_count():
    assert choose_extra_starts(partial(Scripted, np.arange(200) < 1, 9), np.zeros((200, 2)), PRECISION) == 0


def test_errors_that_are_not_valid_do_not_count():
    class WithoutErrors(Scripted):
        def estimate(self, rows, precision, careful_below=None):
            got = super().estimate(rows, precision, careful_below)
            return got._replace(std_error=np.full(len(rows), np.nan))

    assert choose_extra_starts(partial(WithoutErrors, np.ones(200, bool), 9), np.zeros((200, 2)), PRECISION) == 0


def test_the_scorer_uses_the_number_in_the_manifest(trained):
    costs = []
    for number in (0, 4):
        manifest = trained.bundle.manifest
        estimator = structs.replace(manifest.estimator, extra_starts=number)
        bundle = dataclasses.replace(trained.bundle, manifest=structs.replace(manifest, estimator=estimator))
        costs.append(Scorer(bundle)._judge.estimator._engines[0].most_evaluations(thorough=False))
    assert costs[0] < costs[1]
