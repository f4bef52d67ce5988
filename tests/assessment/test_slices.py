"""Parts of rows: how they are cut, and which of them are named."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from anomaly_vae.assessment.slices import assess_slices, slicing_of

NAN = float("nan")


def parts(cells):
    slicing = slicing_of("c", cells)
    return [slicing.values[i] for i in slicing.parts]


def test_each_text_is_a_part_and_missing_cells_are_one():
    assert parts(["b", "a", None, "b"]) == ["b", "a", "missing", "b"]
    assert slicing_of("c", ["b", "a", None]).values == ("a", "b", "missing")


def test_few_numbers_are_values_and_many_are_quarters():
    assert parts([10.0, 9.0, None, 9]) == ["10", "9", "missing", "9"]
    assert slicing_of("c", [10.0, 9.0, None]).values == ("9", "10", "missing")
    slicing = slicing_of("c", [*range(100), None])
    assert slicing.values == ("up to 24.75", "24.75 to 49.5", "49.5 to 74.25", "above 74.25", "missing")
    np.testing.assert_array_equal(np.bincount(slicing.parts), [25, 25, 25, 25, 1])


def test_numbers_that_differ_are_different_parts():
    """Such as the numbers of shops, which six digits do not tell apart."""
    assert parts([1000001.0, 1000002.0, 1000001.0]) == ["1000001", "1000002", "1000001"]
    assert len(set(parts([0.1, float(np.nextafter(0.1, 1.0))]))) == 2


def test_quarters_of_a_number_with_many_ties_are_fewer():
    slicing = slicing_of("c", [0.0] * 80 + [float(i) for i in range(1, 21)])
    assert slicing.values == ("up to 0", "above 0")


def test_rare_values_share_a_part():
    slicing = slicing_of("c", [f"v{i:02}" for i in range(30)] + [f"v{i:02}" for i in range(10, 30)])
    assert slicing.values == (*(f"v{i:02}" for i in range(10, 30)), "other values")
    assert (slicing.parts == 20).sum() == 10


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (timedelta(days=1), ("up to 2024-01-05", "2024-01-05 to 2024-01-10", "2024-01-10 to 2024-01-15")),
        (timedelta(hours=6), ("up to 2024-01-02 04:30", "2024-01-02 04:30 to 2024-01-03 09:00")),
    ],
)
def test_times_are_cut_into_quarters(step, names):
    times = [datetime(2024, 1, 1) + i * step for i in reversed(range(20))]
    slicing = slicing_of("c", [*times, None])
    assert slicing.values[: len(names)] == names
    assert slicing.values[-1] == "missing"
    np.testing.assert_array_equal(np.bincount(slicing.parts), [5, 5, 5, 5, 1])


def test_times_of_day_have_no_date():
    clocks = [datetime(1970, 1, 1, hour) for hour in range(24)]
    assert slicing_of("c", clocks).values[0] == "up to 05:45"
    assert parts(clocks[:2]) == ["1970-01-01 00:00:00", "1970-01-01 01:00:00"]


def test_truth_values_are_no_numbers():
    assert parts([True, False, None]) == ["True", "False", "missing"]


def assessed(flags, labels, cells, limit=0.05):
    levels = np.arange(len(flags))[::-1]
    slicings = [slicing_of("c", cells)]
    return assess_slices(slicings, levels, np.array(flags), np.array(labels), limit, 0.95)


def test_a_part_with_too_many_false_alarms_is_named():
    flags = [True] * 12 + [False] * 48 + [True] * 2 + [False] * 48
    found = assessed(flags, [False] * 110, ["bad"] * 60 + ["good"] * 50)
    assert [(each.value, each.above_promise, each.is_small) for each in found] == [
        ("bad", True, False),
        ("good", False, False),
    ]
    assert found[0].false_positives.share == pytest.approx(0.2)
    assert found[0].auroc is found[0].recall is None


def test_intervals_of_all_parts_hold_at_once():
    """One of 20 parts has 4 flags of 20: alone it is outside 95 %, among 20 parts it is chance (Bonferroni)."""
    flags = [True] * 4 + [False] * 396
    alone = assessed(flags[:20], [False] * 20, ["p00"] * 20)
    among = assessed(flags, [False] * 400, [f"p{i // 20:02}" for i in range(400)])
    assert alone[0].above_promise
    assert not any(each.above_promise for each in among)
    assert among[0].is_small


def test_recall_and_auroc_are_those_of_the_part():
    flags, labels = [False, True, True, False], [False, True, True, True]
    (found,) = assessed(flags, labels, ["x"] * 4)
    assert (found.rows, found.anomalies, found.recall.count, found.recall.total) == (4, 3, 2, 3)
    assert found.auroc == 1.0  # the normal row has the highest level
