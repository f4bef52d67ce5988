"""The Benjamini-Hochberg decision against two other implementations, and what it promises in simulated batches."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from anomaly_vae.calibration import PValueGrid, benjamini_hochberg, conformal_p_value, rank, rank_from_top


def naive(multiples, num_rows, rate):
    """The definition, p-value by p-value: the largest i with p_(i) <= q i / m, in fractions."""
    q, last = Fraction(str(rate)), 0
    for i, j in enumerate(sorted(multiples), start=1):
        if Fraction(j, num_rows + 1) <= q * i / len(multiples):
            last = j
    return last


@st.composite
def batches(draw):
    """Few calibration rows and many tests give ties; rates of one digit often hit the line exactly."""
    num_rows = draw(st.integers(1, 60))
    low = draw(st.integers(1, num_rows + 1))
    multiples = draw(st.lists(st.integers(1, low) | st.integers(1, num_rows + 1), max_size=80))
    rate = draw(st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9]) | st.floats(0.001, 0.999))
    return multiples, num_rows, rate


@given(batches())
@example(([1, 5, 9], 29, 0.1))  # 1/30 is exactly 0.1 * 1 / 3
@example(([3, 5, 9], 29, 0.1))  # 3/30 is above 0.1 * 1 / 3, and so on
@example(([2, 2, 9], 29, 0.1))  # both ties are exactly at 0.1 * 2 / 3: the first alone is above its line
@example(([3] * 10, 29, 0.1))  # all at the line 0.1
@example(([], 9, 0.5))
def test_the_decision_is_that_of_the_definition_and_of_statsmodels(batch):
    multiples, num_rows, rate = batch
    grid = PValueGrid(num_rows, 1)
    found = benjamini_hochberg(Counter(multiples), rate, grid)
    cut_off = naive(multiples, num_rows, rate)
    flags = np.array(multiples, dtype=int) <= cut_off
    assert (found.cut_off, found.num_tests, found.num_flagged) == (cut_off, len(multiples), flags.sum())
    assert found.num_smallest == multiples.count(1)
    assert found.expected_false_alarms <= rate * found.num_flagged * (1 + 1e-12)
    p_values = np.sort(np.array(multiples) / (num_rows + 1))
    line = rate * np.arange(1, len(p_values) + 1) / max(len(p_values), 1)
    if len(p_values) and np.abs(p_values - line).min() > 1e-9:  # statsmodels compares rounded numbers
        expected = multipletests(p_values, alpha=rate, method="fdr_bh")[0]
        assert expected.sum() == found.num_flagged
        assert found.p_value_cut_off == (p_values[expected].max() if expected.any() else None)


@pytest.mark.parametrize(
    ("num_rows", "rate", "num_tests"), [(29, 0.1, 3), (99, 0.3, 30), (9, 0.7, 7), (19_999, 0.1, 1)]
)
def test_a_p_value_exactly_on_the_line_is_flagged_where_rounded_numbers_would_miss_it(num_rows, rate, num_tests):
    """The first k of m p-values are exactly q k / m, which float64 often puts above or below the line."""
    line = Fraction(str(rate)) * (num_rows + 1) / num_tests
    for k in range(1, num_tests + 1):
        j = line * k
        if j.denominator != 1:
            continue
        on_line = {int(j): k, num_rows + 1: num_tests - k}
        assert benjamini_hochberg(on_line, rate, PValueGrid(num_rows, 1)).num_flagged == k
        above = {int(j) + 1: k, num_rows + 1: num_tests - k}
        assert benjamini_hochberg(above, rate, PValueGrid(num_rows, 1)).num_flagged == 0


@given(batches())
def test_needed_says_from_how_many_rows_at_the_smallest_p_value_on_they_are_flagged(batch):
    multiples, num_rows, rate = batch
    grid, m = PValueGrid(num_rows, 1), max(len(multiples), 1)
    needed = benjamini_hochberg({1: 1, num_rows + 1: m - 1}, rate, grid).needed
    for count in {max(needed - 1, 1), needed} & set(range(1, m + 1)):
        # The others have the p-value 1, which no rate flags.
        found = benjamini_hochberg({1: count, num_rows + 1: m - count}, rate, grid)
        assert bool(found.num_flagged) == (count >= needed)
        enough = found.rows_needed
        assert benjamini_hochberg({1: count, enough + 1: m - count}, rate, PValueGrid(enough, 1)).num_flagged
        if enough > 1:
            fewer = PValueGrid(enough - 1, 1)
            assert not benjamini_hochberg({1: count, fewer.num_rows + 1: m - count}, rate, fewer).num_flagged


@pytest.mark.parametrize("num_rows", [1, 7, 99, 4_999, 123_456])
@pytest.mark.parametrize("tail", ["low", "both"])
def test_multiples_are_read_from_p_values_exactly(num_rows, tail):
    ranks = np.unique(np.geomspace(1, num_rows + 1, 500).astype(np.int64)) - 1
    p_values = conformal_p_value(ranks, num_rows, tail)
    sides = 2 if tail == "both" else 1
    np.testing.assert_array_equal(
        PValueGrid(num_rows, 1).multiples(p_values), np.minimum(sides * (1 + ranks), num_rows + 1)
    )


@pytest.mark.parametrize("wrong", [0.015, 0.0, 1.01, np.nextafter(0.01, 1), np.nan])
def test_a_p_value_of_other_calibration_rows_is_refused(wrong):
    with pytest.raises(ValueError, match="is no p-value of 99 calibration rows"):
        PValueGrid(99, 1).multiples(np.array([0.5, wrong]))


@pytest.mark.parametrize("num_novel", [0, 3])
@pytest.mark.parametrize("tail", ["low", "both"])
@pytest.mark.parametrize("contrast", [False, True])
def test_the_smallest_multiple_is_the_least_that_any_score_can_have(num_novel, tail, contrast):
    """Rows that rank lowest are at or below every score, so with one tail no p-value is below theirs."""
    n, calibration = 20, np.arange(20.0 - num_novel)
    scores = np.array([-np.inf, -1.0, 0.0, 10.0, 99.0])
    ranks = rank(calibration, num_novel, scores)
    if tail == "both":
        ranks = np.minimum(ranks, rank_from_top(calibration, num_novel, scores))
    least = (2 if tail == "both" else 1) * (1 + ranks.min())
    if contrast:  # of which the smallest rank is 0
        least = 2 * min(least, 1)
    assert PValueGrid.of(n, num_novel, tail, contrast=contrast).smallest == least
    assert PValueGrid.of(2, 2, "low", contrast=False).smallest_p_value == 1.0


def share_of_false_alarms(rng, kind, *, num_rows, normal, anomalous, rate, digits):
    """Return the share of normal rows among the flagged ones of one batch, and of the anomalies that are flagged.

    Anomalies of two tails have scores of either side; those of a contrast are low in one of the two, which correlate.
    """
    tail, n = "both" if kind == "both" else "low", normal + anomalous
    calibration = rng.normal(size=(num_rows, 2)) @ [[1.0, 0.6], [0.0, 0.8]]
    scores = rng.normal(size=(n, 2)) @ [[1.0, 0.6], [0.0, 0.8]]
    column = np.where(kind == "contrast", rng.integers(0, 2, size=anomalous), 0)
    scores[np.arange(normal, n), column] += rng.choice([-4.0, 4.0], size=anomalous) if kind == "both" else -4.0
    (low, other), (score, contrast) = np.sort(calibration.round(digits), axis=0).T, scores.round(digits).T
    ranks = rank(low, 0, score)
    if kind == "both":
        ranks = np.minimum(ranks, rank_from_top(low, 0, score))
    p_values = conformal_p_value(ranks, num_rows, tail)
    if kind == "contrast":
        p_values = np.minimum(2.0 * np.minimum(p_values, conformal_p_value(rank(other, 0, contrast), num_rows)), 1.0)
    grid = PValueGrid.of(num_rows, 0, tail, contrast=kind == "contrast")
    multiples = grid.multiples(p_values)
    values, counts = np.unique(multiples, return_counts=True)
    found = benjamini_hochberg(dict(zip(values.tolist(), counts.tolist(), strict=True)), rate, grid)
    flags = multiples <= found.cut_off
    return flags[:normal].sum() / max(flags.sum(), 1), flags[normal:].sum() / max(anomalous, 1)


@pytest.mark.parametrize("kind", ["low", "both", "contrast"])
@pytest.mark.parametrize("digits", [12, 1])
@pytest.mark.parametrize(("normal", "anomalous"), [(200, 0), (180, 20), (50, 50)])
def test_the_share_of_false_alarms_among_the_flagged_is_at_most_the_rate(kind, digits, normal, anomalous):
    """Each batch has its own calibration rows, as the promise is about both. It is nearly used up: about q m0 / m."""
    rng, rate, repeats = np.random.default_rng(3), 0.2, 1_500
    batch = {"num_rows": 399, "normal": normal, "anomalous": anomalous, "rate": rate, "digits": digits}
    shares, power = np.array([share_of_false_alarms(rng, kind, **batch) for _ in range(repeats)]).T
    error = shares.std() / np.sqrt(repeats)
    expected = rate * normal / (normal + anomalous)
    assert shares.mean() < expected + 4 * error
    if anomalous:
        assert shares.mean() > (0.4 if kind == "contrast" else 0.7) * expected  # the two are not independent
        assert power.mean() > 0.7
