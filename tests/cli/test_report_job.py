"""What a report gathers: the map, the input and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.image_options import ImageOptions
from anomaly_vae.cli.model_input import ModelInput
from anomaly_vae.cli.report_job import report_of, write_report
from anomaly_vae.errors import ConfigError
from anomaly_vae.plot.projection import project
from anomaly_vae.table import ReadOptions
from tests.support.command_line import write_csv
from tests.support.data import make_rows


@pytest.fixture
def given(tmp_path):
    rows = make_rows(60, seed=8)
    rows[3, 1] += 1e4
    write_csv(tmp_path / "in.csv", rows)
    return ModelInput(str(tmp_path / "in.csv"), ReadOptions(), (), ImageOptions("auto", None, None))


def test_the_map_of_a_model_is_of_synthetic_rows(scorer):
    report = report_of(scorer, "m", None, 5, quiet=True)
    assert report.input is None
    assert report.latent.points.shape == (600, 2)
    assert report.latent.background is None
    np.testing.assert_array_equal(report.latent.score, scorer.score_rows(scorer.sample(600)).score)


def test_the_map_of_an_input_is_as_wide_as_synthetic_rows_lie(scorer, given):
    """One row far away does not leave the others in one spot."""
    report = report_of(scorer, "m", given, 5, quiet=True)
    latent = report.latent
    assert latent.points.shape == (60, 2)
    assert latent.background.shape == (600, 2)
    np.testing.assert_allclose(latent.background, project(scorer.encode_rows(scorer.sample(600)))[0])
    width = latent.background.max(axis=0) - latent.background.min(axis=0)
    np.testing.assert_allclose(latent.limits[1] - latent.limits[0], 2.0 * width)
    assert 0 < latent.is_anomaly.sum() < 30


def test_the_input_has_its_worst_rows_and_its_errors(scorer, given):
    found = report_of(scorer, "m", given, 5, quiet=True).input
    assert found.worst[0].name == "4"
    assert len(found.worst) == 5
    assert sum(found.p_counts) == 60
    assert len(found.errors) == 60
    assert dict(found.reliability)["reliable"].endswith("of 60")


def test_what_is_left_out_is_said(scorer, given):
    assert any("no INPUT was given" in note for note in report_of(scorer, "m", None, 5, quiet=True).notes)
    notes = report_of(scorer, "m", given, 5, quiet=True).notes
    assert "Of 60 rows the 5 worst are shown." in notes


def test_the_page_is_written_at_once_or_not_at_all(scorer, tmp_path, monkeypatch):
    report = report_of(scorer, "m", None, 5, quiet=True)
    write_report(report, tmp_path / "r.html", overwrite=False)
    before = (tmp_path / "r.html").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="exists already"):
        write_report(report, tmp_path / "r.html", overwrite=False)
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
