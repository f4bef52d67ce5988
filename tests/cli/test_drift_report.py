"""What is said of a comparison, in words and in plain values."""

import json
import math
from collections import Counter

import pytest

from anomaly_vae.assessment.drift import Drift, OrderShift
from anomaly_vae.assessment.shifts import ColumnShift
from anomaly_vae.assessment.uniformity import ScoreShift, ScoreTest
from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.drift_report import described, facts_of, print_drift


def column(**facts):
    plain = {"column": "a", "kind": "continuous", "log_p_value": -30.0, "log_p_adjusted": -29.0, "changed": True}
    return ColumnShift(**{**plain, "distance": 0.3, "missing": (0.0, 0.0), **facts})


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"low": (1.0, 9.0), "middle": (4.1, 12.3), "high": (6.0, 20.0)},
            "median 12.3, was 4.1: 3 times as much",
        ),
        ({"low": (1.0, 9.0), "middle": (-4.1, 12.3), "high": (6.0, 20.0)}, "median 12.3, was -4.1"),
        (
            {"low": (1.0, -9.0), "middle": (4.1, 4.2), "high": (6.0, 20.0)},
            "10 % to 90 %: -9 to 20, was 1 to 6",
        ),
        (
            {"low": (1.0, 1e3), "middle": (4.0, 4e3), "high": (6.0, 6e3), "units": "x 1000", "outside": 1.0},
            "looks like a change of units: x 1000; median 4000, was 4; 100 % outside the range of the calibration rows",
        ),
        (
            {
                "kind": "cyclic",
                "column": "at.time_of_day",
                "low": (8.0, 17.0),
                "middle": (13.15, 21.05),
                "high": (14.0, 22.0),
            },
            "median 21:03, was 13:09",
        ),
        (
            {"kind": "cyclic", "column": "at.day_of_week", "low": (1.0, 3.0), "middle": (2.0, 4.0), "high": (3.0, 5.0)},
            "median 4, was 2",
        ),
        ({"level": ("'red'", 0.1, 0.25)}, "'red' in 25 % of the rows, was 10 %"),
        ({"level": ("new values", 0.0, 0.25), "new_values": (0.0, 0.25)}, "new values in 25 %, was 0 %"),
        ({"missing": (0.02, 0.3)}, "missing in 30 %, was 2 %"),
        ({"level": ("'\x1b[2J'", 0.1, 0.25)}, "'?[2J' in 25 % of the rows, was 10 %"),
        ({}, "too few rows to say more"),
    ],
)
def test_a_change_of_a_column_is_said_in_words(facts, text):
    assert described(column(**facts)) == text


def drift(*columns, reference="calibration rows", log_p=-20.0, first_row=17, lowest=0.2):
    scores = ScoreShift(
        log_p_value=log_p, strongest=ScoreTest(expected=0.01, found=lowest, log_p_value=log_p), lower_share=0.6
    )
    return Drift(
        num_rows=100,
        num_calibration=50,
        num_parts=3,
        alpha=0.01,
        log_p_value=min(log_p + math.log(3), 0.0),
        drifted=log_p < -10,
        scores=scores,
        order=OrderShift(log_p_value=-9.0, log_martingale=8.0, first_row=first_row),
        contrast=None,
        columns=columns,
        reference=reference,
    )


def printed(capsys, found, summary=None):
    print_drift(found, summary or ScoreSummary(rows=100), "model", "in.csv")
    return " ".join(capsys.readouterr().out.split())


def test_the_verdict_comes_first_and_then_what_was_found(capsys):
    text = printed(capsys, drift(column(missing=(0.0, 0.5)), column(column="b", changed=False)))
    assert text.startswith("in.csv: 100 rows compared with 50 calibration rows of model DRIFT")
    assert "20 % score like the lowest 1 % did before" in text
    assert "a change was noticed at row 17" in text
    assert "1 of 2 have changed" in text
    assert "a missing in 50 %, was 0 %" in text
    assert text.endswith("no change was found in 1 other column")


def test_windows_and_images_are_called_so(capsys):
    print_drift(drift(reference=None), ScoreSummary(rows=100), "model", "in.csv", "window")
    text = " ".join(capsys.readouterr().out.split())
    assert "100 windows compared with 50 calibration windows of model" in text
    assert "a change was noticed at window 17" in text


def test_without_drift_nothing_is_said_to_be_unusual(capsys):
    text = printed(capsys, drift(column(changed=False, log_p_adjusted=0.0), log_p=0.0, first_row=None))
    assert "No drift was found (p = 1; drift means at most 0.01)" in text
    assert "no share of the scores is unusual" in text
    assert "score like the lowest" not in text
    assert "what has changed" not in text


def test_columns_beside_samples_are_few_and_without_p_values(capsys):
    columns = [column(column=f"c{d}", changed=False, log_p_value=None, log_p_adjusted=None) for d in range(9)]
    text = printed(capsys, drift(*columns, reference="samples of the model"))
    assert "c4" in text
    assert "c5" not in text
    assert "no p-values" in text


def test_many_columns_are_counted(capsys):
    text = printed(capsys, drift(*(column(column=f"c{d}") for d in range(30))))
    assert "c19" in text
    assert "c20" not in text
    assert "10 further columns have changed; no change was found in 0 other columns" in text


def test_names_from_files_cannot_control_the_terminal_or_the_markup(capsys):
    text = printed(capsys, drift(column(column="\x1b[2J[bold]x")))
    assert "?[2J[bold]x" in text


def test_the_facts_are_plain_json():
    summary = ScoreSummary(rows=102)
    summary.unscored["unreadable"] = 2
    found = drift(column(middle=(1.0, 2.0), low=(0.0, 1.0), high=(2.0, 3.0)), log_p=-math.inf)
    facts = json.loads(json.dumps(facts_of(found, summary), allow_nan=False))
    assert (facts["drift"], facts["p_value"], facts["rows"], facts["scored"]) == (True, 0.0, 102, 100)
    assert facts["order"] == {"p_value": pytest.approx(math.exp(-9)), "log_martingale": 8.0, "noticed_at": 17}
    assert facts["columns"][0]["p_adjusted"] == pytest.approx(math.exp(-29))
    assert facts["columns"][0]["middle"] == [1.0, 2.0]
    assert "log_p_value" not in facts["columns"][0]


def test_a_p_value_is_never_0(capsys):
    text = printed(capsys, drift(log_p=-2000.0))
    assert "(p < 1e-300; drift means at most 0.01)" in text
    assert " 0 " not in text


def test_scores_that_are_higher_may_be_those_of_the_training(capsys):
    assert "not trained on" in printed(capsys, drift(lowest=0.001))
    assert "not trained on" not in printed(capsys, drift())
    assert "not trained on" not in printed(capsys, drift(lowest=0.001, log_p=0.0))


def test_rows_that_cannot_be_read_are_counted(capsys):
    for count, text in ((1, "; 1 row cannot be read"), (2, "; 2 rows cannot be read")):
        summary = ScoreSummary(rows=100, unscored=Counter(unreadable=count))
        assert text in printed(capsys, drift(), summary)
