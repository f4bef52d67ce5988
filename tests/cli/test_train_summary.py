"""What training tells at its end: the same facts as text and as values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomaly_vae.cli.train_summary import describe, facts_of, quality_of
from anomaly_vae.cli.training_input import TrainingInput
from anomaly_vae.columns.plan import Finding
from anomaly_vae.columns.training_table import TrainingTable
from tests.support.data import NAMES, make_rows


def given(anomalous):
    return TrainingInput(TrainingTable.of_numbers(make_rows(10), NAMES), anomalous)


def far(num_rows):
    rows = make_rows(num_rows, seed=1)
    rows[:, 1] += 1.0
    return rows


def test_rows_marked_as_anomalies_are_compared_with_the_calibration_rows(trained):
    assert quality_of(trained, given(far(0))) is None
    quality = quality_of(trained, given(far(30)))
    assert quality.auroc > 0.99
    strange = make_rows(30, seed=1)
    strange[:, 4] = 8.0  # a new value in a constant column ranks below all others
    assert quality_of(trained, given(strange)).auroc == 1.0
    assert 0.3 < quality_of(trained, given(make_rows(300, seed=1))).auroc < 0.7


def test_the_text_says_what_was_trained_and_what_comes_next(trained):
    rows = given(far(30))
    lines = describe(trained, rows, quality_of(trained, rows), Path("model")).splitlines()
    assert lines[0].startswith("trained on 420 rows of 5 columns (4 continuous, 1 constant), best at step ")
    assert lines[1].endswith(" calibration rows, false-positive rate at most 0.04959")
    assert "calibration rows against 30 rows marked 1)" in lines[2]
    assert lines[3] == "wrote model; next: anomaly-vae score model NEW.csv -o scores.csv"
    assert len(describe(trained, given(far(0)), None, Path("model")).splitlines()) == 3


def test_the_facts_for_programs_hold_the_columns_and_the_findings(trained):
    finding = Finding("id", "identifier", "holds ids: left out", True)
    rows = given(far(30))
    facts = facts_of(trained, [finding], quality_of(trained, rows), 1.5)
    manifest = trained.bundle.manifest
    assert facts["columns"][0] == {"name": "pressure", "kind": "continuous"}
    assert facts["columns"][4] == {"name": "unit", "kind": "constant"}
    assert [each["column"] for each in facts["findings"]] == ["id"]
    assert (facts["threshold"], facts["rows"]) == (manifest.calibration.threshold, manifest.training.num_rows)
    assert facts["auroc"] > 0.99
    assert {gate["name"] for gate in facts["gates"]} == {gate.name for gate in manifest.training.gates}
    assert (facts["bundle_digest"], facts["seconds"]) == (trained.bundle.digest, 1.5)
    without = facts_of(trained, [], None, 1.5)
    assert without["auroc"] is without["average_precision"] is None
    assert np.isfinite(without["held_out_elbo"])
