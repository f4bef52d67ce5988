"""Best weights, early stopping, interruption, and resuming from a state."""

from __future__ import annotations

import math
import signal
import warnings
from dataclasses import replace

import pytest
import torch

from anomaly_vae.columns.features import Features
from anomaly_vae.training import loop
from anomaly_vae.training.columns import plan_columns
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.data import Data, load_rows
from anomaly_vae.training.fit import network_sizes, resolve_config
from anomaly_vae.training.loop import Evaluation, TrainingLoop
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.vae import VAE
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema
from tests.support.training import QUICK, QUICK_GAUSSIAN, small_vae


def test_the_best_weights_are_kept(monkeypatch):
    """If later evaluations are worse, the model has the weights of the best one."""
    vae = small_vae().float()
    rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    elbos = iter([1.0, 3.0, 2.0, 0.0])
    states = []

    def fake(model, *_):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return Evaluation(next(elbos), 0.0, 0.0)

    monkeypatch.setattr(loop, "evaluate", fake)
    train, held_out = (Data(part, torch.ones_like(part)) for part in (rows, rows[:8]))
    config = replace(QUICK_GAUSSIAN, max_steps=400)
    result = TrainingLoop(vae, train, held_out, config, torch.Generator().manual_seed(0)).run()
    assert (result.steps, result.best_step, result.held_out.elbo) == (200, 100, 3.0)
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


def test_training_stops_early_when_the_held_out_elbo_no_longer_improves():
    """A model of 12 rows overfits after a few of the 1,000 steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = train_model(make_rows(12), NAMES, TrainConfig(random_state=0, search="off"))
    assert model.bundle.manifest.training.steps < 0.7 * 1000


def test_an_interruption_may_come_at_any_moment(monkeypatch):
    """With steps that take no time, most interrupts arrive between two steps."""
    monkeypatch.setattr(loop, "evaluate", lambda *_: Evaluation(1.0, 0.0, 0.0))
    monkeypatch.setattr(TrainingLoop, "_take_step", lambda _: torch.zeros(()))
    data = Data(torch.zeros(8, 4), torch.ones(8, 4))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(20):
            run = TrainingLoop(
                small_vae().float(), data, data, replace(QUICK_GAUSSIAN, max_steps=10**9), torch.Generator()
            )
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            assert run.run().interrupted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interruption_before_the_first_evaluation_is_raised_again(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "_take_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_model(make_rows(200), NAMES, QUICK_GAUSSIAN)


def test_the_state_is_complete():
    """After a restore into a new loop, all further steps give the same weights."""
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(replace(QUICK, max_steps=150), schema, 600)
    columns = plan_columns(schema, rows, config)
    features = Features(schema, columns)
    data = load_rows(features, rows, torch.device("cpu"))

    def run():
        torch.manual_seed(1)
        vae = VAE(columns, *network_sizes(config))
        return vae, TrainingLoop(vae, data, data, config, torch.Generator().manual_seed(2))

    states = []
    vae, first = run()
    result = first.run(on_check=lambda: states.append(first.state()))
    other, second = run()
    second.restore(states[0])
    again = second.run()
    assert (again.steps, again.best_step, again.held_out) == (result.steps, result.best_step, result.held_out)
    assert math.isfinite(result.held_out.elbo)
    for one, two in zip(vae.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
