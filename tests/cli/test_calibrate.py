"""``anomaly-vae calibrate`` in a process of its own."""

from __future__ import annotations

import numpy as np

from anomaly_vae.scorer import load
from tests.support.command_line import cli, one_line, write_csv
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


def test_calibrate_on_rows_with_many_new_values_keeps_a_threshold_and_says_what_it_did(folder, tmp_path):
    """In the new rows the unit has changed in 10 %, more than the 5 % that may be flagged."""
    rows = make_rows(300, seed=5)
    rows[::10, 4] = 8.0
    write_csv(tmp_path / "drift.csv", rows)
    done = cli(folder, "calibrate", "model", tmp_path / "drift.csv", "-o", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "30 of 300 calibration rows have another value in columns that were constant in training" in done.stderr
    assert "column 'unit' (30, such as 8 where training had 7)" in done.stderr
    assert "Exclude the columns" in done.stderr
    new = load(tmp_path / "new")
    assert new.schema.columns[4].novelty == "density"
    assert new.threshold in new.bundle.calibration
    far = make_rows(5, seed=6)
    far[:, 1] += 1.0
    assert new.score(far).is_anomaly.all()


def test_calibrate_counts_a_few_new_values_as_the_lowest_rows_and_a_lower_target_is_refused(folder, tmp_path):
    rows = make_rows(300, seed=5)
    rows[:4, 4] = 8.0
    write_csv(tmp_path / "drift.csv", rows)
    done = cli(folder, "calibrate", "model", tmp_path / "drift.csv", "-o", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    calibration = load(tmp_path / "new").bundle.manifest.calibration
    assert (calibration.rank, calibration.num_novel) == (15, 4)
    assert "lowest by new values" in cli(tmp_path, "inspect", "new").stdout
    done = cli(tmp_path, "score", "new", folder / "new.csv", "-o", tmp_path / "scores.csv", "--target-fpr", "0.01")
    one_line(done, 2, "--target-fpr 0.01 is too low", "4 of the 300 calibration rows", "target is 0.016612")
    done = cli(tmp_path, "score", "new", folder / "new.csv", "-o", tmp_path / "scores.csv", "--target-fpr", "0.016612")
    assert done.returncode == 0, done.stderr


def test_calibrate_takes_another_tail_and_keeps_the_one_of_the_model(folder, tmp_path):
    options = ["--target-fpr", "0.1", "--tail", "both"]
    done = cli(folder, "calibrate", "model", "train.csv", "-o", tmp_path / "both", *options)
    assert done.returncode == 0, done.stderr
    both = load(tmp_path / "both")
    assert (both.tail, both.bundle.manifest.calibration.rank) == ("both", 35)
    assert f"upper threshold {both.upper_threshold:.6g} nats (was none), rank 35 of 700 scores" in done.stderr
    text = cli(tmp_path, "inspect", "both").stdout
    assert f"upper threshold      {both.upper_threshold:.6g} nats, rank 35 from the highest" in text
    again = cli(folder, "calibrate", tmp_path / "both", "new.csv", "-o", tmp_path / "again", "--overwrite")
    assert again.returncode == 0, again.stderr
    assert load(tmp_path / "again").tail == "both"
    few = cli(folder, "calibrate", tmp_path / "both", "new.csv", "-o", tmp_path / "few", "--target-fpr", "0.01")
    one_line(few, 2, "--target-fpr 0.01 with --tail both needs at least 199")
    low = cli(folder, "calibrate", tmp_path / "both", "train.csv", "-o", tmp_path / "low", "--tail", "low")
    assert low.returncode == 0, low.stderr
    assert load(tmp_path / "low").upper_threshold is None
