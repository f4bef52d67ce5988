"""Corruptions of images: any shape, within the range, on the grid, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from anomaly_vae.training.corruptions import CORRUPTIONS, corrupted, differs

SHAPES = [(6, 1, 28, 28), (5, 3, 8, 8), (4, 1, 5, 9), (3, 2, 1, 7), (1, 1, 3, 3)]


def images_of(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_corruption_keeps_the_shape_and_follows_its_seed(name, shape):
    images = images_of(shape)
    before = images.clone()
    found = [CORRUPTIONS[name](images, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert found[0].shape == shape
    assert torch.isfinite(found[0]).all()
    torch.testing.assert_close(found[0], found[1], rtol=0.0, atol=0.0)
    torch.testing.assert_close(images, before, rtol=0.0, atol=0.0)  # in place, later steps would train on corruptions


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_nearly_every_corruption_changes_an_image_without_symmetry(name):
    images = images_of((16, 3, 12, 12))
    for seed in range(20):
        changed = CORRUPTIONS[name](images, torch.Generator().manual_seed(seed)).clamp(0.0, 1.0)
        if differs(images, changed).all():
            return
    pytest.fail(f"{name} leaves images as they are")


@pytest.mark.parametrize("step", [None, 1.0 / 255.0, 1.0 / 16.0])
def test_corrupted_images_are_within_the_range_and_on_the_grid(step):
    """Else the values alone would tell them from images, and nothing about their content would be learned."""
    images = torch.round(images_of((64, 2, 9, 9)) * 16.0) / 16.0 if step else images_of((64, 2, 9, 9))
    samples = images_of((5, 2, 9, 9), seed=1)
    for seed in range(20):
        found = corrupted(images, samples, torch.Generator().manual_seed(seed), step)
        assert found.shape == images.shape
        assert float(found.min()) >= 0.0
        assert float(found.max()) <= 1.0
        if step:
            torch.testing.assert_close(found / step, torch.round(found / step), rtol=0.0, atol=1e-3)


def test_the_model_s_samples_are_among_the_corrupted_images():
    images, samples = torch.zeros(64, 1, 8, 8), torch.full((3, 1, 8, 8), 0.123)
    found = [corrupted(images, samples, torch.Generator().manual_seed(seed)) for seed in range(30)]
    assert any(bool((each == 0.123).all(dim=(1, 2, 3)).any()) for each in found)


def test_images_that_hardly_change_do_not_count():
    """A symmetric image that is flipped, or a shuffled image of one colour, is a normal image."""
    symmetric, plain = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.4)
    symmetric[:, :, 3:5] = 1.0
    images = torch.cat([symmetric, plain, symmetric])
    changed = torch.cat([symmetric.flip(2) + 0.01, plain, symmetric.transpose(2, 3)])
    assert differs(images, changed).tolist() == [False, False, True]
