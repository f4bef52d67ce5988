"""Workers: they are killed, stopped and replaced under load, and no client may notice.

    python -m tests.load.workers [--cycles 50] [--workers 2] [--seed 0]

Four blocking and four asyncio clients, with no option but the address, score without a pause. In each cycle one worker
is killed, or all workers are replaced (SIGUSR2, every fifth cycle), or one is halted as if it were stuck (SIGSTOP,
every tenth). No caller may get an error, every reply must have the same bits as the model's scores in this process, and
no counter may fall.
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

import psutil

from anomaly_vae.scorer import load
from tests.load.model import make_model, table
from tests.support.loops import Loops, looping
from tests.support.running import Service, running

ROWS = 256
REPLACED_EVERY, HALTED_EVERY = 5, 10  # cycles
LONGEST = 2.0  # seconds of a call while workers are killed or replaced, on an idle machine
LONGEST_HALTED = 30.0  # seconds of a call to a halted worker, which is found after 8 to 16
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Kill and replace workers, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC prints a line for every connection that ends
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())  # and so do the clients
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        rows = table(ROWS, seed=9)
        with (
            running(model, "--workers", options.workers, "--log-calls", "none") as service,
            looping(service.target, rows, load(model).score(rows)) as loops,
        ):
            figures = _disturb(service, loops, options.cycles, random.Random(options.seed))
            loops.stop()
            exit_code = service.stop()
    figures |= {
        "calls": float(sum(loops.answered.values()) + loops.wrong + len(loops.errors)),
        "errors": float(len(loops.errors)),
        "wrong": float(loops.wrong),
        "exit_code": float(exit_code),
    }
    for name, value in figures.items():
        print(f"  {name:<22} {value:.6g}")
    _judge(loops, figures)
    return figures


def _disturb(service: Service, loops: Loops, cycles: int, draws: random.Random) -> dict[str, float]:
    """Disturb the workers; return how often, and the longest call of each kind."""
    supervisor, fallen, rows = psutil.Process(service.process.pid), 0, 0.0
    longest = {"killed": 0.0, "replaced": 0.0, "halted": 0.0}
    for cycle in range(1, cycles + 1):
        kind = "halted" if cycle % HALTED_EVERY == 0 else "replaced" if cycle % REPLACED_EVERY == 0 else "killed"
        before = {process.pid for process in supervisor.children()}
        loops.longest = 0.0
        if kind == "replaced":
            service.process.send_signal(signal.SIGUSR2)
        else:
            os.kill(draws.choice(sorted(before)), signal.SIGSTOP if kind == "halted" else signal.SIGKILL)
        gone = before if kind == "replaced" else set()
        while not _is_whole(service, supervisor, before, gone):
            now = service.metric("anomaly_vae_rows_total", outcome="normal")
            fallen, rows = fallen + (now < rows), now
            time.sleep(0.1)
        loops.wait_until_all_are_answered()
        longest[kind] = max(longest[kind], loops.longest)
    return {
        "cycles": float(cycles),
        "counters_fallen": float(fallen),
        **{f"longest_call_{kind}": value for kind, value in longest.items()},
    }


def _is_whole(service: Service, supervisor: psutil.Process, before: set[int], gone: set[int]) -> bool:
    """Return whether all workers serve again, and not the same processes as before."""
    now = {process.pid for process in supervisor.children()}
    whole = service.metric("anomaly_vae_worker_up") == service.metric("anomaly_vae_workers") == len(now)
    return bool(whole and now != before and not now & gone)


def _judge(loops: Loops, figures: dict[str, float]) -> None:
    for error in loops.errors[:SHOWN]:
        print(f"  {type(error).__name__}: {error}")
    limits = {
        "no error": figures["errors"] == 0,
        "no wrong reply": figures["wrong"] == 0,
        "no counter fell": figures["counters_fallen"] == 0,
        f"no call longer than {LONGEST:.0f} s": max(figures["longest_call_killed"], figures["longest_call_replaced"])
        < LONGEST,
        f"no call longer than {LONGEST_HALTED:.0f} s to a halted worker": figures["longest_call_halted"]
        < LONGEST_HALTED,
        "a complete drain": figures["exit_code"] == 0,
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"workers: limits broken: {'; '.join(broken)}")
    print("  every reply correct, no worker missed")


if __name__ == "__main__":
    main()
