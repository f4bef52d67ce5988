"""VAEDetector with scikit-learn's estimator checks, pipelines and cross-validation, and with tables of every kind."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import anomaly_vae
from anomaly_vae import VAEDetector
from anomaly_vae.errors import GateFailed
from tests.support.data import NAMES, make_rows

# fit warns that tables of a few dozen rows are too small to calibrate at the default rate.
pytestmark = pytest.mark.filterwarnings("ignore:.*calibration rows are too few", "ignore:release gate failed")

QUICK = {"max_steps": 60, "search": "off", "random_state": 0}


def test_scikit_learn_s_own_checks_pass():
    """No check is marked as expected to fail. One is skipped: it needs SciPy's array API to be switched on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(VAEDetector(max_steps=60, search="off"), on_skip=None)
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= {"check_array_api_input"}
    assert len(results) > 40


def test_it_works_in_a_pipeline_and_in_cross_validation():
    rows = make_rows(200)[:, :4]
    pipeline = make_pipeline(StandardScaler(), VAEDetector(**QUICK))
    assert set(pipeline.fit(rows).predict(rows)) <= {-1, 1}
    scores = cross_val_score(VAEDetector(**QUICK), rows, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    search = GridSearchCV(VAEDetector(**QUICK), {"beta": [1.0, 50.0]}, cv=2).fit(rows)
    assert search.best_params_ == {"beta": 1.0}


def mixed(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.choice(["small", "medium", "large"], size=n, p=[0.5, 0.3, 0.2])
    weight = pd.Series(size).map({"small": 1.0, "medium": 3.0, "large": 9.0}) * rng.lognormal(sigma=0.1, size=n)
    frame = pd.DataFrame(
        {
            "size": size,
            "weight": weight,
            "parcels": rng.poisson(weight),
            "is_fragile": rng.random(n) < 0.3,
            "year": rng.integers(2015, 2025, size=n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "weight"] = np.nan
    return frame


@pytest.fixture(scope="module")
def parcels():
    return VAEDetector(max_steps=400, random_state=0, target_fpr=0.05, columns={"parcels": "count"}).fit(mixed(900))


def test_a_data_frame_of_every_kind_is_fitted_as_it_is(parcels):
    schema = parcels.scorer().schema
    assert [column.kind for column in schema.columns] == ["categorical", "continuous", "count", "binary", "integer"]
    assert parcels.feature_names_in_.tolist() == ["size", "weight", "parcels", "is_fragile", "year"]
    assert parcels.n_features_in_ == 5
    new = mixed(500, seed=1)
    assert 0.0 <= (parcels.predict(new) == -1).mean() < 0.12


def test_a_new_combination_of_common_cells_is_flagged(parcels):
    odd = pd.DataFrame({"size": ["small", "large"] * 20, "weight": [9.0, 1.0] * 20, "parcels": [9, 1] * 20}).assign(
        is_fragile=True, year=2020
    )
    assert (parcels.predict(odd) == -1).mean() > 0.9


def test_data_frames_arrow_tables_and_arrays_of_objects_score_alike(parcels):
    new = mixed(30, seed=2)
    expected = parcels.score_samples(new)
    for form in (new[new.columns[::-1]], new.convert_dtypes(), pa.Table.from_pandas(new), new.to_numpy(dtype=object)):
        np.testing.assert_array_equal(parcels.score_samples(form), expected)


def test_an_unseen_category_is_flagged_with_the_reason(parcels):
    new = mixed(3, seed=3).assign(size=["small", "gigantic", "large"])
    scores = parcels.scorer().score(new)
    assert scores.is_anomaly.tolist()[1]
    assert scores.reason[1] == "column 'size' holds a category that training never had"
    assert np.isfinite(scores.log_px[1])
    assert scores.p_value[1] == scores.p_value.min()


def test_a_detector_of_every_kind_survives_saving_pickling_and_cloning(parcels, tmp_path):
    new = mixed(20, seed=4)
    expected = parcels.score_samples(new)
    parcels.save(tmp_path / "model", force=True)
    np.testing.assert_array_equal(anomaly_vae.load(tmp_path / "model").score(new).score, expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(parcels)).score_samples(new), expected)  # noqa: S301
    assert clone(parcels).get_params()["columns"] == {"parcels": "count"}


def test_a_model_that_failed_a_gate_warns_and_is_saved_by_force_only(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 1)) * [1.0, 2.0, -1.0, 0.5] + 0.3 * rng.normal(size=(600, 4))
    detector = VAEDetector(
        **QUICK | {"prior": "normal", "beta": 1000.0, "kl_warmup": 0.0, "max_steps": 150, "target_fpr": 0.05}
    )
    with pytest.warns(UserWarning, match="release gate failed: posterior collapse") as warned:
        detector.fit(rows)
    assert {each.filename for each in warned} == {__file__}
    with pytest.raises(GateFailed, match="posterior collapse"):
        detector.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    detector.save(tmp_path / "model", force=True)
    assert anomaly_vae.load(tmp_path / "model").info["training"]["gates"][0]["passed"] is False


@pytest.mark.parametrize(
    "parameters",
    [
        {"decoder_variance": "fixed"},
        {"decoder_variance": "learned", "likelihood": "gaussian"},
        {"decoder_variance": "conditional"},
        {"likelihood": "student_t"},
        {"likelihood": "logistic"},
        {"column_transform": "auto", "likelihood": "gaussian"},
        {"beta": 0.5, "kl_warmup": 0.8},
        {"free_bits": 0.1, "masking": 0.3, "trim_fraction": 0.02},
        {"ensemble": 2, "likelihood": "gaussian"},
    ],
)
def test_every_variance_head_and_schedule_goes_from_training_to_scores(parameters, tmp_path):
    """Train, save, load, score, encode and sample; the saved model has the configured heads."""
    rows = make_rows(400)
    rows[:, 3] = np.round(rows[:, 3])
    detector = VAEDetector(**QUICK | {"max_steps": 200, "target_fpr": 0.05} | parameters).fit(
        pd.DataFrame(rows, columns=NAMES)
    )
    detector.save(tmp_path / "model", force=True)
    scorer = anomaly_vae.load(tmp_path / "model")
    new = make_rows(50, seed=1)
    new[:, 3] = np.round(new[:, 3])
    odd = np.add(new, [2e4, 0.05, 1.0, 15.0, 0.0])
    scores = scorer.score(np.concatenate([new, odd]))
    assert np.isfinite(scores.log_px).all()
    assert np.all(scores.elbo <= scores.log_px + 1e-9)
    assert np.median(scores.log_px[:50]) > np.median(scores.log_px[50:])
    assert scorer.encode(new).shape[0] == 50
    sampled = scorer.sample(2000, seed=3)
    assert np.all(np.abs(sampled.mean(axis=0) - rows.mean(axis=0)) <= 0.75 * rows.std(axis=0) + 1e-9)
    kinds = {column["head"]["kind"] for member in scorer.info["members"] for column in member["columns"]}
    expected = {"fixed": "gaussian", "conditional": "conditional"}.get(
        parameters.get("decoder_variance", ""), parameters.get("likelihood", "")
    )
    assert expected in kinds or not expected


def test_counts_and_bernoulli_for_a_whole_table():
    rng = np.random.default_rng(0)
    rate = rng.gamma(2.0, 3.0, size=(600, 1))
    counts = rng.poisson(rate * [1.0, 2.0, 0.5])
    detector = VAEDetector(**QUICK | {"likelihood": "count", "max_steps": 300, "target_fpr": 0.05}).fit(counts)
    assert detector.score_samples([[5, 10, 2]])[0] > detector.score_samples([[5, 40, 0]])[0] + 3.0
    bits = (rng.random((600, 5)) < rng.choice([0.1, 0.9], size=(600, 1))).astype(float)
    detector = VAEDetector(**QUICK | {"likelihood": "bernoulli", "max_steps": 300, "target_fpr": 0.05}).fit(bits)
    scores = detector.score_samples(np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0]]))
    assert scores[0] > scores[1] + 1.0
    assert np.all(scores <= 0.0)
    with pytest.raises(ValueError, match="likelihood 'bernoulli': column 'x0'"):
        VAEDetector(**QUICK | {"likelihood": "bernoulli"}).fit(counts)


def test_free_text_is_left_out_with_a_warning_that_names_it():
    """Scoring does not need the column either."""
    frame = mixed(100)
    with pytest.warns(UserWarning, match=r"column 'note' holds \d+ different texts in 80 rows.*: left out") as warned:
        det = VAEDetector(**QUICK).fit(frame.assign(note=[f"remark {i}" for i in range(100)]))
    assert {each.filename for each in warned} == {__file__}
    assert det.bundle_.manifest.schema.left_out == ("note",)
    assert det.score_samples(frame).shape == (100,)
