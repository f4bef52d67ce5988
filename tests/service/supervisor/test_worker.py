"""The program of a worker; tests/system/test_workers.py runs it with its supervisor."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.supervisor.channel import Channel
from anomaly_vae.service.supervisor.config_message import config_message
from anomaly_vae.service.supervisor.held_port import HeldPort

ROOT = Path(__file__).parents[3]


async def worked(config, on_message, capture):
    """Run the program with a supervisor that is this test; return its exit code and its log."""
    ours, theirs = socket.socketpair()
    lock = os.memfd_create("lock")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anomaly_vae.service.supervisor.worker"),
        *map(str, (theirs.fileno(), lock, 4)),
        pass_fds=(theirs.fileno(), lock),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GRPC_VERBOSITY": "NONE"},
    )
    theirs.close()
    os.close(lock)

    async def handle(kind, content):
        capture.append((kind, content))
        return config_message(config) if kind == "config" else await on_message(kind, channel, process)

    channel = Channel(ours, handle)
    await channel.read(await channel.open())
    log = (await process.stderr.read()).decode()
    return await process.wait(), log


def test_a_worker_loads_listens_and_drains_and_leaves_its_metrics(model_path):
    async def on_message(kind, channel, process):
        if kind == "loaded":  # nothing listens before the supervisor has repeated what the others loaded
            refused.append(can_connect(held.port))
        if kind == "ready":
            assert can_connect(held.port)
            await channel.request("announce")
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):  # the terminal's, for the supervisor
                process.send_signal(number)
            assert await channel.request("check") == "alive"
            process.send_signal(signal.SIGTERM)

    messages, refused, held = [], [], HeldPort("127.0.0.1", 0)
    config = ServeConfig(model=model_path, workers=2, port=held.port, log_format="json")
    code, log = asyncio.run(worked(config, on_message, messages))
    held.close()
    assert code == 0, log
    assert [kind for kind, _ in messages] == ["config", "loaded", "ready", "last_metrics"]
    assert refused == [False]
    assert "anomaly_vae_rows" in [family[0] for family in messages[-1][1]["snapshot"]]
    lines = log.splitlines()
    assert len(lines) == 4
    assert all('"worker":4' in line for line in lines)
    assert '"event":"audit",' in lines[0]
    assert '"event":"serving",' in lines[1]
    assert f'"threads":{max(1, len(os.sched_getaffinity(0)) // 2)},' in lines[1]


def test_a_worker_says_why_it_cannot_serve(tmp_path):
    async def on_message(kind, channel, process):
        return None

    messages, config = [], ServeConfig(model=tmp_path, workers=2)
    code, log = asyncio.run(worked(config, on_message, messages))
    assert (code, log) == (3, "")
    kind, content = messages[1]
    assert (kind, content["exit_code"]) == ("failed", 3)
    assert str(tmp_path) in content["text"]


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
