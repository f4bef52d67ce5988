"""Rolling restarts: two replicas behind one address are replaced in turn by newer versions; no client notices.

    python -m tests.load.rolling [--restarts 20] [--seed 0]

A balancer gives each new connection to a replica that is ready, as a Kubernetes Service does. Blocking and asyncio
clients, with no option but the address, score without a pause, also more rows than fit a call. A replica is stopped by
SIGTERM, without a warning to the balancer, and started again with another bundle under a newer version; once it
has answered, the other one follows. Connections are replaced after some seconds, so that both replicas have load. No
caller may get an error, and every reply must have the bits of the version and the bundle that it names.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scorer import load as load_bundle
from tests.load.model import make_models, table
from tests.support.balancer import balancing
from tests.support.running import Service, running
from tests.support.version_loops import VersionLoops, asking

ROWS, BUNDLES = 512, 3
KINDS = ("blocking", "asyncio", "many_blocking", "many_asyncio")  # those that send a failed call again
SERVING = ("--name", "model", "--max-rows", 64, "--max-connection-age", 2, "--log-calls", "none")
LEAST_CALLS_PER_SECOND = 10.0
LONGEST = 30.0  # seconds of a request: one of many calls is scored again from its beginning when the version changes
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Restart the replicas, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as folder:
        bundles = make_models(Path(folder), BUNDLES)
        figures = roll(bundles, table(ROWS, seed=9), options.restarts, random.Random(options.seed))
    for name, value in figures.items():
        print(f"  {name:<24} {value:.6g}")
    if figures["calls_per_second"] < LEAST_CALLS_PER_SECOND:
        raise SystemExit(f"rolling: there were less than {LEAST_CALLS_PER_SECOND} calls/s")
    print("  every reply correct, no restart noticed")
    return figures


def roll(bundles: list[Path], rows: FloatArray, restarts: int, draws: random.Random, **load: Any) -> dict[str, float]:
    """Restart two replicas in turn under load of clients with these options; return the figures.

    Raises:
        SystemExit: A limit is broken.
    """
    scorers = [load_bundle(bundle) for bundle in bundles]

    def known(version: int) -> tuple[int, str]:
        return version, scorers[version % len(scorers)].bundle.digest

    def start(version: int) -> Service:
        bundle = bundles[version % len(bundles)]
        service: Service = replicas.enter_context(running(bundle, "--model-version", version, *SERVING))
        return service

    with contextlib.ExitStack() as replicas:
        now = [start(1), start(2)]
        known_now = [known(1), known(2)]
        ports = [(service.port, service.metrics_port) for service in now]
        with (
            balancing(ports) as balancer,
            asking(f"127.0.0.1:{balancer.port}", rows, scorers, known_now, **{"kinds": KINDS} | load) as loops,
        ):
            loops.wait_until_version(1)
            loops.wait_until_version(2)
            began, incomplete = time.monotonic(), 0
            for version in range(3, 3 + restarts):
                incomplete += now[version % 2 - 1].stop() != 0
                loops.know(*known(version))
                service = now[version % 2 - 1] = start(version)
                ports[version % 2 - 1] = service.port, service.metrics_port
                loops.wait_until_version(version)
                loops.wait_until_all_are_answered()
                time.sleep(draws.uniform(0.0, 0.5))
            seconds = time.monotonic() - began
            loops.stop()
    calls = sum(loops.answered.values()) + len(loops.wrong) + len(loops.errors)
    figures = {
        "restarts": float(restarts),
        "incomplete_drains": float(incomplete),
        "versions_that_answered": float(len(loops.versions)),
        "seconds": seconds,
        "calls": float(calls),
        "calls_per_second": calls / seconds,
        "errors": float(len(loops.errors)),
        "wrong": float(len(loops.wrong)),
        "longest_call_seconds": loops.longest,
    }
    _judge(loops, figures)
    return figures


def _judge(loops: VersionLoops, figures: dict[str, float]) -> None:
    for each in (*loops.errors[:SHOWN], *loops.wrong[:SHOWN]):
        print(f"  {type(each).__name__}: {each}")
    limits = {
        "no error": figures["errors"] == 0,
        "no wrong reply": figures["wrong"] == 0,
        "complete drains": figures["incomplete_drains"] == 0,
        "load on every replica": figures["versions_that_answered"] == figures["restarts"] + 2,
        f"no call longer than {LONGEST:.0f} s": figures["longest_call_seconds"] < LONGEST,
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        print(figures)
        raise SystemExit(f"rolling: limits broken: {'; '.join(broken)}")


if __name__ == "__main__":
    main()
