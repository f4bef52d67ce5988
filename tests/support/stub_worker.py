"""A worker that serves nothing: the supervisor starts it in place of a real one, which takes a second.

What it does is in the settings that the test gives the fleet.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import time

from prometheus_client import CollectorRegistry, Counter

from anomaly_vae.errors import BundleError
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.supervisor.control import Control

MODULE = "tests.support.stub_worker"


async def serve(control, config, worker):
    """Get ready, and serve until the supervisor ends it."""
    stop, registry = asyncio.Event(), CollectorRegistry()
    calls = Counter("calls_total", "Calls.", registry=registry)
    loaded = []
    control.attach(registry, Heartbeat(asyncio.get_running_loop()), stop.set, 0.0)

    async def load(content):
        if content["name"] in config.get("refused", {}).get(str(worker), []):
            raise BundleError(f"{content['name']} is damaged")
        loaded.append(content["name"])
        return loaded

    async def count(content):
        calls.inc(content["calls"])

    async def act(content):
        if content["act"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif content["act"] == "hang":
            asyncio.get_running_loop().call_soon(time.sleep, 3_600)
        else:
            return [[answer.worker, answer.value, answer.error] for answer in await control.broadcast(**content["act"])]
        return None

    async def announce(content):
        return None

    async def reload(content):
        if worker == 1:
            raise BundleError("the disk is full")

    for kind, handler in (("load", load), ("count", count), ("act", act), ("announce", announce)):
        control.handle(kind, handler)
    if config.get("reload"):
        control.handle("reload", reload)
    await control.request("loaded")
    await control.request("ready", {"kinds": control.kinds})
    await stop.wait()
    return config.get("code", 0)


def main(end, lock, worker):
    """Do what the settings say."""
    threading.excepthook = lambda fault: None
    control = Control(socket.socket(fileno=end))
    config = control.ask("config")
    os.write(lock, b"x")
    if worker in config.get("failing", []):
        control.send_failure("the bundle is damaged", 3)
        return 3
    if worker in config.get("crashing", []):
        os.kill(os.getpid(), signal.SIGKILL)
    code = asyncio.run(serve(control, config, worker))
    control.send_last_metrics()
    return code


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
