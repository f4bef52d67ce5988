"""The classifier of images: it learns, its graph computes what it computes, and it follows its seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.density.contrast import Contrast
from anomaly_vae.density.runtime import OnnxContrast
from anomaly_vae.training import contrast as module
from anomaly_vae.training.columns import plan_columns
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.contrast import Pixels, contrast_graph, corruption_names, fit_contrast
from anomaly_vae.training.corruptions import CORRUPTIONS
from tests.support.pictures import PICTURE, other_pictures, pictures


def features_of(rows, shape=PICTURE, likelihood="logistic"):
    schema = plan_cells(shape, rows)
    return Features(schema, plan_columns(schema, rows, TrainConfig(likelihood=likelihood)))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "_LEAST_STEPS", 120)
    monkeypatch.setattr(module, "_MOST_STEPS", 120)


@pytest.fixture
def fitted(quick):
    def fit(seed=0, report=None, rows=None, shape=PICTURE):
        rows = pictures(300) if rows is None else rows
        samples = np.random.default_rng(0).uniform(shape.low, shape.high, size=(50, rows.shape[1]))
        return fit_contrast(features_of(rows, shape), shape, rows[:250], rows[250:], samples, seed, report)

    return fit


def in_onnx(found):
    features = found.pixels.features
    network = OnnxContrast({"contrast.onnx": contrast_graph(found)}, num_features=features.layout.num_features)
    return Contrast(network, features)


def test_images_that_training_never_saw_have_a_lower_contrast(fitted):
    contrast = in_onnx(fitted())
    normal, other = contrast.of_rows(pictures(100, seed=5)), contrast.of_rows(other_pictures(100, seed=6))
    noise = contrast.of_rows(np.random.default_rng(0).uniform(0.0, 255.0, (100, 64)))
    assert np.median(normal) > 0.0 > np.median(other)
    assert np.quantile(normal, 0.1) > np.quantile(noise, 0.9)


def test_the_graph_computes_what_torch_computes_also_with_missing_cells_and_values_beyond_the_range(fitted):
    """A missing cell has the mean value of its place, and the ends of the range stand for all beyond them."""
    found, rows = fitted(), pictures(40, seed=2)
    rows[::2, ::7] = np.nan
    rows[1::4, 3] = 9999.0
    with torch.no_grad():
        expected = found.net(2.0 * found.pixels.of_rows(rows, found.missing) - 1.0)[:, 0].double().numpy()
    np.testing.assert_allclose(in_onnx(found).of_rows(rows), expected, rtol=1e-5, atol=1e-5)
    filled = np.where(np.isnan(rows), found.missing.numpy() * 255.0, rows).clip(0.0, 255.0)
    np.testing.assert_allclose(in_onnx(found).of_rows(filled), expected, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(fitted):
    torch.rand(3)  # the state of torch's own generator does not matter
    first, again, other = (contrast_graph(fitted(seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    "shape",
    [ImageShape(height=5, width=9, channels=3, depth="float", low=-1.0, high=2.0), ImageShape(height=1, width=17)],
)
def test_other_sizes_channels_and_ranges(fitted, shape):
    rng = np.random.default_rng(0)
    rows = rng.uniform(shape.low, shape.high, size=(280, shape.num_cells))
    rows = np.round(rows) if shape.depth == "uint8" else rows
    contrast = in_onnx(fitted(rows=rows, shape=shape))
    assert np.isfinite(contrast.of_rows(rows)).all()


def test_images_have_their_cells_in_their_places_and_values_from_0_to_1():
    shape = ImageShape(height=2, width=3, channels=2, depth="float", low=0.0, high=12.0)
    rows = np.stack([np.arange(12.0), 12.0 - np.arange(12.0)] * 20)
    pixels = Pixels.of(features_of(rows, shape), shape)
    images = pixels.of_rows(rows[:1], torch.zeros(12))
    for y, x, c in itertools.product(range(2), range(3), range(2)):
        assert float(images[0, c, y, x]) == pytest.approx((6 * y + 2 * x + c) / 12.0, abs=1e-6)


def test_progress_and_the_end_of_a_training_that_does_not_improve(fitted, monkeypatch):
    seen = []
    found = fitted(report=seen.append)
    assert [each.step for each in seen] == [100, 120]
    assert seen[-1].best_elbo == -found.held_out_loss == max(each.held_out.elbo for each in seen)
    monkeypatch.setattr(module, "_STEPS_PER_CHECK", 10)
    losses = iter([0.5, 0.4, *[0.6] * 100])
    monkeypatch.setattr(module._Loop, "_loss_of_held_out", lambda self: next(losses))
    stopped = fitted()
    assert (stopped.steps, stopped.held_out_loss) == (70, 0.4)  # 0.4 of 120 steps after the best look, at 20


def test_an_interrupt_keeps_the_best_weights_but_not_before_there_are_any(fitted, monkeypatch):
    def interrupt(progress):
        raise KeyboardInterrupt

    assert fitted(report=interrupt).steps == 100
    monkeypatch.setattr(module._Loop, "_take_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fitted()


def test_names_of_what_it_is_trained_against():
    assert corruption_names() == (*CORRUPTIONS, "samples of the model")
