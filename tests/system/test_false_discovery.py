"""``anomaly-vae score --fdr``: files of all formats and a service; the written p-values alone give the same flags."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests

from tests.support.command_line import start, wait_for
from tests.support.data import NAMES, make_rows
from tests.support.running import running

NUM_ROWS, NUM_BROKEN = 600, 200


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path) as service:
        yield service


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every third row is broken to some degree; some rows cannot be read, one has no cell, one a new unit."""
    rows, rng = make_rows(NUM_ROWS, seed=6), np.random.default_rng(6)
    broken = np.arange(0, NUM_ROWS, NUM_ROWS // NUM_BROKEN)
    rows[broken, 1] += rng.exponential(0.05, size=len(broken))
    rows[17, 4] = 8.0
    rows[18] = np.nan
    rows[19:24, 2] = np.inf
    path = tmp_path_factory.mktemp("fdr") / "new.parquet"
    columns = {name: pa.array(rows[:, d], from_pandas=True) for d, name in enumerate(NAMES)}
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(NUM_ROWS)], **columns}), path)
    return path


def decided(p_values, rate):
    """The flags of the definition: exact fractions, since calibration rows are fewer than 10,000."""
    known = [p for p in p_values if p is not None]
    exact = {p: Fraction(p).limit_denominator(10_000) for p in known}
    passed = [p for i, p in enumerate(sorted(known), 1) if exact[p] <= Fraction(str(rate)) * i / len(known)]
    return [None if p is None else bool(passed) and p <= passed[-1] for p in p_values]


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_flags_follow_from_the_written_p_values_and_all_else_is_as_without(
    model_path, run_cli, tmp_path, table, rate
):
    run_cli("score", model_path, table, "-o", "plain.parquet", "--keep", "id")
    done = run_cli("score", model_path, table, "-o", "fdr.parquet", "--keep", "id", "--fdr", str(rate), "--json")
    plain, found = pq.read_table(tmp_path / "plain.parquet"), pq.read_table(tmp_path / "fdr.parquet")
    assert found.drop_columns("is_anomaly").equals(plain.drop_columns("is_anomaly"))
    p_values, flags = found["p_value"].to_pylist(), found["is_anomaly"].to_pylist()
    assert flags == decided(p_values, rate)
    known = [p for p in p_values if p is not None]
    assert sum(multipletests(known, alpha=rate, method="fdr_bh")[0]) == flags.count(True) > 0
    assert flags != plain["is_anomaly"].to_pylist()
    facts = json.loads(done.stdout)
    cut_off = max(p for p, flag in zip(p_values, flags, strict=True) if flag)
    told = facts["fdr"]
    assert (told["rate"], told["tests"], told["flagged"]) == (rate, len(known), flags.count(True))
    assert (told["p_value_cut_off"], told["rows_at_smallest"]) == (cut_off, known.count(min(known)))
    assert told["expected_false_alarms"] == pytest.approx(cut_off * len(known))
    assert told["expected_false_alarms"] <= rate * flags.count(True)
    assert (facts["anomalies"], facts["rows"], facts["threshold"], facts["target_fpr"]) == (
        flags.count(True), NUM_ROWS, None, None
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fdr.parquet", "plain.parquet"]


def test_the_summary_says_what_was_decided(model_path, run_cli, table):
    done = run_cli("score", model_path, table, "-o", "fdr.csv", "--fdr", "0.3").stderr.decode()
    summary = done.strip().splitlines()[-1]
    assert summary.startswith("fdr.csv: 600 rows, ")
    assert "by --fdr 0.3 over 595 p-values: those up to 0." in summary
    assert "expected false alarms among them at most " in summary


READERS = {
    "csv": pyarrow.csv.read_csv,
    "jsonl": pyarrow.json.read_json,
    "arrow": lambda path: pa.ipc.open_file(path).read_all(),
    "parquet": pq.read_table,
}


def test_a_service_and_all_formats_give_the_same_flags(service, model_path, run_cli, tmp_path, table):
    """As CSV, the file of the service is the same byte by byte."""
    options = ("--keep", "id", "--fdr", "0.2")
    for model, output in ((model_path, "local.csv"), (f"grpc://{service.target}", "remote.csv")):
        run_cli("score", model, table, "-o", output, *options)
    local = (tmp_path / "local.csv").read_bytes()
    assert (tmp_path / "remote.csv").read_bytes() == local
    assert run_cli("score", model_path, table, "-o", "-", *options).stdout == local
    as_csv = io.BytesIO()
    pyarrow.csv.write_csv(pq.read_table(table), as_csv)
    assert run_cli("score", model_path, "-", "-o", "-", *options, stdin=as_csv.getvalue()).stdout == local
    expected = pyarrow.csv.read_csv(tmp_path / "local.csv")["is_anomaly"].to_pylist()
    assert expected.count(True) > 0
    for ending, read in READERS.items():
        run_cli("score", model_path, table, "-o", f"out.{ending}", *options)
        assert read(tmp_path / f"out.{ending}")["is_anomaly"].to_pylist() == expected
    run_cli("score", model_path, table, "-o", "out.npy", "--fdr", "0.2")
    matrix = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(matrix[:, 5], np.array(expected, dtype=float))


def test_two_tails_double_the_p_values_and_the_decision_follows(model_path, run_cli, tmp_path, table):
    run_cli("score", model_path, table, "-o", "both.parquet", "--fdr", "0.3", "--tail", "both")
    found = pq.read_table(tmp_path / "both.parquet")
    assert found["is_anomaly"].to_pylist() == decided(found["p_value"].to_pylist(), 0.3)
    assert found["is_anomaly"].to_pylist().count(True) > 0


def test_the_flagged_rows_are_explained_in_a_second_run(model_path, run_cli, tmp_path, table):
    """As the message says that refuses --explain."""
    done = run_cli("score", model_path, table, "-o", "x.csv", "--fdr", "0.05", "--explain", "2", code=2)
    assert b"score with --fdr --only-flagged first" in done.stderr
    keep = ("--keep", ",".join(("id", *NAMES)))
    run_cli(
        "score", model_path, table, "-o", "flagged.parquet", "--fdr", "0.05", "--only-flagged", "--top", "20", *keep
    )
    run_cli(
        "score", model_path, "flagged.parquet", "-o", "why.parquet", "--explain", "2", "--explain-all", "--keep", "id"
    )
    flagged, why = pq.read_table(tmp_path / "flagged.parquet"), pq.read_table(tmp_path / "why.parquet")
    assert flagged.num_rows == 20
    assert flagged["is_anomaly"].to_pylist() == [True] * flagged.num_rows
    assert why["id"].equals(flagged["id"])
    assert all(text.startswith(NAMES) for text in why["why_1"].to_pylist())
    assert why["p_value"].equals(flagged["p_value"])


def test_nothing_flagged_although_rows_are_as_unusual_as_can_be_is_a_warning_even_if_quiet(
    model_path, run_cli, tmp_path
):
    """One extreme row among 1,000: with n calibration rows, its p-value 1 / (n + 1) is above 0.1 / 1,000."""
    rows = make_rows(1000, seed=8)
    rows[0, 1] = 5.0
    pq.write_table(pa.table({name: rows[:, d] for d, name in enumerate(NAMES)}), tmp_path / "new.parquet")
    done = run_cli("score", model_path, "new.parquet", "-o", "out.csv", "--fdr", "0.01", "-q", "--json", code=0)
    facts, warning = json.loads(done.stdout), done.stderr.decode()
    told = facts["fdr"]
    assert (told["flagged"], told["p_value_cut_off"], facts["anomalies"]) == (0, None, 0)
    assert told["rows_at_smallest"] < told["rows_at_smallest_needed"]
    (line,) = warning.splitlines()
    assert line.startswith("anomaly-vae: warning: --fdr 0.01 flags nothing, although ")
    for number in (told["rows_at_smallest"], told["rows_at_smallest_needed"], told["calibration_rows"], "1,000 rows"):
        assert str(number) in line


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--fdr", "0"], "--fdr"),
        (["--fdr", "1"], "--fdr"),
        (["--fdr", "nan"], "fdr must be a number between 0 and 1"),
        (["--fdr", "0.1", "--flag-only"], "--fdr needs p-values, and --flag-only gives none"),
        (["--fdr", "0.1", "--num-samples", "64"], "--fdr needs p-values, and --num-samples gives none"),
        (["--fdr", "0.1", "--max-std-error", "0.2"], "--fdr needs p-values, and --max-std-error gives none"),
        (["--fdr", "0.1", "--target-fpr", "0.2"], "--fdr and --target-fpr are two different rules"),
        (["--fdr", "0.1", "--plot", "x.png"], "--plot shows flags by the threshold"),
        (["--fdr", "0.000001"], "--fdr 1e-06 can flag nothing"),
        (["--fdr", "0.1", "--explain", "1", "--explain-all"], "--explain needs the flags while rows are read"),
    ],
)
def test_options_that_do_not_fit_are_one_line(model_path, run_cli, tmp_path, table, options, text):
    done = run_cli("score", model_path, table, "-o", "x.csv", *options, code=2)
    line = done.stderr.decode().splitlines()[-1]
    assert line.startswith("anomaly-vae: error: ")
    assert text in line
    assert list(tmp_path.iterdir()) == []


def opened_by(pid):
    """Return the files that a process has open; it may close one meanwhile."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_to_a_pipe_that_is_ended_leaves_nothing(model_path, tmp_path, monkeypatch, number):
    """Not even if it is killed: the file of the first pass has no name."""
    rows = np.tile(make_rows(20_000, seed=3), (10, 1))
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({name: rows[:, d] for d, name in enumerate(NAMES)}), tmp_path / "in" / "new.parquet")
    (tmp_path / "tmp").mkdir()
    command = ("score", model_path, "in/new.parquet", "-o", "-", "--fdr", "0.1", "-q")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with start(tmp_path, *command) as job:
        wait_for(lambda: any(str(tmp_path / "tmp") in name for name in opened_by(job.pid)))
        assert list((tmp_path / "tmp").iterdir()) == []
        job.send_signal(number)
        code = job.wait(60)
    assert code == {signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert list((tmp_path / "tmp").iterdir()) == []
