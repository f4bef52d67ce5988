"""Restarts: a service is killed and started again under load, and its clients must not notice.

    python -m tests.load.restarts [--cycles 200] [--seed 0]

Four blocking and four asyncio clients, with no option but the address, score without a pause. Once each has a reply,
the service is killed; every fourth time it is stopped by SIGTERM. It is away for 0.5 to 5 s. No caller may get an
error, and every reply must have the same bits as the model's scores in this process.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from anomaly_vae.scorer import load
from tests.load.model import make_model, table
from tests.support.loops import Loops, looping
from tests.support.ports import fixed_port
from tests.support.running import running

ROWS = 256
STOPPED_EVERY = 4  # cycles: every fourth one is stopped, the others are killed
GAPS = (0.5, 5.0)  # time without a service, seconds
TIMEOUT = 60.0  # of the clients, seconds
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Kill and restart the service, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC prints a line for every connection that ends
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())  # and so do the clients
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        rows = table(ROWS, seed=9)
        port, began = fixed_port(), time.monotonic()
        with looping(f"127.0.0.1:{port}", rows, load(model).score(rows)) as loops:
            kills = _restart(loops, model, port, options.cycles, random.Random(options.seed))
    figures = {
        "cycles": float(options.cycles),
        "kills": float(kills),
        "seconds": time.monotonic() - began,
        "calls": float(sum(loops.answered.values()) + loops.wrong + len(loops.errors)),
        "errors": float(len(loops.errors)),
        "wrong": float(loops.wrong),
        "longest_call_seconds": loops.longest,
    }
    for name, value in figures.items():
        print(f"  {name:<22} {value:.6g}")
    _judge(loops, figures)
    return figures


def _restart(loops: Loops, model: Path, port: int, cycles: int, draws: random.Random) -> int:
    """Restart the service and end it at last, with all calls answered; return how often it was killed."""
    kills = 0
    serving = ("--port", port, "--log-calls", "none")
    for cycle in range(1, cycles + 1):
        number = signal.SIGTERM if cycle % STOPPED_EVERY == 0 else signal.SIGKILL
        with running(model, *serving) as service:
            loops.wait_until_all_are_answered()
            time.sleep(draws.uniform(0.0, 0.3))
            service.stop(number)
        kills += number is signal.SIGKILL
        time.sleep(draws.uniform(*GAPS))
    with running(model, *serving):
        loops.wait_until_all_are_answered()
        loops.stop()
    return kills


def _judge(loops: Loops, figures: dict[str, float]) -> None:
    for error in loops.errors[:SHOWN]:
        print(f"  {type(error).__name__}: {error}")
    limits = {
        "no error": figures["errors"] == 0,
        "no wrong reply": figures["wrong"] == 0,
        f"no call longer than {TIMEOUT:.0f} s": figures["longest_call_seconds"] < TIMEOUT,
        "calls in every cycle, of every client": min(loops.answered.values()) > figures["cycles"],
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"restarts: limits broken: {'; '.join(broken)}")
    print("  every reply correct, no restart noticed")


if __name__ == "__main__":
    main()
