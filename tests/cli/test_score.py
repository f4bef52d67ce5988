"""``anomaly-vae score`` in a process of its own: files, standard streams, exit codes, one line per error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch.explaining import _WORTH_NATS
from anomaly_vae.scorer import load
from tests.support.command_line import cli, one_line, read_csv, start, wait_for, write_csv
from tests.support.data import NAMES, make_rows
from tests.support.running import running


def test_scores_of_the_command_line_are_those_of_python_bit_for_bit(folder):
    """CSV in, CSV out: Python's float reads back exactly the score that the scorer computed."""
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--keep", "id,flow")
    assert done.returncode == 0, done.stderr
    rows = read_csv(done.stdout)
    header = ["id", "flow", "log_px", "elbo", "std_error", "ess_ratio", "p_value", "is_anomaly", "reason"]
    header += ["pareto_k", "reliable", "num_samples", "score"]
    assert list(rows[0]) == header
    expected = load(folder / "model").score(make_rows(60, seed=2))
    for name in ("log_px", "elbo", "std_error", "ess_ratio", "p_value", "score"):
        got = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_array_equal(got, getattr(expected, name), err_msg=name)
    assert [row["is_anomaly"] == "true" for row in rows] == expected.is_anomaly.tolist()
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(60)]
    assert "60 rows, " in done.stderr


def test_parquet_in_and_out_with_columns_in_another_order(folder, tmp_path):
    rows = make_rows(3000, seed=5)
    order = [3, 0, 4, 1, 2]
    pq.write_table(pa.table({NAMES[d]: rows[:, d] for d in order}), tmp_path / "in.parquet", row_group_size=700)
    model = folder / "model"
    done = cli(tmp_path, "score", model, "in.parquet", "-o", "out.parquet", "--num-samples", "64", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "warning: num_samples is 64, the calibration used 4096" in done.stderr
    out = pq.read_table(tmp_path / "out.parquet")
    with pytest.warns(UserWarning, match="num_samples is 64"):
        expected = load(model).score(rows, num_samples=64)
    np.testing.assert_array_equal(out["log_px"].to_numpy(), expected.log_px)
    assert out["p_value"].null_count == out["is_anomaly"].null_count == 3000
    assert out.schema.field("is_anomaly").type == pa.bool_()


def test_rows_that_cannot_be_scored_come_out_with_a_reason_and_are_counted(folder, tmp_path):
    lines = (folder / "new.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[:8]]
    cells[2][1] = ""
    cells[3][0] = "high"
    cells[4][3] = "inf"
    cells[5] = cells[5][:2]
    cells[6][4] = "8.0"
    (tmp_path / "in.csv").write_text("\n".join(",".join(row) for row in cells) + "\n")
    done = cli(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv", "--keep", "id")
    assert done.returncode == 0, done.stderr
    rows = read_csv((tmp_path / "out.csv").read_text())
    assert [row["reason"] for row in rows] == [
        "",
        "",
        "column 'pressure': 'high' is not a number",
        "column 'temperature' is infinite",
        "the row has 2 cells, the header 6",
        "column 'unit' was always 7.0 in training, is 8.0",
        "",
    ]
    assert [row["log_px"] == "" for row in rows] == [False, False, True, True, True, False, False]
    # "flow" is missing in the second row, and the new unit puts the sixth below all others.
    assert [row["score"] == row["log_px"] for row in rows] == [True, False, True, True, True, False, True]
    assert [row["is_anomaly"] for row in rows][4:6] == ["", "true"]
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3", "", "r5", "r6"]
    assert "7 rows" in done.stderr
    assert "3 not scored (1 ragged, 2 unreadable" in done.stderr


def test_another_target_flags_more(folder):
    strict, lax = (
        read_csv(cli(folder, "score", "model", "new.csv", "-o", "-", "--target-fpr", rate).stdout)
        for rate in ("0.01", "0.5")
    )
    flags = [[row["is_anomaly"] for row in rows].count("true") for rows in (strict, lax)]
    assert flags[0] < flags[1]
    assert [float(row["p_value"]) <= 0.5 for row in lax] == [row["is_anomaly"] == "true" for row in lax]


def test_with_two_tails_high_scores_are_flagged_too(folder):
    """By the calibration of the model, which has one tail; --flag-only gives the same flags."""
    arguments = ["score", "model", "new.csv", "-o", "-", "--tail", "both", "--target-fpr", "0.2"]
    low, high = load(folder / "model").thresholds(target_fpr=0.2, tail="both")
    done = cli(folder, *arguments, "--json")
    rows, facts = read_csv(done.stdout), json.loads(done.stderr.splitlines()[-1])
    flags, scores = [row["is_anomaly"] == "true" for row in rows], [float(row["score"]) for row in rows]
    assert flags == [not low <= score <= high for score in scores]
    assert any(score > high for score in scores)
    assert (facts["threshold"], facts["upper_threshold"]) == (low, high)
    only = read_csv(cli(folder, *arguments, "--flag-only").stdout)
    assert [row["is_anomaly"] == "true" for row in only] == flags
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--tail", "both", "--max-std-error", "0.1")
    one_line(done, 2, "--max-std-error gives no flags; leave out --tail")
    one_line(cli(folder, "score", "grpc://127.0.0.1:1", "new.csv", "-o", "-", "--tail", "low"), 2, "--tail is set by")


def test_flags_only_are_those_of_a_full_run_with_their_cost(folder):
    full = read_csv(cli(folder, "score", "model", "new.csv", "-o", "-").stdout)
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--flag-only", "--keep", "id")
    flags = read_csv(done.stdout)
    assert list(flags[0]) == ["id", "is_anomaly", "reason", "num_samples"]
    assert [row["is_anomaly"] for row in flags] == [row["is_anomaly"] for row in full]
    spent, of_full = ([int(row["num_samples"]) for row in rows] for rows in (flags, full))
    early = [number in (16, 64) for number in spent]
    assert sum(early) > 30
    assert all(is_early or number == 64 + whole for is_early, number, whole in zip(early, spent, of_full, strict=True))
    assert not any(is_early and row["is_anomaly"] == "true" for is_early, row in zip(early, flags, strict=True))
    for options in (["--num-samples", "64"], ["--max-std-error", "0.1"]):
        done = cli(folder, "score", "model", "new.csv", "-o", "-", "--flag-only", *options)
        assert done.returncode == 2
        assert "--flag-only decides by the rule of the calibration" in done.stderr


def test_a_largest_standard_error_is_met_with_fewer_samples(folder):
    done = cli(folder, "score", "model", "new.csv", "-o", "-", "--max-std-error", "0.2")
    assert "no p-value and no flag" in done.stderr
    rows = read_csv(done.stdout)
    assert all(float(row["std_error"]) <= 0.2 for row in rows)
    assert {row["is_anomaly"] for row in rows} == {""}
    assert min(int(row["num_samples"]) for row in rows) < 512
    for error in ("0", "-1", "nan", "inf"):
        done = cli(folder, "score", "model", "new.csv", "-o", "-", "--max-std-error", error)
        assert done.returncode == 2
        assert "--max-std-error must be a positive number of nats" in done.stderr.splitlines()[-1]


def test_standard_input_to_standard_output(folder):
    text = (folder / "new.csv").read_text()
    piped = cli(folder, "score", "model", "-", "-o", "-", input=text)
    assert piped.stdout == cli(folder, "score", "model", "new.csv", "-o", "-").stdout
    assert len(read_csv(piped.stdout)) == 60


def test_extra_columns_are_mentioned_once_or_refused(folder):
    done = cli(folder, "score", "model", "new.csv", "-o", "-")
    assert done.stderr.count("input columns that the model does not use: id; ignored") == 1
    one_line(cli(folder, "score", "model", "new.csv", "-o", "-", "--strict"), 2, "does not use: id", "--strict")


BAD_SCORING = {
    "no such model": (["nothing", "new.csv", "-o", "-"], 3, "no model bundle there"),
    "no bundle": ([".", "new.csv", "-o", "-"], 3, "manifest.json is missing"),
    "missing column": (["model", "short.csv", "-o", "-"], 2, "columns are missing: 'unit'"),
    "keep clash": (["model", "new.csv", "-o", "-", "--keep", "reason"], 2, "the output has a column of that name"),
    "keep unknown": (["model", "new.csv", "-o", "-", "--keep", "x"], 2, "no such column"),
    "budget": (["model", "new.csv", "-o", "-", "--num-samples", "1000"], 2, "--num-samples must be one of 16, 32"),
    "few rows": (["model", "new.csv", "-o", "-", "--target-fpr", "0.0001"], 2, "needs at least 9999 calibration rows"),
    "ending": (["model", "new.csv", "-o", "out.xlsx"], 2, "ending in .csv, .tsv"),
    "explain all": (["model", "new.csv", "-o", "-", "--explain-all"], 2, "--explain-all needs --explain K"),
    "explain uncalibrated": (
        ["model", "new.csv", "-o", "-", "--explain", "3", "--max-std-error", "0.2"],
        2,
        "no flags",
    ),
    "explain numbers": (["model", "new.csv", "-o", "x.npy", "--explain", "3"], 2, "x.npy holds only numbers"),
    "top of flags": (["model", "new.csv", "-o", "-", "--top", "3", "--flag-only"], 2, "--top needs scores"),
    "flags of no rule": (["model", "new.csv", "-o", "-", "--only-flagged", "--num-samples", "16"], 2, "needs flags"),
    "row clash": (["model", "rows.csv", "-o", "-", "--top", "3", "--keep", "row"], 2, "has a column of that name"),
    "exists": (["model", "new.csv", "-o", "train.csv"], 2, "exists already"),
}


@pytest.mark.parametrize("case", BAD_SCORING)
def test_bad_scoring_input_has_its_exit_code_and_one_line(folder, case):
    arguments, code, part = BAD_SCORING[case]
    (folder / "short.csv").write_text("pressure,flow,valve,temperature\n1,2,3,4\n")
    (folder / "rows.csv").write_text("pressure,flow,valve,temperature,unit,row\n1,2,3,4,5,6\n")
    before = sorted(path.name for path in folder.iterdir())
    one_line(cli(folder, "score", *arguments), code, part)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_damaged_bundle_is_exit_3(folder, tmp_path):
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "noise.npy").write_bytes(b"")
    one_line(cli(folder, "score", model, "new.csv", "-o", "-"), 3, "noise.npy", "only partly copied")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_score_leaves_no_output_and_can_go_on(folder, tmp_path, number, code):
    rows = make_rows(40_000, seed=3)  # more than are scored before the signal, also on a busy machine
    write_csv(tmp_path / "in.csv", rows)
    process = start(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv")
    wait_for(lambda: list(tmp_path.glob(".out.csv.job/job.json")))
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert "no unfinished file is left; out.csv: the rows that are done are kept" in error
    assert process.returncode == code
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.csv.job", "in.csv"]
    if number == signal.SIGTERM:  # as below
        return
    cli(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv", "--resume")
    cli(tmp_path, "score", folder / "model", "in.csv", "-o", "full.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "full.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.csv", "in.csv", "out.csv"]
    done = cli(tmp_path, "score", folder / "model", "in.csv", "-o", "out.csv", "--resume")
    assert done.stderr.endswith("out.csv: is complete already, nothing is left to do\n")


def test_scoring_imports_no_pandas_and_no_training_library(folder):
    """pandas is installed here, and pyarrow likes to import it: start-up time and memory would double."""
    code = (
        "import sys\n"
        "from anomaly_vae.cli import cli\n"
        "cli.main(['score', 'model', 'new.csv', '-o', '-', '-q', '--keep', 'id'], standalone_mode=False)\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'onnx', 'onnxscript', 'pandas', 'matplotlib', 'grpc'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_csv(done.stdout)) == 60


def test_only_flagged_rows_are_those_of_a_full_run(folder):
    full = read_csv(cli(folder, "score", "model", "train.csv", "-o", "-", "--keep", "broken").stdout)
    done = cli(folder, "score", "model", "train.csv", "-o", "-", "--keep", "broken", "--only-flagged")
    rows = read_csv(done.stdout)
    assert list(rows[0]) == ["row", *full[0]]
    flagged = [i for i, row in enumerate(full) if row["is_anomaly"] == "true"]
    assert len(flagged) > 20
    assert [{"row": str(i + 1), **full[i]} for i in flagged] == rows
    assert f"740 rows, {len(flagged)} flagged, {len(flagged)} written" in done.stderr


def test_the_top_rows_are_the_lowest_p_values_and_scores_of_a_full_run(folder, tmp_path):
    full = read_csv(cli(folder, "score", "model", "train.csv", "-o", "-").stdout)
    done = cli(folder, "score", "model", "train.csv", "-o", tmp_path / "top.csv", "--top", "30", "--json")
    rows = read_csv((tmp_path / "top.csv").read_text())
    order = sorted(range(len(full)), key=lambda i: (float(full[i]["p_value"]), float(full[i]["score"])))
    assert [int(row["row"]) for row in rows] == [i + 1 for i in order[:30]]
    assert rows[0] == {"row": str(order[0] + 1), **full[order[0]]}
    facts = json.loads(done.stdout)
    assert (facts["rows"], facts["written"], facts["most_anomalous_row"]) == (740, 30, order[0] + 1)


def test_the_summary_as_json_has_the_counts_and_where_the_flags_come_from(folder, tmp_path):
    text = (folder / "new.csv").read_text().replace("\n", "\nhigh,1,1,1,7,bad\n", 1)
    (tmp_path / "in.csv").write_text(text)
    scorer = load(folder / "model")
    arguments = ["score", folder / "model", "in.csv", "--json", "-q"]
    done = cli(tmp_path, *arguments, "-o", "out.csv")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    facts = json.loads(done.stdout)
    flags = [row["is_anomaly"] == "true" for row in read_csv((tmp_path / "out.csv").read_text())]
    assert facts.pop("seconds") > 0
    assert facts.pop("most_anomalous_row") > 1
    assert facts == {
        "output": "out.csv",
        "rows": 61,
        "written": 61,
        "anomalies": sum(flags),
        "unscored": {"unreadable": 1},
        "examples": {"unreadable": "row 1: column 'pressure': 'high' is not a number"},
        "threshold": scorer.threshold,
        "upper_threshold": None,
        "target_fpr": 0.05,
        "bundle_digest": scorer.bundle.digest,
    }
    to_output = cli(tmp_path, *arguments, "-o", "-", "--target-fpr", "0.5")
    facts = json.loads(to_output.stderr.splitlines()[-1])
    assert (facts["output"], facts["target_fpr"], facts["threshold"]) == ("-", 0.5, scorer.threshold_at(0.5))
    assert len(read_csv(to_output.stdout)) == 61


def test_quiet_leaves_warnings_only(folder, tmp_path):
    done = cli(folder, "score", "model", "new.csv", "-o", tmp_path / "out.csv", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "anomaly-vae: warning: input columns that the model does not use: id; ignored\n"


def test_a_service_gives_the_same_choice_and_summary(folder, tmp_path):
    with running(folder / "model") as service:
        both = [
            cli(folder, "score", model, "train.csv", "-o", tmp_path / name, "--json", *more)
            for model, name in (("model", "a.csv"), (f"grpc://127.0.0.1:{service.port}", "b.csv"))
            for more in (["--top", "20", "--only-flagged", "--keep", "broken", "--overwrite"],)
        ]
    assert [done.returncode for done in both] == [0, 0], both[1].stderr
    local, served = (json.loads(done.stdout) for done in both)
    for facts in (local, served):
        del facts["seconds"], facts["output"]
    assert local == served
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert len(read_csv((tmp_path / "a.csv").read_text())) == 20


UNWRITABLE = {
    "no folder": ("nothing/out.csv", "does not exist; create it first"),
    "a file as folder": ("file/out.csv", "does not exist; create it first"),
    "a long name": (f"{'x' * 255}.csv", "File name too long"),
    "a directory": ("folder.csv", "is a directory"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize(
    "command", [["score", "no model", "no.csv"], ["encode", "no model", "no.csv"], ["sample", "no model"]]
)
def test_an_output_that_cannot_be_written_is_wrong_usage_before_anything_is_opened(tmp_path, command, case):
    path, text = UNWRITABLE[case]
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    one_line(cli(tmp_path, *command, "-o", path, "--overwrite"), 2, text)


@pytest.mark.parametrize("command", [["train", "no.csv"], ["calibrate", "no model", "no.csv"]])
def test_a_model_that_cannot_be_written_is_wrong_usage_before_anything_is_opened(tmp_path, command):
    (tmp_path / "file").write_text("")
    for path, text in (
        ("nothing/model", "create it first"),
        ("file/model", "create it first"),
        ("x" * 256, "too long"),
    ):
        one_line(cli(tmp_path, *command, "-o", path, "--overwrite"), 2, text)
    one_line(cli(tmp_path, *command, "-o", "file", "--overwrite"), 2, "is not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everywhere")
def test_files_without_permission_are_wrong_usage(folder, tmp_path):
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "in.csv").chmod(0)
    one_line(cli(tmp_path, "score", folder / "model", "in.csv", "-o", "-"), 2, "in.csv: cannot be read: Permission")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for command in (["score", "model", "new.csv"], ["sample", "model"], ["train", "train.csv"]):
        one_line(cli(folder, *command, "-o", closed / "out.csv"), 2, "no permission to write in")


def test_an_input_that_cannot_be_read_is_wrong_usage(folder, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, text in (("no.csv", "no such file"), ("folder.csv", "holds no files"), (f"{'x' * 256}.csv", "too long")):
        one_line(cli(tmp_path, "score", folder / "model", name, "-o", "-"), 2, name, text)


def test_flagged_rows_are_explained_as_in_python_and_by_a_service(folder, tmp_path):
    """From standard input, and with fewer rows written."""
    rows = make_rows(12, seed=2)
    rows[3, 1], rows[7, 4] = 1.0, 8.0
    write_csv(tmp_path / "in.csv", rows)
    scorer = load(folder / "model")
    found = dict(zip([3, 7], scorer.explain(rows[[3, 7]], top=2), strict=True))
    assert np.flatnonzero(scorer.flag(rows).is_anomaly).tolist() == [3, 7]
    expected = [["", ""] for _ in range(12)]
    for i, whys in found.items():
        expected[i] = [why.text if why is whys[0] or why.excess >= _WORTH_NATS else "" for why in whys]
    arguments = ["-", "-o", "-", "--explain", "2", "-q"]
    text = (tmp_path / "in.csv").read_text()
    with running(folder / "model") as service:
        for model in (folder / "model", f"grpc://{service.target}"):
            done = cli(tmp_path, "score", model, *arguments, input=text)
            assert [[row["why_1"], row["why_2"]] for row in read_csv(done.stdout)] == expected, done.stderr
    done = cli(tmp_path, "score", folder / "model", *arguments, "--flag-only", "--only-flagged", input=text)
    assert [row["why_1"] for row in read_csv(done.stdout)] == [expected[3][0], expected[7][0]]


def test_a_filter_chooses_rows_before_they_are_numbered(folder, tmp_path):
    arguments = "score", folder / "model", folder / "new.csv", "-o", "-", "--keep", "id"
    everything = read_csv(cli(tmp_path, *arguments).stdout)
    done = cli(tmp_path, *arguments, "--filter", "id IN ('r5', 'r7') OR id = 'r59'", "--json")
    assert read_csv(done.stdout) == [everything[i] for i in (5, 7, 59)]
    facts = json.loads(done.stderr.splitlines()[-1])
    assert (facts["rows"], facts["filter"]["rows_read"], facts["filter"]["rows_kept"]) == (3, 60, 3)
    done = cli(tmp_path, *arguments, "--filter", "id = 'none'")
    assert done.returncode == 0
    assert "no row passes the filter id = 'none'" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    one_line(cli(tmp_path, *arguments, "--filter", "id ="), 2, "at character 5, marked by ^: id =^")
    one_line(cli(tmp_path, *arguments, "--filter", "flow > 'x' OR nothing = 1"), 2, "has no column 'nothing'")
