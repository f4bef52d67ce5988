"""Models of images: from rows in memory, and from rows that are read while the model trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.training import row_source
from anomaly_vae.training.images import train_images
from tests.support.pictures import short_contrast
from tests.support.shaped import IMAGE, images
from tests.support.training import QUICK_GAUSSIAN

CONFIG = replace(QUICK_GAUSSIAN, target_fpr=0.1)
ROWS = images(200).reshape(200, -1).astype(np.float64)


class Source:
    """The same rows, read when they are needed."""

    num_cells = 12

    def __init__(self, rows):
        self.rows, self.most = rows, 0

    def __len__(self):
        return len(self.rows)

    def take(self, numbers):
        self.most = max(self.most, len(numbers))
        return self.rows[numbers]


@pytest.fixture(scope="module", autouse=True)
def _short_contrast():
    with short_contrast():
        yield


@pytest.fixture(scope="module")
def model():
    return train_images(ROWS, IMAGE, CONFIG)


def test_a_model_of_images_flags_on_both_sides_and_scores_shaped_arrays(model):
    scorer = Scorer(model.bundle)
    assert scorer.schema.shape == IMAGE
    assert scorer.tail == "both"
    assert model.bundle.manifest.members[0].architecture.kind == "conv2d"
    assert scorer.score(images(5, seed=1)).log_px.shape == (5,)
    rotated = np.roll(images(60, seed=1), 1, axis=1)[:, ::-1].transpose(0, 2, 1, 3).reshape(60, 3, 4, 1)
    assert np.median(scorer.score(rotated).log_px) < np.median(scorer.score(images(60, seed=1)).log_px) - 5.0


def test_images_that_are_read_while_the_model_trains_give_the_same_model(model, monkeypatch):
    """If the sample of the training rows holds all of them: the batches are the same, whoever reads them."""
    source = Source(ROWS)
    streamed = train_images(source, IMAGE, CONFIG)
    new = images(20, seed=2)
    np.testing.assert_allclose(
        Scorer(streamed.bundle).score(new).log_px, Scorer(model.bundle).score(new).log_px, rtol=1e-6
    )
    assert streamed.bundle.manifest.calibration == model.bundle.manifest.calibration
    assert streamed.bundle.manifest.training.num_rows == 140


def test_only_a_bounded_number_of_rows_is_read_at_once(monkeypatch):
    monkeypatch.setattr(row_source, "_SAMPLE_BYTES", 8 * 12 * 30)
    monkeypatch.setattr(row_source, "_SET_ASIDE_BYTES", 8 * 12 * 65)
    source = Source(np.tile(ROWS, (10, 1)))
    model = train_images(source, IMAGE, replace(CONFIG, max_steps=20))
    assert source.most == 256  # a batch
    assert len(model.split.calibration) == 65
    assert model.bundle.manifest.training.num_rows == 1870


def test_images_of_one_value_are_refused():
    with pytest.raises(InvalidInput):
        train_images(np.full((50, 12), 7.0), IMAGE, CONFIG)
