"""VAEDetector has the interface of scikit-learn's outlier detectors."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import anomaly_vae
from anomaly_vae import VAEDetector
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.training import detector_data as data_module
from tests.support.data import NAMES, make_rows


def quick(**parameters):
    defaults = {"random_state": 0, "max_steps": 100, "target_fpr": 0.1, "search": "off"}
    return VAEDetector(**(defaults | parameters))


@pytest.fixture(scope="module")
def fitted():
    """With the default search: an ensemble."""
    return quick(search="fast").fit(make_rows(300))


def test_scores_decisions_and_predictions_agree(fitted, new_rows):
    scores = fitted.score_samples(new_rows)
    assert scores.shape == (len(new_rows),)
    np.testing.assert_array_equal(fitted.decision_function(new_rows), scores - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(new_rows), np.where(scores < fitted.offset_, -1, 1))
    assert fitted.score(new_rows) == pytest.approx(scores.mean())
    assert fitted.n_features_in_ == 5
    assert np.isfinite(fitted.offset_)


def test_predictions_equal_the_flags_of_the_scorer_for_novel_rows_too(fitted, new_rows):
    rows = new_rows.copy()
    rows[4, 4] = 0.0
    flags = fitted.scorer().score(rows).is_anomaly
    assert flags[4]
    np.testing.assert_array_equal(fitted.predict(rows) == -1, flags)


def test_the_sign_of_the_decision_function_is_that_of_the_prediction_for_novel_rows_too(fitted, new_rows):
    changed = new_rows.copy()
    changed[::2, -1] += 1.0
    margin = fitted.decision_function(changed)
    np.testing.assert_array_equal(margin < 0.0, fitted.predict(changed) < 0)
    assert (margin[::2] < 0.0).all()


def test_the_saved_model_scores_bit_for_bit_like_the_estimator(fitted, new_rows, tmp_path):
    fitted.save(tmp_path / "model")
    scorer = anomaly_vae.load(tmp_path / "model")
    np.testing.assert_array_equal(scorer.score(new_rows).log_px, fitted.score_samples(new_rows))
    assert scorer.threshold == fitted.offset_
    with pytest.raises(ConfigError, match="exists already"):
        fitted.save(tmp_path / "model")


def test_estimators_stay_picklable(fitted, new_rows):
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 (our own bytes)
    np.testing.assert_array_equal(again.score_samples(new_rows), fitted.score_samples(new_rows))


def test_a_spawned_process_scores_the_same_bits(fitted, new_rows):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(fitted.score_samples, new_rows).result()
    assert there.tobytes() == fitted.score_samples(new_rows).tobytes()


def test_the_text_shows_the_parameters_before_and_after_the_fit(fitted):
    unfitted = VAEDetector(random_state=0, target_fpr=0.1)
    assert str(unfitted) == "VAEDetector(random_state=0, target_fpr=0.1)"
    assert repr(fitted) == repr(clone(fitted))
    for each in (unfitted, fitted):
        assert "VAEDetector" in each._repr_html_()


def test_the_same_seed_gives_the_same_scores(fitted, new_rows):
    again = clone(fitted).fit(make_rows(300))
    np.testing.assert_array_equal(again.score_samples(new_rows), fitted.score_samples(new_rows))


def test_the_seed_may_be_a_random_state():
    one, two = (quick(random_state=np.random.RandomState(1)).fit(make_rows(100)).offset_ for _ in range(2))
    assert one == two


def test_names_are_kept_and_matched():
    frame = pd.DataFrame(make_rows(100), columns=NAMES)
    det = quick().fit(frame)
    np.testing.assert_array_equal(det.feature_names_in_, NAMES)
    shuffled = frame[["unit", "flow", "temperature", "valve", "pressure"]]
    expected = det.score_samples(frame)
    np.testing.assert_array_equal(det.score_samples(shuffled), expected)
    np.testing.assert_array_equal(det.score_samples(pa.Table.from_pandas(shuffled)), expected)
    np.testing.assert_array_equal(det.score_samples(frame.to_numpy()), expected)
    assert not hasattr(det.fit(frame.to_numpy()), "feature_names_in_")


def test_it_works_in_pipelines_and_searches():
    rows = make_rows(150)
    pipeline = make_pipeline(StandardScaler(), quick())
    assert set(pipeline.fit(rows).predict(rows)) <= {-1, 1}
    assert np.isfinite(cross_val_score(quick(), rows[:, :4], cv=3)).all()
    search = GridSearchCV(quick(), {"latent_dim": np.arange(1, 3)}, cv=2).fit(rows[:, :4])
    assert search.best_params_["latent_dim"] in (1, 2)


def test_misuse_is_explained(fitted):
    with pytest.raises(NotFittedError):
        quick().predict(make_rows(3))
    with pytest.raises(ConfigError, match="likelihood must be"):
        quick(likelihood="laplace").fit(make_rows(50))
    with pytest.raises(ConfigError, match="likelihood 'bernoulli': column 'x0' holds values such as"):
        quick(likelihood="bernoulli").fit(make_rows(50))
    rows = make_rows(50)
    rows[2, 1] = np.inf
    with pytest.raises(InvalidInput, match="row 2, column 'x1' is inf"):
        quick().fit(rows)
    with pytest.raises(InvalidInput, match="4 features, but VAEDetector is expecting 5 features"):
        fitted.predict(make_rows(3)[:, :4])
    with pytest.raises(TypeError):
        VAEDetector(3)


def test_verbose_shows_progress_on_standard_error(capsys, monkeypatch):
    """On a terminal; elsewhere the first line comes after 30 seconds."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    quick(verbose=1).fit(make_rows(100))
    captured = capsys.readouterr()
    assert "held-out ELBO" in captured.err
    assert captured.out == ""


def test_an_interrupted_fit_warns(monkeypatch):
    def interrupted(*arguments, report=None, **options):
        def stop(*_):
            raise KeyboardInterrupt

        return train(*arguments, report=stop, **options)

    train = data_module.train_table
    monkeypatch.setattr(data_module, "train_table", interrupted)
    with pytest.warns(UserWarning, match="interrupted; the best model so far was kept") as warned:
        det = quick(max_steps=1000).fit(make_rows(100))
    assert {each.filename for each in warned} == {__file__}
    assert det.bundle_.manifest.training.steps == 50


def machine(n, seed):
    """A table as people export it: its load is high in the evening, and half of its columns describe no row."""
    rng = np.random.default_rng(seed)
    minutes = np.sort(rng.uniform(0, 90 * 24 * 60, n)).round()
    when = pd.Timestamp("2024-01-01", tz="Europe/Oslo") + pd.to_timedelta(minutes, unit="m")
    load = 10.0 * np.cos((when.hour + when.minute / 60 - 18) / 24 * 2 * np.pi) + rng.normal(size=n)
    return pd.DataFrame(
        {
            "row": np.arange(n) + seed * n,
            "when": when,
            "load": [f"{value:.2f} kr".replace(".", ",") for value in load],
            "town": rng.choice(["Oslo", "Rome", "unknown"], n),
            "ok": rng.choice(["true", "false"], n),
            "unit": "kg",
            "note": [f"remark {seed} {i}" for i in range(n)],
            "tags": [[1]] * n,
            "gap": None,
        }
    )


LEFT_OUT = ("row", "note", "tags", "gap")


@pytest.fixture(scope="module")
def machine_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("machine") / "model"
    with pytest.warns(UserWarning, match="left out") as warned:
        det = quick(max_steps=300, target_fpr=0.05).fit(machine(400, 0))
    det.save(path)
    return det, anomaly_vae.load(path), [str(each.message) for each in warned]


def test_columns_that_describe_no_row_are_left_out_with_one_warning(machine_model):
    det, scorer, (text,) = machine_model
    assert scorer.schema.left_out == LEFT_OUT
    assert [name for name in LEFT_OUT if f"column {name!r}" not in text] == []
    assert det.n_features_in_ == 9
    assert det.feature_names_in_.tolist() == list(machine(1, 0).columns)


def test_a_saved_model_reads_each_form_of_a_table_as_training_did(machine_model):
    """Categories, numbers and times in texts and in types, with and without the columns that were left out."""
    det, scorer, _ = machine_model
    frame = machine(100, 1)
    expected = scorer.score(frame).score
    narrow = frame.drop(columns=list(LEFT_OUT))
    numbers = narrow.assign(
        load=narrow["load"].str.removesuffix(" kr").str.replace(",", ".").astype(float), ok=narrow["ok"] == "true"
    )
    forms = [
        narrow,
        numbers,
        narrow.astype({"when": str}),
        narrow.assign(when=narrow["when"].dt.tz_convert("UTC")),
        narrow.astype({"town": "category"}),
        pl.from_pandas(narrow),
        pl.from_pandas(numbers).lazy(),
        pa.Table.from_pandas(frame),
        frame.to_numpy(dtype=object),
    ]
    for form in forms:
        np.testing.assert_array_equal(scorer.score(form).score, expected)
    np.testing.assert_array_equal(det.score_samples(frame), expected)
    for i in (0, 7):
        np.testing.assert_array_equal(scorer.score(frame.iloc[i : i + 1]).score, expected[i : i + 1])


def test_a_usual_load_at_the_wrong_time_of_day_is_an_anomaly(machine_model):
    _, scorer, _ = machine_model
    frame = machine(100, 2)
    moved = scorer.score(frame.assign(when=frame["when"] + pd.Timedelta(hours=12)))
    assert moved.is_anomaly.mean() > 0.6
    assert scorer.score(frame).is_anomaly.mean() < 0.2


def test_a_changed_constant_and_a_new_category_are_named(machine_model):
    _, scorer, _ = machine_model
    row = machine(1, 1).assign(unit="lb", town="Paris", when=pd.NaT, ok=None)
    (reason,) = scorer.score(row).reason
    new = "holds a category that training never had"
    assert reason == f"column 'town' {new}; column 'unit' {new}"


def test_markers_of_missing_cells_are_kept_with_the_model():
    """-999 as a number would be far from all others, and every row would have two kinds of loads."""
    rows = make_rows(200)
    gaps = rows.copy()
    gaps[::7, 0] = -999.0
    det = quick(missing_values=[-999]).fit(gaps)
    assert det.bundle_.manifest.schema.missing_values == ("-999",)
    np.testing.assert_array_equal(det.score_samples(gaps), det.score_samples(np.where(gaps == -999.0, np.nan, gaps)))


def test_with_two_tails_the_decision_function_is_negative_beyond_both_thresholds(new_rows):
    fitted = quick(tail="both", target_fpr=0.3).fit(make_rows(300))
    rows = np.concatenate([make_rows(200, seed=5), new_rows])
    rows[4, 4] = 0.0
    scores, (low, high) = fitted.score_samples(rows), fitted.scorer().thresholds()
    assert (fitted.offset_, fitted.bundle_.manifest.training.config["tail"]) == (low, "both")
    is_anomaly = (scores < low) | (scores > high)
    assert is_anomaly[4]
    assert (scores > high).any()
    np.testing.assert_array_equal(fitted.predict(rows) == -1, is_anomaly)
    np.testing.assert_array_equal(fitted.decision_function(rows) < 0.0, is_anomaly)
    np.testing.assert_array_equal(fitted.decision_function(rows), np.minimum(scores - low, high - scores))


def test_rows_are_explained_as_by_the_scorer(fitted):
    rows = make_rows(3, seed=5)
    rows[1, 4] = 8.0
    found = fitted.explain(rows, top=2)
    assert found == fitted.scorer().explain(rows, top=2)
    assert isinstance(found[1][0], anomaly_vae.Why)
    assert found[1][0].is_novel
