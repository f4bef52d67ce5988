"""What training tells at its end: the same facts as text and as values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.assessment.ranking import DetectionQuality
from anomaly_vae.bundle.files import with_calibration
from anomaly_vae.calibration import calibrate
from anomaly_vae.cli.train_summary import bits_per_dim, describe, facts_of
from anomaly_vae.columns.plan import Finding
from anomaly_vae.training.images import train_images
from anomaly_vae.training.windows import train_windows
from tests.support.shaped import IMAGE, WINDOW, images, schema_with, windows
from tests.support.training import QUICK_GAUSSIAN

QUALITY = DetectionQuality(0.995, 0.98)


@dataclass
class FakeJob:
    """What a job says of its data."""

    num_anomalous: int = 0
    findings: list = field(default_factory=list)

    def lines(self, model):  # noqa: ARG002
        return []

    def facts(self, model):  # noqa: ARG002
        return {"own": 1}


def test_the_text_says_what_was_trained_and_what_comes_next(trained):
    lines = describe(trained, FakeJob(30), QUALITY, Path("model")).splitlines()
    assert lines[0].startswith("trained on 420 rows of 5 columns (4 continuous, 1 constant), best at step ")
    assert lines[1].endswith(" calibration rows, false-positive rate at most 0.04959")
    assert lines[2].startswith("AUROC 0.9950, average precision 0.9800 (")
    assert "calibration rows against 30 rows marked 1)" in lines[2]
    assert lines[3] == "wrote model; next: anomaly-vae score model NEW.csv -o scores.csv"
    assert len(describe(trained, FakeJob(), None, Path("model")).splitlines()) == 3


def test_with_two_thresholds_the_text_tells_both(trained):
    known, none = trained.bundle.calibration, np.zeros(len(trained.bundle.calibration), bool)
    shifted, scores = calibrate(known - 50.0, none, 0.2, tail="both")
    both = replace(trained, bundle=with_calibration(trained.bundle, shifted, scores, ""))
    line = describe(both, FakeJob(), None, Path("model")).splitlines()[1]
    assert line.startswith(f"thresholds {shifted.threshold:.6g} and {shifted.upper_threshold:.6g} nats from 120 calib")


def test_the_facts_for_programs_hold_the_columns_and_the_findings(trained):
    finding = Finding("id", "identifier", "holds ids: left out", True)
    facts = facts_of(trained, FakeJob(30, [finding]), QUALITY, 1.5)
    manifest = trained.bundle.manifest
    assert facts["columns"][0] == {"name": "pressure", "kind": "continuous"}
    assert facts["columns"][4] == {"name": "unit", "kind": "constant"}
    assert [each["column"] for each in facts["findings"]] == ["id"]
    assert (facts["threshold"], facts["rows"]) == (manifest.calibration.threshold, manifest.training.num_rows)
    assert facts["upper_threshold"] is None
    assert (facts["auroc"], facts["kind"], facts["own"]) == (0.995, "table", 1)
    assert {gate["name"] for gate in facts["gates"]} == {gate.name for gate in manifest.training.gates}
    assert (facts["bundle_digest"], facts["seconds"]) == (trained.bundle.digest, 1.5)
    without = facts_of(trained, FakeJob(), None, 1.5)
    assert without["auroc"] is without["average_precision"] is None
    assert np.isfinite(without["held_out_elbo"])


@pytest.fixture(scope="module")
def of_windows():
    return train_windows(windows(120).reshape(120, -1), WINDOW, replace(QUICK_GAUSSIAN, target_fpr=0.1))


def test_of_windows_the_text_and_the_facts_tell_steps_and_channels(of_windows):
    lines = describe(of_windows, FakeJob(3), QUALITY, Path("model")).splitlines()
    assert lines[0].startswith("trained on 84 windows of 4 steps x 2 channels, best at step ")
    assert "nats from 24 calibration windows, false-positive" in lines[1]
    assert lines[2].endswith("(calibration steps against 3 steps marked 1)")
    assert facts_of(of_windows, FakeJob(), None, 1.0)["columns"] == [
        {"name": "flow", "kind": "continuous"},
        {"name": "load", "kind": "continuous"},
    ]


def test_of_windows_that_overlap_the_text_tells_how_many_count(of_windows):
    fewer, scores = calibrate(of_windows.bundle.calibration[:6], np.zeros(6, bool), 0.2)
    thinned = replace(of_windows, bundle=with_calibration(of_windows.bundle, fewer, scores, ""))
    line = describe(thinned, FakeJob(), None, Path("model")).splitlines()[1]
    assert "nats from 24 calibration windows, which overlap and count as 6 independent ones, false-positive" in line


def test_of_images_the_text_and_the_facts_tell_bits_per_dimension():
    """Of 12 pixels, each of which has 256 levels with the same probability, log p is -12 ln 256: 8 bits a pixel."""
    assert bits_per_dim(schema_with(IMAGE), -12 * np.log(256.0)) == pytest.approx(8.0)
    rows = images(120).reshape(120, -1).astype(np.float64)
    model = train_images(rows, IMAGE, replace(QUICK_GAUSSIAN, target_fpr=0.1))
    bits = facts_of(model, FakeJob(), None, 1.0)["bits_per_dim"]
    lines = describe(model, FakeJob(), None, Path("model")).splitlines()
    assert lines[0].startswith("trained on 84 images of 3 x 4 pixels x 1 channel, best at step ")
    assert lines[0].endswith(f" nats ({bits:.4g} bits per dimension)")
    assert lines[-1] == "wrote model; next: anomaly-vae score model NEW -o scores.csv"
