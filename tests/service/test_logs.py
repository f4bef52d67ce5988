"""The log: one line a record whatever it holds, nothing of a row in it, and no flood."""

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
from collections import Counter

import grpc
import pytest

from anomaly_vae.scorer import load
from anomaly_vae.service.logs import CallLog, JsonFormatter, TextFormatter, configure, event
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.records import CallRecord, current_call
from tests.conftest import make_rows
from tests.service.certificates import Authority
from tests.service.running import SERVING, fault_of, running, score, send_bytes, tensor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
HOSTILE = [
    "two\nlines",
    "a carriage\rreturn",
    "a separator\u2028of lines and a\x85next one",
    "\x1b[31mred\x1b[0m",
    "half a pair \udc80",
    'a quote " and a brace }',
    "\x00",
    "right to left \u202e",
    "x" * 100_000,
]


def record_of(message, *arguments, name="anomaly_vae.service", fields=None, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, message, arguments, info)
    if fields is not None:
        record.fields = fields
    return record


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.fixture
def restored():
    """What configure() changes of the process, put back."""
    root, ours = logging.getLogger(), logging.getLogger("anomaly_vae")
    before = (root.handlers[:], root.level, ours.level, warnings.showwarning, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    warnings.showwarning, threading.excepthook, sys.unraisablehook = before[3:]


@pytest.fixture
def calls(caplog):
    caplog.set_level(logging.INFO, "anomaly_vae.service.calls")
    return caplog


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_is_one_line_of_bounded_length_whatever_it_holds(text):
    record = record_of("got %s", text, fields={"event": "call", "request_id": text, "other": [text]})
    line = TextFormatter().format(record)
    assert line.isprintable()
    assert len(line) < 60_000
    as_json = JsonFormatter().format(record)
    assert len(as_json.splitlines()) == 1
    assert as_json.isascii()
    assert json.loads(as_json)["request_id"][:20] == text[:20].replace("\udc80", "?")


def test_json_has_time_level_logger_message_and_the_fields():
    record = record_of("%d rows", 7, fields={"rows": 7, "seconds": 0.25, "nothing": float("nan"), "message": "mine"})
    record.created = 1_700_000_000.0625
    assert json.loads(JsonFormatter().format(record)) == {
        "timestamp": "2023-11-14T22:13:20.062Z",
        "level": "warning",
        "logger": "anomaly_vae.service",
        "message": "7 rows",
        "rows": 7,
        "seconds": 0.25,
        "nothing": None,
    }
    assert TextFormatter().format(record) == "2023-11-14T22:13:20.062Z WARNING 7 rows"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anomaly_vae.service", "a thread failed"),
        ("asyncio", "Task exception was never retrieved\nfuture: <Task exception=ValueError('31337.5')>"),
        ("asyncio", "Exception in callback put(array([31337.5]))"),
        ("some.library", "it failed\nwith 31337.5"),
    ],
)
def test_an_exception_is_its_type_and_place_but_never_its_text(formatter, name, message):
    line = formatter.format(record_of(message, name=name, error=raised(ValueError("row 3 has 31337.5"))))
    assert "ValueError" in line
    assert "test_logs.py" in line
    assert "in raised" in line
    assert "31337.5" not in line
    assert message.split("\n")[0].split("(")[0] in line


def test_a_message_that_cannot_be_put_together_is_still_a_line():
    assert "%d rows" in TextFormatter().format(record_of("%d rows", "seven"))


@pytest.mark.usefixtures("restored")
def test_configure_catches_what_libraries_threads_and_warnings_say():
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


def ended(code="INVALID_ARGUMENT", kind="unary", **known):
    return CallRecord(kind, "some.Service", "Method", code=grpc.StatusCode[code], **known)


@pytest.mark.parametrize(
    ("which", "code", "kind", "logged"),
    [
        ("failed", "OK", "unary", False),
        ("failed", "INVALID_ARGUMENT", "unary", True),
        ("failed", "CANCELLED", "unary", True),
        ("failed", "CANCELLED", "server_stream", False),
        ("failed", "UNAVAILABLE", "bidi_stream", True),
        ("all", "OK", "unary", True),
        ("all", "CANCELLED", "server_stream", True),
        ("none", "INVALID_ARGUMENT", "unary", False),
    ],
)
def test_log_calls_decides_which_calls_have_a_line(calls, which, code, kind, logged):
    CallLog(which).log(ended(code, kind))
    assert len(calls.records) == logged


def test_a_fault_of_ours_is_logged_whatever_was_asked(calls):
    record = ended("INTERNAL")
    record.blame(raised(MemoryError("31337.5")))
    CallLog("none").log(record)
    (line,) = calls.records
    assert (line.levelname, line.fields["error_type"]) == ("ERROR", "MemoryError")
    assert "31337.5" not in JsonFormatter().format(line)


def test_so_is_one_within_a_stream_that_went_on(calls):
    record = ended("OK", "bidi_stream")
    record.blame(raised(MemoryError("31337.5")))
    CallLog("none").log(record)
    (line,) = calls.records
    assert (line.levelname, line.fields["error_type"]) == ("ERROR", "MemoryError")


@pytest.mark.parametrize(
    ("code", "level"), [("NOT_FOUND", "INFO"), ("RESOURCE_EXHAUSTED", "WARNING"), ("INTERNAL", "ERROR"), ("OK", "INFO")]
)
def test_the_level_tells_whose_fault_it_is(calls, code, level):
    CallLog("all").log(ended(code))
    assert [line.levelname for line in calls.records] == [level]


def test_of_a_flood_fifty_lines_a_second_remain_and_the_number_of_the_others(calls):
    now = 1000.0
    log = CallLog("failed", lambda: now)
    for i in range(10_000):  # 1,000 calls a second for 10 seconds
        now = 1000.0 + i / 1000
        log.log(ended())
    log.close()
    left_out = [line.fields["calls"] for line in calls.records if line.fields["event"] == "calls_left_out"]
    lines = len(calls.records) - len(left_out)
    assert 540 <= lines <= 550  # one second's worth at once, then 50 a second
    assert 9 <= len(left_out) <= 11
    assert lines + sum(left_out) == 10_000
    calls.clear()
    now += 5
    log.log(ended())
    log.close()
    assert [line.fields["event"] for line in calls.records] == ["call"]


def test_outside_a_call_there_is_a_record_that_nobody_reads():
    current_call().ask("lost", 7)
    assert (current_call().request_id, current_call().rows) == ("", 0)


def lines_of(service):
    """All lines of standard error of a service that has ended, as JSON."""
    return [json.loads(line) for line in service.log().splitlines()]


def calls_in(lines):
    return [line for line in lines if line["event"] == "call"]


def test_a_running_service_logs_json_lines_with_ids_and_nothing_of_the_rows(model_path):
    rows = make_rows(3, seed=5)
    rows[1, 1] = 31337.0625
    bad = rows.copy()
    bad[2, 3] = float("inf")
    metadata = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("x-request-id", "by-metadata")]
    with running(model_path, "--log-format", "json", "--name", "evil\u2019s") as service, service.channel() as channel:
        stub = ScoringServiceStub(channel)
        score(channel, tensor=tensor(rows))
        request = pb.ScoreRequest(tensor=tensor(bad), request_id="r-17")
        assert fault_of(stub.Score, request, metadata=metadata)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert fault_of(send_bytes, channel, b"\xff\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT
        fault_of(stub.GetModel, pb.GetModelRequest(model_name="another\n31337.0625"), metadata=metadata)
        assert service.stop() == 0
        lines = lines_of(service)
    text = json.dumps(lines)
    for cell in rows[:, :4].ravel():
        assert str(cell) not in text
    assert "31337" not in text
    assert '"inf"' not in text
    assert Counter(line["event"] for line in lines) == {"serving": 1, "call": 3, "draining": 1, "stopped": 1}
    assert lines[0]["model_name"] == "evil\u2019s"
    failed, unread, lost = calls_in(lines)
    assert failed["grpc_service"] == "anomaly_vae.v1.ScoringService"
    assert (failed["grpc_method"], failed["grpc_code"], failed["rows"]) == ("Score", "INVALID_ARGUMENT", 3)
    assert (failed["level"], failed["request_id"], failed["model_version"]) == ("info", "r-17", "1")
    assert (failed["trace_id"], failed["parent_span_id"]) == (TRACE, CALLER)
    assert len(failed["span_id"]) == 16
    assert failed["span_id"] not in (CALLER, lost["span_id"])
    assert 0 < failed["seconds"] < 10
    assert "trace_id" not in unread
    assert (lost["grpc_code"], lost["request_id"]) == ("NOT_FOUND", "by-metadata")


def test_a_flood_of_bad_requests_does_not_fill_the_disk(model_path):
    with running(model_path, "--log-format", "json") as service, service.channel() as channel:
        call = channel.unary_unary("/anomaly_vae.v1.ScoringService/Score")
        codes = Counter()
        for _ in range(5):  # gRPC itself turns away what one connection has too many of at a time: that is no call
            waiting = [call.future(b"\xff", timeout=60) for _ in range(100)]
            codes.update(future.exception().code().name for future in waiting)
        assert service.stop() == 0
        lines = lines_of(service)
    left_out = sum(line["calls"] for line in lines if line["event"] == "calls_left_out")
    assert codes == {"INVALID_ARGUMENT": 500}
    assert len(calls_in(lines)) + left_out == 500
    assert left_out > 0


def test_log_calls_all_has_a_line_for_every_call_in_text_too(model_path):
    with running(model_path, "--log-calls", "all") as service, service.channel() as channel:
        score(channel, tensor=tensor(make_rows(3)), request_id="r-18")
        assert service.stop() == 0
        (line,) = (line for line in service.log().splitlines() if "/Score" in line)
    assert " INFO anomaly_vae.v1.ScoringService/Score OK after " in line
    assert line.endswith(" ms, 3 rows request_id=r-18")


def test_the_line_of_a_stream_counts_the_rows_of_all_its_requests(model_path):
    with running(model_path, "--log-calls", "all", "--log-format", "json") as service, service.channel() as channel:
        requests = [pb.ScoreRequest(tensor=tensor(make_rows(n)), request_id=f"r-{n}") for n in (1, 2, 3)]
        assert len(list(ScoringServiceStub(channel).ScoreStream(iter(requests), timeout=60))) == 3
        assert service.stop() == 0
        (line,) = calls_in(lines_of(service))
    assert (line["grpc_type"], line["grpc_method"], line["grpc_code"]) == ("bidi_stream", "ScoreStream", "OK")
    assert (line["rows"], line["request_id"]) == (6, "r-3")


def test_the_line_of_the_start_has_each_of_its_parts_as_a_field(model_path):
    info = load(model_path).info
    with running(model_path, "--log-format", "json", "--threads", 3, "--max-rows", 99, "--name", "mine") as service:
        assert service.get("/readyz")[0] == 200
        assert service.health() == SERVING
        assert service.stop() == 0
        start = lines_of(service)[0]
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
    """Exit code and records of a process that must write nothing but JSON, on both streams together."""
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
        (["--max-samples", "64"], 2, "calibrated for 1024 samples"),
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
    """The start fails as no code of ours foresees; the record has what -v shows in text."""
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


def test_in_json_nothing_else_is_written_by_a_service_that_is_ill_used(model_path, tmp_path):
    """Wrong handshakes, broken HTTP/2 and files, a second signal: whatever happens, both streams together are JSON."""
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
def test_words_that_are_no_choice_are_refused_with_the_choices(model_path, run_cli, option):
    (line,) = run_cli("serve", model_path, option, "shout", code=2).stderr.decode().splitlines()
    assert f"{option[2:].replace('-', '_')} must be one of " in line
    assert "got 'shout'" in line
