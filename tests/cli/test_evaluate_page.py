"""The page of ``evaluate --html``."""

from __future__ import annotations

import pytest

from anomaly_vae.cli.evaluate_page import write_evaluation
from anomaly_vae.errors import ConfigError
from tests.support.command_line import in_process, one_line
from tests.support.evaluations import full_evaluation


def test_the_page_names_the_model_and_the_rows_left_out(tmp_path):
    page = tmp_path / "e.html"
    write_evaluation(full_evaluation(), "folder/my-model", "lab.csv", 1, page, overwrite=False)
    text = page.read_text(encoding="utf-8")
    for part in ("my-model on lab.csv", "1 row of the input could not be used."):
        assert part in text
    with pytest.raises(ConfigError, match="exists already"):
        write_evaluation(full_evaluation(), "m", "lab.csv", 0, page, overwrite=False)
    write_evaluation(full_evaluation(), "m", "lab.csv", 0, page, overwrite=True)
    assert "could not be used" not in page.read_text(encoding="utf-8")


def test_the_command_writes_it_and_refuses_a_path_before_the_work(folder, tmp_path):
    page = tmp_path / "e.html"
    command = ("evaluate", folder / "model", folder / "train.csv", "--html", page, "--resamples", 100, "-q")
    done = in_process(*command)
    assert done.returncode == 0, done.stderr
    assert "ROC curve" in page.read_text(encoding="utf-8")
    one_line(in_process("evaluate", "no model", "no.csv", "--html", page), 2, "e.html exists already")
