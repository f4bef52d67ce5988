"""``anomaly-vae calibrate`` for models of series and of images."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.scorer import load
from anomaly_vae.series.tables import to_training_panel
from anomaly_vae.training.images import train_images
from anomaly_vae.training.windows import train_series
from tests.support.command_line import cli, in_process, one_line
from tests.support.series import machines
from tests.support.shaped import IMAGE, images
from tests.support.training import QUICK_GAUSSIAN

OPTIONS = ["--target-fpr", "0.2", "--layout", "NHWC"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models of series and of images, and data to calibrate them with."""
    from dataclasses import replace

    path = tmp_path_factory.mktemp("models")
    config = replace(QUICK_GAUSSIAN, target_fpr=0.1, window=8, max_steps=40)
    panel = to_training_panel(machines(), timestamp="ts", series="host")
    write_bundle(train_series(panel, config).bundle, path / "series")
    rows = images(150).reshape(150, -1).astype(np.float64)
    write_bundle(train_images(rows, IMAGE, replace(config, window=None, contrast="off")).bundle, path / "images")
    marked = machines(200, seed=1)
    marked["odd"] = (marked.index % 50 == 0).astype(int)
    marked.to_csv(path / "new.csv", index=False)
    np.save(path / "new.npy", images(60, seed=1))
    np.save(path / "large.npy", images(60, seed=1).repeat(2, axis=1))
    return path


def test_windows_that_overlap_count_as_fewer(models, tmp_path):
    done = in_process("calibrate", models / "series", models / "new.csv", "-o", tmp_path / "m", "--target-fpr", "0.2")
    assert done.returncode == 0, done.stderr
    calibration = load(tmp_path / "m").bundle.manifest.calibration
    assert 4 <= calibration.num_rows < 569 - 7 * 4
    assert f"of {calibration.num_rows} scores" in done.stderr


def test_marked_steps_are_in_no_window(models, tmp_path):
    counts = []
    for options in ([], ["--label", "odd"]):
        arguments = ["calibrate", models / "series", models / "new.csv", "-o", tmp_path / f"m{len(options)}", *options]
        done = in_process(*arguments, "--target-fpr", "0.3")
        assert done.returncode == 0, done.stderr
        counts.append(load(tmp_path / f"m{len(options)}").bundle.calibration)
    assert counts[0].tolist() != counts[1].tolist()


def test_images_calibrate_a_model_of_images(models, tmp_path):
    done = in_process("calibrate", models / "images", models / "new.npy", "-o", tmp_path / "m", *OPTIONS)
    assert done.returncode == 0, done.stderr
    model = load(tmp_path / "m")
    assert model.bundle.manifest.calibration.num_rows == 60
    expected = np.sort(model.score(images(60, seed=1)).score)
    assert model.threshold == pytest.approx(expected[model.bundle.manifest.calibration.rank - 1], rel=1e-6)


REFUSED = {
    "too few that count": ("series", "new.csv", ["--target-fpr", "0.003"], "windows that count as independent, of "),
    "images for series": ("series", "new.npy", [], "holds images, and MODEL takes time series"),
    "a table for images": ("images", "new.csv", [], "holds no images that can be read"),
    "other images": ("images", "large.npy", ["--layout", "NHWC"], "the model expects 3 x 4 pixels with 1 channel"),
    "a label": ("images", "new.npy", ["--label", "odd"], "--label is for tables, and MODEL takes images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(models, tmp_path, case):
    model, name, options, part = REFUSED[case]
    one_line(cli(tmp_path, "calibrate", models / model, models / name, "-o", "m", *options), 2, part)
    assert not (tmp_path / "m").exists()
