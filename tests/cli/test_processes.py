"""``anomaly-vae train`` under torchrun: one model, one voice, and no process that waits for one that has ended."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import load
from anomaly_vae.training import checkpoint as checkpoints
from anomaly_vae.training import loop
from anomaly_vae.training.bundle_builder import BundleBuilder
from tests.support.command_line import cli, write_csv
from tests.support.data import make_rows
from tests.support.processes import start_processes, wait_for_all

ROWS = make_rows(120)
QUICK = ("--max-steps", "100", "--target-fpr", "0.05")
LOST = "anomaly-vae: error: another process of this training has ended or does not answer; its messages say why\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table, and the model that one process trains from it."""
    path = tmp_path_factory.mktemp("processes")
    write_csv(path / "normal.csv", ROWS)
    done = cli(path, "train", "normal.csv", "-o", "alone", *QUICK)
    assert done.returncode == 0, done.stderr
    return path


def assert_same_model(path, name):
    """Two processes add the gradients of their shares; in 100 steps rounding changes scores by less than 0.001 nats."""
    alone, model = load(path / "alone"), load(path / name)
    new = make_rows(50, seed=5)
    np.testing.assert_allclose(model.score(new).log_px, alone.score(new).log_px, rtol=0, atol=1e-3)
    assert model.threshold == pytest.approx(alone.threshold, abs=1e-3)


def test_torchrun_trains_the_model_of_one_process(table):
    """The real command: it starts both processes, and they find each other."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "anomaly_vae",
    ]
    done = subprocess.run(
        [*command, "train", "normal.csv", "-o", "both", *QUICK],
        cwd=table, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trained on 84 rows") == 1
    assert done.stderr.count("wrote both") == 1
    assert not (table / ".both.checkpoint").exists()
    assert_same_model(table, "both")


def die_at_step_75():
    take_step = loop.TrainingLoop._take_step

    def dying(self):
        if self._step == 75:
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(self)

    loop.TrainingLoop._take_step = dying


def save_often():
    checkpoints._SAVE_INTERVAL_S = 0.0


def save_often_and_die():
    save_often()
    die_at_step_75()


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_process_dies_the_other_one_ends(table, victim):
    """Nothing waits, and the next run continues what process 0 has saved, also with another number of processes."""
    name = f"after{victim}"
    prepare = {0: save_often, 1: die_at_step_75} if victim else {0: save_often_and_die}
    codes, _, errors = wait_for_all(
        start_processes(table, 2, "train", "normal.csv", "-o", name, *QUICK, prepare=prepare)
    )
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1
    assert errors[0].endswith(LOST) == (victim == 1)
    assert errors[1] == ""
    assert (table / f".{name}.checkpoint").exists()
    assert not (table / name).exists()
    if victim == 0:
        codes, _, errors = wait_for_all(
            start_processes(table, 2, "train", "normal.csv", "-o", name, "--resume", *QUICK)
        )
        assert codes == [0, 0], errors
    else:
        done = cli(table, "train", "normal.csv", "-o", name, "--resume", *QUICK)
        assert done.returncode == 0, done.stderr
    assert_same_model(table, name)


def fail_in_calibration():
    def fail(self, *_):
        raise ConfigError("no calibration")

    BundleBuilder.build = fail


def other_rows():
    os.chdir("elsewhere")


def test_faults_that_one_process_tells_for_all(table):
    """Of the input, of the rows, and of what process 0 does alone; the other process fails as well."""
    (table / "elsewhere").mkdir()
    arguments = ("train", "normal.csv", "-o", "refused", *QUICK)

    def refused(prepare, code, text, arguments=arguments):
        codes, outputs, errors = wait_for_all(start_processes(table, 2, *arguments, prepare=prepare))
        assert (codes[0], codes[1] in (1, code)) == (code, True), errors
        assert outputs == ["", ""]
        assert re.search(text, errors[0].splitlines()[-1])
        assert errors[1] == ""
        assert not (table / "refused").exists()

    refused({}, 2, "missing.csv: no such file", ("train", "missing.csv", "-o", "refused"))
    refused({}, 2, "INPUT - is the standard input of one process", ("train", "-", "-o", "refused"))
    refused({1: other_rows}, 2, r"error: process 1 of 2: normal.csv: no such file")
    write_csv(table / "elsewhere" / "normal.csv", ROWS[:-1])
    refused({1: other_rows}, 2, "process 1 has other rows, parameters or another torch than process 0")
    codes, _, errors = wait_for_all(start_processes(table, 2, *arguments, prepare={0: fail_in_calibration}))
    assert codes == [2, 1]
    assert errors[0].endswith("error: no calibration\n")
    assert errors[1] == ""


def run_out_of_memory():
    def fail(self):
        raise MemoryError

    loop.TrainingLoop._take_step = fail


def test_a_fault_of_another_process_is_told_by_it(table):
    arguments = ("train", "normal.csv", "-o", "refused", *QUICK)
    codes, _, errors = wait_for_all(start_processes(table, 2, *arguments, prepare={1: run_out_of_memory}))
    assert codes == [1, 1]
    assert errors[0].endswith(LOST)
    assert errors[1] == "anomaly-vae: error: process 1 of 2: out of memory\n"


def press_ctrl_c():
    """In the training of the second model."""
    take_step, steps = loop.TrainingLoop._take_step, itertools.count()

    def pressed(self):
        if next(steps) == 175:
            os.kill(os.getpid(), signal.SIGINT)
        return take_step(self)

    loop.TrainingLoop._take_step = pressed


def test_ctrl_c_stops_all_processes_without_a_model(table):
    arguments = ("train", "normal.csv", "-o", "stopped", *QUICK)
    both = {0: press_ctrl_c, 1: press_ctrl_c}
    codes, _, errors = wait_for_all(start_processes(table, 2, *arguments, prepare=both))
    assert codes[0] in (130, -signal.SIGINT)
    assert codes[1] not in (0, 1)
    assert "interrupted" in errors[0]
    assert errors[1] == ""
    assert not (table / "stopped").exists()
