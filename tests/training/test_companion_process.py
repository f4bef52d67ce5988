"""The process of a companion."""

from __future__ import annotations

import io
import json
import subprocess
import sys

from anomaly_vae.training import companion_process
from anomaly_vae.training.companion import read_frame
from tests.training.test_companion import job


def test_a_job_is_trained_and_its_progress_written():
    messages = io.BytesIO()
    outcome = companion_process.train(job(), messages)
    assert outcome.model is not None
    messages.seek(0)
    kind, data = read_frame(messages)
    assert (kind, json.loads(data)[0]) == (b"P", 50)


def test_a_training_that_diverges_says_so(monkeypatch):
    def diverge(*_args):
        raise companion_process.AnomalyVaeError("training diverged")

    monkeypatch.setattr(companion_process, "fit_model", diverge)
    assert companion_process.train(job(), io.BytesIO()).diverged == "training diverged"


def test_a_process_without_a_parent_ends_without_a_trace():
    command = [sys.executable, "-m", "anomaly_vae.training.companion_process"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")
