"""The golden rows of a bundle: scored again at every load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from anomaly_vae.bundle.golden import GOLDEN_TOLERANCE, check_golden, golden_samples
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows


@pytest.fixture(scope="module")
def other(bundle):
    """A model with networks of the same shapes."""
    latent_dim = bundle.manifest.members[0].architecture.latent_dim
    config = TrainConfig(
        random_state=4, max_steps=20, target_fpr=0.05, search="off", likelihood="gaussian", latent_dim=latent_dim
    )
    return train_model(make_rows(600), NAMES, config, label="broken").bundle


@pytest.mark.parametrize("graph", ["decoder", "posterior", "likelihood"])
def test_a_graph_of_another_model_is_refused(bundle, other, graph):
    """Proposals are fitted with these graphs, samples weighed with log_joint.onnx: they must be one model's."""
    name = f"{graph}.onnx"
    mixed = replace(bundle, files=dict(bundle.files) | {name: other.files[name]})
    with pytest.raises(BundleError, match=r"decoder\.onnx: does not fit the other graphs"):
        Scorer(mixed)


@pytest.mark.parametrize("graph", ["encoder", "log_joint"])
def test_a_graph_that_gives_other_golden_scores_is_refused(bundle, other, graph):
    name = f"{graph}.onnx"
    mixed = replace(bundle, files=dict(bundle.files) | {name: other.files[name]})
    with pytest.raises(BundleError, match=r"golden\.npy: .*differs by up to"):
        Scorer(mixed)


def test_golden_scores_do_not_hang_on_a_choice_of_proposal(bundle, scorer):
    """Another machine rounds differently: golden scores are plain ones, smooth in the networks' outputs."""
    golden = bundle.golden_rows
    nudged = golden * (1.0 + 1e-7 * np.random.default_rng(0).normal(size=golden.shape))
    nudged[:, 4] = golden[:, 4]  # a constant column: another value in it has another probability
    estimator = scorer._judge.estimator
    budget = golden_samples(bundle.manifest.estimator)
    expected = estimator.plain_log_px(golden, budget)
    np.testing.assert_array_equal(expected, bundle.golden_log_px)
    actual = estimator.plain_log_px(nudged, budget)
    assert estimator.relative_difference(golden, actual, expected).max() < 1e-4


def test_golden_rows_catch_networks_that_compute_something_else(bundle):
    """Digests only prove that bytes are unchanged, not that this machine computes what the training machine did."""
    moved = replace(bundle, golden_log_px=bundle.golden_log_px + 0.01 * np.maximum(1, np.abs(bundle.golden_log_px)))
    with pytest.raises(BundleError, match="golden"):
        Scorer(moved)


@pytest.mark.parametrize("share", [-2.0, -0.5, 0.5, 2.0])
def test_a_difference_up_to_the_tolerance_passes(bundle, scorer, share):
    """The tolerance is relative to max(1, |log p|), the larger of data and model units."""
    estimator = scorer._judge.estimator
    size = 1.0 / estimator.relative_difference(
        bundle.golden_rows, bundle.golden_log_px + 1.0, bundle.golden_log_px
    )  # nats that count as a relative difference of 1
    moved = replace(bundle, golden_log_px=bundle.golden_log_px + share * GOLDEN_TOLERANCE * size)
    if abs(share) < 1.0:
        check_golden(moved, estimator)
    else:
        with pytest.raises(BundleError, match=r"golden\.npy: .*differs by up to 0\.0002 \(relative\).*at most 0\.0001"):
            check_golden(moved, estimator)


def test_golden_scores_have_no_more_samples_than_a_row(bundle):
    """Loading must stay fast with a high cap, and a lower cap is one that the noise surely has."""
    estimator = bundle.manifest.estimator
    few, many = (golden_samples(structs.replace(estimator, num_samples=number)) for number in (256, 2**16))
    assert few == 256
    assert many < 2**16


def test_golden_scores_that_are_not_numbers_are_refused(bundle, scorer):
    """A comparison with NaN is False, so NaN must not pass as a small difference."""
    with pytest.raises(BundleError, match="golden"):
        check_golden(replace(bundle, golden_log_px=np.full_like(bundle.golden_log_px, np.nan)), scorer._judge.estimator)


def test_golden_rows_with_another_constant_are_refused(bundle, scorer):
    """The constant of the manifest or the rows were changed after export."""
    rows = bundle.golden_rows.copy()
    rows[3, 4] += 1.0
    with pytest.raises(BundleError, match=r"golden\.npy: a constant column has another value than in manifest\.json"):
        check_golden(replace(bundle, golden_rows=rows), scorer._judge.estimator)
