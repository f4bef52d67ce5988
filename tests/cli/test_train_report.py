"""The page of ``train --report``: what only the training knows is in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from anomaly_vae.assessment.ranking import DetectionQuality
from anomaly_vae.cli.train_report import write_training_report
from anomaly_vae.columns.findings import Finding
from anomaly_vae.errors import ConfigError
from tests.support.command_line import in_process, one_line, write_csv
from tests.support.data import make_rows

FINDINGS = [
    Finding("note", "names", "holds free text: left out", is_left_out=True, remedy="name it in --columns"),
    Finding("when", "time", "holds times"),
]


def test_columns_left_out_are_shown_with_a_remedy_and_the_quality(bundle, tmp_path):
    job = SimpleNamespace(findings=FINDINGS, num_anomalous=40)
    page = tmp_path / "r.html"
    write_training_report(bundle, job, DetectionQuality(0.995, 0.98), Path("my-model"), page, overwrite=False)
    text = page.read_text(encoding="utf-8")
    for part in ("my-model", "holds free text: left out; name it in --columns", "AUROC 0.9950, average precision 0.98"):
        assert part in text, part
    assert "holds times" not in text
    with pytest.raises(ConfigError, match="exists already"):
        write_training_report(bundle, job, None, Path("my-model"), page, overwrite=False)


def test_train_writes_the_page_and_refuses_a_path_before_the_training(tmp_path):
    write_csv(tmp_path / "t.csv", make_rows(60))
    options = ("--search", "off", "--max-steps", 60, "--hidden", "8", "--target-fpr", "0.2", "--force", "-q")
    command = ("train", tmp_path / "t.csv", "-o", tmp_path / "m", "--report", tmp_path / "r.html", *options)
    done = in_process(*command)
    assert done.returncode == 0, done.stderr
    assert "training batches" in (tmp_path / "r.html").read_text(encoding="utf-8")
    one_line(in_process("train", "no.csv", "-o", tmp_path / "n", "--report", tmp_path / "r.html"), 2, "exists already")
