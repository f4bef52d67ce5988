"""Which rows, windows and images are compared, with a scorer whose scores are known: the sum of the cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.cli.drift_input import watch_input
from anomaly_vae.cli.image_options import ImageOptions
from anomaly_vae.cli.model_input import ModelInput
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.statistics import statistics_of
from anomaly_vae.errors import InvalidInput
from tests.support.shaped_scorers import SumScorer, image_schema
from tests.support.windows import window_schema

TABLE = Schema(
    columns=(Column(name="a", kind="continuous"), Column(name="u", kind="constant", value=1.0, novelty="lowest"))
)


class Scorer(SumScorer):
    """A scorer with calibration scores of standard normal sums."""

    def __init__(self, schema, *, has_contrast=False, tail="low", num_novel=0):
        super().__init__(schema, has_contrast=has_contrast)
        rng = np.random.default_rng(0)
        calibration = SimpleNamespace(num_novel=num_novel)
        statistics = None
        if schema.shape is None:
            statistics = statistics_of(schema, np.column_stack([rng.normal(size=200), np.ones(200)]))
        contrast = np.sort(rng.normal(size=200)) if has_contrast else None
        manifest = SimpleNamespace(calibration=calibration, statistics=statistics)
        self.tail = tail
        self.bundle = SimpleNamespace(calibration=np.sort(rng.normal(size=200)), contrast=contrast, manifest=manifest)


def watched(scorer, path):
    given = ModelInput(str(path), ReadOptions(), (), ImageOptions())
    return watch_input(given, scorer, 0.01, quiet=True)


def test_rows_without_any_value_count_in_columns_but_have_no_score(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,u\n0.5,1\n,\nhigh,1\n-0.2,1\n")
    drift, summary = watched(Scorer(TABLE), path)
    assert (drift.num_rows, summary.rows, summary.unscored) == (2, 4, {"unreadable": 1})
    assert {each.column: each.missing[1] for each in drift.columns} == {"a": 1 / 3, "u": 1 / 3}


def test_rows_with_new_values_rank_below_all_others(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,u\n" + "0.1,2\n" * 30 + "0.1,1\n" * 30)
    drift, _ = watched(Scorer(TABLE), path)
    assert drift.drifted
    assert drift.scores.strongest.found == 0.5


def test_windows_that_share_no_step_are_compared_and_only_low_scores_count(tmp_path):
    """Two series of 200 steps have 100 windows of 4 steps, not 394. High scores are no drift here, low ones are."""
    schema, rng = window_schema(4, ("v",), series="host"), np.random.default_rng(1)
    for level, drifted in ((0.0, False), (5.0, False), (-5.0, True)):
        values = 0.5 * rng.normal(size=400) + level
        path = tmp_path / "in.csv"
        path.write_text("host,v\n" + "".join(f"{'xy'[i % 2]},{value}\n" for i, value in enumerate(values)))
        scorer = Scorer(schema)
        drift, summary = watched(scorer, path)
        assert (drift.num_rows, summary.rows, drift.reference, drift.num_parts) == (100, 400, None, 2)
        assert drift.drifted == drifted, level
        assert sum(map(len, scorer.seen)) == 100


@pytest.mark.parametrize("has_contrast", [False, True])
def test_images_are_compared_by_score_and_contrast(tmp_path, has_contrast):
    schema = image_schema(ImageShape(height=2, width=5))
    np.save(tmp_path / "x.npy", np.full((300, 2, 5), 7, np.uint8))
    drift, summary = watched(Scorer(schema, has_contrast=has_contrast, tail="both"), tmp_path / "x.npy")
    assert (drift.num_rows, summary.rows, drift.drifted) == (300, 300, True)
    assert drift.scores.strongest.found < 0.05  # all are too high
    assert (drift.contrast is not None) == has_contrast
    assert drift.num_parts == 2 + has_contrast
    if has_contrast:
        assert drift.contrast.log_p_value < -20  # all are too low


def test_an_input_without_a_row_to_score_is_refused(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,u\nhigh,1\nlow,1\n0,inf\n")
    with pytest.raises(InvalidInput, match=r"no row can be scored: row 1: column 'a'"):
        watched(Scorer(TABLE), path)
