"""Jobs, outcomes and messages of companions."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from anomaly_vae.training.companion import Companion, Job, Outcome, read_frame, write_frame
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.fit import resolve_config
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema


def job(**changes):
    rows = make_rows(120)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(
        TrainConfig(**{"random_state": 1, "max_steps": 100, "likelihood": "gaussian", **changes}), schema, 100
    )
    return Job(config, schema, rows[:100], rows[100:], 1)


def test_a_job_keeps_everything():
    before = job(hidden=(8, 4), columns={NAMES[0]: "continuous"})
    after = Job.from_bytes(before.to_bytes())
    assert (after.config, after.schema, after.threads) == (before.config, before.schema, before.threads)
    np.testing.assert_array_equal(after.train, before.train)
    np.testing.assert_array_equal(after.held_out, before.held_out)


def test_an_outcome_keeps_the_model():
    model = {"state": {"weight": torch.ones(2)}, "result": [1, 1, [0.0, 0.0, 0.0]], "interrupted": True}
    after = Outcome.from_bytes(Outcome(model).to_bytes())
    assert after.model is not None
    assert torch.equal(after.model["state"]["weight"], torch.ones(2))
    assert Outcome.from_bytes(Outcome(diverged="nan").to_bytes()).diverged == "nan"


@pytest.mark.parametrize("cut", [0, 3, 9, 12])
def test_a_message_that_ends_early_is_an_error(cut):
    stream = io.BytesIO()
    write_frame(stream, b"P", b"progress")
    assert read_frame(io.BytesIO(stream.getvalue())) == (b"P", b"progress")
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(stream.getvalue()[:cut]))


def test_a_companion_reports_its_progress_and_ends_with_a_model():
    steps = []
    companion = Companion(job(), lambda progress: steps.append(progress.step))
    outcome = companion.wait()
    companion.close()
    assert steps == [50, 100]
    assert outcome.model is not None


def test_an_interrupted_companion_returns_its_best_model():
    steps = []
    companion = Companion(job(max_steps=1_000_000), lambda progress: steps.append(progress.step))
    while not steps and companion.is_alive():
        companion.report_so_far()
    companion.interrupt()
    outcome = companion.wait()
    companion.close()
    assert outcome.model is not None
    assert outcome.model["interrupted"]
