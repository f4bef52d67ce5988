"""A light caller beside heavy ones is answered within its fair share's time, and the heavy ones lose little.

    python -m tests.load.fairness [--seconds 60] [--model MODEL]

Three scenes, each with a service of one compute thread: the shipped client scores 60,000 rows; one connection sends
1,024 rows in each of four closed loops; 49 connections send requests of all sizes. In each scene a light caller with a
deadline of 5 s scores one row at a time, with pauses. The fair share's time is the time of one row on the idle service,
times the number of callers that have work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anomaly_vae.scorer import load
from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.load.fairness_heavy import BATCH_CLIENT, CLOSED_LOOP, MIXED, Tally, ask, channel_to, score_of
from tests.load.model import make_model, table
from tests.support.running import Service, running, tensor

SCENES = {BATCH_CLIENT: 1, CLOSED_LOOP: 1, MIXED: 49}  # number of heavy callers

DEADLINE = 5.0  # of a light call, seconds
PAUSE = 0.1  # between light calls, seconds on average
WARM_UP_ROWS = 8_192  # computed before anything is measured

MOST_OF_FAIR = 2.0  # limit of the light calls' p99, as a multiple of the fair share's time
LEAST_HEAVY = 0.9  # limit of the heavy callers' rows a second, as a part of theirs without the light caller


def main(arguments: list[str] | None = None) -> None:
    """Run the scenes, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", type=Path, help="a bundle, in place of one trained on scikit-learn's table")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or make_model(Path(folder))
        np.save(Path(folder) / "rows.npy", _rows(model))
        broken = []
        for name, callers in SCENES.items():
            with running(model, "--threads", 1) as service:
                broken += asyncio.run(_run_scene(name, callers, service, Path(folder) / "rows.npy", options.seconds))
    if broken:
        raise SystemExit("fairness: limits broken: " + "; ".join(broken))
    print("  all limits kept")


def _rows(model: Path) -> np.ndarray:
    """Return rows like those that the model was trained on."""
    scorer = load(model)
    if len(scorer.schema.columns) == table(1, 0).shape[1]:
        return table(4_096, seed=1)
    return scorer.sample(4_096, seed=1)


async def _run_scene(name: str, callers: int, service: Service, rows: Path, seconds: float) -> list[str]:
    alone, light = Tally(), Tally()
    await _light(service, np.load(rows), alone, 10.0)
    with _heavy(name, service, rows) as heavy:
        before = await _rate(service, seconds / 4)
        heavy_beside, _ = await asyncio.gather(_rate(service, seconds), _light(service, np.load(rows), light, seconds))
        heavy_alone = (before + await _rate(service, seconds / 4)) / 2  # the speed drifts
    fair = float(np.median(alone.seconds)) * (callers + 1)
    p50, p99 = np.quantile(light.seconds or [np.inf], [0.5, 0.99])
    kept = (heavy_beside - len(light.seconds) / seconds) / heavy_alone
    print(
        f"  {name}: {len(light.seconds)} light calls answered, {len(light.errors)} failed; "
        f"fair share's time {1e3 * fair:.1f} ms, p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms = {p99 / fair:.2f} of "
        f"it; heavy {heavy_alone:.0f} rows/s alone, {kept:.2f} of that beside, {len(heavy)} failed"
    )
    for error in {*light.errors, *heavy}:
        print(f"    {error[:200]}")
    limits = {
        f"{name}: every light call answered": not light.errors and not alone.errors,
        f"{name}: no heavy call fails": not heavy,
        f"{name}: p99 at most {MOST_OF_FAIR} fair shares' times": p99 <= MOST_OF_FAIR * fair,
        f"{name}: heavy callers keep {LEAST_HEAVY}": kept >= LEAST_HEAVY,
    }
    return [limit for limit, is_kept in limits.items() if not is_kept]


async def _rate(service: Service, seconds: float) -> float:
    """Return how many rows a second the service computes."""
    start, before = time.monotonic(), service.metric("anomaly_vae_batch_rows_sum")
    await asyncio.sleep(seconds)
    return (service.metric("anomaly_vae_batch_rows_sum") - before) / (time.monotonic() - start)


async def _light(service: Service, rows: np.ndarray, tally: Tally, seconds: float) -> None:
    """Score one row at a time, with pauses."""
    rng, until = np.random.default_rng(), time.monotonic() + seconds
    async with channel_to(service.target) as channel:
        while time.monotonic() < until:
            row = rows[rng.integers(len(rows))][None, :]
            await ask(score_of(channel), pb.ScoreRequest(tensor=tensor(row)), tally, DEADLINE)
            await asyncio.sleep(PAUSE * rng.uniform(0.5, 1.5))


@contextlib.contextmanager
def _heavy(name: str, service: Service, rows: Path) -> Iterator[list[str]]:
    """Run heavy callers in another process, warmed up; the list has their errors at the end."""
    errors: list[str] = []
    command = [sys.executable, "-m", "tests.load.fairness_heavy", name, service.target, str(rows)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        while service.metric("anomaly_vae_batch_rows_sum") < WARM_UP_ROWS:
            time.sleep(0.1)
        yield errors
    finally:
        errors += [line for line in process.communicate("stop")[0].splitlines() if line]


if __name__ == "__main__":
    main()
