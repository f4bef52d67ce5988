"""Deaths: every ten seconds a worker or the whole service is killed under load, and its clients must not notice.

    python -m tests.load.deaths [--seconds 300] [--every 10] [--workers 2] [--seed 0]

Four blocking and four asyncio clients, with no option but the address, score without a pause. In turn one worker is
killed (SIGKILL), which the service must replace, or all its processes are, and it is started again at once, as systemd
and Kubernetes do. No caller may get an error, and every reply must have the same bits as the model's scores in this
process. Recovery is the time from the kill until all workers serve and each client has a new reply.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import random
import tempfile
import time
from pathlib import Path

import psutil

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scorer import load
from tests.load.model import make_model, table
from tests.support.loops import Loops, looping
from tests.support.ports import fixed_port
from tests.support.running import Service, eventually, running

ROWS = 256
LIMITS = {"worker": 2.0, "service": 3.0}  # seconds of a recovery, on an idle machine with two cores
LEAST_CALLS_PER_SECOND = 20.0
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Kill workers and services, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        kills = int(options.seconds / options.every)
        draws = random.Random(options.seed)
        figures = kill(model, table(ROWS, seed=9), kills, options.every, options.workers, draws)
    for name, value in figures.items():
        print(f"  {name:<28} {value:.6g}")
    _judge(figures)
    print("  every reply correct, no death noticed")
    return figures


def kill(
    model: Path, rows: FloatArray, kills: int, every: float, workers: int, draws: random.Random
) -> dict[str, float]:
    """Kill a worker and the service in turn under load; return the figures."""
    port, began = fixed_port(), time.monotonic()
    serving = ("--port", port, "--workers", workers, "--log-calls", "none")
    recoveries: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    with contextlib.ExitStack() as running_now, looping(f"127.0.0.1:{port}", rows, load(model).score(rows)) as loops:
        service = running_now.enter_context(running(model, *serving))
        loops.wait_until_all_are_answered()
        loops.longest = 0.0  # the first calls waited for the first start
        for number, kind in zip(range(kills), itertools.cycle(LIMITS), strict=False):
            time.sleep(max(began + every * (number + 1) - time.monotonic(), draws.uniform(0.0, 0.3)))
            killed = time.monotonic()
            before = _workers(service)
            if kind == "worker":
                draws.choice(before).kill()
            else:
                for process in (psutil.Process(service.process.pid), *before):
                    process.kill()
                running_now.close()
                service = running_now.enter_context(running(model, *serving))
            _wait_until_whole(service, before, loops)
            recoveries[kind].append(time.monotonic() - killed)
        loops.stop()
        exit_code = service.stop()
    calls = sum(loops.answered.values()) + loops.wrong + len(loops.errors)
    for error in loops.errors[:SHOWN]:
        print(f"  {type(error).__name__}: {error}")
    return {
        "kills": float(kills),
        "seconds": time.monotonic() - began,
        "calls": float(calls),
        "calls_per_second": calls / (time.monotonic() - began),
        "errors": float(len(loops.errors)),
        "wrong": float(loops.wrong),
        "longest_call_seconds": loops.longest,
        **{f"longest_recovery_{kind}": max(seconds, default=0.0) for kind, seconds in recoveries.items()},
        **{f"median_recovery_{kind}": sorted(each)[len(each) // 2] for kind, each in recoveries.items() if each},
        "exit_code": float(exit_code),
    }


def _workers(service: Service) -> list[psutil.Process]:
    return sorted(psutil.Process(service.process.pid).children(), key=lambda process: process.pid)


def _wait_until_whole(service: Service, before: list[psutil.Process], loops: Loops) -> None:
    """Wait until all workers serve, which are not the same as before, and each client has a reply."""

    def is_whole() -> bool:
        now = _workers(service)
        up = service.metric("anomaly_vae_worker_up")
        return bool(set(now) != set(before) and up == service.metric("anomaly_vae_workers") == len(now))

    eventually(is_whole)
    loops.wait_until_all_are_answered()


def _judge(figures: dict[str, float]) -> None:
    limits = {
        "no error": figures["errors"] == 0,
        "no wrong reply": figures["wrong"] == 0,
        **{
            f"a {kind} back within {limit:.0f} s": figures[f"longest_recovery_{kind}"] <= limit
            for kind, limit in LIMITS.items()
        },
        f"at least {LEAST_CALLS_PER_SECOND:.0f} calls/s": figures["calls_per_second"] >= LEAST_CALLS_PER_SECOND,
        "a complete drain": figures["exit_code"] == 0,
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"deaths: limits broken: {'; '.join(broken)}")


if __name__ == "__main__":
    main()
