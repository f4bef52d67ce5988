"""The thread that writes the log: order, blocked readers, streams that fail."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomaly_vae.service.telemetry.log_writer import LogWriter
from tests.support.data import make_rows
from tests.support.running import described_in_text, eventually, running, score, tensor

PIPE_BYTES = 65_536


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader) as readable, os.fdopen(writer, "w") as writable:
        yield readable, writable


def record(text):
    return logging.makeLogRecord({"msg": text})


def test_lines_come_in_order_and_flush_waits_for_them(pipe):
    readable, writable = pipe
    handler = LogWriter(writable)
    for i in range(500):
        handler.handle(record(f"line {i} \u2028 \ud800"))
    handler.flush()
    writable.close()
    assert readable.read() == "".join(f"line {i} \u2028 \\ud800\n" for i in range(500))


def test_a_blocked_reader_does_not_block_the_callers_and_lost_lines_are_reported(pipe):
    readable, writable = pipe
    handler = LogWriter(writable, max_queued=10)
    handler.handle(record("x" * (PIPE_BYTES + 1)))
    time.sleep(0.1)  # now the thread is blocked
    start = time.monotonic()
    for i in range(25):
        handler.handle(record(f"line {i}"))
    assert time.monotonic() - start < 0.1
    read = os.read(readable.fileno(), 2 * PIPE_BYTES)
    while b"were lost" not in read:
        read += os.read(readable.fileno(), PIPE_BYTES)
    handler.handle(record("later"))
    handler.flush()
    handler.close()
    writable.close()
    _, *lines = (read.decode() + readable.read()).splitlines()
    assert lines[:10] == [f"line {i}" for i in range(10)]
    assert lines[10].startswith("15 lines were lost here")
    assert lines[11:] == ["later"]


def test_a_non_blocking_pipe_loses_nothing(pipe):
    readable, writable = pipe
    os.set_blocking(writable.fileno(), False)
    handler = LogWriter(writable)
    text = "x" * (5 * PIPE_BYTES)
    handler.handle(record(text))
    assert readable.read(len(text) + 1) == f"{text}\n"


def test_lines_that_cannot_be_written_are_lost_and_counted():
    class Full(io.StringIO):
        full = True

        def write(self, text):
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    handler = LogWriter(stream)
    for text in ("one", "two"):
        handler.handle(record(text))
        handler.flush()
    stream.full = False
    handler.handle(record("three"))
    handler.flush()
    first, second = stream.getvalue().splitlines()
    assert first == "three"
    assert second.startswith("2 lines were lost here")
    assert handler.lines_lost == 2
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert handler.lines_lost == 3


@pytest.mark.parametrize("raising", [True, False])
def test_a_record_that_cannot_be_formatted_or_written_raises_nothing(raising, capsys):
    stream = io.StringIO()
    handler = LogWriter(stream)
    if raising:
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("31337.5",)}))
    else:
        stream.close()
        handler.handle(record("row 31337.5"))
    handler.flush()
    handler.close()
    handler.handle(record("too late"))
    handler.flush()
    assert capsys.readouterr().err == ""


def test_a_service_whose_log_is_not_read_serves_and_stops(model_path):
    rows = make_rows(3)
    with running(model_path, "--log-calls", "all", "--log-format", "json") as service, service.channel() as channel:
        long = "r" * 128
        for _ in range(4 * PIPE_BYTES // 500):
            score(channel, tensor=tensor(rows), request_id=long, timeout=10)
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 10
        events = [json.loads(line)["event"] for line in service.log().splitlines()[:2]]
        assert events == ["audit", "serving"]


def test_lost_lines_are_counted_in_the_metrics_while_the_log_cannot_report_them(model_path):
    """On a full disk, the metric is the only sign of lost lines."""
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model_path), "--log-calls", "all"]
    command += ["--port", "0", "--metrics-port", "0"]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=full, text=True) as process,
    ):
        service = described_in_text(process)
        with service.channel() as channel:
            for lines in range(2, 6):  # the two lines of the start, and one for each call
                eventually(lambda lines=lines: service.metric("anomaly_vae_log_lines_lost_total") == lines)
                score(channel, tensor=tensor(make_rows(1)))
        assert service.stop() == 0


def test_a_log_that_is_read_loses_no_line(service):
    assert service.metric("anomaly_vae_log_lines_lost_total") == 0


def test_a_service_without_standard_error_serves(model_path):
    command = f"exec {sys.executable} -m anomaly_vae serve {model_path} --port 0 --metrics-port 0 2>&-"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("serving ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


WRITING = """
import logging, sys
from anomaly_vae.service.telemetry.log_writer import LogWriter

letter, lock = sys.argv[1], int(sys.argv[2])
log = logging.getLogger("lines")
log.addHandler(LogWriter(sys.stderr, lock=lock))
for _ in range(300):
    log.error(letter * 8_000)
log.handlers[0].flush()
"""


def test_lines_of_processes_that_share_a_pipe_stay_whole(tmp_path):
    """A pipe keeps only texts of up to 4,096 bytes together; without the lock this fails."""
    with (tmp_path / "lock").open("w") as lock:
        reading, writing = os.pipe()
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITING, letter, str(lock.fileno())], stderr=writing, pass_fds=[lock.fileno()]
            )
            for letter in "ab"
        ]
        os.close(writing)
        with os.fdopen(reading) as pipe:
            lines = pipe.read().splitlines()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert sorted(lines) == ["a" * 8_000] * 300 + ["b" * 8_000] * 300
