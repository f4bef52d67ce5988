"""The metrics of a batch job for node_exporter."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.metrics_file import check_metrics_file, job_metrics
from anomaly_vae.errors import ConfigError, InvalidInput
from tests.support.command_line import cli, one_line

SUMMARY = ScoreSummary(rows=100, anomalies=3, unscored=Counter({"unreadable": 2, 'a "b"\\\n': 1}))


def times(*seconds):
    left = iter(seconds)
    return lambda: next(left)


def write(path, start, end, error=None):
    with job_metrics(path, times(start, end)) as metrics:
        metrics.note(SUMMARY)
        metrics.bundle_digest = "abc"
        if error is not None:
            raise error


def read(path):
    """Return the values by name, and all labels."""
    families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    assert all(family.type == "gauge" and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["batch"] for sample in samples} == {path.stem}
    found = {sample.name.removeprefix("anomaly_vae_batch_"): sample.value for sample in samples}
    return found, [sample.labels for sample in samples]


def test_a_job_that_succeeds_writes_its_figures(tmp_path):
    path = tmp_path / "nightly.prom"
    write(path, 1_000.0, 1_004.0)
    found, labels = read(path)
    assert {"batch": "nightly", "kind": 'a "b"\\\n'} in labels
    assert {"batch": "nightly", "bundle_digest": "abc"} in labels
    del found["unscored_rows"]
    assert found == {
        "rows": 100,
        "anomalies": 3,
        "skipped_files": 0,
        "duration_seconds": 4,
        "rows_per_second": 25,
        "start_timestamp_seconds": 1_000,
        "end_timestamp_seconds": 1_004,
        "success": 1,
        "last_success_timestamp_seconds": 1_004,
        "model_info": 1,
    }


@pytest.mark.parametrize("error", [InvalidInput("x"), KeyboardInterrupt()])
def test_a_job_that_fails_keeps_when_it_last_succeeded(tmp_path, error):
    path = tmp_path / "nightly.prom"
    write(path, 1_000.0, 1_790_000_004.125)
    for start in (2_000.0, 3_000.0):
        with pytest.raises(type(error)):
            write(path, start, start + 1.0, error)
        found, _ = read(path)
        assert (found["success"], found["last_success_timestamp_seconds"]) == (0, 1_790_000_004.125)
        assert (found["start_timestamp_seconds"], found["rows"]) == (start, 100)


@pytest.mark.parametrize("before", [None, b"\xff\xfe", b"anomaly_vae_batch_last_success_timestamp_seconds 1e+e\n"])
def test_without_a_readable_file_of_before_the_last_success_is_0(tmp_path, before):
    path = tmp_path / "a.prom"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OSError, match="disk"):
        write(path, 1.0, 2.0, OSError("disk"))
    assert read(path)[0]["last_success_timestamp_seconds"] == 0


def test_everyone_can_read_the_file_and_nothing_else_is_left(tmp_path):
    before = os.umask(0o077)
    try:
        write(tmp_path / "a.prom", 1.0, 2.0)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.prom").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["a.prom"]


def test_the_error_of_the_job_goes_before_that_of_the_file(tmp_path, capsys):
    folder = tmp_path / "gone"
    folder.mkdir()
    folder.rmdir()
    with pytest.raises(InvalidInput):
        write(folder / "a.prom", 1.0, 2.0, InvalidInput("x"))
    assert "the metrics were not written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.txt", "gone/a.prom", "folder.prom"])
def test_a_file_that_cannot_be_used_is_refused(tmp_path, name):
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(ConfigError, match="prom"):
        check_metrics_file(tmp_path / name)
    check_metrics_file(None)


def test_promtool_finds_nothing_to_lint(tmp_path):
    if shutil.which("promtool") is None:
        message = "promtool is not installed (Debian: apt-get install prometheus)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    write(tmp_path / "a.prom", 1.0, 2.0)
    text = (tmp_path / "a.prom").read_text(encoding="utf-8")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_writes_it_also_if_the_model_cannot_be_opened(folder, tmp_path):
    path = tmp_path / "m.prom"
    command = ("score", folder / "model", folder / "new.csv", "-o", tmp_path / "o.csv", "--metrics-file", path, "-q")
    done = cli(folder, *command)
    assert done.returncode == 0, done.stderr
    found, labels = read(path)
    assert (found["rows"], found["success"]) == (60, 1)
    assert any(len(each.get("bundle_digest", "")) == 64 for each in labels)
    failed = cli(folder, "score", tmp_path / "no", *command[2:], "--overwrite")
    one_line(failed, failed.returncode, "no model bundle there")
    assert failed.returncode != 0
    after, _ = read(path)
    assert (after["rows"], after["success"]) == (0, 0)
    assert after["last_success_timestamp_seconds"] == found["last_success_timestamp_seconds"]
