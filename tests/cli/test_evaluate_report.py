"""An evaluation on the terminal: what it says, in lines of 80 characters."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment import evaluate
from anomaly_vae.assessment.operating_points import RateOrReason
from anomaly_vae.assessment.slices import slicing_of
from anomaly_vae.cli.evaluate_report import print_evaluation
from tests.support.assessed import conformal, judged_of, promise_for


def shown(capsys, labels, p_value, cells=None):
    cells = cells or ["a value of thirty characters!!"] * len(labels)
    found = evaluate(
        judged_of(p_value, std_error=np.full(len(labels), 0.01)),
        labels,
        promise_for(),
        rates=[RateOrReason(0.05, promise_for()), RateOrReason(0.001, None, "needs 999 rows")],
        slicings=[slicing_of("site", cells)],
        resamples=20,
    )
    print_evaluation(found, "model", "new.csv")
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    return np.repeat([False, True], [2000, 200]), np.concatenate([conformal(rng, 2000), conformal(rng, 200) ** 3])


def test_it_says_what_was_promised_and_found(capsys, example, monkeypatch):
    monkeypatch.setattr("anomaly_vae.cli.report_tables._WIDTH", 80)
    labels, p_value = example
    lines = shown(capsys, labels, p_value).splitlines()
    text = " ".join(" ".join(lines).split())
    assert lines[:2] == ["model on new.csv:", "2,200 labelled rows, 200 of them anomalies (9.09 %)"]
    assert "of 2,000 normal rows are flagged" in text
    assert "the promise is at most 5 % of normal rows" in text
    assert "0.1 %: needs 999 rows" in text
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if "5 % *" in line]
    assert row.count("(") == 3  # no column is cut
    assert sum(line.startswith("5 %") for line in lines) == 1  # the model's own target is shown once
    assert any(line.startswith("a value of thir…") and line.rstrip()[-7:-4].strip() == "0." for line in lines)


def test_a_part_with_many_false_alarms_is_named(capsys):
    out = shown(capsys, np.zeros(200, dtype=bool), [0.01] * 60 + [0.5] * 140, ["bad"] * 100 + ["good"] * 100)
    text = " ".join(out.split())
    assert "More false alarms than the promised 5 %, not by chance: site = bad." in text
    assert "All rows have one label" in text
