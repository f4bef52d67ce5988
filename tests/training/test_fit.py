"""One model: its sizes, its device, hidden cells, free bits and divergence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from anomaly_vae.columns.heads import GaussianHead
from anomaly_vae.errors import AnomalyVaeError, ConfigError
from anomaly_vae.training import loop
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.fit import fit_model, network_sizes, resolve_config
from anomaly_vae.training.loop import Evaluation
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.schemas import infer_schema
from tests.support.training import QUICK, QUICK_GAUSSIAN


def test_sizes_follow_the_columns_unless_given(trained):
    architecture = trained.bundle.manifest.members[0].architecture
    assert (architecture.latent_dim, architecture.hidden) == (2, (128, 128))
    model = train_model(make_rows(100), NAMES, replace(QUICK_GAUSSIAN, latent_dim=3, hidden=(20,), target_fpr=0.2))
    architecture = model.bundle.manifest.members[0].architecture
    assert (architecture.latent_dim, architecture.hidden) == (3, (20,))


def test_the_fixed_variance_is_the_variance_of_the_column():
    """With an explicit Gaussian likelihood, and with "auto", which then chooses it."""
    for likelihood in ("gaussian", "auto"):
        config = replace(QUICK_GAUSSIAN, decoder_variance="fixed", likelihood=likelihood, target_fpr=0.2)
        (member,) = train_model(make_rows(200), NAMES, config).bundle.manifest.members
        assert [column.head for column in member.columns] == [GaussianHead(variance="fixed", log_var=0.0)] * 4


def test_an_unavailable_device_is_explained():
    for name in ("abacus", "meta"):
        with pytest.raises(ConfigError, match=f"device '{name}' cannot be used"):
            train_model(make_rows(100), NAMES, replace(QUICK_GAUSSIAN, device=name))


def test_divergence_is_reported(monkeypatch):
    monkeypatch.setattr(loop, "evaluate", lambda *_: Evaluation(math.nan, math.nan, math.nan))
    with pytest.raises(AnomalyVaeError, match="training diverged"):
        train_model(make_rows(200), NAMES, QUICK_GAUSSIAN)


def test_steps_with_hidden_cells_train_the_encoder_only():
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(replace(QUICK, masking=1.0, max_steps=50), schema, 100)
    fitted = fit_model(config, schema, rows[:250], rows[250:], Checkpoint(None, resume=False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = type(fitted.vae)(fitted.vae.head.columns, *network_sizes(config))
    for name, parameter in fresh.named_parameters():
        same = torch.equal(parameter, dict(fitted.vae.named_parameters())[name])
        assert same == (not name.startswith("encoder"))


def test_free_bits_keep_a_latent_dimension_alive():
    rows = make_rows(600)
    schema = infer_schema(rows, NAMES)
    config = resolve_config(
        TrainConfig(random_state=0, search="off", likelihood="gaussian", max_steps=200, beta=30.0, prior="normal"),
        schema,
        500,
    )
    unsaved = Checkpoint(None, resume=False)
    without, with_bits = (
        fit_model(replace(config, free_bits=bits), schema, rows[:500], rows[500:], unsaved) for bits in (0.0, 0.3)
    )
    assert without.result.held_out.kl < 0.05
    assert with_bits.result.held_out.kl > 0.15
