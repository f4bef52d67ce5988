"""``anomaly-vae train`` in a process of its own: options, the summary, refusals and interruptions."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from anomaly_vae.scorer import load
from tests.support.command_line import cli, one_line, read_csv
from tests.support.data import NAMES


def test_train_reports_what_it_did(folder):
    log = (folder / "train.log").read_text()
    assert re.search(
        r"trained on 490 rows of 5 columns \(4 continuous, 1 constant\), best at step \d+ of \d+: held-out ELBO", log
    )
    assert re.search(r"threshold -?[\d.]+ nats from 140 calibration rows, false-positive rate at most 0.04965", log)
    auroc = float(re.search(r"AUROC ([\d.]+), average precision [\d.]+ \(140 calibration rows against 40 rows", log)[1])
    assert auroc > 0.95


def test_a_config_file_and_options_that_win_over_it(folder, tmp_path):
    (tmp_path / "c.toml").write_text(
        "latent_dim = 1\nhidden = [8]\nmax_steps = 200\ntarget_fpr = 0.1\nsearch = 'off'\n"
    )
    done = cli(
        tmp_path,
        "train",
        folder / "train.csv",
        "-o",
        "m",
        "--config",
        "c.toml",
        "--latent-dim",
        "3",
        "--exclude",
        "broken,unit",
    )
    assert done.returncode == 0, done.stderr
    (member,) = load(tmp_path / "m").info["members"]
    assert (member["architecture"]["latent_dim"], member["architecture"]["hidden"]) == (3, (8,))
    assert load(tmp_path / "m").schema.names == NAMES[:4]
    for text, part in (("latent_dims = 1", "unknown parameter 'latent_dims'; did you mean 'latent_dim'?"),
                       ("latent_dim = 'x'", "latent_dim must be"), ("latent_dim = ", "not a TOML file"),
                       ("[window]\nsteps = 3", "[window]: unknown parameter 'steps'")):  # fmt: skip
        (tmp_path / "c.toml").write_text(text)
        one_line(cli(tmp_path, "train", folder / "train.csv", "-o", "n", "--config", "c.toml"), 2, part)


BAD_TRAINING = {
    "no such file": (["train", "nothing.csv", "-o", "m"], "nothing.csv: no such file"),
    "no such option": (["train", "train.csv", "-o", "m", "--latentdim", "3"], "No such option"),
    "no output": (["train", "train.csv"], "Missing option '-o'"),
    "no such label": (["train", "train.csv", "-o", "m", "--label", "x"], "--label x: the input has no such column"),
    "label not 0/1": (["train", "train.csv", "-o", "m", "--label", "flow"], "expected 0 (normal) or 1 (anomaly)"),
    "label of text": (["train", "new.csv", "-o", "m", "--label", "id"], "expected 0 (normal) or 1 (anomaly)"),
    "not a bundle": (["train", "train.csv", "-o", ".", "--overwrite"], "is not part of a bundle"),
    "no such column": (["train", "train.csv", "-o", "m", "--columns", "flow,x"], "--columns x: the input has no such"),
    "free text": (
        ["train", "new.csv", "-o", "m", "--strict"],
        "1 column cannot be used (--strict): column 'id' holds 48 different texts in 48 rows, such as 'r",
    ),
    "a chosen column of free text": (
        ["train", "new.csv", "-o", "m", "--columns", "id,flow"],
        "cannot be used (--columns)",
    ),
    "only free text": (
        ["train", "new.csv", "-o", "m", "--columns", "id"],
        "no column is left to train on: column 'id' holds",
    ),
    "nothing left": (["train", "new.csv", "-o", "m", "--columns", "id", "--exclude", "id"], "no column is left"),
    "rate": (["train", "train.csv", "-o", "m", "--target-fpr", "1.5"], "--target-fpr"),
    "hidden": (["train", "train.csv", "-o", "m", "--hidden", "a,b"], "--hidden must be widths such as 128,128"),
    "no such folder": (["train", "train.csv", "-o", "no/such/m"], "the folder"),
    "no such command": (["tarin"], "no such command 'tarin'; did you mean 'train'?"),
}


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_training_input_is_exit_2_and_one_line(folder, case):
    command, part = BAD_TRAINING[case]
    one_line(cli(folder, *command), 2, part)
    assert not (folder / "m").exists()


def test_rows_with_missing_cells_are_trained_on_and_scored(folder, tmp_path):
    """The defaults, with fewer steps. A row with an empty cell is not left out; a row of empty cells has a reason."""
    lines = (folder / "train.csv").read_text().splitlines()
    gaps = [line.split(",") for line in lines[1:31]]
    for i, cells in enumerate(gaps):
        cells[i % 5] = ""
    text = "\n".join([lines[0], *map(",".join, gaps), *lines[31:]]) + "\n"
    (tmp_path / "t.csv").write_text(text)
    done = cli(tmp_path, "train", "t.csv", "-o", "m", "--label", "broken", "--max-steps", "300", "--target-fpr", "0.1")
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    assert "trained on 490 rows of 5 columns" in done.stderr
    assert len(load(tmp_path / "m").info["members"]) == 2
    (tmp_path / "in.csv").write_text("\n".join([lines[0], *map(",".join, gaps), ",,,,,0"]) + "\n")
    done = cli(tmp_path, "score", "m", "in.csv", "-o", "-")
    assert done.returncode == 0, done.stderr
    rows = read_csv(done.stdout)
    assert all(np.isfinite(float(row["score"])) for row in rows)
    assert np.mean([float(row["p_value"]) for row in rows]) > 0.3
    assert [row["reason"] for row in rows] == [*[""] * 30, "every cell is missing: there is nothing to judge"]
    assert rows[-1]["is_anomaly"] == "false"


def test_unreadable_cells_are_left_out_of_training_with_a_warning(folder, tmp_path):
    (tmp_path / "t.csv").write_text((folder / "train.csv").read_text().replace("\n", "\n1.0,bad,0.1,20.0,7.0,0\n", 2))
    options = ["--max-steps", "200", "--target-fpr", "0.1", "--search", "off"]
    done = cli(tmp_path, "train", "t.csv", "-o", "m", "--label", "broken", *options)
    assert done.returncode == 0, done.stderr
    assert (
        "2 of 742 rows cannot be used and are left out, from row 1 on: column 'flow': 'bad' is not a number (2 rows)\n"
        in done.stderr
    )


def test_the_progress_bar_moves_and_ctrl_c_keeps_the_best_model(folder, tmp_path):
    """On a terminal the bar shows loss, held-out ELBO, KL and reconstruction; none of it reaches standard output."""
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "anomaly_vae", "train", str(folder / "train.csv"), "-o", "m"]
    options = ["--label", "broken", "--max-steps", "1000000"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*command, *options], cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    seen = ""
    while not re.search(r"loss .*held-out ELBO .*\(best .*KL .*log p\(x\|z\) ", seen):
        seen += os.read(terminal, 4096).decode()
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal closes with the process
        while text := os.read(terminal, 4096).decode():
            seen += text
    assert process.wait(timeout=120) == 130, seen
    assert process.stdout.read() == b""
    process.stdout.close()
    os.close(terminal)
    assert "interrupted; the best model so far was kept" in seen
    assert load(tmp_path / "m").info["training"]["interrupted"]


def test_the_facts_as_json_hold_what_was_found_out_about_columns_also_of_a_refusal(folder, tmp_path):
    options = ["--search", "off", "--max-steps", "100", "--target-fpr", "0.1", "--json", "--quiet"]
    done = cli(folder, "train", "new.csv", "-o", tmp_path / "m", *options, "--force")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["output"] == str(tmp_path / "m")
    assert [column["kind"] for column in facts["columns"]] == [*["continuous"] * 4, "constant"]
    notes = {each["column"]: (each["taken_for"], each["is_left_out"]) for each in facts["findings"]}
    assert notes == {"unit": ("constant", False), "id": ("names or free text", True)}
    assert "column 'id' holds 48 different texts in 48 rows" in done.stderr  # also if quiet: the model lacks it
    assert "column 'unit'" not in done.stderr
    done = cli(folder, "train", "new.csv", "-o", tmp_path / "n", *options, "--strict")
    one_line(done, 2, "1 column cannot be used (--strict): column 'id'")
    facts = json.loads(done.stdout)
    assert facts["error"].startswith("1 column cannot be used (--strict)")
    assert [each["column"] for each in facts["findings"] if each["is_left_out"]] == ["id"]
    assert not (tmp_path / "n").exists()
