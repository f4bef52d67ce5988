"""``anomaly-vae score grpc://...``: the same file as with the model itself."""

import re
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.certificates import Authority
from tests.support.data import NAMES, make_rows
from tests.support.ports import fixed_port
from tests.support.running import running
from tests.support.scripted import Failure, scripted


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path) as service:
        yield service


@pytest.fixture
def table(tmp_path):
    """Columns in another order than the model's, an extra one, an infinity, gaps, and more rows than a call takes."""
    rows = make_rows(3000, seed=6)
    columns = {"id": [f"r{i}" for i in range(3000)]} | {name: rows[:, d] for d, name in enumerate(NAMES)}
    columns["flow"] = [None if i % 50 == 7 else value for i, value in enumerate(columns["flow"])]
    columns["valve"] = [np.inf if i == 5 else value for i, value in enumerate(columns["valve"])]
    path = tmp_path / "new.parquet"
    pq.write_table(pa.table(dict(reversed(columns.items()))), path)
    return path


def test_the_output_is_the_same_file(service, model_path, run_cli, tmp_path, table):
    for model, output in ((model_path, "local.csv"), (f"grpc://{service.target}", "remote.csv")):
        run_cli("score", model, table, "-o", output, "--keep", "id")
    assert (tmp_path / "remote.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert len((tmp_path / "remote.csv").read_text().splitlines()) == 3001


def test_another_budget_gives_the_same_file_or_is_refused_by_the_service(service, model_path, run_cli, tmp_path, table):
    for model, output in ((model_path, "local.csv"), (f"grpc://{service.target}", "remote.csv")):
        done = run_cli("score", model, table, "-o", output, "--num-samples", "64")
        assert b"there is no p-value and no flag" in done.stderr
    assert (tmp_path / "remote.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    done = run_cli(
        "score", f"grpc://{service.target}", table, "-o", "x.csv", "--keep", "id", "--num-samples", "65", code=2
    )
    (line,) = done.stderr.decode().splitlines()
    assert "--num-samples must be one of 16, 32" in line
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("options", [["--flag-only"], ["--max-std-error", "0.2"]])
def test_cheaper_scores_are_the_same_file_too(service, model_path, run_cli, tmp_path, table, options):
    for model, output in ((model_path, "local.csv"), (f"grpc://{service.target}", "remote.csv")):
        run_cli("score", model, table, "-o", output, "--keep", "id", *options)
    assert (tmp_path / "remote.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


@pytest.mark.parametrize("option", ["--threads", "--target-fpr"])
def test_options_that_the_service_sets_are_refused(run_cli, table, option):
    done = run_cli(
        "score", "grpc://127.0.0.1:1", table, "-o", "x.csv", option, "1" if option == "--threads" else "0.5", code=2
    )
    assert f"{option} is set by the service" in done.stderr.decode()


@pytest.mark.parametrize(
    "model",
    ["http://127.0.0.1:52000", "127.0.0.1:52000", "grpc://", "grpc://127.0.0.1", "grpc://::1:5", "grpc://h:99999"],
)
def test_a_malformed_address_is_refused_with_the_right_form(run_cli, table, model):
    done = run_cli("score", model, table, "-o", "x.csv", code=2)
    (line,) = done.stderr.decode().splitlines()
    assert "grpc://HOST:PORT" in line


def test_an_unknown_host_is_one_line(run_cli, table):
    done = run_cli("score", "grpc://no.such.host.invalid:50051", table, "-o", "x.csv", code=1)
    (line,) = done.stderr.decode().splitlines()
    assert "no service answers there" in line


def test_no_service_is_one_line(run_cli, table, tmp_path):
    done = run_cli("score", "grpc://127.0.0.1:1", table, "-o", "x.csv", code=1)
    (line,) = done.stderr.decode().splitlines()
    assert "127.0.0.1:1: no service answers there: it is not started (`anomaly-vae serve`)" in line
    assert not (tmp_path / "x.csv").exists()


def test_a_service_that_is_just_starting_is_waited_for(model_path, run_cli, table, tmp_path):
    port = fixed_port()
    scoring = threading.Thread(target=run_cli, args=("score", f"grpc://127.0.0.1:{port}", table, "-o", "late.csv"))
    scoring.start()
    time.sleep(0.6)
    with running(model_path, "--port", port):
        scoring.join(30)
    assert (tmp_path / "late.csv").exists()


def test_a_service_that_is_loading_is_waited_for_longer_than_a_silent_address(service, run_cli, table, tmp_path):
    text = "the model is still being loaded; try again soon"
    with scripted(service.target) as front:
        front.other_script.append(Failure(grpc.StatusCode.UNAVAILABLE, 4.0, text=text))
        run_cli("score", f"grpc://{front.target}", table, "-o", "late.csv")
        assert not front.other_script
    assert (tmp_path / "late.csv").exists()


def test_a_restart_in_the_middle_is_logged_and_waited_for(model_path, run_cli, table, tmp_path):
    """The service is restarted only after the warning was printed."""
    port = fixed_port()
    arguments = (f"grpc://127.0.0.1:{port}", table, "-o", "late.csv", "--keep", "id")
    command = [sys.executable, "-m", "anomaly_vae", "score", *arguments]
    options = ("--port", port, "--max-rows", 10)
    with (
        running(model_path, *options) as service,
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as scoring,
    ):
        while not service.metric("grpc_server_handled_total", grpc_method="Score", grpc_code="OK"):
            time.sleep(0.01)
        service.stop(signal.SIGKILL)
        warning = scoring.stderr.readline()
        with running(model_path, *options):
            summary = scoring.stderr.read()
            assert scoring.wait(60) == 0, warning + summary
    assert re.match(
        rf"127.0.0.1:{port} does not answer \(connection refused\); trying again for up to 5\d s\n", warning
    )
    assert summary.startswith("late.csv: 3,000 rows")
    run_cli("score", model_path, table, "-o", "local.csv", "--keep", "id")
    assert (tmp_path / "late.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_a_service_behind_tls_gets_the_token_of_the_environment(
    service, run_cli, model_path, tmp_path, table, monkeypatch
):
    """The service requires client certificates; --tls-ca, --tls-cert and --tls-key name the files."""
    authority = Authority("ours")
    key, cert = authority.issue("service", hosts=("127.0.0.1",))
    for name, content in zip(
        ("ca.pem", "cert.pem", "key.pem"), (authority.pem, *reversed(authority.issue("client"))), strict=True
    ):
        (tmp_path / name).write_bytes(content)
    options = ["--tls-ca", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--timeout", "30"]
    monkeypatch.setenv("ANOMALY_VAE_TOKEN", "avae_0123456789")
    run_cli("score", model_path, table, "-o", "local.csv")
    with scripted(
        service.target, grpc.ssl_server_credentials([(key, cert)], authority.pem, require_client_auth=True)
    ) as front:
        run_cli("score", f"grpcs://{front.target}", table, "-o", "remote.csv", *options)
        assert {metadata["authorization"] for metadata in front.metadata} == {"Bearer avae_0123456789"}
        assert max(front.remaining) < 35
        done = run_cli("score", f"grpcs://{front.target}", table, "-o", "x.csv", *options[:2], code=1)
        assert b"--tls-cert and --tls-key" in done.stderr
        done = run_cli("score", f"grpcs://{front.target}", table, "-o", "x.csv", code=1)
        assert b"certificate is not trusted" in done.stderr
        assert b"--tls-ca" in done.stderr
    assert (tmp_path / "remote.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("grpc://127.0.0.1:1", ["--tls-ca", "ca.pem"], "grpc:// is plaintext, but TLS options are given"),
        ("grpcs://127.0.0.1:1", ["--tls-ca", "none.pem"], "ca none.pem cannot be read: No such file"),
        ("grpcs://127.0.0.1:1", ["--tls-cert", "none.pem"], "cert is given without key"),
        ("grpcs://127.0.0.1:1", ["--timeout", "0"], "--timeout"),
        ("grpc://scores.example:1", [], "ANOMALY_VAE_TOKEN: grpc://scores.example:1 is plaintext"),
        ("model", ["--tls-ca", "ca.pem"], "--tls-ca is only for a service"),
        ("model", ["--timeout", "5"], "--timeout is only for a service"),
    ],
)
def test_wrong_options_for_a_service_are_bad_usage(run_cli, table, monkeypatch, model, options, text):
    monkeypatch.setenv("ANOMALY_VAE_TOKEN", "avae_0123456789")
    done = run_cli("score", model, table, "-o", "x.csv", *options, code=2)
    (line,) = done.stderr.decode().splitlines()
    assert text in line
    assert "avae_0123456789" not in line
