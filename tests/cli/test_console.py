"""Log lines and progress on standard error."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli import console
from anomaly_vae.cli.console import images_progress, rows_progress, shown_log, table_progress


@pytest.mark.parametrize(("quiet", "lines"), [(False, "a line\n"), (True, "")])
def test_a_shown_log_prints_its_messages_unless_quiet(quiet, lines, capfd):
    with shown_log("anomaly_vae.client", quiet=quiet):
        logging.getLogger("anomaly_vae.client").warning("a %s", "line")
    assert capfd.readouterr() == ("", lines)


class Job:
    """A table of 1,000 rows that takes this many seconds to score, and the clock."""

    def __init__(self, seconds, total=1000):
        self.seconds, self.total, self.done = seconds, total, 0

    def progress(self):
        return self.done, self.total

    def clock(self):
        return self.seconds * self.done / 1000

    def run(self, on_batch):
        for _ in range(100):
            self.done += 10
            on_batch(ScoreSummary(rows=self.done))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_elsewhere_than_on_a_terminal_a_long_job_prints_few_lines(capsys):
    job = Job(seconds=200)
    with table_progress("scoring", job, quiet=False, clock=job.clock) as on_batch:
        job.run(on_batch)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "scoring: 15 %, 150 rows, 5/s, about 3 min left",
        "scoring: 30 %, 300 rows, 5/s, about 2 min left",
        "scoring: 50 %, 500 rows, 5/s, about 2 min left",
        "scoring: 75 %, 750 rows, 5/s, about 50 s left",
    ]


def test_a_table_of_unknown_length_has_no_share_and_no_time_left(capsys):
    job = Job(seconds=200, total=None)
    with table_progress("scoring", job, quiet=False, clock=job.clock) as on_batch:
        job.run(on_batch)
    assert capsys.readouterr().err == "scoring: 150 rows, 5/s\n"


def test_rows_that_are_counted_print_lines_as_well(capsys):
    job = Job(seconds=100)
    with rows_progress("sampling", 1000, quiet=False, clock=job.clock) as on_rows:
        for _ in range(100):
            job.done += 10
            on_rows(10)
    assert capsys.readouterr().err.splitlines()[0] == "sampling: 30 %, 1,000 rows, 10/s, about 1 min left"


@pytest.mark.parametrize(("seconds", "quiet"), [(29, False), (3600, True)])
def test_a_short_job_and_a_quiet_one_print_nothing(capsys, monkeypatch, seconds, quiet):
    for terminal in (False, True) if quiet else (False,):
        if terminal:
            monkeypatch.setattr(sys, "stderr", Terminal())
        job = Job(seconds)
        with table_progress("scoring", job, quiet=quiet, clock=job.clock) as on_batch:
            if on_batch:
                job.run(on_batch)
        with rows_progress("sampling", 1000, quiet=quiet, clock=job.clock) as on_rows:
            if on_rows:
                on_rows(1000)
        printed = sys.stderr.getvalue() if terminal else capsys.readouterr().err
        assert printed == ""


@pytest.mark.parametrize("job", [Job(3600), Job(3600, total=None)])
def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch, job):
    """The first half is done after half an hour, so half an hour is left."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    with table_progress("scoring", job, quiet=False, clock=job.clock) as on_batch:
        for job.done in (250, 500):
            on_batch(ScoreSummary(rows=job.done))
    with rows_progress("resampling", 1000, quiet=False, what="draws", clock=job.clock) as on_rows:
        on_rows(1000)
    shown = sys.stderr.getvalue()
    assert "scoring" in shown
    assert "500 rows" in shown
    assert "1,000 draws" in shown
    assert ("0:30:00" if job.total else "-:--:--") in shown
    assert ("50%" in shown) == bool(job.total)


def test_the_bar_of_rows_that_are_decided_together_ends_when_the_last_one_is_written(monkeypatch):
    """Writing them is 2 % of the work, so half of it is done at 101 of 102 parts of all."""
    shown = []
    monkeypatch.setattr(console, "_lines", lambda *_: lambda done, total, text, *_: shown.append((done / total, text)))
    job = Job(200)
    with table_progress("scoring", job, quiet=False, clock=job.clock) as on_batch:
        job.done = 1000
        on_batch(ScoreSummary(rows=1000))
        on_batch(ScoreSummary(rows=1000, decided=500))
        on_batch(ScoreSummary(rows=1000, decided=1000))
    with images_progress("scoring", 1000, quiet=False) as on_batch:
        on_batch(ScoreSummary(rows=1000, decided=500))
    half = (pytest.approx(101 / 102), "1,000 rows, 500 decided")
    assert shown[:3] == [(1.0, "1,000 rows"), half, (pytest.approx(1.0), "1,000 rows, 1,000 decided")]
    assert shown[3] == (pytest.approx(101 / 102), "1,000 images, 500 decided")
    monkeypatch.setattr(console, "_lines", lambda *_: lambda *each: shown.append(each[:3]))
    empty = Job(200, total=None)
    with table_progress("scoring", empty, quiet=False, clock=empty.clock) as on_batch:
        on_batch(ScoreSummary(rows=0, decided=0))
    assert shown[4:] == [(empty.done, None, "0 rows, 0 decided")]


@pytest.mark.parametrize(("style", "terminal"), [("lines", True), ("none", False), ("none", True)])
def test_a_style_goes_before_what_standard_error_is(capsys, monkeypatch, style, terminal):
    if terminal:
        monkeypatch.setattr(sys, "stderr", Terminal())
    job = Job(seconds=100)
    with table_progress("scoring", job, quiet=False, style=style, clock=job.clock) as on_batch:
        for job.done in (10, 400) if on_batch else ():
            on_batch(ScoreSummary(rows=job.done, anomalies=7, explained=2))
    printed = sys.stderr.getvalue() if terminal else capsys.readouterr().err
    line = "scoring: 40 %, 400 rows, 7 flagged, 2 explained, 10/s, about 1 min left\n"
    assert printed == (line if style == "lines" else "")
