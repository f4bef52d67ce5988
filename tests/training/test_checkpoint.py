"""An interrupted run resumes and gives the same model; checkpoints of other runs and other files are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from anomaly_vae.errors import ConfigError
from anomaly_vae.training import checkpoint as checkpoints
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.training import QUICK


class _Interruption(Exception):
    pass


@pytest.mark.parametrize("interrupted_in", ["first", "second"])
def test_an_interrupted_run_resumes_and_gives_the_same_model(tmp_path, monkeypatch, interrupted_in):
    """Interrupted in either model of the search, and resumed: the files are those of an uninterrupted run."""
    monkeypatch.setattr(checkpoints, "_SAVE_INTERVAL_S", 0.0)
    rows = make_rows(300)
    config = TrainConfig(random_state=5, max_steps=200, target_fpr=0.05)
    uninterrupted = train_model(rows, NAMES, config).bundle
    path = tmp_path / ".model.checkpoint"
    checks = {"first": 2, "second": 6}[interrupted_in]

    def report(_title, _progress):
        nonlocal checks
        if checks == 0:
            raise _Interruption
        checks -= 1

    with pytest.raises(_Interruption):
        train_model(rows, NAMES, config, checkpoint=Checkpoint(path, resume=False), report=report)
    assert path.exists()
    steps = []
    resumed = train_model(
        rows,
        NAMES,
        config,
        checkpoint=Checkpoint(path, resume=True),
        report=lambda title, progress: steps.append((title, progress.step)),
    ).bundle
    assert steps[0] == (("model 1 of 2", 150) if interrupted_in == "first" else ("model 2 of 2", 150))
    assert resumed.files == uninterrupted.files
    assert resumed.manifest.training.candidates == uninterrupted.manifest.training.candidates


def test_a_checkpoint_of_other_rows_or_parameters_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SAVE_INTERVAL_S", 0.0)
    path = tmp_path / ".model.checkpoint"

    def stop(_title, progress):
        if progress.step == 100:
            raise _Interruption

    config = replace(QUICK, max_steps=200)
    with pytest.raises(_Interruption):
        train_model(make_rows(200), NAMES, config, checkpoint=Checkpoint(path, resume=False), report=stop)
    for rows, other in ((make_rows(200, seed=1), config), (make_rows(200), replace(config, beta=0.5))):
        with pytest.raises(ConfigError, match="of other rows or parameters"):
            train_model(rows, NAMES, other, checkpoint=Checkpoint(path, resume=True))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Checkpoint(path, resume=True)


def test_a_checkpoint_never_runs_code(tmp_path):
    """Anyone who can write beside the output can write a checkpoint: a pickle with a call must be refused, not run."""

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / ".model.checkpoint"
    torch.save({"fingerprint": Hostile()}, path)
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Checkpoint(path, resume=True)
    assert not (tmp_path / "ran").exists()
