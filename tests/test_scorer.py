"""The public scorer: the contract's fields, budgets, targets and novelties."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from scipy.stats import norm

import anomaly_vae
from anomaly_vae.bundle.files import with_calibration, write_bundle
from anomaly_vae.calibration import calibrate
from anomaly_vae.columns.features import LOG_NEW_VALUES
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import AnomalyVaeWarning, BundleError, ConfigError, InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import join
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


def test_another_budget_gives_log_px_but_no_p_value_and_warns(scorer, new_rows):
    with pytest.warns(UserWarning, match="num_samples is 256, the calibration used 4096"):
        s = scorer.score(new_rows, num_samples=256)
    assert s.p_value is None
    assert s.is_anomaly is None
    assert np.all((s.num_samples > 128) & (s.num_samples <= 256))  # a fit may leave a remainder
    assert np.abs(s.log_px - scorer.score(new_rows).log_px).max() < 2.0


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


def test_tables_are_matched_by_name(scorer, new_rows):
    frame = pd.DataFrame(new_rows, columns=NAMES)[list(reversed(NAMES))].assign(note="x")
    np.testing.assert_array_equal(scorer.score(frame).log_px, scorer.score(new_rows).log_px)


def test_one_bad_value_refuses_the_call_by_row_and_column(scorer, new_rows):
    bad = new_rows.copy()
    bad[7, 1] = np.inf
    with pytest.raises(InvalidInput, match="row 7, column 'flow' is inf") as caught:
        scorer.score(bad)
    assert caught.value.field == "flow"


def test_a_fresh_process_computes_the_same_bits(scorer, model_path, new_rows, tmp_path):
    np.save(tmp_path / "rows.npy", new_rows)
    code = (
        "import sys, numpy, anomaly_vae\n"
        "model, folder = sys.argv[1:]\n"
        "s = anomaly_vae.load(model, threads=1).score(numpy.load(folder + '/rows.npy')[::-1])\n"
        "numpy.savez(folder + '/out.npz', log_px=s.log_px, std_error=s.std_error)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(model_path), str(tmp_path)], check=True)
    with np.load(tmp_path / "out.npz") as out:
        s = scorer.score(new_rows)
        np.testing.assert_array_equal(out["log_px"][::-1], s.log_px)
        np.testing.assert_array_equal(out["std_error"][::-1], s.std_error)


def test_scoring_imports_none_of_the_training_libraries(model_path):
    """Scoring needs neither torch nor pickle, and must start quickly in a small image."""
    code = (
        "import sys, numpy, anomaly_vae\n"
        "s = anomaly_vae.load(sys.argv[1])\n"
        "s.score(s.sample(3)); s.encode(s.sample(3))\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'onnx', 'onnxscript', 'pandas', 'matplotlib', 'pyarrow', 'grpc'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_samples_have_the_moments_and_constants_of_the_training_rows(scorer):
    drawn, rows = scorer.sample(20_000, seed=1), make_rows(20_000, seed=5)
    np.testing.assert_allclose(drawn.mean(0)[:4], rows.mean(0)[:4], atol=0.3 * rows.std(0)[:4].max(), rtol=0.2)
    np.testing.assert_allclose(drawn.std(0)[:4], rows.std(0)[:4], rtol=0.35)
    assert set(drawn[:, 4]) == {7.0}
    np.testing.assert_array_equal(scorer.sample(5, seed=1), scorer.sample(5, seed=1))
    assert not np.array_equal(scorer.sample(5, seed=1), scorer.sample(5, seed=2))


def test_samples_look_normal_to_the_model_that_drew_them(scorer):
    """p-values of the model's own samples are spread over (0, 1], not piled up at 0; a model trained for a moment has
    mass between the two modes of "valve", so their median is no half."""
    p_value = scorer.score(scorer.sample(500, seed=3)).p_value
    assert np.median(p_value) > 0.1
    assert np.mean(p_value > 0.9) > 0.03


@pytest.mark.parametrize("name", ["scorer", "ensemble_scorer"])
def test_samples_have_the_density_that_their_scores_say(name, request):
    """For any density q, the mean of q(x) / p(x) over samples of p is 1: log p(x) and the sampler are of one model."""
    scorer = request.getfixturevalue(name)
    rows = scorer.sample(2000, seed=3)
    modelled = rows[:, :4]
    q = norm(modelled.mean(axis=0), 0.8 * modelled.std(axis=0))
    ratios = np.exp(q.logpdf(modelled).sum(axis=1) - scorer.score(rows).log_px)
    error = ratios.std() / np.sqrt(len(rows))
    assert error < 0.06
    assert abs(ratios.mean() - 1.0) < 4 * error


def test_encode_gives_posterior_means(scorer, new_rows):
    z = scorer.encode(new_rows)
    assert z.shape == (len(new_rows), scorer.info["members"][0]["architecture"]["latent_dim"])
    np.testing.assert_array_equal(scorer.encode(new_rows[7:8]), z[7:8])


def test_info_holds_the_manifest_and_its_digest(scorer):
    assert scorer.info["bundle_digest"] == scorer.bundle.digest
    assert scorer.info["calibration"]["threshold"] == scorer.threshold
    assert scorer.schema.names == NAMES
    assert scorer.schema.label == "broken"


def test_the_text_says_what_the_scorer_is(scorer, ensemble_scorer, model_path):
    start, digest = f"digest='{scorer.bundle.digest[:12]}', columns=5, members=1, ", scorer.bundle.digest
    end = f"threshold={scorer.threshold:.4f}, target_fpr=0.05)"
    assert repr(scorer) == f"Scorer({start}{end}"
    assert repr(anomaly_vae.load(model_path)) == f"Scorer(path='{model_path}', {start}{end}"
    assert "members=2" in repr(ensemble_scorer)
    assert digest.startswith(repr(scorer).split("'")[1])


@pytest.fixture(params=["from a directory", "in memory"])
def travelling(request, model_path, ensemble):
    if request.param == "in memory":
        return Scorer(ensemble.bundle, threads=1)
    return anomaly_vae.load(model_path, threads=1)


def test_a_spawned_process_scores_the_same_bits(travelling, new_rows):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = [pool.submit(travelling.score_rows, new_rows[:20]).result() for _ in range(2)]
    here = travelling.score_rows(new_rows[:20])
    for each in there:
        for name in ("log_px", "score", "p_value", "std_error", "is_anomaly"):
            assert getattr(each, name).tobytes() == getattr(here, name).tobytes()


def test_joblib_scores_the_same_bits(travelling, new_rows):
    parts = [new_rows[:10], new_rows[10:20]]
    try:
        there = Parallel(n_jobs=2)(delayed(travelling.score)(part) for part in parts)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert join(there).log_px.tobytes() == travelling.score(new_rows[:20]).log_px.tobytes()


def test_a_pickled_scorer_keeps_what_it_was_made_with(model_path, bundle, monkeypatch, tmp_path):
    """A path is made absolute: the other process may have another current folder."""
    monkeypatch.chdir(model_path.parent)
    scorer = anomaly_vae.load(model_path.name, threads=3, slots=Slots(2))
    data = pickle.dumps(scorer)
    assert len(data) < 1000, "the model itself was pickled"
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)  # noqa: S301 (our own bytes)
    assert (again.path, again.bundle.digest) == (model_path, bundle.digest)
    assert again._estimator.threads == 3
    assert pickle.loads(data) is again, "a pool would open the bundle for every task"  # noqa: S301


def test_a_bundle_in_memory_is_pickled_with_its_scorer(bundle):
    again = pickle.loads(pickle.dumps(Scorer(bundle, threads=3)))  # noqa: S301 (our own bytes)
    assert (again.path, again._estimator.threads) == (None, 3)
    assert again.info == Scorer(bundle).info
    assert dict(again.bundle.files) == dict(bundle.files)


def test_a_scorer_whose_folder_changed_meanwhile_is_refused(bundle, ensemble, tmp_path):
    """Silently scoring with another model would mix scores of two models."""
    path = tmp_path / "model"
    write_bundle(bundle, path)
    data = pickle.dumps(anomaly_vae.load(path))
    write_bundle(ensemble.bundle, path, overwrite=True)
    with pytest.raises(BundleError, match=f"has the digest {ensemble.bundle.digest}, .* had {bundle.digest}; the fold"):
        pickle.loads(data)  # noqa: S301 (our own bytes)
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="no model bundle there"):
        pickle.loads(data)  # noqa: S301 (our own bytes)


def test_copies_score_as_the_scorer_does(travelling, new_rows):
    for again in (copy.copy(travelling), copy.deepcopy({"scorer": travelling})["scorer"]):
        assert again.score(new_rows[:3]).log_px.tobytes() == travelling.score(new_rows[:3]).log_px.tobytes()


def test_the_warning_points_at_the_line_of_the_call(scorer, new_rows):
    with pytest.warns(AnomalyVaeWarning, match="no p-value") as caught:
        scorer.score(new_rows[:2], num_samples=64)
    assert [each.filename for each in caught] == [__file__]


def test_a_detector_without_its_libraries_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None\nimport anomaly_vae\nanomaly_vae.VAEDetector"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "ModuleNotFoundError: VAEDetector needs torch and scikit-learn: pip install 'anomaly_vae[train]'"
    assert done.stderr.splitlines()[-1].startswith(expected)


def test_the_public_names_are_there():
    assert set(anomaly_vae.__all__) <= set(dir(anomaly_vae))
    for name in anomaly_vae.__all__:
        assert getattr(anomaly_vae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        anomaly_vae.nothing  # noqa: B018


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
