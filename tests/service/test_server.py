"""How the service starts, handles interrupted calls, and stops."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import load
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from anomaly_vae.service.server import Server
from anomaly_vae.service.settings import ServeConfig
from tests.support.data import make_rows
from tests.support.running import AS_INSTALLED, SERVING, assert_same_bits, eventually, fault_of, running, score, tensor

SLOW = {"tensor": tensor(make_rows(16_000)), "max_std_error": 1e-9}  # the cap of samples for every row: 15 to 50 s


def test_a_call_past_its_deadline_ends_and_its_work_with_it(service):
    with service.channel() as channel:
        handled = service.metric("grpc_server_handled_total", grpc_code="DeadlineExceeded")
        code, _, _ = fault_of(score, channel, **SLOW, timeout=1.5)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 0)
        eventually(lambda: service.metric("grpc_server_handled_total", grpc_code="DeadlineExceeded") == handled + 1)
        assert service.metric("anomaly_vae_rejected_total", reason="deadline") >= 1
        assert_idle(service)


def test_a_cancelled_call_ends_and_its_work_with_it(service):
    with service.channel() as channel:
        handled = service.metric("grpc_server_handled_total", grpc_code="Canceled")
        call = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(**SLOW))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 16_000)
        call.cancel()
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 0)
        eventually(lambda: service.metric("grpc_server_handled_total", grpc_code="Canceled") == handled + 1)
        assert_idle(service)


def assert_idle(service):
    """Check that the threads are idle: the CPU time grows only by the scrapes."""
    time.sleep(0.3)
    before = service.metric("process_cpu_seconds_total")
    time.sleep(0.5)
    assert service.metric("process_cpu_seconds_total") - before < 0.2


def test_a_short_request_does_not_wait_for_a_long_one(service, scorer, new_rows):
    with service.channel() as channel:
        long_call = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(**SLOW))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 16_000)
        reply = score(channel, tensor=tensor(new_rows[:1]), timeout=60)
        assert not long_call.done()
        long_call.cancel()
    assert_same_bits(reply, scorer.score(new_rows[:1]))


def test_too_many_rows_are_turned_away_at_once_with_a_time_to_return(model_path):
    with running(model_path, "--max-queue-rows", 16_000, "--max-rows", 16_000) as service, service.channel() as channel:
        waiting = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(**SLOW))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 16_000)
        code, details, _ = fault_of(score, channel, tensor=tensor(make_rows(1)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "16000 rows are waiting, at most 16000 may" in details
        assert service.metric("anomaly_vae_rejected_total", reason="queue_full") == 1
        assert service.metric("anomaly_vae_rows_total", outcome="invalid") == 0
        unread = tensor(np.full((1, 5), np.inf))  # refused before its values are checked
        assert fault_of(score, channel, tensor=unread)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert service.metric("anomaly_vae_queue_limit_rows") == 16_000
        waiting.cancel()


def test_sigterm_answers_what_was_admitted_and_refuses_the_rest(model_path, scorer):
    rows = make_rows(3000, seed=8)
    with running(model_path, "--grace", 300) as service, service.channel() as channel:
        admitted = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(tensor=tensor(rows)))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 3000)
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: service.get("/readyz") == (503, "draining\n"))
        with service.channel() as late:
            assert fault_of(score, late, tensor=tensor(rows[:1]))[0] is grpc.StatusCode.UNAVAILABLE
        assert_same_bits(admitted.result(), scorer.score(rows))
        assert service.process.wait(60) == 0


def test_drain_under_load_loses_no_reply(model_path, scorer):
    """Every call gets the right answer or UNAVAILABLE. No call hangs, and the exit code is 0."""
    rows = make_rows(64, seed=9)
    expected = scorer.score(rows)
    outcomes, lock = [], threading.Lock()
    with running(model_path, "--grace", 300) as service:

        def ask(seed):
            rng = np.random.default_rng(seed)
            with service.channel() as channel:
                while True:
                    i, n = rng.integers(0, 48), rng.integers(1, 17)
                    try:
                        reply = score(channel, tensor=tensor(rows[i : i + n]), timeout=200)
                    except grpc.RpcError as error:
                        with lock:
                            outcomes.append(error.code())
                        return
                    right = np.array(reply.log_px).tobytes() == expected.log_px[i : i + n].tobytes()
                    with lock:
                        outcomes.append(right)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(outcomes) > 200)
        assert service.stop(timeout=100) == 0
        for thread in threads:
            thread.join()
    ends = [outcome for outcome in outcomes if not isinstance(outcome, bool)]
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}
    assert len(ends) == 12
    assert all(outcome for outcome in outcomes if isinstance(outcome, bool))


def test_a_watcher_of_health_sees_the_end_and_does_not_delay_it(model_path):
    with running(model_path, "--grace", 300) as service, service.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert next(watch).status == SERVING
        assert service.stop(timeout=100) == 0
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        code, details, _ = fault_of(next, watch)
        assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")


def test_calls_that_outlast_the_grace_are_cut_off_and_the_exit_code_says_so(model_path):
    with running(model_path, "--grace", "0.5") as service, service.channel() as channel:
        call = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(**SLOW))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 16_000)
        assert service.stop(timeout=100) == 1
        assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
        assert "its grace is over; send it again" in call.exception().details()
        cut = r"1 calls were cut off and 1[3-6]\d{3} rows not scored, because the grace of 0.5 s has passed"
        assert re.search(cut, service.process.stderr.read())


def test_a_drain_finishes_what_it_can_in_its_grace(model_path):
    """The calls need about seven times the grace. Computed in parallel none would finish; one by one some do.

    The grace is enough for three and a half calls, so that it does not end as a call does: that one could be answered,
    or cut off, or both. The test bears a machine that becomes 3 times slower or 6 times faster.
    """
    grace, request = 4, pb.ScoreRequest(tensor=tensor(make_rows(500)), max_std_error=1e-9)
    with running(model_path, "--threads", 1) as service, service.channel() as channel:
        start = time.monotonic()
        score(channel, request, timeout=200)
        rows = int(500 * grace / 3.5 / (time.monotonic() - start))
    with running(model_path, "--threads", 1, "--grace", grace) as service:
        with contextlib.ExitStack() as stack:
            stubs = [ScoringServiceStub(stack.enter_context(service.channel())) for _ in range(24)]
            request = pb.ScoreRequest(tensor=tensor(make_rows(rows)), max_std_error=1e-9)
            calls = [stub.Score.future(request, timeout=200) for stub in stubs]
            eventually(lambda: service.metric("anomaly_vae_queue_rows") == 24 * rows)
            assert service.stop(timeout=100) == 1
            codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        assert f"{codes.count(grpc.StatusCode.UNAVAILABLE)} calls were cut off" in service.process.stderr.read()


def test_sighup_looks_for_models_and_stops_nothing(model_path, scorer, tmp_path):
    """Calls that are under way get the version that they began with."""
    shutil.copytree(model_path, tmp_path / "fraud" / "1")
    rows = make_rows(3000, seed=8)
    with running(tmp_path, "--poll-seconds", 3600) as service, service.channel() as channel:
        admitted = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(tensor=tensor(rows)))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 3000)
        (tmp_path / "fraud" / "1").rename(tmp_path / "fraud" / "2")
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: score(channel, tensor=tensor(rows[:1])).model_version == "2")
        assert (admitted.result().model_name, admitted.result().model_version) == ("fraud", "1")
        assert_same_bits(admitted.result(), scorer.score(rows))
        assert service.stop() == 0


def test_a_service_started_with_nohup_outlives_its_terminal(model_path, scorer, new_rows):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        started = running(model_path, command=AS_INSTALLED)
        service = started.__enter__()
    finally:
        signal.signal(signal.SIGHUP, former)
    with contextlib.ExitStack() as stack:
        stack.push(started)
        service.process.send_signal(signal.SIGHUP)
        with service.channel() as channel:
            assert_same_bits(score(channel, tensor=tensor(new_rows)), scorer.score(new_rows))
        assert service.get("/readyz") == (200, "ready\n")
        assert service.stop() == 0


def test_a_second_signal_ends_it_at_once(model_path):
    with running(model_path, "--grace", 300) as service, service.channel() as channel:
        call = ScoringServiceStub(channel).Score.future(pb.ScoreRequest(**SLOW))
        eventually(lambda: service.metric("anomaly_vae_queue_rows") == 16_000)
        service.process.send_signal(signal.SIGINT)
        eventually(lambda: service.get("/readyz")[0] == 503)
        assert service.stop(signal.SIGINT, timeout=60) == 130
        assert call.exception() is not None


@pytest.mark.parametrize("which", ["--port", "--metrics-port"])
def test_a_port_in_use_is_exit_4_and_one_line(service, model_path, run_cli, which):
    taken = service.port if which == "--port" else service.metrics_port
    other = "--metrics-port" if which == "--port" else "--port"
    done = run_cli("serve", model_path, which, taken, other, 0, code=4)
    (line,) = done.stderr.decode().splitlines()
    assert f"cannot listen on 127.0.0.1, port {taken}" in line
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--host", "0.0.0.0"], 2, "host 0.0.0.0 is reachable from other machines"),  # noqa: S104
        (["--host", "::"], 2, "--insecure-listen"),
        (["--host", "no.such.host.invalid"], 2, "no address of this machine"),
        (["--metrics-host", "no.such.host.invalid"], 4, "cannot listen on no.such.host.invalid"),
        (["--port", "70000"], 2, "port must lie between 0 and 65535, got 70000"),
        (["--port", "50999", "--metrics-port", "50999"], 2, "port and metrics_port are both 50999"),
        (["--max-queue-rows", "10"], 2, "the largest request could never be admitted"),
        (["--max-columns", "4"], 2, "the model has 5 columns, max_columns allows 4"),
        (["--host", "no.such.host.invalid", "--insecure-listen"], 2, "no address of this machine"),
        (["--model-version", "0"], 2, "version must lie between 1 and"),
        (["--max-samples", "64"], 2, "calibrated for 4096 samples a row, max_samples allows 64"),
        (["--grace", "nan"], 2, "grace must lie between 0 and 3600"),
        (["--reply-timeout", "0"], 2, "reply_timeout must lie between 0.1 and 3600"),
        (["--max-queue-bytes", "1000"], 2, "max_queue_bytes must lie between 134217728 and"),
        (["--max-calls", "0"], 2, "max_calls must lie between 1 and"),
        (["--name", "a\tb"], 2, "printable"),
        (["--threads", "0"], 2, "threads must lie between 1 and 1024"),
        (["--nice", "20"], 2, "nice must lie between 0 and 19"),
        (["--max-message-bytes", "1"], 2, "max_message_bytes must lie between 4096"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(model_path, run_cli, options, code, text):
    defaults = ["--port", "0", "--metrics-port", "0"]
    done = run_cli("serve", model_path, *defaults, *options, code=code)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("anomaly-vae: error: ")
    assert text in line


def test_a_refused_bundle_is_exit_3(model_path, tmp_path, run_cli):
    broken = shutil.copytree(model_path, tmp_path / "model")
    (broken / "noise.npy").write_bytes(b"no")
    done = run_cli("serve", broken, "--port", 0, "--metrics-port", 0, code=3)
    assert "noise.npy" in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1


def test_name_version_and_settings_come_from_directory_options_and_environment(model_path, tmp_path):
    versioned = shutil.copytree(model_path, tmp_path / "fraud" / "12")
    with running(versioned) as service:
        assert service.line.startswith("serving fraud version 12 on 127.0.0.1:")
        assert service.metric("anomaly_vae_model_info", model_name="fraud", model_version="12") == 1
    with running(
        model_path, "--name", "mine", env={"ANOMALY_VAE_NAME": "theirs", "ANOMALY_VAE_THREADS": "1"}
    ) as service:
        assert service.line.startswith("serving mine version 1 ")
    with running(versioned, "--model-version", "13") as service:
        assert service.line.startswith("serving fraud version 13 on ")
        assert service.stop() == 0
        loaded, start, draining, stopped = service.process.stderr.read().splitlines()
        digest = load(versioned).info["bundle_digest"]
        assert f"INFO loaded fraud version 13, bundle {digest[:12]}, by start" in loaded
        assert f"INFO serving fraud version 13, bundle {digest[:12]}, threshold " in start
        assert f"gRPC on 127.0.0.1 port {service.port}, metrics on 127.0.0.1 port {service.metrics_port}, " in start
        assert "draining" in draining
        assert "stopped" in stopped
    with running(model_path, env={"ANOMALY_VAE_NAME": "theirs"}) as service:
        assert service.line.startswith("serving theirs version 1 ")


def test_the_service_listens_on_ipv6(model_path):
    with running(model_path, "--host", "::1", "--metrics-host", "::1") as service:
        assert "on [::1]:" in service.line
        with grpc.insecure_channel(f"[::1]:{service.port}") as channel:
            assert len(score(channel, tensor=tensor(make_rows(2))).log_px) == 2


def test_it_starts_without_torch_pandas_and_tables(model_path):
    """Each import costs start time and memory."""
    code = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from anomaly_vae.service.settings import ServeConfig\n"
        "from anomaly_vae.service.server import Server\n"
        "async def main():\n"
        f"    server = Server(ServeConfig(model=Path({str(model_path)!r}), port=0, metrics_port=0))\n"
        "    await server.start()\n"
        "    await server.load()\n"
        "    await server.stop()\n"
        "asyncio.run(main())\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'onnx', 'pandas', 'pyarrow', 'rich', 'cryptography')"
        " if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_before_the_model_is_loaded_calls_are_unavailable_and_health_says_so(model_path):
    async def scenario():
        server = Server(ServeConfig(model=model_path, port=0, metrics_port=0, threads=1))
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = ScoringServiceStub(channel)
            check = health_pb2_grpc.HealthStub(channel).Check
            before = await check(health_pb2.HealthCheckRequest(service=SERVICE))
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.Score(pb.ScoreRequest(tensor=tensor(make_rows(1))))
            await server.load()
            after = await check(health_pb2.HealthCheckRequest(service=SERVICE))
            reply = await stub.Score(pb.ScoreRequest(tensor=tensor(make_rows(1))))
        assert await server.stop()
        return before.status, error.value.code(), after.status, len(reply.log_px)

    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert asyncio.run(scenario()) == (not_serving, grpc.StatusCode.UNAVAILABLE, SERVING, 1)


def test_a_call_that_reaches_a_draining_service_is_refused_and_counted(model_path):
    async def scenario():
        server = Server(ServeConfig(model=model_path, port=0, metrics_port=0))
        await server.start()
        await server.load()
        server._scoring.drained.set()  # the state between the signal and the moment when gRPC stops accepting
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ScoringServiceStub(channel).Score(pb.ScoreRequest(tensor=tensor(make_rows(1))))
        assert await server.stop()
        return error.value.code(), server.metrics.registry.get_sample_value(
            "anomaly_vae_rejected_total", {"reason": "draining"}
        )

    assert asyncio.run(scenario()) == (grpc.StatusCode.UNAVAILABLE, 1)


def test_a_call_that_arrives_with_the_last_reply_is_not_cut_off(model_path):
    """Another call may arrive between the last reply and the check for unfinished calls. It gets the grace too."""

    async def scenario():
        server = Server(ServeConfig(model=model_path, port=0, metrics_port=0, grace=300.0))
        await server.start()
        await server.load()
        wait, times = server._calls.wait_until_answered, []

        async def wait_until_answered():
            times.append(server._calls.unfinished)
            if len(times) > 1:  # the first time, return as if the last reply had just been sent
                await wait()

        server._calls.wait_until_answered = wait_until_answered
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            request = pb.ScoreRequest(tensor=tensor(make_rows(600)), max_std_error=1e-9)
            call = ScoringServiceStub(channel).Score(request)
            while not server._calls.unfinished:
                await asyncio.sleep(0.01)
            complete = await server.stop()
            return complete, times[0], len((await call).log_px)

    assert asyncio.run(scenario()) == (True, 1, 600)


def test_a_fault_of_ours_is_internal_and_says_nothing(model_path, caplog):
    """The text of an error may hold values of a row: neither the caller nor the log gets it."""

    class Faulty:
        def __init__(self, scorer):
            self.scorer = scorer

        def __getattr__(self, name):
            return getattr(self.scorer, name)

        def score_rows(self, rows, **_options):
            raise MemoryError(f"no room for {rows[0, 0]}")

    async def scenario():
        server = Server(ServeConfig(model=model_path, port=0, metrics_port=0))
        await server.start()
        await server.load()
        served = server.models.models["model"].default
        object.__setattr__(served, "scorer", Faulty(served.scorer))
        codes = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for num_rows in (1, 100):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await ScoringServiceStub(channel).Score(pb.ScoreRequest(tensor=tensor(make_rows(num_rows))))
                codes.append((error.value.code(), error.value.details()))
        assert await server.stop()
        return codes

    assert asyncio.run(scenario()) == [(grpc.StatusCode.INTERNAL, "internal error; the server's log says where")] * 2
    assert caplog.text.count("Score failed with MemoryError") == 2
    assert " in score_rows" in str(
        [record.fields.get("frames") for record in caplog.records if hasattr(record, "fields")]
    )
    assert str(make_rows(1)[0, 0]) not in caplog.text


def test_sigterm_while_loading_stops_without_an_error(model_path):
    """The signal arrives at different points of the start."""
    for delay in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-m", "anomaly_vae", "serve", str(model_path), "--port", "0", "--metrics-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        time.sleep(delay)
        process.terminate()
        _, log = process.communicate(timeout=60)
        assert process.returncode in (0, 143, -signal.SIGTERM), log
        assert b"internal error" not in log
        assert b"Traceback" not in log
        assert b"never retrieved" not in log


def test_a_watcher_that_reads_nothing_does_not_block_others(model_path):
    """Raw HTTP/2 frames: a window of 0 bytes, then Watch. The status must still change for all others."""

    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def literal(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/grpc.health.v1.Health/Watch")]
    headers += [(b":authority", b"x"), (b"te", b"trailers"), (b"content-type", b"application/grpc")]

    async def scenario():
        server = Server(ServeConfig(model=model_path, port=0, metrics_port=0))
        await server.start()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, 0)))
        block = b"".join(literal(name, value) for name, value in headers)
        writer.write(frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
        await writer.drain()
        until = time.monotonic() + 60
        watching = {"grpc_type": "server_stream", "grpc_service": "grpc.health.v1.Health", "grpc_method": "Watch"}
        while not server.metrics.registry.get_sample_value("grpc_server_started_total", watching):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        await asyncio.wait_for(server.load(), 60)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            status = (await check(health_pb2.HealthCheckRequest(), timeout=60)).status
        assert await asyncio.wait_for(server.stop(), 60)
        writer.close()
        return status

    assert asyncio.run(scenario()) == SERVING


def test_a_silent_connection_does_not_delay_the_exit(model_path):
    with running(model_path) as service:
        assert service.health() == SERVING
        start = time.monotonic()
        assert service.stop() == 0
        usual = time.monotonic() - start
    with running(model_path) as service, socket.create_connection(("127.0.0.1", service.port)) as silent:
        silent.send(os.urandom(3))
        assert service.health() == SERVING
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < max(4, 10 * usual)


def test_a_model_name_needs_letters():
    with pytest.raises(ConfigError, match="name must have 1 to 128 printable characters"):
        ServeConfig(model="/", name="")
