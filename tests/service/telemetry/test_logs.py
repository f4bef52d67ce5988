"""The log of the process: its sources, and that a refused start is one line of it."""

import contextlib
import io
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import pytest

from anomaly_vae.scorer import load
from anomaly_vae.service.telemetry.logs import configure, event
from tests.support.certificates import Authority
from tests.support.log_lines import lines_of
from tests.support.running import SERVING, running


@pytest.fixture
def restored():
    """Restore afterwards what configure() changes in the process."""
    root, ours = logging.getLogger(), logging.getLogger("anomaly_vae")
    before = (root.handlers[:], root.level, ours.level, warnings.showwarning, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    warnings.showwarning, threading.excepthook, sys.unraisablehook = before[3:]


@pytest.mark.usefixtures("restored")
def test_configure_logs_libraries_threads_and_warnings():
    stream = io.StringIO()
    configure("json", "info", stream)
    logging.getLogger("anomaly_vae.service").info("ours", extra=event("serving", port=1))
    logging.getLogger("anomaly_vae.service").debug("too much")
    logging.getLogger("some.library").info("too much")
    logging.getLogger("some.library").warning("theirs\nat length")
    warnings.showwarning("odd\nthing", RuntimeWarning, "file.py", 3)

    def fail():
        raise ValueError("31337.5")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    logging.getLogger().handlers[0].flush()
    assert "31337.5" not in stream.getvalue()
    ours, theirs, warning, fault = map(json.loads, stream.getvalue().splitlines())
    assert (ours["message"], ours["event"], ours["port"]) == ("ours", "serving", 1)
    assert theirs["message"] == "theirs"
    assert warning["message"] == "RuntimeWarning: odd"
    assert (fault["level"], fault["error_type"], "in fail" in fault["frames"][-1]) == ("error", "ValueError", True)


def test_the_start_line_has_a_field_for_each_of_its_parts(model_path):
    info = load(model_path).info
    with running(model_path, "--log-format", "json", "--threads", 3, "--max-rows", 99, "--name", "mine") as service:
        assert service.get("/readyz")[0] == 200
        assert service.health() == SERVING
        assert service.stop() == 0
        loaded, start, *_ = lines_of(service)
        assert (loaded["event"], loaded["change"], loaded["by"]) == ("audit", "loaded", "start")
        assert service.process.stdout.read() == ""
    assert {name: start[name] for name in start if name not in ("timestamp", "message", "logger")} == {
        "level": "info",
        "event": "serving",
        "model_name": "mine",
        "model_version": "1",
        "bundle_digest": info["bundle_digest"],
        "threshold": info["calibration"]["threshold"],
        "host": "127.0.0.1",
        "port": service.port,
        "metrics_host": "127.0.0.1",
        "metrics_port": service.metrics_port,
        "threads": 3,
        "max_rows": 99,
        "max_queue_rows": 262_144,
    }
    assert start["message"].startswith(f"serving mine version 1, bundle {info['bundle_digest'][:12]}, threshold ")


def ended_in_json(command, **options):
    """Exit code and records of a process that must write only JSON to both streams."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 60} | options
    done = subprocess.run([sys.executable, "-m", "anomaly_vae", *map(str, command)], check=False, **options)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--port", "first"], 2, "'first' is not a valid integer"),
        (["--no-such-option"], 2, "No such option"),
        (["--host"], 2, "requires an argument"),
        (["another", "model"], 2, "unexpected extra argument"),
        (["--port", "70000"], 2, "port must lie between"),
        (["--log-calls", "shout"], 2, "log_calls must be one of"),
        (["--metrics-host", "no.such.host.invalid"], 4, "cannot listen on no.such.host.invalid"),
        (["--tls-cert", "no-such-file", "--tls-key", "no-such-file"], 4, "no-such-file cannot be read"),
        (["--max-samples", "64"], 2, "calibrated for 4096 samples"),
    ],
)
@pytest.mark.parametrize("how", ["option", "option=", "environment"])
def test_in_json_a_refused_start_is_one_record_and_nothing_else(model_path, arguments, code, text, how):
    given = {"option": ["--log-format", "json"], "option=": ["--log-format=json"], "environment": []}[how]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    env |= {"ANOMALY_VAE_PORT": "0", "ANOMALY_VAE_METRICS_PORT": "0"}
    if how == "environment":
        env["ANOMALY_VAE_LOG_FORMAT"] = "json"
    actual, (record,) = ended_in_json(["serve", model_path, *given, *arguments], env=env)
    assert (actual, record["exit_code"], record["event"], record["level"]) == (code, code, "refused", "error")
    assert text in record["message"]
    assert "frames" not in record


def test_in_json_a_refused_model_is_a_record_with_its_place_if_asked_for(tmp_path):
    command = ["serve", tmp_path, "--port", 0, "--metrics-port", 0, "--log-format", "json"]
    for more in ([], ["-v"]):
        code, (record,) = ended_in_json([*command, *more])
        assert (code, record["event"], "manifest.json" in record["message"]) == (3, "refused", True)
        assert ("frames" in record, record.get("error_type")) == ((True, "BundleError") if more else (False, None))


def test_in_json_a_fault_of_ours_at_the_start_is_a_record_with_its_place(model_path):
    """The start fails with an unexpected exception. The record has what -v shows in text."""
    code = (
        "import sys\n"
        "import anomaly_vae.service.server as server\n"
        "def fail(*_):\n"
        "    raise RuntimeError('unforeseen')\n"
        "server.serve = fail\n"
        f"sys.argv = ['anomaly-vae', 'serve', {str(model_path)!r}, '--log-format', 'json']\n"
        "from anomaly_vae.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    record = json.loads(done.stderr)
    assert (done.returncode, done.stdout) == (1, "")
    assert (record["event"], record["error_type"], record["exit_code"]) == ("fault", "RuntimeError", 1)
    assert " in fail" in record["frames"][-1]


def test_in_json_a_mistreated_service_writes_nothing_else(model_path, tmp_path):
    """Wrong handshakes, broken HTTP/2, broken files and a second signal: both streams stay JSON."""
    key, certificate = Authority().issue()
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "tls.crt").write_bytes(certificate)
    options = ["--tls-cert", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key", "--log-format", "json"]
    command = ["serve", model_path, "--port", 0, "--metrics-port", 0, *options]
    with subprocess.Popen(
        [sys.executable, "-m", "anomaly_vae", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines = [process.stdout.readline()]
        while json.loads(lines[-1])["event"] != "serving":
            lines.append(process.stdout.readline())
        start = json.loads(lines[-1])
        for _ in range(3):
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 50):
                with socket.create_connection(("127.0.0.1", start["port"])) as client:
                    client.sendall(words)
                    client.settimeout(0.2)
                    with contextlib.suppress(OSError):
                        client.recv(100)
        (tmp_path / "tls.crt").write_bytes(b"")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", start["port"])) as client:
            ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    records = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert process.returncode in (0, 130)  # both signals may come as one
    assert {"serving", "reload_failed"} <= {record["event"] for record in records}


@pytest.mark.parametrize("option", ["--log-format", "--log-calls", "--log-level"])
def test_a_wrong_choice_is_refused_with_the_allowed_ones(model_path, run_cli, option):
    (line,) = run_cli("serve", model_path, option, "shout", code=2).stderr.decode().splitlines()
    assert f"{option[2:].replace('-', '_')} must be one of " in line
    assert "got 'shout'" in line
