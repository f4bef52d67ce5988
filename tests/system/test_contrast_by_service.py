"""A served model of images returns the contrasts that the model itself computes, to clients and to the command line."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.client import Client
from tests.support.pictures import PICTURE, other_pictures, pictures
from tests.support.running import running


@pytest.fixture(scope="module")
def picture_path(picture_bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "model"
    write_bundle(picture_bundle, path)
    return path


@pytest.fixture(scope="module")
def service(picture_path):
    with running(picture_path) as service:
        yield service


def save_images(path, rows):
    np.save(path, rows.reshape(-1, *PICTURE.plane).astype(np.uint8))


def test_clients_get_the_scores_of_the_model_with_their_contrasts(service, picture_scorer):
    rows = np.concatenate([pictures(20, seed=8), other_pictures(10, seed=9)])
    expected = picture_scorer.score(rows)
    with Client(service.target) as client:
        found, flags = client.score(rows), client.flag(rows)
        assert client.has_contrast
        assert client.model.calibration.contrast_threshold == picture_scorer.contrast_threshold
        assert client.model.calibration.effective_fpr == picture_scorer.bundle.manifest.calibration.effective_fpr
    for name in ("contrast", "score", "p_value", "is_anomaly"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()
    assert found.reason == expected.reason
    np.testing.assert_array_equal(flags.is_anomaly, expected.is_anomaly)


def test_the_command_line_writes_a_column_contrast_and_inspect_names_the_threshold(
    picture_path, picture_scorer, run_cli, tmp_path
):
    rows = pictures(5, seed=8)
    save_images(tmp_path / "rows.npy", rows)
    done = run_cli("score", picture_path, "rows.npy", "-o", "-", "--quiet")
    lines = done.stdout.decode().splitlines()
    assert lines[0].replace('"', "").endswith(",bits_per_dim,contrast")
    found = np.array([float(line.rsplit(",", 1)[1]) for line in lines[1:]])
    np.testing.assert_array_equal(found, picture_scorer.score(rows).contrast)
    flags = run_cli("score", picture_path, "rows.npy", "-o", "-", "--quiet", "--flag-only").stdout
    assert b"contrast" not in flags.splitlines()[0]
    text = run_cli("inspect", picture_path).stdout.decode()
    assert f"contrast             threshold {picture_scorer.contrast_threshold:.6g} nats, rank " in text


def test_calibrate_says_that_a_contrast_needs_more_rows(picture_path, run_cli, tmp_path):
    save_images(tmp_path / "few.npy", pictures(150, seed=40))
    done = run_cli("calibrate", picture_path, "few.npy", "-o", "other", "--target-fpr", "0.01", code=2)
    assert b"with --tail both with a contrast needs at least 399" in done.stderr
    run_cli("calibrate", picture_path, "few.npy", "-o", "other", "--target-fpr", "0.05")
    text = run_cli("inspect", "other").stdout
    assert b"rank 1 of 150 rows" in text
    assert b" nats, rank 3; " in text
