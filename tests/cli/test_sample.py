"""``anomaly-vae sample``: synthetic rows, the same for the same seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.cli import cli
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import load
from tests.support.command_line import read_csv
from tests.support.conv_models import LENGTH, image_bundle, series_bundle
from tests.support.data import NAMES


def sample(*arguments):
    return CliRunner().invoke(cli, ["sample", *map(str, arguments)])


def test_the_rows_are_those_of_the_scorer_under_the_names_of_the_model(model_path, scorer, tmp_path):
    done = sample(model_path, "-n", 12, "-o", tmp_path / "rows.csv", "--seed", 5)
    rows = read_csv((tmp_path / "rows.csv").read_text())
    assert tuple(rows[0]) == NAMES
    np.testing.assert_array_equal([[float(cell) for cell in row.values()] for row in rows], scorer.sample(12, seed=5))
    assert done.stderr.endswith("rows.csv: 12 rows\n")


def test_rows_differ_by_seed_and_the_default_seed_is_0(model_path):
    first, again, other = (
        sample(model_path, "-n", 3, "-o", "-", "-q", *seed) for seed in ([], ["--seed", 0], ["--seed", 1])
    )
    assert first.stdout == again.stdout != other.stdout
    assert first.stderr == ""


@pytest.mark.parametrize("arguments", [["-n", 0], ["-n", 10**9 + 1], ["--seed", -1], ["--seed", 2**32]])
def test_numbers_out_of_range_are_wrong_usage(arguments):
    done = sample("model", "-o", "-", *arguments)
    assert done.exit_code == 2
    assert f"Invalid value for '{'-n' if '-n' in arguments else '--seed'}" in done.stderr


def test_an_existing_output_is_refused_and_can_be_replaced(model_path, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("theirs")
    done = sample("no model", "-o", path)
    assert isinstance(done.exception, ConfigError)
    assert "rows.csv exists already" in str(done.exception)
    assert path.read_text() == "theirs"
    assert sample(model_path, "-n", 2, "-o", path, "--overwrite").exit_code == 0
    assert len(read_csv(path.read_text())) == 2


def test_the_summary_as_json(model_path, scorer, tmp_path):
    path = tmp_path / "rows.csv"
    done = sample(model_path, "-n", 3, "-o", path, "--json", "--seed", 7)
    facts = json.loads(done.stdout)
    assert facts.pop("seconds") > 0
    assert facts == {"output": str(path), "rows": 3, "seed": 7, "bundle_digest": scorer.bundle.digest}
    assert done.stderr == ""
    done = sample(model_path, "-n", 3, "-o", "-", "--json")
    assert len(read_csv(done.stdout)) == json.loads(done.stderr)["rows"] == 3


def test_windows_and_images_are_counted_by_their_names(tmp_path):
    write_bundle(series_bundle(), tmp_path / "series")
    write_bundle(image_bundle(), tmp_path / "image")
    assert sample(tmp_path / "series", "-n", 4, "-o", tmp_path / "w.csv").stderr.endswith("w.csv: 4 windows\n")
    assert len(read_csv((tmp_path / "w.csv").read_text())) == 4 * LENGTH
    assert sample(tmp_path / "image", "-n", 4, "-o", tmp_path / "x.npy").stderr.endswith("x.npy: 4 images\n")
    images = np.load(tmp_path / "x.npy")
    np.testing.assert_array_equal(images.reshape(4, 64), np.clip(load(tmp_path / "image").sample(4), 0, 255))
