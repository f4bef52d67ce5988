"""Early exits only call rows normal, and agree with the score."""

import numpy as np
import pytest

from anomaly_vae.density.cascade import is_clearly_normal
from anomaly_vae.density.importance import summarise
from anomaly_vae.scorer import load
from tests.support.data import make_rows
from tests.support.same_bits import assert_rows_stand_alone

SHIFT = np.array([0.0, 0.05, 0.0, 3.0, 0.0])


def exits_early(log_weights, threshold):
    log_weights = np.asarray(log_weights, dtype=np.float64)
    return is_clearly_normal(log_weights, summarise(log_weights, np.zeros(len(log_weights))), threshold)


def test_a_row_exits_early_only_above_the_threshold():
    """Equal weights have no error, so the estimate decides alone. A row at the threshold stays."""
    flat = np.zeros((1, 16, 1))
    assert exits_early(flat, -0.01).tolist() == [True]
    assert exits_early(flat, 0.0).tolist() == [False]
    assert exits_early(flat, 5.0).tolist() == [False]


def test_an_uncertain_row_stays():
    """The ELBO is above the threshold, but ELBO - 4 errors is below it."""
    weights = np.random.default_rng(0).normal(size=(1, 16, 1)) * 3 + 5
    assert not exits_early(weights, weights.mean() - 1.0)
    assert exits_early(weights, weights.mean() - 20.0)


def test_one_huge_weight_is_enough_above_markov_s_bound():
    weights = np.full((1, 16, 1), -1000.0)
    weights[0, 3] = 100.0
    assert exits_early(weights, 100 - np.log(16) - 9.3)
    assert not exits_early(weights, 100 - np.log(16) - 9.1)


def test_the_error_over_scramblings_counts_from_64_samples_on():
    rng = np.random.default_rng(1)
    for points, expected in ((1, False), (4, True)):
        weights = rng.normal(size=(1, 16, points)) * 2
        summary = summarise(weights, np.zeros(1))
        threshold = float(summary.log_px[0] - 4.5 * summary.std_error[0])
        assert threshold > summary.elbo[0] - 4 * weights.std() / np.sqrt(weights.size)
        assert exits_early(weights, threshold) == expected


def test_a_row_s_early_exit_does_not_depend_on_the_other_rows():
    weights = np.random.default_rng(1).normal(size=(30, 16, 4)) * 2
    thresholds = summarise(weights, np.zeros(30)).log_px - np.linspace(0.0, 4.0, 30)
    assert 0 < exits_early(weights, thresholds).sum() < 30
    assert_rows_stand_alone(lambda rows: exits_early(weights[rows], thresholds[rows]), 30)


def test_rows_with_zero_weights_never_exit_early():
    assert not exits_early(np.full((1, 16, 4), -np.inf), -1e9)


def test_flags_are_those_of_the_score_at_a_fraction_of_the_samples(scorer):
    """Every flagged row has had what the score gives it, after 16 and 64 samples of the cascade."""
    rows = np.concatenate([make_rows(400, seed=5), make_rows(40, seed=6) + SHIFT])
    scores, flags = scorer.score(rows), scorer.flag(rows)
    np.testing.assert_array_equal(flags.is_anomaly, scores.is_anomaly)
    assert flags.is_anomaly[400:].sum() > 30
    extra = (flags.num_samples - scores.num_samples)[flags.is_anomaly]
    assert set(extra) <= {16, 64}
    assert np.mean(flags.num_samples[:400]) < 0.7 * np.mean(scores.num_samples[:400])
    ended = np.isin(flags.num_samples, [16, 64])
    assert ended[:400].mean() > 0.8
    np.testing.assert_array_equal(flags.num_samples[~ended] - scores.num_samples[~ended], 64)
    assert "anomalies" in repr(flags)
    assert len(flags) == 440


def test_a_row_s_flag_and_cost_do_not_depend_on_the_other_rows(scorer, model_path):
    rows = np.concatenate([make_rows(70, seed=5), make_rows(10, seed=6) + SHIFT])
    rows = np.random.default_rng(0).permutation(rows)
    expected = scorer.flag(rows)
    one = load(model_path, threads=1)
    for step in (1, 7):
        parts = [one.flag(rows[i : i + step]) for i in range(0, len(rows), step)]
        for name in ("is_anomaly", "num_samples"):
            np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(expected, name))


def test_a_changed_constant_column_is_flagged_without_a_sample(scorer, new_rows):
    rows = new_rows[:6].copy()
    rows[2, 4] = 8.0
    flags = scorer.flag(rows)
    assert flags.is_anomaly[2]
    assert flags.num_samples[2] == 0
    assert "always 7.0" in flags.reason[2]
    np.testing.assert_array_equal(flags.is_anomaly, scorer.score(rows).is_anomaly)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.5])
def test_another_target_changes_flag_and_score_in_the_same_way(scorer, new_rows, target):
    expected = scorer.score_rows(new_rows, target_fpr=target).is_anomaly
    np.testing.assert_array_equal(scorer.flag_rows(new_rows, target_fpr=target).is_anomaly, expected)
