"""Rows with missing cells: exact marginals, comparable scores and one threshold, in every form of rows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import betabinom, multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import roc_auc_score

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.vae import VAE
from tests.support.models import estimator_of


def linear_model(latent_dim: int = 2):
    """Return a factor analysis as a VAE, and its mean, covariance and rows in data units; its encoder ignores x."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=(400, 6)) * rng.uniform(0.3, 1, size=6)
    scale = np.array([1.0, 10.0, 100.0, 1.0, 0.1, 1.0])
    fitted = FactorAnalysis(latent_dim).fit(rows)
    columns = [
        ColumnModel(
            head=GaussianHead(variance="fixed", log_var=float(np.log(variance))),
            transform=Standardise(center=3.0, scale=float(unit)),
        )
        for variance, unit in zip(fitted.noise_variance_, scale, strict=True)
    ]
    vae = VAE(columns, (), latent_dim)
    with torch.no_grad():
        vae.decoder[0].weight.copy_(torch.as_tensor(fitted.components_.T))
        vae.decoder[0].bias.copy_(torch.as_tensor(fitted.mean_))
        vae.encoder.net[0].weight.zero_()
        vae.encoder.net[0].bias.zero_()
    schema = Schema(columns=tuple(Column(name=f"x{d}", kind="continuous") for d in range(6)))
    mean = 3.0 + scale * fitted.mean_
    covariance = fitted.get_covariance() * np.outer(scale, scale)
    return estimator_of(vae, Features(schema, columns)), mean, covariance, 3.0 + scale * rows


def test_log_px_of_rows_with_missing_cells_is_the_exact_marginal():
    """A linear-Gaussian model's marginal over any columns is Gaussian with the sub-covariance: within 0.03 nats.

    All rows share their points, so their errors are alike: the limit is 5 standard errors, which are 0.006 nats.
    """
    estimator, mean, covariance, rows = linear_model()
    rng = np.random.default_rng(1)
    rows = rows[:80].copy()
    rows[:40] = mean + 2.0 * (rows[:40] - mean)
    rows[rng.random(rows.shape) < 0.4] = np.nan
    rows[:6] = np.where(np.eye(6, dtype=bool), rows[:6], np.nan)  # at most one cell each
    got = estimator.estimate_fixed(rows, 4096)
    for row, log_px in zip(rows, got.log_px, strict=True):
        there = ~np.isnan(row)
        if there.any():
            exact = multivariate_normal(mean[there], covariance[np.ix_(there, there)]).logpdf(row[there])
            assert log_px == pytest.approx(exact, abs=0.03)


def make_rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(n, 2))
    mixing = np.random.default_rng(123).normal(size=(2, 7))
    return np.tanh(t @ mixing) * [1, 10, 100, 1, 1, 0.1, 5] + 0.1 * rng.normal(size=(n, 7)) * [1, 10, 100, 1, 1, 0.1, 5]


@pytest.fixture(scope="module")
def scorer():
    config = TrainConfig(random_state=0, max_steps=400, search="off", target_fpr=0.05)
    return Scorer(train_model(make_rows(3000), tuple("abcdefg"), config).bundle, threads=2)


def without(rows: np.ndarray, share: float, seed: int = 5) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(rows.shape) < share, np.nan, rows)


def test_the_score_of_a_complete_row_is_its_log_px(scorer):
    scores = scorer.score(make_rows(50, seed=1))
    np.testing.assert_array_equal(scores.score, scores.log_px)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_one_threshold_keeps_its_rate_for_every_share_of_missing_cells(scorer, share):
    """The maps come from calibration rows with as many cells missing: within 99.9 % of the beta-binomial law."""
    rows = without(make_rows(3000, seed=2), share)
    flagged = int(scorer.score(rows).is_anomaly.sum())
    calibration = scorer.bundle.manifest.calibration
    law = betabinom(len(rows), calibration.rank, calibration.num_rows + 1 - calibration.rank)
    assert law.ppf(0.0005) <= flagged <= law.ppf(0.9995)


def test_scores_of_rows_with_gaps_still_find_anomalies_better_than_log_px(scorer):
    normal, odd = make_rows(1500, seed=3), make_rows(1500, seed=4)
    for d in range(7):
        odd[:, d] = np.random.default_rng(d).permutation(odd[:, d])
    labels = np.repeat([0, 1], 1500)
    complete = scorer.score(np.concatenate([normal, odd]))
    gaps = scorer.score(without(np.concatenate([normal, odd]), 0.2))
    by_score, by_log_px = roc_auc_score(labels, -gaps.score), roc_auc_score(labels, -gaps.log_px)
    assert by_score > by_log_px + 0.01
    assert by_score > roc_auc_score(labels, -complete.score) - 0.1


def test_flags_of_the_cascade_are_those_of_the_score(scorer):
    rows = without(np.concatenate([make_rows(150, seed=6), 3.0 * make_rows(50, seed=7)]), 0.3)
    scores, flags = scorer.score(rows), scorer.flag(rows)
    assert not np.any(flags.is_anomaly & ~scores.is_anomaly)
    assert np.mean(flags.is_anomaly == scores.is_anomaly) > 0.99
    assert flags.num_samples.mean() < scores.num_samples.mean()


def test_a_row_with_everything_missing_is_reported_and_not_flagged(scorer):
    rows = make_rows(3, seed=8)
    rows[1] = np.nan
    scores, flags = scorer.score(rows), scorer.flag(rows)
    assert scores.log_px[1] == scores.elbo[1] == scores.std_error[1] == 0.0
    assert scores.p_value[1] == 1.0
    assert not scores.is_anomaly[1]
    assert not flags.is_anomaly[1]
    assert scores.reason[1] == flags.reason[1] == "every cell is missing: there is nothing to judge"
    assert flags.num_samples[1] == 0
    assert scores.score[1] >= scorer.threshold
    calibration, sorted_scores, *_ = scorer.calibration_of(np.concatenate([make_rows(40), rows]), 0.05)
    assert calibration.num_rows == len(sorted_scores) == 42
    assert scores.reason[0] is None


def test_missing_cells_are_the_same_in_every_form_of_rows(scorer):
    rows = without(make_rows(20, seed=9), 0.3)
    names = list("abcdefg")
    frame = pd.DataFrame(rows, columns=names)
    as_none = frame.astype(object).where(frame.notna(), None)
    table = pa.table({name: pa.array([None if np.isnan(v) else v for v in rows[:, d]]) for d, name in enumerate(names)})
    wanted = scorer.score(rows)
    for form in (frame, as_none, frame.convert_dtypes(), table, as_none.to_numpy()):
        np.testing.assert_array_equal(scorer.score(form).score, wanted.score)


def test_training_rows_may_have_gaps_and_calibration_is_valid_for_rows_with_the_same():
    """The calibration rows then have the same gaps, so that scores are exchangeable without an adjustment."""
    config = TrainConfig(random_state=1, max_steps=300, search="off", target_fpr=0.05)
    rows = without(make_rows(2000, seed=10), 0.25, seed=11)
    rows[:, 3][rows[:, 2] > 0] = np.nan  # not at random
    scorer = Scorer(train_model(rows, tuple("abcdefg"), config).bundle)
    new = without(make_rows(2000, seed=12), 0.25, seed=13)
    new[:, 3][new[:, 2] > 0] = np.nan
    calibration = scorer.bundle.manifest.calibration
    law = betabinom(len(new), calibration.rank, calibration.num_rows + 1 - calibration.rank)
    assert law.ppf(0.0005) <= int(scorer.score(new).is_anomaly.sum()) <= law.ppf(0.9995)


def test_a_missing_cell_counts_as_a_density_of_one_in_standardised_units(scorer):
    """The unit of a column must not change the score of rows without a value there."""
    manifest = scorer.bundle.manifest
    for part, column in zip(manifest.adjustment.parts, manifest.members[0].columns, strict=True):
        assert part == pytest.approx(-math.log(column.transform.scale))
