"""The counts of a job, for people and for programs."""

from __future__ import annotations

from collections import Counter

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.calibration import PValueGrid, benjamini_hochberg
from tests.support.batches import scored


def test_the_counts_are_one_line_with_an_example(tmp_path):
    _, summary = scored(tmp_path)
    assert summary.describe() == (
        "5 rows, 1 flagged, 2 not scored (1 ragged, 1 unreadable; for example row 4: the row has 2 cells, the header 3)"
    )
    assert ScoreSummary(rows=1234).describe() == "1,234 rows"


def test_the_counts_for_programs_name_every_fault(tmp_path):
    _, summary = scored(tmp_path)
    assert summary.facts() == {
        "rows": 5,
        "written": 5,
        "unscored": {"unreadable": 1, "ragged": 1},
        "examples": {
            "unreadable": "row 2: column 'a': 'high' is not a number",
            "ragged": "row 4: the row has 2 cells, the header 3",
        },
    }
    assert ScoreSummary(rows=7, written=2).facts()["written"] == 2
    assert ScoreSummary(rows=7, written=2).describe() == "7 rows, 2 written"


def test_first_steps_and_gaps_are_no_faults():
    """Every series has first steps without a window."""
    assert not ScoreSummary().has_faults
    assert not ScoreSummary(unscored=Counter({"warm-up": 3, "gap": 1, "missing": 1, "no window": 2})).has_faults
    assert ScoreSummary(unscored=Counter({"warm-up": 3, "unreadable": 1})).has_faults
    assert ScoreSummary(unscored=Counter({"no time": 1})).has_faults


def decided(counts, rate=0.25, num_rows=99):
    found = benjamini_hochberg(counts, rate, PValueGrid(num_rows, 1))
    return ScoreSummary(rows=found.num_tests, anomalies=found.num_flagged, discoveries=found)


def test_a_decision_over_all_rows_is_told_with_its_cut_off_and_its_false_alarms():
    """3 of 20 rows have p <= 3 / 100, which is below 0.25 * 3 / 20; of 20 normal rows 0.6 would have such p-values."""
    summary = decided({1: 2, 3: 1, 50: 17})
    assert summary.describe() == (
        "20 rows, 3 flagged, by --fdr 0.25 over 20 p-values: those up to 0.03, expected false alarms among them at "
        "most 0.6"
    )
    assert summary.facts()["fdr"] == {
        "rate": 0.25,
        "tests": 20,
        "flagged": 3,
        "p_value_cut_off": 0.03,
        "expected_false_alarms": 0.6,
        "smallest_p_value": 0.01,
        "rows_at_smallest": 2,
        "rows_at_smallest_needed": 1,
        "calibration_rows": 99,
    }
    assert summary.warning is None


def test_a_decision_without_flags_says_whether_the_calibration_rows_are_too_few():
    """Of 1,000 rows, 40 need p = 1 / 100 to be on the line 0.25 * 40 / 1,000."""
    summary = decided({1: 39, 80: 961})
    assert summary.describe() == "1,000 rows, 0 flagged, by --fdr 0.25 over 1,000 p-values: none is small enough"
    assert summary.facts()["fdr"]["p_value_cut_off"] is None
    assert summary.warning == (
        "--fdr 0.25 flags nothing, although 39 rows have the smallest p-value that 99 calibration rows can give, 0.01: "
        "among 1,000 rows, 40 with it are needed; calibrate with about 102 rows or more, score smaller batches if "
        "anomalies come together, or use a higher --fdr. The rows with the smallest p-values: --top"
    )
    assert "although 1 row has the smallest" in (decided({1: 1, 80: 999}).warning or "")
    assert decided({1: 40, 80: 960}).warning is None
    assert decided({2: 39, 80: 961}).warning is None
    assert ScoreSummary(rows=3).warning is None
