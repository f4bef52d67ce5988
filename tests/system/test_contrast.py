"""The contrast of images, from training to scores, flags, tables and another calibration."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.pictures import PICTURE, other_pictures, picture_model, pictures

REASON = "contrast: it looks unlike the training images in detail"


@pytest.fixture(scope="module")
def rows():
    return np.concatenate([pictures(60, seed=8), other_pictures(20, seed=9)])


def test_scores_have_the_contrast_and_its_part_of_the_p_value(picture_scorer, rows):
    scores, bundle = picture_scorer.score(rows.reshape(-1, 8, 8)), picture_scorer.bundle
    n = bundle.manifest.calibration.num_rows
    assert picture_scorer.has_contrast
    np.testing.assert_array_equal(scores.contrast, picture_scorer._judge.contrast.of_rows(rows))
    low = (bundle.calibration <= scores.score[:, None]).sum(axis=1)
    high = (bundle.calibration >= scores.score[:, None]).sum(axis=1)
    of_contrast = (bundle.contrast <= scores.contrast[:, None]).sum(axis=1)
    expected = 2.0 * np.minimum(2 * (1 + np.minimum(low, high)), 1 + of_contrast) / (n + 1)
    np.testing.assert_allclose(scores.p_value, np.minimum(expected, 1.0))
    calibration = bundle.manifest.calibration
    np.testing.assert_array_equal(scores.is_anomaly, scores.p_value <= calibration.effective_fpr)
    by_score = (scores.score < picture_scorer.threshold) | (scores.score > picture_scorer.upper_threshold)
    by_contrast = scores.contrast < picture_scorer.contrast_threshold
    np.testing.assert_array_equal(scores.is_anomaly, by_score | by_contrast)
    assert [reason == REASON for reason in scores.reason] == (by_contrast & ~by_score).tolist()
    assert (by_contrast & ~by_score).any()  # so that the reason is seen


@pytest.mark.parametrize("options", [{}, {"target_fpr": 0.2}, {"tail": "low"}, {"tail": "low", "target_fpr": 0.3}])
def test_flags_are_those_of_the_scores(picture_scorer, rows, options):
    scores, flags = picture_scorer.score(rows, **options), picture_scorer.flag(rows, **options)
    np.testing.assert_array_equal(flags.is_anomaly, scores.is_anomaly)
    assert flags.reason == scores.reason


def test_another_target_moves_both_thresholds(picture_scorer, rows):
    strict, loose = (picture_scorer.score(rows, target_fpr=rate) for rate in (0.05, 0.4))
    np.testing.assert_array_equal(strict.p_value, loose.p_value)
    assert (loose.is_anomaly >= strict.is_anomaly).all()
    np.testing.assert_array_equal(loose.is_anomaly, loose.p_value <= 40 / 101)
    with pytest.raises(ConfigError, match=r"target_fpr 0\.01 with the tail 'both' and a contrast needs at least 399"):
        picture_scorer.score(rows, target_fpr=0.01)


def test_an_image_without_a_pixel_is_normal_and_without_p_values_there_is_still_a_contrast(picture_scorer, rows):
    empty = picture_scorer.score(np.full((1, 64), np.nan))
    assert empty.p_value.tolist() == [1.0]
    assert empty.is_anomaly.tolist() == picture_scorer.flag(np.full((1, 64), np.nan)).is_anomaly.tolist() == [False]
    with pytest.warns(UserWarning, match="no p-value"):
        few = picture_scorer.score(rows[:3], num_samples=16)
    assert (few.p_value, few.reason) == (None, [None] * 3)
    np.testing.assert_array_equal(few.contrast, picture_scorer.score(rows[:3]).contrast)


def test_scores_of_a_row_do_not_depend_on_the_others(picture_scorer, rows):
    whole = picture_scorer.score(rows)
    for i in (0, 5, 79):
        alone = picture_scorer.score(rows[i : i + 1])
        assert alone.contrast.tobytes() == whole.contrast[i : i + 1].tobytes()
        assert alone.p_value[0] == whole.p_value[i]


def test_a_new_calibration_also_calibrates_the_contrast(picture_scorer, rows):
    found = picture_scorer.calibration_of(pictures(199, seed=20), 0.05)
    assert (found.calibration.rank, found.calibration.contrast_rank) == (2, 5)
    assert found.calibration.effective_fpr == 0.05
    old = picture_scorer.bundle
    bundle = with_calibration(old, found.calibration, found.scores, old.manifest.created_at, None, found.contrast)
    scorer = Scorer(bundle)
    assert scorer.contrast_threshold == found.contrast[4] != picture_scorer.contrast_threshold
    np.testing.assert_array_equal(scorer.score(rows).contrast, picture_scorer.score(rows).contrast)


def test_p_values_of_new_normal_images_are_valid(picture_scorer):
    """1,000 new images and one calibration set of 100: the share of low p-values varies as a beta-binomial does."""
    p_values = picture_scorer.score(pictures(1000, seed=30)).p_value
    assert (p_values <= 0.1).mean() < 0.25
    assert (p_values <= 0.5).mean() < 0.7


def test_a_scorer_in_another_process_has_the_same_contrast(picture_scorer, rows):
    again = pickle.loads(pickle.dumps(picture_scorer))  # noqa: S301 (our own bytes)
    assert again.score(rows[:5]).contrast.tobytes() == picture_scorer.score(rows[:5]).contrast.tobytes()


def test_tables_of_scores_have_a_column_contrast_only_where_there_is_one(picture_scorer, scorer, new_rows, rows):
    with_it, without = picture_scorer.score(rows[:2]), scorer.score(new_rows[:2])
    for convert in ("to_pandas", "to_arrow", "to_polars"):
        columns = [
            getattr(getattr(table, "columns", None), "tolist", lambda t=table: None)() or table_names(table)
            for table in (getattr(with_it, convert)(), getattr(without, convert)())
        ]
        assert ["contrast" in names for names in columns] == [True, False]
    assert without.contrast is None
    assert with_it[0].contrast == with_it.contrast[0]


def table_names(table):
    return getattr(table, "column_names", None) or list(table.columns)


def test_a_contrast_is_for_images_and_can_be_left_out():
    few = {"n": 60, "target_fpr": 0.5}
    assert picture_model(**few).bundle.manifest.contrast is None  # "auto" needs 100 training images
    assert picture_model(n=200, contrast="off").bundle.manifest.contrast is None
    assert picture_model(**few, contrast="on", contrast_steps=5).bundle.manifest.contrast.steps == 5
    with pytest.raises(ConfigError, match="contrast 'on' is for images"):
        train_model(make_rows(100), NAMES, TrainConfig(contrast="on", search="off", max_steps=5))


def test_progress_of_the_contrast_is_reported():
    seen = []
    config = TrainConfig(random_state=0, max_steps=20, search="off", latent_dim=2, hidden=(4,), target_fpr=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomaly_vae.training.contrast._MOST_STEPS", 7)
        patch.setattr("anomaly_vae.training.contrast._LEAST_STEPS", 7)
        train_images(pictures(200), PICTURE, config, report=lambda title, progress: seen.append((title, progress.step)))
    assert ("contrast", 7) in seen
