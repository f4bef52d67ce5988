"""Calibrations, their caveats, and other rates and tails from the same scores."""

import msgspec
import numpy as np
import pytest

from anomaly_vae.calibration import (
    calibrate,
    caveats,
    rank_for,
    rows_needed,
)
from anomaly_vae.errors import ConfigError, InvalidInput


def test_the_k_th_smallest_score_is_the_threshold():
    record, kept = calibrate(np.arange(100.0)[::-1], np.zeros(100, bool), 0.05)
    assert (record.rank, record.threshold, record.effective_fpr) == (5, 4.0, 5 / 101)
    assert caveats(record) == []
    np.testing.assert_array_equal(kept, np.arange(100.0))


def test_too_few_rows_give_rank_one_and_a_warning():
    record, _ = calibrate(np.arange(10.0), np.zeros(10, bool), 0.01)
    assert (record.rank, record.threshold, record.effective_fpr) == (1, 0.0, 1 / 11)
    assert "10 calibration rows are too few for target_fpr 0.01, which needs n >= 99" in caveats(record)[0]


def test_rows_that_rank_lowest_take_the_lowest_ranks_whatever_their_scores():
    record, kept = calibrate(np.arange(100.0), np.arange(100) >= 97, 0.05)
    assert (record.num_rows, record.num_novel, record.rank, record.threshold) == (100, 3, 5, 1.0)
    np.testing.assert_array_equal(kept, np.arange(97.0))
    assert caveats(record) == []


def test_another_rate_has_the_rank_of_a_calibration_for_it_or_says_what_is_possible():
    scores, none = np.arange(999.0), np.zeros(999, bool)
    calibration, _ = calibrate(scores, none, 0.01)
    assert rank_for(calibration, 0.05) == calibrate(scores, none, 0.05)[0].rank == 50
    with pytest.raises(ConfigError, match=r"target_fpr 0.0005 needs at least 1999 calibration rows, the model has 999"):
        rank_for(calibration, 0.0005)
    with_novel = msgspec.structs.replace(calibration, num_novel=4)
    with pytest.raises(ConfigError, match=r"its threshold has rank 2, and 4 of .* possible target is 0.005;"):
        rank_for(with_novel, 0.002)
    assert rank_for(with_novel, 0.005) == 5


def test_two_sides_in_the_record_and_their_caveat():
    record, kept = calibrate(np.arange(100.0)[::-1], np.zeros(100, bool), 0.05, tail="both")
    assert (record.tail, record.rank, record.threshold, record.upper_threshold) == ("both", 2, 1.0, 98.0)
    assert (record.effective_fpr, caveats(record)) == (4 / 101, [])
    np.testing.assert_array_equal(kept, np.arange(100.0))
    few, _ = calibrate(np.arange(10.0), np.zeros(10, bool), 0.01, tail="both")
    assert (few.rank, few.threshold, few.upper_threshold, few.effective_fpr) == (1, 0.0, 9.0, 2 / 11)
    text = "10 calibration rows are too few for target_fpr 0.01 with the tail 'both', which needs n >= 199; the thres"
    assert caveats(few)[0].startswith(f"{text}holds are the lowest and the highest of their scores, ")
    with pytest.raises(InvalidInput, match="got 1 calibration row, two thresholds need at least 2"):
        calibrate(np.zeros(1), np.zeros(1, bool), 0.9, tail="both")


def test_another_tail_has_the_rank_of_a_calibration_for_it_or_says_what_is_possible():
    scores, none = np.arange(999.0), np.zeros(999, bool)
    calibration, _ = calibrate(scores, none, 0.01)
    assert rank_for(calibration, 0.05, "both") == calibrate(scores, none, 0.05, tail="both")[0].rank == 25
    with pytest.raises(ConfigError, match=r"target_fpr 0.001 with the tail 'both' needs at least 1999 calibration row"):
        rank_for(calibration, 0.001, "both")
    with_novel = msgspec.structs.replace(calibration, num_novel=4)
    with pytest.raises(ConfigError, match=r"tail 'both' is too low: its threshold has rank 2, .* target is 0.01;"):
        rank_for(with_novel, 0.004, "both")
    assert rank_for(with_novel, 0.01, "both") == 5


def test_a_contrast_takes_half_of_the_rate():
    n, scores = 999, np.arange(999.0)
    for tail, expected in {"low": (5, 5, 0.01), "both": (2, 5, 0.01)}.items():
        record, _ = calibrate(scores, np.zeros(n, bool), 0.01, tail=tail, contrast=-scores)
        assert (record.rank, record.contrast_rank, record.effective_fpr) == expected
        assert (record.threshold, record.contrast_threshold) == (expected[0] - 1.0, -994.0)


def test_a_contrast_needs_more_calibration_rows():
    assert rows_needed(0.01, contrast=True) == 199
    assert rows_needed(0.01, tail="both", contrast=True) == 399
    few, _ = calibrate(np.arange(200.0), np.zeros(200, bool), 0.01, tail="both", contrast=np.arange(200.0))
    assert (few.rank, few.contrast_rank, few.effective_fpr) == (1, 2, 4 / 201)
    text = (
        "200 calibration rows are too few for target_fpr 0.01 with the tail 'both' and a contrast, which needs n >= 399"
    )
    assert caveats(few)[0].startswith(text)
    with pytest.raises(ConfigError, match=r"target_fpr 0\.01 with the tail 'both' and a contrast needs at least 399"):
        rank_for(few, 0.01, "both")
    with pytest.raises(InvalidInput, match="got 3 calibration rows, four thresholds need at least 4"):
        calibrate(np.arange(3.0), np.zeros(3, bool), 0.5, tail="both", contrast=np.arange(3.0))
