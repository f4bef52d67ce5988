"""A real table of texts, integers and reals with missing cells, from the command line to the service."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

import anomaly_vae
from anomaly_vae.client import Client
from tests.support.running import running

statsmodels = pytest.importorskip("statsmodels.datasets", reason="statsmodels ships the table")

# 11 firms in 20 years are too few rows to calibrate at the default rate.
TRAIN = ("--target-fpr", "0.05", "--max-steps", "600", "--quiet")


@pytest.fixture(scope="module")
def grunfeld(tmp_path_factory):
    """Investment, value and capital of American firms by year (Grunfeld, 1958), with missing cells in two columns."""
    folder = tmp_path_factory.mktemp("grunfeld")
    frame = statsmodels.grunfeld.load_pandas().data
    frame["year"] = frame["year"].astype(int)
    rng = np.random.default_rng(0)
    for name in ("invest", "firm"):
        frame[name] = frame[name].astype(object).where(rng.random(len(frame)) > 0.05, None)
    frame = frame.astype({"invest": float})
    frame.to_csv(folder / "firms.csv", index=False)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "firms.parquet")
    return folder


@pytest.fixture(scope="module")
def model(grunfeld):
    import subprocess
    import sys

    command = [sys.executable, "-m", "anomaly_vae", "train", "firms.csv", "-o", "model", *TRAIN]
    subprocess.run(command, cwd=grunfeld, check=True, capture_output=True, timeout=300)
    return grunfeld / "model"


def scores_of(done):
    return list(csv.DictReader(io.StringIO(done.stdout.decode())))


def test_kinds_are_shown_by_inspect(model, run_cli):
    text = run_cli("inspect", model).stdout.decode()
    for words in (["firm", "categorical", "Chrysler"], ["year", "integer", "steps of 1"], ["invest", "continuous"]):
        assert any(all(word in line for word in words) for line in text.splitlines()), text
    info = json.loads(run_cli("inspect", model, "--json").stdout)
    assert [column["kind"] for column in info["schema"]["columns"]] == ["continuous"] * 3 + ["categorical", "integer"]
    assert "posterior collapse" in text
    assert "student_t" in text
    assert "gaussian" in text


def test_csv_parquet_python_and_the_service_give_one_score(model, grunfeld, run_cli):
    from_csv = scores_of(run_cli("score", model, grunfeld / "firms.csv", "-o", "-", "--keep", "firm"))
    run_cli("score", model, grunfeld / "firms.parquet", "-o", "scores.parquet")
    scorer = anomaly_vae.load(model)
    table = pq.read_table(grunfeld / "firms.parquet")
    expected = scorer.score(table)
    assert [float(row["score"]) for row in from_csv] == expected.score.tolist()
    assert 0.01 < np.mean(expected.score != expected.log_px) < 0.2
    with running(model) as service, Client(service.target) as client:
        assert client.schema == structs.replace(scorer.schema, encoding=None)  # what the file was like stays behind
        np.testing.assert_array_equal(client.score(table).score, expected.score)
        np.testing.assert_array_equal(client.flag(table).is_anomaly, scorer.flag(table).is_anomaly)


@pytest.fixture(scope="module")
def normal_row(model, grunfeld):
    """The most normal complete row of General Electric: invest, value, capital and year."""
    table = pq.read_table(grunfeld / "firms.parquet")
    scores = anomaly_vae.load(model).score(table)
    firms = np.array(table["firm"].to_pylist(), dtype=object)
    i = int(np.argmax(np.where((firms == "General Electric") & (scores.score == scores.log_px), scores.p_value, 0.0)))
    return {name: table[name][i].as_py() for name in ("invest", "value", "capital", "year")}


def test_new_firms_wrong_firms_and_empty_rows(model, normal_row, run_cli, tmp_path):
    line = "{invest},{value},{capital},{firm},{year}\n"
    (tmp_path / "new.csv").write_text(
        "invest,value,capital,firm,year\n"
        + line.format(**normal_row, firm="General Electric")
        + line.format(**normal_row, firm="Acme")
        + line.format(**normal_row, firm="Union Oil")
        + line.format(**normal_row | {"invest": ""}, firm=" General Electric ")
        + ",,,,\n"
        + line.format(**normal_row | {"invest": "many"}, firm="General Electric")
    )
    known, acme, wrong, gap, empty, faulty = scores_of(run_cli("score", model, "new.csv", "-o", "-"))
    assert known["is_anomaly"] == "false"
    assert acme["reason"] == "column 'firm' holds a category that training never had"
    assert acme["is_anomaly"] == wrong["is_anomaly"] == "true"
    assert float(wrong["score"]) < float(known["score"]) - 5.0
    assert wrong["reason"] == ""
    assert gap["is_anomaly"] == "false"
    assert gap["score"] != gap["log_px"]
    assert (empty["log_px"], empty["p_value"], empty["is_anomaly"]) == ("0", "1", "false")
    assert "nothing to judge" in empty["reason"]
    assert faulty["log_px"] == ""
    assert "'many' is not a number" in faulty["reason"]


def test_encode_and_sample(model, grunfeld, run_cli, tmp_path):
    done = run_cli("encode", model, grunfeld / "firms.csv", "-o", "-", "--keep", "firm,year")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    scorer = anomaly_vae.load(model)
    means = scorer.encode(pq.read_table(grunfeld / "firms.parquet"))
    assert list(rows[0]) == ["firm", "year", *(f"z{i}" for i in range(means.shape[1]))]
    np.testing.assert_array_equal([[float(row[f"z{i}"]) for i in range(means.shape[1])] for row in rows], means)

    run_cli("sample", model, "-n", "500", "-o", "rows.parquet", "--seed", "3")
    run_cli("sample", model, "-n", "500", "-o", "again.parquet", "--seed", "3")
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.equals(pq.read_table(tmp_path / "again.parquet"))
    assert set(rows["firm"].to_pylist()) <= set(scorer.schema.columns[3].categories)
    assert all(year == round(year) for year in rows["year"].to_pylist())
    flagged = scores_of(run_cli("score", model, "rows.parquet", "-o", "-"))
    assert np.mean([row["is_anomaly"] == "true" for row in flagged]) < 0.2
    run_cli("sample", model, "-n", "0", "-o", "none.csv", code=2)


def test_kinds_and_parameters_come_from_a_file(grunfeld, run_cli, tmp_path):
    (tmp_path / "config.toml").write_text(
        'search = "off"\nmax_steps = 50\ntarget_fpr = 0.05\nmasking = 0.2\n[columns]\nyear = "categorical"\n'
    )
    run_cli("train", grunfeld / "firms.csv", "-o", "model", "--config", "config.toml", "--force")
    info = json.loads(run_cli("inspect", "model", "--json").stdout)
    year = info["schema"]["columns"][4]
    assert year["kind"] == "categorical"
    assert year["categories"][:2] == ["1935", "1936"]
    assert info["training"]["config"]["columns"] == {"year": "categorical"}
    (tmp_path / "config.toml").write_text('[columns]\nfirm = "count"\n')
    done = run_cli("train", grunfeld / "firms.csv", "-o", "other", "--config", "config.toml", code=2)
    assert b"[columns] firm = 'count'" in done.stderr


def test_a_failed_gate_is_exit_5_and_force_writes_it_with_its_fault(grunfeld, run_cli, tmp_path):
    arguments = ["train", grunfeld / "firms.csv", "-o", "model", "--search", "off", "--max-steps", "60"]
    arguments += [
        "--prior",
        "normal",
        "--beta",
        "1000",
        "--kl-warmup",
        "0",
        "--target-fpr",
        "0.05",
        "--exclude",
        "firm",
    ]
    done = run_cli(*arguments, code=5)
    assert b"posterior collapse" in done.stderr
    assert b"--force" in done.stderr
    assert not (tmp_path / "model").exists()
    assert (tmp_path / ".model.checkpoint").exists()
    done = run_cli(*arguments, "--resume", "--force")
    assert not (tmp_path / ".model.checkpoint").exists()
    assert b"warning: release gate failed: posterior collapse" in done.stderr
    assert b"failed" in run_cli("inspect", "model").stdout


def test_resuming_what_is_complete_succeeds_and_says_so(model, grunfeld, run_cli):
    done = run_cli("train", grunfeld / "firms.csv", "-o", model, "--resume")
    assert b"is complete; there is nothing to resume" in done.stderr


def test_resume_without_a_checkpoint_starts_from_the_beginning(grunfeld, run_cli, tmp_path):
    arguments = [
        "train",
        grunfeld / "firms.csv",
        "-o",
        "model",
        "--search",
        "off",
        "--max-steps",
        "50",
        *TRAIN,
        "--force",
    ]
    run_cli(*arguments, "--resume")
    assert (tmp_path / "model" / "manifest.json").exists()
    assert not list(tmp_path.glob(".model*"))


def test_columns_of_a_request_may_be_texts_with_gaps(model, normal_row):
    """In the messages, a category is a string, and a missing cell is NaN or an empty string; numbers may be either."""
    import grpc

    from anomaly_vae.service.pb import scoring_pb2 as pb
    from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

    numbers = {name: [value, value if name != "invest" else np.nan] for name, value in normal_row.items()}
    columns = [pb.Column(name=name, fp64=np.array(values, "<f8").tobytes()) for name, values in numbers.items()]
    firms = pb.Column(name="firm", strings=pb.Strings(value=["General Electric", "Acme"]))
    with running(model) as service, service.channel() as channel:
        stub = ScoringServiceStub(channel)
        reply = stub.Score(pb.ScoreRequest(columns=pb.Columns(column=[*columns, firms])))
        assert list(reply.is_anomaly) == [False, True]
        assert reply.reason[1] == "column 'firm' holds a category that training never had"
        wrong = [*columns[1:], firms, pb.Column(name="invest", strings=pb.Strings(value=["1", "many"]))]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(pb.ScoreRequest(columns=pb.Columns(column=wrong)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "row 1, column 'invest': 'many' is not a number" in caught.value.details()
        described = stub.GetModel(pb.GetModelRequest())
        assert {column.name: column.kind for column in described.columns}["firm"] == "categorical"
        assert "Chrysler" in next(column for column in described.columns if column.name == "firm").categories
