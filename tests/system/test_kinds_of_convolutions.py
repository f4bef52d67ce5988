"""Convolutions of one and two dimensions, with and without residual blocks, and every variance: through the product."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae import load
from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.client import Client
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.windows import train_windows
from tests.support.conv_models import IMAGE
from tests.support.running import assert_same_bits, running

WINDOW = SeriesShape(length=16, channels=("flow", "load"))
KINDS = [
    (kind, residual, variance)
    for kind in ("conv1d", "conv2d")
    for residual, variance in ((False, "fixed"), (True, "learned"), (False, "conditional"), (True, "conditional"))
]


def rows_of(kind, n, seed):
    rng = np.random.default_rng(seed)
    if kind == "conv2d":
        return rng.integers(0, 256, size=(n, IMAGE.num_cells)).astype(float)
    phases = 0.4 * np.arange(16) + rng.uniform(0.0, 6.0, size=(n, 1))
    return (np.stack([np.sin(phases), np.cos(phases)], axis=2) + 0.1 * rng.normal(size=(n, 16, 2))).reshape(n, 32)


@pytest.mark.parametrize(("kind", "residual", "variance"), KINDS)
def test_every_kind_of_convolution_is_trained_written_scored_and_served(tmp_path, kind, residual, variance):
    config = TrainConfig(
        architecture=kind,
        residual=residual,
        decoder_variance=variance,
        likelihood="gaussian",
        max_steps=20,
        search="off",
        contrast="off",
        target_fpr=0.1,
        random_state=0,
    )
    train, shape = (train_images, IMAGE) if kind == "conv2d" else (train_windows, WINDOW)
    bundle = train(rows_of(kind, 200, 0), shape, config).bundle
    assert bundle.manifest.members[0].architecture.kind == kind
    assert bundle.manifest.members[0].architecture.residual is residual
    assert {column.head.kind() for column in bundle.manifest.members[0].columns} == {
        "conditional" if variance == "conditional" else "gaussian"
    }
    write_bundle(bundle, tmp_path / "model")
    rows = rows_of(kind, 9, 1)
    scorer = load(tmp_path / "model")
    scores = scorer.score(rows.reshape(9, *shape.sizes))
    assert np.isfinite(scores.log_px).all()
    assert (scores.elbo <= scores.log_px + 1e-6 + 4.0 * np.nan_to_num(scores.std_error)).all()
    order = np.random.default_rng(2).permutation(9)
    assert_same_bits(scorer.score(rows[order]), scores[order])
    assert scorer.score(rows[4:5]).log_px.tobytes() == scores.log_px[4:5].tobytes()
    with running(tmp_path / "model") as service, Client(service.target) as client:
        assert_same_bits(client.score(rows.reshape(9, *shape.sizes)), scores)
