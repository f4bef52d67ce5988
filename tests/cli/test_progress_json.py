"""Progress as JSON lines."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.console import rows_progress, said_explained, table_progress
from tests.cli.test_console import Job

FIELDS = ["stage", "rows", "total_share", "rows_per_second", "seconds_left", "anomalies", "unscored"]


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_line_comes_at_once_every_5_seconds_and_at_the_end(capsys):
    """10 of 1,000 rows a second: 5 seconds are 50 rows, so the last line is the 21st."""
    job = Job(seconds=100)
    with table_progress("scoring", job, quiet=False, style="json", clock=job.clock) as on_batch:
        for _ in range(100):
            job.done += 10
            counts = Counter(unreadable=1)
            on_batch(ScoreSummary(rows=job.done, anomalies=job.done // 10, unscored=counts))
    found = lines(capsys)
    assert all(list(each) == FIELDS for each in found)
    assert [each["rows"] for each in found] == [*range(10, 1_000, 50), 1_000]
    assert found[10] == {
        "stage": "scoring",
        "rows": 510,
        "total_share": 0.51,
        "rows_per_second": 10.0,
        "seconds_left": 49.0,
        "anomalies": 51,
        "unscored": 1,
    }
    assert (found[-1]["total_share"], found[-1]["seconds_left"]) == (1.0, 0.0)


def test_what_is_not_known_is_null_and_a_decision_is_a_stage(capsys):
    job = Job(seconds=1_000, total=None)
    with table_progress("scoring", job, quiet=False, style="json", clock=job.clock) as on_batch:
        on_batch(ScoreSummary(rows=0))
        job.done = 10
        on_batch(ScoreSummary(rows=10, anomalies=1, decided=5))
    first, last = lines(capsys)
    assert [first[name] for name in FIELDS[2:6]] == [None] * 4
    assert (last["stage"], last["rows"], last["rows_per_second"]) == ("deciding", 10, 1.0)


def broken(job):
    with table_progress("scoring", job, quiet=False, style="json", clock=job.clock) as on_batch:
        for job.done in (10, 20):
            on_batch(ScoreSummary(rows=job.done))
        raise ValueError("broken")


def test_a_job_that_fails_says_how_far_it_came(capsys):
    with pytest.raises(ValueError, match="broken"):
        broken(Job(seconds=100))
    assert [each["rows"] for each in lines(capsys)] == [10, 20]


def test_windows_have_the_counts_of_the_job(capsys):
    job = Job(seconds=1_000)
    with rows_progress("scoring", 1_000, quiet=False, style="json", clock=job.clock) as on_windows:
        for job.done in (500, 1_000):
            on_windows(500)
        said_explained(on_windows)(ScoreSummary(rows=1_010, anomalies=7))
    found = lines(capsys)
    assert [(each["rows"], each["anomalies"]) for each in found] == [(500, None), (1_000, None), (1_000, 7)]
