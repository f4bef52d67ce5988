"""Tables with values that training hardly had: thresholds stay scores of rows, and new values have honest costs."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.columns.features import LOG_NEW_VALUES
from anomaly_vae.columns.rows import to_training_table
from anomaly_vae.columns.split import split_of
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.pipeline import train_table
from tests.support.data import NAMES, make_rows
from tests.support.training import QUICK


def fitted(frame, target_fpr=0.05):
    """Return a scorer of a model of a table, and the warnings of its training."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = replace(QUICK, target_fpr=target_fpr)
        model = train_table(to_training_table(frame), config)
    return Scorer(model.bundle, threads=1), [str(each.message) for each in caught]


def names_table(n, seed):
    """Return a size, and names of which two are frequent and the others are new in most rows that have them."""
    rng = np.random.default_rng(seed)
    rare = rng.random(n) < 0.4
    names = np.where(rare, [f"name {i}" for i in rng.integers(10**6, size=n)], np.where(rng.random(n) < 0.5, "a", "b"))
    return pd.DataFrame({"size": rng.normal(size=n) + 3.0 * rare, "weight": rng.normal(size=n), "name": names})


@pytest.fixture(scope="module")
def names():
    return fitted(names_table(500, seed=0))


def test_new_names_in_many_calibration_rows_leave_a_threshold_that_flags(names):
    """Before, the threshold was the lowest float if more calibration rows had new names than its rank."""
    scorer, _ = names
    calibration = scorer.bundle.manifest.calibration
    assert scorer.schema.columns[2].novelty == "density"
    assert calibration.num_novel == 0
    assert scorer.threshold in scorer.bundle.calibration
    s = scorer.score(names_table(500, seed=1))
    assert 0.0 < s.is_anomaly.mean() < 0.12
    far = names_table(20, seed=2).assign(size=1000.0)
    assert scorer.score(far).is_anomaly.all()
    np.testing.assert_array_equal(s.is_anomaly, s.score < scorer.threshold)


def test_a_new_name_has_the_score_of_a_rare_one_and_is_named(names):
    """Both are the level "other", whose probability the networks learned: 0.4, more where the size is large."""
    scorer, _ = names
    column = scorer.schema.columns[2]
    assert (column.num_levels, column.other_share) == (3, None)
    rare = column.categories[column.rare[0]]
    rows = pd.DataFrame({"size": [3.0, 3.0, 3.0], "weight": 0.0, "name": [rare, "never seen", "a"]})
    s = scorer.score(rows)
    assert s.log_px[0] == s.log_px[1] > s.log_px[2]
    assert s.reason == [None, "column 'name' holds a category that training never had", None]
    assert not s.is_anomaly[1]


def test_a_new_category_costs_what_its_probability_says_and_ranks_lowest_where_all_categories_are_frequent():
    """Two categories in halves of n rows: a new one is one of 2^32, together 1 / (n + 2); a usual one has about 1/2."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=400), "y": rng.normal(size=400), "side": rng.choice(["l", "r"], 400)})
    scorer, found = fitted(frame)
    assert found == []
    assert scorer.schema.columns[2].other_share == 1 / 322
    rows = pd.DataFrame({"x": [0.0, 0.0], "y": [0.0, 0.0], "side": ["l", "up"]})
    s = scorer.score(rows)
    assert s.log_px[0] - s.log_px[1] == pytest.approx(np.log(322 / 2) + LOG_NEW_VALUES, abs=0.7)
    assert s.is_anomaly.tolist() == [False, True]
    assert s.reason == [None, "column 'side' holds a category that training never had"]
    assert scorer.flag(rows).is_anomaly.tolist() == [False, True]


def sparse_table(n, seed, rate):
    """Return 200 columns of 0/1: ten vary, and the others have a 1 in few rows, so most are constant in training."""
    rng = np.random.default_rng(seed)
    shares = np.where(np.arange(200) < 10, 0.3, rate)
    return pd.DataFrame((rng.random((n, 200)) < shares).astype(float), columns=[f"c{i}" for i in range(200)])


def novelty_of_constants(scorer):
    return {column.novelty for column in scorer.schema.columns if column.value is not None}


def test_sparse_columns_that_were_constant_do_not_switch_the_flags_off():
    """Training rows show that the constants change in many rows: such a row is ranked by its score."""
    scorer, _ = fitted(sparse_table(500, 0, 0.002))
    assert novelty_of_constants(scorer) == {"density"}
    assert scorer.bundle.manifest.calibration.num_novel == 0
    rows = sparse_table(1000, 1, 0.002)
    assert scorer.schema.novel_cells(rows.to_numpy()).any(axis=1).mean() > 0.05
    s = scorer.score(rows)
    assert 0.01 < s.is_anomaly.mean() < 0.12
    assert np.isfinite(s.log_px).all()
    assert s.log_px.min() > -200.0
    flags = scorer.flag(rows).is_anomaly
    assert not (flags & ~s.is_anomaly).any()
    changed = rows.iloc[:20] * 1000.0  # 1,000 in columns of 0 and 1
    assert scorer.score(changed).is_anomaly[(changed > 0.0).any(axis=1)].all()


def test_constants_that_hardly_change_put_a_row_below_all_others():
    scorer, found = fitted(sparse_table(500, 0, 0.0))
    assert novelty_of_constants(scorer) == {"lowest"}
    assert found == []
    rows = sparse_table(20, 1, 0.0)
    rows["c50"] = 1.0
    s = scorer.score(rows)
    assert s.is_anomaly.all()
    assert s.log_px.min() > -200.0
    assert set(s.reason) == {"column 'c50' was always 0.0 in training, is 1.0"}


def test_columns_that_change_only_in_calibration_rows_are_demoted_with_a_warning():
    """Training cannot show it: the column is constant in all its rows."""
    rows = make_rows(300)
    split = split_of(300, seed=0)
    rows[split.calibration[::4], 4] = 8.0
    scorer, found = fitted(pd.DataFrame(rows, columns=NAMES))
    (text,) = [each for each in found if "calibration rows" in each]
    assert text.startswith("15 of 60 calibration rows have another value in columns that were constant in training")
    assert "column 'unit' (15, such as 8 where training had 7)" in text
    assert novelty_of_constants(scorer) == {"density"}
    scores = np.sort(scorer.score_rows(rows[split.calibration]).score)
    np.testing.assert_array_equal(scores, scorer.bundle.calibration)  # scored by the rule that scoring has


def test_a_column_of_names_that_hardly_repeat_is_named_and_adds_nothing():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300), "name": np.arange(300) // 3})
    frame["name"] = "n" + frame["name"].astype(str)
    scorer, found = fitted(frame)
    assert any("column 'name': each of its 100 categories is in fewer than 5 training rows" in text for text in found)
    rows = pd.DataFrame({"x": 0.0, "y": 0.0, "name": ["n1", "new"]})
    s = scorer.score(rows)
    assert s.log_px[0] == s.log_px[1]
    assert s.reason[1] == "column 'name' holds a category that training never had"
    assert set(scorer.sample(50)[:, 2]) <= set(range(100))
