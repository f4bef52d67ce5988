"""``anomaly-vae train --window``: series with gaps, names and labels, from a table to a model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly_vae.scorer import load
from tests.support.command_line import cli, in_process, one_line
from tests.support.series import machines

OPTIONS = ["--max-steps", "60", "--search", "off", "--target-fpr", "0.1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three series in random order; on host a, 6 steps are marked as anomalies, and one has no time."""
    path = tmp_path_factory.mktemp("series") / "m.csv"
    frame = machines()
    steps = frame[frame.host == "a"].sort_values("ts").index[150:156]
    frame["odd"] = 0
    frame.loc[steps, "odd"] = 1
    frame.loc[steps, "cpu"] += 4.0
    frame.loc[frame.index[7], "ts"] = ""
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def done(table):
    arguments = ["train", table, "-o", table.parent / "model", "--window", "8", "--series", "host", "--label", "odd"]
    return in_process(*arguments, *OPTIONS)


def test_several_series_with_gaps_give_a_model_that_knows_its_columns(table, done):
    assert done.returncode == 0, done.stderr
    shape = load(table.parent / "model").schema.shape
    assert (shape.length, shape.channels, shape.step_seconds) == (8, ("cpu", "mem"), 60.0)
    assert (shape.timestamp, shape.series) == ("ts", "host")


def test_the_summary_tells_the_windows_and_how_many_count(done):
    assert "the rows of 3 of 3 series were not in the order of time: sorted" in done.stderr
    assert "1 row" in done.stderr
    assert "left out, first row 8: no time" in done.stderr
    assert " windows of 8 steps x 2 channels, best at step " in done.stderr
    assert "3 series with 862 steps, one step per 1 min: windows of 8 steps, as set" in done.stderr
    assert "calibration windows, which overlap and count as " in done.stderr
    assert "(calibration steps against 6 steps marked 1)" in done.stderr


def test_marked_steps_are_found_by_a_model_that_never_saw_them(table, done):
    """They are 4 standard deviations away. A model that had trained on them would take them for one more shape."""
    auroc = float(done.stderr.split("AUROC ")[1].split(",")[0])
    assert auroc > 0.95
    assert load(table.parent / "model").bundle.manifest.training.config["window"] == 8


def test_no_window_covers_a_marked_step(table, tmp_path):
    """Without the label there are more windows: each of the 6 steps is in up to 8 of them."""
    json_of = {}
    for label in (["--label", "odd"], ["--exclude", "odd"]):
        arguments = ["train", table, "-o", tmp_path / label[0], "--window", "8", "--series", "host", *label]
        found = in_process(*arguments, "--max-steps", "2", *OPTIONS[2:], "--force", "--json", "--quiet")
        assert found.returncode == 0, found.stderr
        json_of[label[0]] = json.loads(found.stdout)
    with_label, without = json_of["--label"], json_of["--exclude"]
    assert (with_label["kind"], with_label["series"]) == ("series", 3)
    assert with_label["window"] == {
        "length": 8, "period": None, "stride": 1, "step_seconds": 60.0, "timestamp": "ts", "series": "host"
    }  # fmt: skip
    assert with_label["columns"] == [{"name": "cpu", "kind": "continuous"}, {"name": "mem", "kind": "continuous"}]
    assert without["auroc"] is None
    assert with_label["calibration_rows"] <= with_label["calibration_windows"]


def test_the_default_length_is_said_with_the_period(tmp_path):
    machines(700).to_csv(tmp_path / "m.csv", index=False)
    options = ["--window", "auto", "--series", "host", "--timestamp", "ts", "--stride", "4", "--max-steps", "2"]
    done = in_process("train", tmp_path / "m.csv", "-o", tmp_path / "m", *options, *OPTIONS[2:], "--force")
    assert done.returncode == 0, done.stderr
    assert ": windows of 144 steps for a period of 24" in done.stderr
    assert load(tmp_path / "m").schema.shape.stride == 4


def test_a_configuration_file_sets_the_window(table, tmp_path):
    (tmp_path / "c.toml").write_text('[window]\nlength = 8\nseries = "host"\n')
    options = ["--config", tmp_path / "c.toml", "--columns", "mem", "--max-steps", "2"]
    done = in_process("train", table, "-o", tmp_path / "m", *options, *OPTIONS[2:], "--force")
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "m").schema.shape.channels == ("mem",)


REFUSED = {
    "text without a role": (["--exclude", "odd"], "column 'host' holds text, channels of series are numbers; if it"),
    "no such series": (["--series", "machine"], "--series machine: the input has no such column; it has ts, host"),
    "no such time": (["--timestamp", "when"], "--timestamp when: the input has no such column"),
    "no such label": (["--label", "bad"], "--label bad: the input has no such column"),
    "label of numbers": (["--series", "host", "--label", "cpu"], "--label cpu: expected 0 (normal) or 1 (anomaly)"),
    "label as series": (["--series", "host", "--label", "host"], "--label host: the column is also named in another"),
    "too long": (["--series", "host", "--exclude", "odd", "--window", "250"], "windows of 250 steps need a series of"),
    "same times": (["--exclude", "host,odd"], "have the same time 2024-01-01"),
    "for images": (["--resize", "8x8"], "--resize is for images, and INPUT"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_one_line(table, tmp_path, case):
    options, part = REFUSED[case]
    window = [] if "--window" in options else ["--window", "8"]
    one_line(cli(tmp_path, "train", table, "-o", "m", *window, *options), 2, part)  # the file may stay open
    assert not (tmp_path / "m").exists()


def test_without_times_each_row_is_a_step_also_one_that_cannot_be_read(tmp_path):
    values = np.sin(np.arange(300) / 4.0) + 0.05 * np.random.default_rng(0).normal(size=300)
    lines = [f"{value},{-value}" for value in values]
    lines[100] = "1"
    (tmp_path / "m.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    done = in_process("train", tmp_path / "m.csv", "-o", tmp_path / "m", "--window", "8", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "1 of 300 rows cannot be used: their steps are missing, from row 101 on" in done.stderr
    assert "1 series with 300 steps: windows of 8 steps, as set" in done.stderr
    assert load(tmp_path / "m").schema.shape.step_seconds is None
