"""From rows to a bundle: the split, seeds, interruption, outliers, and rows that are refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch

from anomaly_vae.assessment.ranking import detection_quality
from anomaly_vae.columns.rows import to_training_table
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.split import split_of
from anomaly_vae.errors import InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.pipeline import train_model, train_table
from tests.support.data import NAMES, make_rows
from tests.support.training import QUICK, QUICK_GAUSSIAN


def test_the_same_seed_gives_the_same_model_bit_for_bit(trained):
    again, other = (
        train_model(
            make_rows(600), NAMES, replace(config_of(trained), random_state=seed, latent_dim="auto"), label="broken"
        ).bundle
        for seed in (3, 4)
    )
    bundle = trained.bundle
    assert again.files == dict(bundle.files)
    assert without_time(again.manifest) == without_time(bundle.manifest)
    assert other.files["encoder.onnx"] != bundle.files["encoder.onnx"]


@pytest.mark.parametrize(("latent_dim", "least", "most"), [("auto", 1, 4), (5, 5, 5)])
def test_only_dimensions_of_the_default_number_are_removed(latent_dim, least, most):
    """Four modelled columns need few dimensions. A number that the user chose stays, also for every ensemble member."""
    config = TrainConfig(random_state=0, max_steps=100, target_fpr=0.2, latent_dim=latent_dim)
    bundle = train_model(make_rows(200), NAMES, config).bundle
    widths = [member.architecture.latent_dim for member in bundle.manifest.members]
    assert all(least <= width <= most for width in widths), widths
    assert Scorer(bundle).encode(make_rows(3)).shape == (3, sum(widths))
    assert bundle.noise.shape[2] == 1 + max(widths)


def test_the_model_states_how_precise_its_scores_are(trained):
    """The lowest scores get the thorough search: a few per cent of held-out rows, and rows below them."""
    estimator = trained.bundle.manifest.estimator
    assert (estimator.target_error, estimator.num_samples) == (0.1, 4096)
    held_out = Scorer(trained.bundle).score(make_rows(600)[trained.split.held_out])
    assert 0.0 < np.mean(held_out.score < estimator.careful_below) < 0.15


def test_a_table_has_one_tail_unless_the_user_wants_two(trained):
    assert trained.bundle.manifest.calibration.tail == "low"
    assert config_of(trained).tail == "low"
    manifest = train_model(make_rows(300), NAMES, replace(QUICK, tail="both", target_fpr=0.1)).bundle.manifest
    assert (manifest.calibration.tail, manifest.calibration.rank) == ("both", 3)  # of 60 rows
    assert manifest.training.config["tail"] == "both"


def test_images_have_two_tails_so_plain_images_that_are_too_likely_are_found():
    """A smooth image is more likely than noisy ones: one tail finds none of them (Nalisnick et al., 2019)."""
    rng = np.random.default_rng(0)
    noisy = np.clip(np.round(rng.normal(128.0, 30.0, size=(400, 25))), 0.0, 255.0)
    config = replace(QUICK_GAUSSIAN, max_steps=60, target_fpr=0.1, contrast="off")
    scorer = Scorer(train_images(noisy, ImageShape(height=5, width=5), config).bundle)
    assert (scorer.tail, scorer.bundle.manifest.calibration.rank) == ("both", 4)  # of 80 images
    plain = np.full((10, 25), 128.0)
    assert scorer.score_rows(plain).is_anomaly.all()
    assert scorer.flag_rows(plain).is_anomaly.all()
    assert not scorer.score_rows(plain, tail="low").is_anomaly.any()


def without_time(manifest):
    return msgspec.structs.replace(manifest, created_at="")


def config_of(trained):
    return TrainConfig(**trained.bundle.manifest.training.config)


def test_training_leaves_the_callers_random_state_alone():
    """With a search over two models."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_model(make_rows(60), NAMES, TrainConfig(random_state=0, max_steps=60, target_fpr=0.2))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def interrupt_after(checks):
    counter = itertools.count(1)

    def report(*_):
        if next(counter) == checks:
            raise KeyboardInterrupt

    return report


def test_an_interrupted_run_keeps_the_best_so_far():
    model = train_model(
        make_rows(200), NAMES, replace(QUICK_GAUSSIAN, max_steps=5000, target_fpr=0.2), report=interrupt_after(3)
    )
    training = model.bundle.manifest.training
    assert training.interrupted
    assert training.steps == 150
    assert Scorer(model.bundle).score(make_rows(3)).log_px.shape == (3,)


def test_progress_is_in_data_units(trained):
    """Users compare the progress bar with scores, so both need the same units."""
    seen = []
    config = replace(config_of(trained), max_steps=100)
    model = train_model(make_rows(600), NAMES, config, report=lambda _, progress: seen.append(progress))
    assert seen[-1].best_elbo == pytest.approx(model.bundle.manifest.training.held_out_elbo)
    assert len(seen) == 2
    held_out = make_rows(600)[model.split.held_out]
    assert np.mean(Scorer(model.bundle).score(held_out).elbo) == pytest.approx(seen[-1].best_elbo, abs=0.5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (make_rows(9), "got n_samples=9 normal rows, training needs at least 10"),
        (np.full((30, 5), np.nan), "no column is left to train on: column 'pressure' is empty in all 24 training rows"),
        (np.where(make_rows(30) == 7.0, np.inf, make_rows(30)), "row 0, column 'unit' is inf; 30 of 30 rows"),
        (np.full((30, 5), 2.0), "nothing to model"),
    ],
)
def test_rows_that_cannot_train_are_refused(rows, message):
    with pytest.raises(InvalidInput, match=message):
        train_model(rows, NAMES, QUICK_GAUSSIAN)


def test_too_few_calibration_rows_warn_with_the_number_needed():
    with pytest.warns(
        UserWarning, match=r"12 calibration rows are too few for target_fpr 0\.01, which needs n >= 99"
    ) as warned:
        model = train_model(make_rows(60), NAMES, QUICK_GAUSSIAN)
    assert {each.filename for each in warned} == {__file__}
    calibration = model.bundle.manifest.calibration
    assert (calibration.rank, calibration.effective_fpr) == (1, 1 / 13)


@pytest.mark.parametrize(("likelihood", "least_kl"), [("auto", 1.0), ("gaussian", 0.1)])
@pytest.mark.parametrize(("place", "seed"), [("train", 0), ("held_out", 4)])
def test_one_outlier_does_not_spoil_the_model(place, seed, likelihood, least_kl):
    """A value 1e6 standard deviations away must not dominate the scale, the loss or the held-out ELBO."""
    rows = make_rows(600)
    rows[17, :4] *= 1e6
    model = train_model(rows, NAMES, replace(QUICK_GAUSSIAN, random_state=seed, max_steps=1000, likelihood=likelihood))
    assert 17 in getattr(model.split, place)
    far = make_rows(100, seed=5)
    far[:, 1] += 0.1
    scorer = Scorer(model.bundle)
    quality = detection_quality(scorer.score(make_rows(100, seed=6)).log_px, scorer.score(far).log_px)
    assert quality.auroc > 0.95
    assert model.bundle.manifest.training.held_out_kl > least_kl
    assert model.bundle.manifest.training.best_step > 300


def test_extreme_cells_in_rows_set_aside_do_not_fail_the_export():
    rows = make_rows(200)
    split = split_of(200, seed=0)
    rows[split.calibration[:3], 0] = rows[split.held_out[:3], 0] = [1e17, -1e300, 3.4e38]
    model = train_model(rows, NAMES, replace(QUICK_GAUSSIAN, target_fpr=0.2))
    np.testing.assert_array_equal(model.split.calibration, split.calibration)
    assert np.isfinite(model.bundle.calibration).all()


def test_trimming_finds_anomalies_that_were_trained_on():
    """8 % of the training rows are anomalies of one kind. Without trimming, the model learns them."""
    rng = np.random.default_rng(0)
    normal = make_rows(1200)
    odd = make_rows(100, seed=9)
    odd[:, 0], odd[:, 3] = 1.2e5 + 100 * rng.normal(size=100), 60 + rng.normal(size=100)
    rows = np.concatenate([normal, odd])[rng.permutation(1300)]
    found = {}
    for fraction in (0.0, 0.15):
        config = replace(QUICK, max_steps=400, trim_fraction=fraction, likelihood="gaussian", target_fpr=0.1)
        scorer = Scorer(train_model(rows, NAMES, config).bundle)
        new = make_rows(100, seed=10)
        new[:, 0], new[:, 3] = 1.2e5 + 100 * rng.normal(size=100), 60 + rng.normal(size=100)
        found[fraction] = np.median(scorer.score(new).log_px) - np.median(scorer.score(make_rows(100, seed=11)).log_px)
    assert found[0.15] < found[0.0] - 20.0


def test_what_was_found_about_the_columns_is_reported_before_the_training():
    """Then nothing is warned of: the caller shows it."""
    frame = pd.DataFrame(make_rows(60), columns=NAMES).assign(gap=None, when="2024-01-01")
    seen, order = [], []
    model = train_table(
        to_training_table(frame),
        replace(QUICK_GAUSSIAN, target_fpr=0.2),
        report=lambda *_: order.append("step"),
        on_findings=lambda findings: (seen.extend(findings), order.append("findings")),
    )
    assert [(each.column, each.is_left_out) for each in seen] == [("unit", False), ("gap", True), ("when", True)]
    assert order[0] == "findings"
    assert model.bundle.manifest.schema.names == NAMES


def test_an_empty_column_is_left_out_with_a_warning():
    rows = np.where(make_rows(60) == 7.0, np.nan, make_rows(60))
    with pytest.warns(UserWarning, match="column 'unit' is empty in all 48 training rows: left out") as warned:
        model = train_model(rows, NAMES, replace(QUICK_GAUSSIAN, target_fpr=0.2))
    assert {each.filename for each in warned} == {__file__}
    schema = model.bundle.manifest.schema
    assert (schema.left_out, schema.column_names) == (("unit",), NAMES[:4])
    assert Scorer(model.bundle).score(rows[:3]).log_px.shape == (3,)


@pytest.mark.parametrize("name", ["", "a\x1b[2J"])
def test_names_that_no_manifest_may_hold_are_refused_before_the_training_also_of_columns_left_out(name):
    """Otherwise the finished model could not be loaded."""
    frame = pd.DataFrame(make_rows(60), columns=NAMES).assign(**{name: [[1]] * 60})
    with pytest.raises(InvalidInput, match="column"):
        train_table(to_training_table(frame), QUICK_GAUSSIAN)
