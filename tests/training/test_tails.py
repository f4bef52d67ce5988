"""The tails that training chooses: their scales, their jumps, and the errors that they reveal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads import ColumnModel, StudentTHead
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.tails import fit_pareto, fit_tails

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [-1.0, -0.3, 0.0, 0.3])
def test_the_pareto_fit_finds_scale_and_shape(shape):
    """-1 is a uniform distribution, 0 an exponential one. Few values pull the shape towards 0: here there are many."""
    excess = stats.genpareto(shape, scale=3.0).rvs(20_000, random_state=1)
    found = fit_pareto(excess)
    assert found.shape == pytest.approx(shape, abs=0.06)
    assert found.scale == pytest.approx(3.0, rel=0.06)


def test_equal_distances_have_a_shape_of_0():
    assert fit_pareto(np.full(5, 2.0)).shape == 0.0
    assert fit_pareto(np.zeros(5)) == (0.0, 0.0)


def fitted(values: np.ndarray, step: float | None = None):
    """Return the tails of a column whose head is at each value, with a spread of 0.3 standard deviations."""
    line = Standardise(center=float(values.mean()), scale=float(values.std()))
    model = ColumnModel(head=StudentTHead(log_scale=-1.2, freedom=10.0, step=step), transform=line)
    return fit_tails(model, values, line.forward(values[:1000])[:, None])


def test_a_bounded_side_has_a_short_scale_and_a_jump_and_a_long_one_neither():
    """Exponential values: the smallest of n is 1 / n from the bound, and the largest has the scale of all."""
    tails = fitted(RNG.exponential(5.0, 4000))
    assert tails.low.length < 0.02
    assert tails.low.jump > 1.0
    assert 4.0 < tails.high.length < 20.0
    assert tails.high.jump < 2.0
    assert tails.low.end > 0.0
    assert tails.low.end - tails.low.margin > 0.0


def test_ties_at_the_end_of_a_grid_have_the_scale_of_a_step():
    tails = fitted(np.maximum(RNG.normal(0.0, 20.0, 2000).round(), 0.0), step=1.0)
    assert (tails.low.end, tails.low.margin, tails.low.length) == (0.0, 0.5, 2.0)


def test_a_column_without_negative_values_has_a_scale_of_its_distance_to_zero_at_most():
    """A few values spread near zero look like a tail that goes on below it."""
    values = np.concatenate([RNG.uniform(1.0, 400.0, 100), RNG.normal(1500.0, 300.0, 2000).clip(500.0)])
    values[0] = 1.0
    assert fitted(values).low.length <= 2.0
    assert fitted(values - 600.0).low.length > 20.0


@pytest.fixture(scope="module")
def skewed():
    """A model of a skewed, never negative column and two that follow it."""
    rng = np.random.default_rng(0)

    def rows(n: int) -> np.ndarray:
        income = rng.lognormal(0.0, 1.0, n)
        return np.column_stack([income, income * rng.uniform(0.5, 1.5, n), rng.normal(size=n)])

    config = TrainConfig(random_state=0, max_steps=400, latent_dim=2, hidden=(32,))
    return Scorer(train_model(rows(2000), ("income", "spent", "noise"), config).bundle), rows(2000)


def test_negated_values_of_a_never_negative_column_are_flagged(skewed):
    scorer, rows = skewed
    wrong = rows * [-1.0, 1.0, 1.0]
    assert scorer.score_rows(wrong[:300]).is_anomaly.mean() > 0.8


def test_normal_rows_are_flagged_at_the_target_rate(skewed):
    """The tails are those of the fitting rows, so calibration rows and new rows stay exchangeable."""
    scorer, rows = skewed
    flags = scorer.score_rows(rows).is_anomaly.sum()
    law = stats.betabinom(len(rows), 4, 397)  # rank 4 of 400 calibration rows
    assert law.ppf(0.0005) <= flags <= law.ppf(0.9995)


def test_the_range_is_that_of_the_rows_that_fitted_the_model(skewed):
    """Training and early stopping used 1,600 of 2,000 rows; the edges of both members are the same."""
    scorer, _ = skewed
    first, second = (member.columns for member in scorer.bundle.manifest.members)
    assert [column.tails.ends.tolist() for column in first] == [column.tails.ends.tolist() for column in second]
    assert first[0].tails.low.end > 0.0
