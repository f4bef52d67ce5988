"""A folder with a trained model, shared by the tests of all commands."""

import numpy as np
import pytest

from tests.support.command_line import cli, write_csv
from tests.support.data import make_rows


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A table to train on, with a label, and one to score; a model trained from it by the command line."""
    path = tmp_path_factory.mktemp("cli")
    rows = make_rows(700)
    broken = make_rows(40, seed=1)
    broken[:, 1] += 0.2
    marks = np.repeat([0, 1], [700, 40])
    write_csv(path / "train.csv", np.concatenate([rows, broken]), extra={"broken": marks})
    write_csv(path / "new.csv", make_rows(60, seed=2), extra={"id": [f"r{i}" for i in range(60)]})
    command = ["train", "train.csv", "-o", "model", "--label", "broken", "--max-steps", "400", "--target-fpr", "0.05"]
    done = cli(path, *command, "--search", "off")
    assert done.returncode == 0, done.stderr
    (path / "train.log").write_text(done.stderr)
    return path
