"""Positions in the latent space, reconstructions and samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from anomaly_vae.scorer import Scorer
from tests.support.data import make_rows
from tests.support.shaped import IMAGE, images, shaped_bundle


def test_samples_have_the_moments_and_constants_of_the_training_rows(scorer):
    drawn, rows = scorer.sample(20_000, seed=1), make_rows(20_000, seed=5)
    np.testing.assert_allclose(drawn.mean(0)[:4], rows.mean(0)[:4], atol=0.3 * rows.std(0)[:4].max(), rtol=0.2)
    np.testing.assert_allclose(drawn.std(0)[:4], rows.std(0)[:4], rtol=0.35)
    assert set(drawn[:, 4]) == {7.0}
    np.testing.assert_array_equal(scorer.sample(5, seed=1), scorer.sample(5, seed=1))
    assert not np.array_equal(scorer.sample(5, seed=1), scorer.sample(5, seed=2))


def test_samples_look_normal_to_the_model_that_drew_them(scorer):
    """p-values of the model's own samples are spread over (0, 1], not piled up at 0; a model trained for a moment has
    mass between the two modes of "valve", so their median is no half."""
    p_value = scorer.score(scorer.sample(500, seed=3)).p_value
    assert np.median(p_value) > 0.1
    assert np.mean(p_value > 0.9) > 0.03


@pytest.mark.parametrize("name", ["scorer", "ensemble_scorer"])
def test_samples_have_the_density_that_their_scores_say(name, request):
    """For any density q, the mean of q(x) / p(x) over samples of p is 1: log p(x) and the sampler are of one model."""
    scorer = request.getfixturevalue(name)
    rows = scorer.sample(2000, seed=3)
    modelled = rows[:, :4]
    q = norm(modelled.mean(axis=0), 0.8 * modelled.std(axis=0))
    ratios = np.exp(q.logpdf(modelled).sum(axis=1) - scorer.score(rows).log_px)
    error = ratios.std() / np.sqrt(len(rows))
    assert error < 0.06
    assert abs(ratios.mean() - 1.0) < 4 * error


def test_encode_gives_posterior_means(scorer, new_rows):
    z = scorer.encode(new_rows)
    assert z.shape == (len(new_rows), scorer.info["members"][0]["architecture"]["latent_dim"])
    np.testing.assert_array_equal(scorer.encode(new_rows[7:8]), z[7:8])


def test_a_reconstruction_has_the_shape_and_units_of_the_rows(ensemble_scorer, new_rows):
    """Normal rows are near it: nearer than those of other rows, in standard deviations of each column."""
    found = ensemble_scorer.reconstruct(new_rows)
    assert found.shape == new_rows.shape
    scale = new_rows[:, :4].std(axis=0)
    own, other = (np.abs((found - rows)[:, :4] / scale).mean() for rows in (new_rows, new_rows[::-1]))
    assert own < 0.7 * other
    assert (found[:, 4] == 7.0).all()  # a constant column
    holes = new_rows.copy()
    holes[:, 0] = np.nan
    assert np.isfinite(ensemble_scorer.reconstruct(holes)).all()


def test_a_reconstruction_of_images_has_their_shape():
    scorer = Scorer(shaped_bundle(IMAGE, images(200)))
    found = scorer.reconstruct(images(5, seed=1)[..., 0])
    assert found.shape == (5, 3, 4, 1)
    assert scorer.reconstruct(np.empty((0, 12))).shape == (0, 3, 4, 1)
