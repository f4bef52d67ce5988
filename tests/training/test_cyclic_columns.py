"""A table with a time of day: what a model learns about it, and what log p(x) of its rows is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.columns.reading.records import Input, NumberReading, TimeReading
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.density.estimator import Precision
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.pipeline import train_table
from anomaly_vae.training.vae import VAE
from tests.support.exact_models import student
from tests.support.models import estimator_of, features_of, rows_of, vae_of
from tests.support.training import QUICK

NAMES = ("activity", "noise", "hour")
MICROS_PER_HOUR = 3.6e9


def make_rows(n, seed=0):
    """Activity is high at night, around 23:30, and low at noon; noise follows activity."""
    rng = np.random.default_rng(seed)
    hour = rng.uniform(0.0, 24.0, size=n)
    activity = 10.0 * np.cos((hour - 23.5) / 24.0 * 2.0 * np.pi) + rng.normal(size=n)
    return np.column_stack([activity, 0.5 * activity + rng.normal(size=n), hour])


@pytest.fixture(scope="module")
def model():
    cells = make_rows(3000)
    cells[:, 2] = np.round(cells[:, 2] * MICROS_PER_HOUR)
    times = TimeReading(order="clock", parts=("time_of_day",))
    readings = (NumberReading(), NumberReading(), times)
    inputs = tuple(Input(name=name, reading=reading) for name, reading in zip(NAMES, readings, strict=True))
    table = TrainingTable(inputs=inputs, rows=cells, categories={})
    return train_table(table, replace(QUICK, max_steps=600))


@pytest.fixture(scope="module")
def scorer(model):
    return Scorer(model.bundle, threads=1)


def test_a_usual_row_at_the_wrong_time_is_less_likely(scorer):
    rows = make_rows(300, seed=1)
    moved = rows.copy()
    moved[:, 2] = (rows[:, 2] + 12.0) % 24.0
    clear = np.abs(rows[:, 0]) > 7.0
    usual, wrong = scorer.score_rows(rows[clear]), scorer.score_rows(moved[clear])
    assert np.mean(wrong.log_px < usual.log_px) > 0.97
    assert np.median(usual.log_px - wrong.log_px) > 3.0
    assert wrong.is_anomaly.mean() > 0.7


def test_midnight_is_no_border(scorer):
    """One minute before and after midnight are nearly the same, and a day later is exactly the same."""
    hours = np.array([-1 / 60, 1 / 60, 0.0, 24.0])
    before, after, now, later = scorer.score_rows(np.column_stack([np.full(4, 10.0), np.full(4, 5.0), hours])).log_px
    assert before == pytest.approx(after, abs=0.1)
    assert now == later


def test_a_missing_time_drops_out(scorer):
    """Its column is missing for the networks, and the row is scored like others with a missing cell."""
    rows = make_rows(200, seed=2)
    rows[:, 2] = np.nan
    scores = scorer.score_rows(rows)
    assert np.isfinite(scores.log_px).all()
    assert scores.is_anomaly.mean() < 0.15


def test_the_gates_of_a_table_with_a_time_pass(model):
    """The factor analysis has no density of angles: as with text, there is no comparison."""
    gates = {gate.name: gate.passed for gate in model.bundle.manifest.training.gates}
    assert False not in gates.values()
    assert gates["as good as a linear model"] is None
    assert gates["flags nonsense"] is True


def test_drawn_rows_are_active_at_night(scorer):
    activity, _, hour = scorer.sample(4000).T
    assert hour.min() >= 0.0
    assert hour.max() < 24.0
    assert np.corrcoef(activity, np.cos((hour - 23.5) / 24.0 * 2.0 * np.pi))[0, 1] > 0.8


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_log_px_is_the_integral_over_z(latent_dim):
    """Importance sampling against the trapezoidal rule on a fine grid, with missing cells."""
    names = ("gaussian", "cyclic", "cyclic")
    vae = vae_of(*names, latent_dim=latent_dim, wild=3.0)
    features = features_of(*names, vae=vae)
    rows = rows_of(40, *names, seed=3)
    rows[::3, 1] = np.nan
    got = estimator_of(vae, features).estimate(rows, Precision(0.003, 4096))

    axis = np.linspace(-7.0, 7.0, 20_001 if latent_dim == 1 else 301)
    z = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij"), axis=-1).reshape(-1, latent_dim)
    with torch.no_grad():
        params = VAE.in_float64(vae).decoder(torch.as_tensor(z)).numpy()
    inputs, likelihood = features.encode(rows), TableLikelihood(features.layout)
    log_prior = -0.5 * (np.square(z).sum(axis=1) + latent_dim * np.log(2.0 * np.pi))
    cell = latent_dim * np.log(axis[1] - axis[0])
    exact = [
        logsumexp(likelihood.log_prob(x[None], mask[None], params) + log_prior) + cell + base
        for x, mask, base in zip(*inputs, strict=True)
    ]
    errors = np.abs(got.log_px - exact)
    assert np.mean(errors <= student(got.std_error) + 1e-3) >= 0.97
    assert np.median(errors) <= 0.02
