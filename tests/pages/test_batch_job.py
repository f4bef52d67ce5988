"""The page of a batch job: every part is there, and hostile texts stay texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.arrow.results import OUTPUT_SCHEMA
from anomaly_vae.batch.collected import Collector, score_edges
from anomaly_vae.pages.batch_job import BatchJob, batch_job_page
from anomaly_vae.pages.texts import clean
from tests.batch.test_collected import batches
from tests.pages.test_report import Elements
from tests.support.batches import SCHEMA
from tests.support.hostile_texts import HOSTILE

CALIBRATION = np.sort(np.random.default_rng(9).normal(size=900))


def job(text="x", **options):
    found = Collector(SCHEMA, score_edges(CALIBRATION, (-1.5, None)))
    found.begin(pa.schema([(clean(text), pa.string()), *OUTPUT_SCHEMA]), (-1.5, None))
    for each, first_row in batches(**options):
        found.add(each, first_row)
    for kind in list(found.unscored):
        found.unscored[kind]["examples"][0] = text
    for row in found.most.rows:
        row.reason = text
        row.cells = [(name, text if name == "city" else value) for name, value in row.cells]
    return BatchJob(
        title=text,
        found=found,
        rows=1_800,
        seconds=2.0,
        thresholds=(-1.5, None),
        target=0.05,
        calibration=CALIBRATION,
        calibration_rows=999,
        num_novel=99,
        stages={"read": 0.5, "score": 1.5},
        details=[("input", text)],
    )


def test_every_part_is_shown():
    text = batch_job_page(job())
    page = Elements(text)
    assert page.found.count("svg") == 4, "scores, p-values, rates, stages"
    for part in (
        "1,800",
        "900",
        "target for normal rows: at most 5 %",
        "threshold -1.5",
        "unreadable",
        "180",
        "row 11:",
    ):
        assert part in page.text, part
    assert text.count('class="usual"') == len(job().found.edges) + 1
    flagged = job().found
    assert f"{flagged.num_flagged:,}flagged" in page.text.replace("\n", "")
    assert "So these rows look like the calibration rows." in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_change_no_element(text):
    expected, found = Elements(batch_job_page(job("name"))), Elements(batch_job_page(job(text)))
    assert [tag for tag in found.found if tag != "title"] == [tag for tag in expected.found if tag != "title"]
    assert not any(name.startswith("on") or name in ("src", "srcset") for name, _ in found.attributes)


def test_without_scores_the_page_says_why_parts_are_missing():
    page = Elements(batch_job_page(job(flags_only=True)))
    assert page.found.count("svg") == 2
    assert "--flag-only computes none" in page.text


def test_a_service_has_no_calibration_scores_to_compare_with():
    page = batch_job_page(replace(job(), calibration=None))
    assert 'class="usual"' not in page
    assert "A service does not give its calibration scores" in page


def conclusion(p_values, **options):
    given = job()
    given.found.p_counts = np.bincount(np.rint(np.asarray(p_values) * 1_000).astype(int) - 1, minlength=1_000)
    return Elements(batch_job_page(replace(given, **options))).text


def test_the_p_values_have_a_conclusion_in_words():
    even = np.arange(1, 1_001) / 1_000.0
    assert "look like the calibration rows" in conclusion(even)
    assert "there are anomalies, or the data have changed" in conclusion(np.concatenate([even, np.full(120, 0.001)]))
    assert "a change of the data is likelier" in conclusion(np.concatenate([even, np.full(900, 0.05)]))
    assert "not an excess of low p-values" in conclusion(np.concatenate([even, np.full(900, 0.9)]))
    assert "cannot be said" in conclusion(even, is_dependent=True)


def test_rates_are_shown_where_there_are_rows():
    """The job of 1,800 rows has parts of 16 rows; without flags there is nothing to show."""
    assert "16 rows of the input" in batch_job_page(job())
    none = job()
    none.found.num_flagged = None
    assert "Flagged along the input" not in batch_job_page(none)


def test_a_job_without_rows_has_a_page():
    empty = replace(job(), found=Collector(SCHEMA), rows=0, seconds=0.0, calibration_rows=None)
    assert "Every row was scored." in batch_job_page(empty)


def test_calibration_rows_without_a_score_count_in_the_first_bar():
    """They rank below all others, so they are expected there."""
    assert batch_job_page(job()) != batch_job_page(replace(job(), num_novel=0))
