"""Contenders that take turns, because the speed of machines drifts; the best turn of each counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

__all__ = ["TURNS", "compare", "timed"]

# Timed turns of each contender, after one to warm up.
TURNS = 3


def timed(rows: float, work: Callable[[], object]) -> Callable[[], float]:
    """Return a turn: it works once and returns rows a second."""

    def turn() -> float:
        start = time.perf_counter()
        work()
        return rows / (time.perf_counter() - start)

    return turn


def compare(runs: Mapping[str, Callable[[], float]]) -> dict[str, Any]:
    """Return the best rows a second of every contender, those of "ours" over theirs, and the cores that others used."""
    start, wall = _foreign_seconds(), time.perf_counter()
    turns = [{name: run() for name, run in runs.items()} for _ in range(1 + TURNS)][1:]
    best = {name: max(turn[name] for turn in turns) for name in runs}
    ratios = {name: best["ours"] / rate for name, rate in best.items() if name != "ours"}
    foreign = (_foreign_seconds() - start) / (time.perf_counter() - wall)
    return {"foreign_cores": foreign, "rows_per_second": best, "ratio": ratios}


def _foreign_seconds() -> float:
    """Return the processor seconds used so far by other processes or by the machine's host."""
    total = psutil.cpu_times()
    me = psutil.Process()
    ours = sum(sum(process.cpu_times()[:2]) for process in (me, *me.children()))
    return total.user + total.nice + total.system + getattr(total, "steal", 0.0) - ours
