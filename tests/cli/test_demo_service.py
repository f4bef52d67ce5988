"""The service of the demo: its scores are compared, and each way in which it can fail is an error."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from anomaly_vae.batch import score_table
from anomaly_vae.cli import demo_service
from anomaly_vae.cli.demo_service import check_service
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.table import open_table
from tests.support.command_line import write_csv
from tests.support.data import make_rows


@pytest.fixture
def tables(tmp_path):
    """Paths of rows, of the expected scores (not written yet) and of the scores of the service."""
    write_csv(tmp_path / "rows.csv", make_rows(5), extra={"id": list("abcde")})
    return tmp_path / "rows.csv", tmp_path / "expected.csv", tmp_path / "output.csv"


def test_the_same_scores_are_reported_and_other_scores_are_an_error(tables, scorer, monkeypatch):
    """The scorer in this process stands for the service."""
    rows, expected, output = tables
    worst = output.with_name("worst.csv")
    monkeypatch.setattr(demo_service, "running_service", lambda _model: contextlib.nullcontext("127.0.0.1:5"))
    monkeypatch.setattr(demo_service, "Client", lambda _address: contextlib.nullcontext(scorer))
    score_table(scorer, open_table(str(rows)), str(expected), keep=("id",))
    line = check_service("model", rows, expected, output, worst, ("id",))
    assert line.startswith("served on 127.0.0.1:5: 5 rows over gRPC in ")
    assert worst.read_text().splitlines()[0].endswith(',"why_1"')
    expected.write_bytes(expected.read_bytes().replace(b"a", b"A", 1))
    with pytest.raises(AnomalyVaeError, match=r"output\.csv: the scores of the service differ from those"):
        check_service("model", rows, expected, output, worst, ("id",))


def fake_program(monkeypatch, script):
    """Run a shell script instead of the service."""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _command, **options: start(["sh", "-c", script], **options))


def test_a_service_that_ends_before_its_first_line_did_not_start(tables, monkeypatch):
    fake_program(monkeypatch, "echo 'error: no bundle' >&2; exit 3")
    with pytest.raises(AnomalyVaeError, match="the service did not start: error: no bundle"):
        check_service("model", *tables, tables[0], ())


@pytest.mark.parametrize("code", [0, 3])
def test_the_service_is_stopped_and_must_end_with_exit_code_0(monkeypatch, code):
    fake_program(
        monkeypatch,
        f"trap 'exit {code}' TERM; echo 'serving m version 1 on [::1]:55, metrics on http://[::1]:66/metrics'; "
        "while :; do sleep 0.02; done",
    )
    failure = pytest.raises(AnomalyVaeError, match=f"the service ended with exit code {code}")
    with failure if code else contextlib.nullcontext(), demo_service.running_service("model") as address:
        assert address == "[::1]:55"
