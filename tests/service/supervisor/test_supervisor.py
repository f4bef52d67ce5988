"""The start, the signals and the end of a service with several workers; stubs are in place of the service."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from anomaly_vae.errors import BundleError, StartupError
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.supervisor import supervisor as supervisor_module
from anomaly_vae.service.supervisor.supervisor import Supervisor, supervise
from tests.support.fleets import until, use_stub_workers


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    use_stub_workers(monkeypatch)
    monkeypatch.setattr(supervisor_module, "configure", lambda *_, **__: None)  # the log of the tests stays


@pytest.fixture
def given(monkeypatch):
    """Settings of the stubs, in place of those of the service."""
    values = {}
    monkeypatch.setattr(supervisor_module, "config_message", lambda config: values)
    return values


CONFIG = ServeConfig(model=Path("model"), workers=2, port=0, metrics_port=0, http_port=0, grace=1.0)


async def get(supervisor, path):
    def read():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{supervisor.metrics_port}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()

    return await asyncio.to_thread(read)


def test_a_service_is_ready_when_all_workers_are_and_stays_so_while_one_is(given):
    async def main():
        supervisor = Supervisor(CONFIG)
        assert await get(supervisor, "/readyz") == (503, "loading: 0 of 2 workers are ready")
        await supervisor.start()
        assert await get(supervisor, "/readyz") == (200, "ready: 2 of 2 workers")
        assert await get(supervisor, "/livez") == (200, "alive")
        given["failing"] = [0, 1]  # from now on
        for left in (1, 0):
            process = supervisor.fleet.ready[0]
            os.kill(process.pid, signal.SIGKILL)
            await until(lambda left=left: len(supervisor.fleet.ready) == left)
            text = f"{'ready' if left else 'not ready'}: {left} of 2 workers"
            assert await get(supervisor, "/readyz") == (200 if left else 503, text)
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)
        assert (await supervisor._ready()) == (False, "draining")
        await stopping

    asyncio.run(main())


def test_ports_of_zero_are_found_once_for_all_workers(given):
    async def main():
        supervisor = Supervisor(CONFIG)
        ports = {supervisor.port, supervisor.metrics_port, supervisor.config.http_port}
        assert len(ports) == 3
        assert min(ports) > 0
        with pytest.raises(StartupError, match=rf"port {supervisor.port}: the port is taken"):
            Supervisor(ServeConfig(model=Path("model"), workers=2, port=supervisor.port, metrics_port=0))
        assert await supervisor.stop()

    asyncio.run(main())


def test_a_worker_that_cannot_start_ends_the_start_with_its_error(given):
    given["failing"] = [1]
    with pytest.raises(BundleError, match=r"^the bundle is damaged$"):
        supervise(CONFIG, None)


def test_a_worker_that_dies_while_it_starts_ends_the_start(given):
    given["crashing"] = [0]
    with pytest.raises(StartupError, match="worker 0 ended by SIGKILL while it started"):
        supervise(CONFIG, None)


def test_at_sigterm_all_workers_drain_and_their_exit_codes_count(given):
    for code, expected in ((0, 0), (1, 1)):
        given["code"] = code
        assert supervise(CONFIG, lambda _: os.kill(os.getpid(), signal.SIGTERM)) == expected


@pytest.mark.parametrize(("cores", "count"), [({0}, 1), ({0, 1}, 0)])
def test_more_workers_than_cores_cause_a_warning(given, monkeypatch, caplog, cores, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    supervise(CONFIG, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert caplog.text.count("2 workers share 1 cores") == count


def test_a_worker_that_does_not_end_is_killed(given, monkeypatch, caplog):
    monkeypatch.setattr(supervisor_module, "_BEYOND_GRACE_S", -0.5)

    def hang_and_stop(supervisor):
        os.kill(supervisor.fleet.ready[1].pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervise(CONFIG, hang_and_stop) == 1
    assert "worker 1 does not end; it is killed" in caplog.text


def supervised_during(act):
    """Supervise while ``act(supervisor)`` runs, and SIGTERM at its end if it fails; return the exit code."""

    def announce(supervisor):
        async def run():
            try:
                await act(supervisor)
            except BaseException:
                os.kill(os.getpid(), signal.SIGTERM)
                raise

        tasks.append(asyncio.create_task(run()))

    tasks = []
    code = supervise(CONFIG, announce)
    tasks[0].result()
    return code


def test_sigusr2_replaces_all_workers_and_sighup_ends_those_that_cannot_reload(given, caplog):
    caplog.set_level(logging.INFO, "anomaly_vae.service")

    async def act(supervisor):
        before = {process.pid for process in supervisor.fleet.ready}
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: "all 2 workers are replaced" in caplog.text)
        assert before.isdisjoint({process.pid for process in supervisor.fleet.ready})
        os.kill(os.getpid(), signal.SIGHUP)

    assert supervised_during(act) == 0


def test_at_sighup_workers_that_can_reload_do_so(given, caplog):
    given["reload"] = True

    async def act(supervisor):
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "worker 1 could not look for new versions: the disk is full" in caplog.text)
        assert len(supervisor.fleet.ready) == 2
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervised_during(act) == 0


def test_when_its_terminal_is_closed_it_drains(given, monkeypatch):
    given["reload"] = True
    terminal = iter([True])  # there at the start, then not any more
    monkeypatch.setattr(supervisor_module, "has_terminal", lambda: next(terminal, False))

    async def act(supervisor):
        os.kill(os.getpid(), signal.SIGHUP)

    assert supervised_during(act) == 0


def test_a_supervisor_loads_nothing_that_only_workers_need():
    """So it stays small, and starts its workers at once."""
    program = "import sys, anomaly_vae.cli.serve, anomaly_vae.service.supervisor.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"numpy", "onnxruntime", "grpc", "google.protobuf", "cryptography"}.isdisjoint(done.stdout.split())
