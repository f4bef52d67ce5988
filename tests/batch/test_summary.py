"""The counts of a job, for people and for programs."""

from __future__ import annotations

from collections import Counter

from anomaly_vae.batch import ScoreSummary
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
