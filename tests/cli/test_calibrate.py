"""``anomaly-vae calibrate`` in a process of its own."""

from __future__ import annotations

import numpy as np

from anomaly_vae.scorer import load
from tests.support.command_line import cli, one_line
from tests.support.data import make_rows


def test_calibrate_writes_a_new_bundle_and_leaves_the_old_one(folder, tmp_path):
    before = (folder / "model" / "manifest.json").read_bytes()
    done = cli(
        folder, "calibrate", "model", "train.csv", "-o", tmp_path / "new", "--target-fpr", "0.02", "--confidence", "0.9"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "model" / "manifest.json").read_bytes() == before
    old, new = load(folder / "model"), load(tmp_path / "new")
    calibration = new.bundle.manifest.calibration
    assert (calibration.num_rows, calibration.target_fpr, calibration.confidence) == (700, 0.02, 0.9)
    assert calibration.effective_fpr < 0.02
    rows = make_rows(20, seed=8)
    np.testing.assert_array_equal(old.score(rows).log_px, new.score(rows).log_px)
    assert new.threshold == np.sort(new.score(make_rows(700)).score)[calibration.rank - 1]


def test_calibrate_refuses_too_few_rows(folder, tmp_path):
    done = cli(folder, "calibrate", "model", "new.csv", "-o", tmp_path / "new", "--target-fpr", "0.001")
    one_line(done, 2, "60 normal rows", "--target-fpr 0.001", "at least 999")
    done = cli(
        folder, "calibrate", "model", "new.csv", "-o", tmp_path / "new", "--target-fpr", "0.05", "--confidence", "0.99"
    )
    one_line(done, 2, "--confidence 0.99 needs at least 90")
    assert not (tmp_path / "new").exists()
