"""What a score is: the promised relations between fields, budgets, targets, tails and novelties."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.calibration import calibrate
from anomaly_vae.columns.features import LOG_NEW_VALUES
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows


def test_scores_have_an_entry_per_row_and_the_promised_relations(scorer, new_rows):
    s = scorer.score(new_rows)
    assert len(s) == len(new_rows)
    for values in (
        s.log_px,
        s.score,
        s.elbo,
        s.std_error,
        s.ess_ratio,
        s.p_value,
        s.is_anomaly,
        s.num_samples,
        s.reason,
        s.pareto_k,
        s.reliable,
    ):
        assert len(values) == len(new_rows)
    assert np.isfinite(s.log_px).all()
    assert np.all(s.elbo <= s.log_px)
    assert np.all((s.p_value > 0) & (s.p_value <= 1))
    assert np.all((s.ess_ratio > 0) & (s.ess_ratio <= 1))
    assert np.all((s.num_samples > 0) & (s.num_samples <= scorer.num_samples))
    np.testing.assert_array_equal(s.score, s.log_px)  # no cell is missing
    np.testing.assert_array_equal(s.is_anomaly, s.score < scorer.threshold)
    calibration = scorer.bundle.manifest.calibration
    np.testing.assert_array_equal(s.is_anomaly, s.p_value <= calibration.rank / (calibration.num_rows + 1) + 1e-12)


def test_far_rows_are_flagged_and_normal_rows_mostly_not(scorer, new_rows):
    assert scorer.score(new_rows).is_anomaly.mean() < 0.2
    far = new_rows[:5].copy()
    far[:, 1] += 1.0
    assert scorer.score(far).is_anomaly.all()


@pytest.mark.parametrize("name", ["scorer", "ensemble_scorer"])
def test_by_default_nearly_all_rows_meet_the_error_target_far_below_the_cap(name, request):
    scorer = request.getfixturevalue(name)
    s = scorer.score(make_rows(500, seed=98))
    assert np.mean(s.std_error <= scorer.target_error) > 0.98
    assert np.mean(s.num_samples) < 0.2 * scorer.num_samples
    assert s.reliable.mean() > 0.98


@pytest.mark.parametrize("name", ["scorer", "ensemble_scorer"])
def test_the_error_that_the_scores_state_covers_the_difference_to_a_smaller_one(name, request):
    """The reference has a third of the error target, so its own error adds little."""
    scorer = request.getfixturevalue(name)
    rows = make_rows(500, seed=98)
    s = scorer.score_rows(rows)
    exact = scorer.score_rows(rows, max_std_error=scorer.target_error / 3)
    both = np.hypot(s.std_error, exact.std_error)
    assert np.mean(np.abs(s.log_px - exact.log_px) <= 3.54 * both) > 0.98
    assert np.mean(exact.std_error <= scorer.target_error / 3) > 0.95


def test_the_number_of_the_calibration_stands_for_its_rule(scorer, new_rows):
    """It is the cap of the rule. A fixed number would give other scores, which the threshold does not fit."""
    default = scorer.score(new_rows)
    same = scorer.score(new_rows, num_samples=scorer.num_samples)
    assert same.log_px.tobytes() == default.log_px.tobytes()
    assert same.p_value.tobytes() == default.p_value.tobytes()
    assert default.num_samples.max() < scorer.num_samples


def test_another_error_target_changes_errors_and_costs_and_gives_no_p_values(scorer, new_rows):
    default = scorer.score(new_rows)
    with pytest.warns(UserWarning, match="max_std_error .* there is no p-value and no flag"):
        fine = scorer.score(new_rows, max_std_error=0.01)
    assert fine.p_value is None
    assert fine.is_anomaly is None
    assert fine.std_error.mean() < 0.5 * default.std_error.mean()
    assert fine.num_samples.mean() > 2.0 * default.num_samples.mean()
    same = scorer.score_rows(new_rows, max_std_error=scorer.target_error)
    assert same.log_px.tobytes() == default.log_px.tobytes()
    assert same.p_value is None


@pytest.mark.parametrize("name", ["scorer", "ensemble_scorer"])
@pytest.mark.parametrize("budget", [32, 64, 128, 256, 512, 1024, 2048, 4096])
def test_no_row_gets_more_evaluations_than_num_samples(name, budget, request, new_rows):
    """With an error target that no row can meet; the searches for modes count as well."""
    scorer = request.getfixturevalue(name)
    capped = scorer.score_rows(new_rows, num_samples=budget, max_std_error=1e-9)
    assert capped.num_samples.max() <= budget
    assert capped.num_samples.min() > 0.25 * budget


def test_low_scores_get_the_thorough_search(scorer, bundle):
    """Anomalies are among them, and few other rows."""
    rows = make_rows(1000, seed=97)
    rows[:50, 1] += 1.0
    s = scorer.score_rows(rows)
    low = s.score < bundle.manifest.estimator.careful_below
    assert low[:50].all()
    # Their expected share is twice the target, 0.1, with a standard deviation of 0.04 for 60 held-out rows.
    assert low[50:].mean() < 0.2
    assert s.num_samples[low].min() > 2 * np.median(s.num_samples[~low])


def test_another_target_from_the_same_calibration(scorer, bundle):
    n = bundle.manifest.calibration.num_rows
    assert scorer.threshold_at(0.05) == scorer.threshold
    assert scorer.threshold_at(0.2) == bundle.calibration[int(0.2 * (n + 1) + 1e-9) - 1]
    with pytest.raises(ConfigError, match=f"target_fpr 0.0001 needs at least 9999 calibration rows, the model has {n}"):
        scorer.threshold_at(0.0001)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        scorer.threshold_at(1.0)


def test_flags_of_another_target_are_those_of_its_threshold(scorer, new_rows):
    default, lax, flags = (
        scorer.score(new_rows),
        scorer.score(new_rows, target_fpr=0.2),
        scorer.flag(new_rows, target_fpr=0.2),
    )
    np.testing.assert_array_equal(lax.p_value, default.p_value)
    np.testing.assert_array_equal(lax.is_anomaly, lax.score < scorer.threshold_at(0.2))
    assert lax.is_anomaly.sum() > default.is_anomaly.sum()
    np.testing.assert_array_equal(flags.is_anomaly, lax.is_anomaly)
    with pytest.raises(ConfigError, match="needs at least 9999 calibration rows"):
        scorer.flag(new_rows, target_fpr=0.0001)


def test_a_changed_constant_column_costs_what_its_probability_says_and_ranks_lowest(scorer, new_rows):
    """With n training rows, the 2^32 changes share a probability of 1 / (n + 2): log p(x) is a log-density."""
    changed = new_rows.copy()
    changed[:, 4] = 7.5
    s, unchanged = scorer.score(changed), scorer.score(new_rows)
    assert set(s.reason) == {"column 'unit' was always 7.0 in training, is 7.5"}
    training = scorer.bundle.manifest.training
    n = training.num_rows + training.num_held_out
    assert scorer.schema.columns[4].other_share == 1 / (n + 2)
    both_precise = s.std_error + unchanged.std_error < 0.2  # a low score may get more samples
    np.testing.assert_allclose((unchanged.log_px - s.log_px)[both_precise], np.log(n + 1) + LOG_NEW_VALUES, atol=1.0)
    assert np.median(unchanged.log_px - s.log_px) == pytest.approx(np.log(n + 1) + LOG_NEW_VALUES, abs=0.05)
    assert np.all(s.elbo <= s.log_px)
    np.testing.assert_array_equal(s.is_anomaly, True)
    np.testing.assert_array_equal(s.p_value, 1 / (scorer.bundle.manifest.calibration.num_rows + 1))
    np.testing.assert_array_equal(scorer.flag(changed).is_anomaly, True)


def test_a_row_that_ranks_lowest_has_a_score_below_all_calibration_rows(bundle, new_rows):
    """Its log p(x) is that of the row, even if it is far above the threshold; only the score is lowered."""
    record, scores = calibrate(bundle.calibration - 1000.0, np.zeros(len(bundle.calibration), bool), 0.05)
    scorer = Scorer(with_calibration(bundle, record, scores, ""), threads=1)
    changed = new_rows.copy()
    changed[::2, 4] = 7.5
    s = scorer.score(changed)
    assert s.log_px.min() > scorer.threshold
    assert s.score[::2].max() < scores[0]
    np.testing.assert_array_equal(s.score[1::2], s.log_px[1::2])
    np.testing.assert_array_equal(s.is_anomaly, np.arange(len(changed)) % 2 == 0)
    np.testing.assert_array_equal(s.is_anomaly, s.score < scorer.threshold)
    np.testing.assert_array_equal(scorer.flag(changed).is_anomaly, s.is_anomaly)
    assert set(s.p_value[::2]) == {1 / 121}
    assert set(s.p_value[1::2]) == {1.0}


def test_rows_that_rank_lowest_keep_their_order_by_score(scorer, bundle, new_rows):
    changed = new_rows.copy()
    changed[:, 4] = 7.5
    s = scorer.score(changed)
    span = bundle.calibration[-1] - bundle.calibration[0]
    usual = s.log_px < bundle.calibration[-1]
    np.testing.assert_allclose(s.score[usual], (s.log_px - span)[usual])
    assert s.score.max() < bundle.calibration[0]


def recalibrated(scorer, rows, target_fpr, confidence=None):
    result = scorer.calibration_of(rows, target_fpr, confidence)
    return Scorer(with_calibration(scorer.bundle, result.calibration, result.scores, "", result.schema), threads=1)


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_rows_that_rank_lowest_count_in_p_values_thresholds_and_targets(scorer, new_rows, confidence):
    """3 of 200 calibration rows have another unit: they are ranked below all others, as new rows of that kind are."""
    rows = make_rows(200, seed=4)
    rows[:3, 4] = 8.0
    strict = recalibrated(scorer, rows, 0.1, confidence)
    assert strict.bundle.manifest.calibration.num_novel == 3
    changed = new_rows.copy()
    changed[0, 4] = 7.5
    s = strict.score(changed)
    assert s.p_value[0] == 4 / 201
    assert s.is_anomaly[0]
    low = strict.bundle.calibration[0] - 1.0
    assert s.p_value[1:].min() >= 4 / 201
    np.testing.assert_array_equal(s.is_anomaly[1:], (s.score < strict.threshold)[1:])
    assert low < strict.threshold
    with pytest.raises(
        ConfigError, match=r"rank \d, and 3 of the 200 .*rank below all others.*lowest possible"
    ) as caught:
        strict.score(changed, target_fpr=0.015 if confidence is None else 0.03)
    target = float(str(caught.value).partition("lowest possible target is ")[2].partition(";")[0])
    assert strict.threshold_at(target) == strict.bundle.calibration[0]
    np.testing.assert_array_equal(strict.flag(changed, target_fpr=target).is_anomaly[:1], True)
    with pytest.raises(ConfigError, match="is too low"):
        strict.flag(changed, target_fpr=target - 0.0005)


def test_float32_input_does_not_change_a_constant(trained):
    """0.1 as float32 is another number than 0.1: no row of the same data may be flagged for it."""
    rows = make_rows(300)
    rows[:, 4] = 0.1
    with pytest.warns(UserWarning, match="too few"):
        model = train_model(rows, NAMES, TrainConfig(random_state=0, max_steps=60, search="off"))
    s = Scorer(model.bundle).score(rows.astype(np.float32))
    assert not any(s.reason)


def test_calibration_rows_without_a_value_are_refused(scorer):
    with pytest.raises(InvalidInput, match="each of the 3 calibration rows has all its cells missing"):
        scorer.calibration_of(np.full((3, 5), np.nan), 0.2)


def test_calibration_on_rows_with_many_new_values_demotes_the_column_and_warns(scorer, new_rows):
    rows = make_rows(100, seed=4)
    rows[::2, 4] = 8.0
    result = scorer.calibration_of(rows, 0.05)
    assert (result.calibration.num_rows, result.calibration.num_novel, len(result.scores)) == (100, 0, 100)
    assert result.calibration.threshold == result.scores[4]
    (text,) = result.warnings
    assert text.startswith("50 of 100 calibration rows have another value in columns that were constant in training")
    assert "column 'unit' (50, such as 8 where training had 7)" in text
    assert scorer.calibration_of(make_rows(100, seed=4), 0.05).warnings == []
    demoted = recalibrated(scorer, rows, 0.05)
    assert demoted.schema.columns[4].novelty == "density"
    np.testing.assert_array_equal(np.sort(demoted.score(rows).score), demoted.bundle.calibration)
    changed = new_rows.copy()
    changed[:, 4] = 8.0
    s = demoted.score(changed)
    np.testing.assert_array_equal(s.is_anomaly, s.score < demoted.threshold)
    assert s.is_anomaly.mean() < 0.5
    assert all(s.reason)
    np.testing.assert_array_equal(demoted.flag(changed).is_anomaly, s.is_anomaly)


def test_a_row_with_nothing_but_a_changed_constant_is_scored(scorer):
    rows = np.full((2, 5), np.nan)
    rows[:, 4] = 7.0, 8.0
    s = scorer.score(rows)
    assert s.reason[0] == "every cell is missing: there is nothing to judge"
    assert s.reason[1] == "column 'unit' was always 7.0 in training, is 8.0"
    assert s.p_value[0] == 1.0
    share = np.log(scorer.schema.columns[4].other_share)
    assert s.log_px[1] == pytest.approx(share - LOG_NEW_VALUES, abs=4 * s.std_error[1])
    np.testing.assert_array_equal(scorer.flag(rows).is_anomaly, s.is_anomaly)


def test_another_target_keeps_the_confidence_of_the_calibration(bundle):
    record, scores = calibrate(bundle.calibration, np.zeros(len(bundle.calibration), bool), 0.2, 0.95)
    scorer = Scorer(with_calibration(bundle, record, scores, ""), threads=1)
    assert scorer.threshold_at(0.2) == scorer.threshold
    with pytest.raises(ConfigError, match="needs at least 299 calibration rows"):
        scorer.threshold_at(0.01)


@pytest.fixture(scope="module")
def two_sided(bundle):
    record, scores = calibrate(bundle.calibration, np.zeros(len(bundle.calibration), bool), 0.2, tail="both")
    return Scorer(with_calibration(bundle, record, scores, ""), threads=1)


def test_with_two_tails_rows_that_are_more_likely_than_normal_rows_are_flagged(two_sided, bundle):
    """The most likely rows are those at the modes; a lower calibration score, as of other images, is not needed."""
    rows = make_rows(2000, seed=5)
    s = two_sided.score(rows)
    low, high = two_sided.threshold, two_sided.upper_threshold
    assert (low, high) == (bundle.calibration[11], bundle.calibration[-12])
    assert two_sided.thresholds() == (low, high)
    np.testing.assert_array_equal(s.is_anomaly, (s.score < low) | (s.score > high))
    np.testing.assert_array_equal(s.is_anomaly, s.p_value <= 24 / 121)
    assert min((s.score < low).sum(), (s.score > high).sum()) > 20
    assert "upper_threshold=" in repr(two_sided)


def test_the_flags_of_two_tails_are_those_of_the_scores_and_no_row_ends_early(two_sided, new_rows):
    rows = new_rows.copy()
    rows[:2, 4] = 7.5  # rank below all others
    rows[2] = np.nan
    s, flags = two_sided.score(rows), two_sided.flag(rows)
    np.testing.assert_array_equal(flags.is_anomaly, s.is_anomaly)
    np.testing.assert_array_equal(flags.num_samples[3:], s.num_samples[3:])
    assert s.is_anomaly[:3].tolist() == [True, True, False]
    assert s.p_value[:3].tolist() == [2 / 121, 2 / 121, 1.0]
    assert two_sided.threshold < s.score[2] < two_sided.upper_threshold


def test_another_tail_from_the_same_calibration(scorer, two_sided, new_rows):
    """The scores are the same, and each tail flags as a model that was calibrated for it."""
    low, both = scorer.score(new_rows, target_fpr=0.2), scorer.score(new_rows, target_fpr=0.2, tail="both")
    np.testing.assert_array_equal(both.score, low.score)
    np.testing.assert_array_equal(both.p_value, two_sided.score(new_rows).p_value)
    np.testing.assert_array_equal(both.is_anomaly, two_sided.score(new_rows).is_anomaly)
    np.testing.assert_array_equal(two_sided.score(new_rows, tail="low").is_anomaly, low.is_anomaly)
    np.testing.assert_array_equal(two_sided.score(new_rows, tail="low").p_value, low.p_value)
    np.testing.assert_array_equal(scorer.flag(new_rows, target_fpr=0.2, tail="both").is_anomaly, both.is_anomaly)
    assert scorer.thresholds(target_fpr=0.2, tail="both") == two_sided.thresholds()
    assert scorer.thresholds(tail="low") == (scorer.threshold, None)
    with pytest.raises(ConfigError, match="with the tail 'both' needs at least 1999 calibration rows"):
        scorer.score(new_rows, target_fpr=0.001, tail="both")
    for call in (scorer.score, scorer.flag):
        with pytest.raises(ConfigError, match="tail must be 'low' or 'both', got 'high'"):
            call(new_rows, tail="high")


def test_a_calibration_keeps_the_tail_of_the_model_or_takes_another(scorer, two_sided):
    rows = make_rows(100, seed=4)
    for model, tail, kept in ((scorer, None, "low"), (scorer, "both", "both"), (two_sided, None, "both")):
        calibration = model.calibration_of(rows, 0.1, tail=tail).calibration
        assert (calibration.tail, calibration.rank) == (kept, 5 if kept == "both" else 10)
