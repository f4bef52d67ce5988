"""Light callers beside heavy ones: each is answered in its fair share's time, and the heavy ones lose little.

    python -m tests.load.fairness [--seconds 60] [--model MODEL]

Three scenes, each with a service of one compute thread: a shipped client that scores 60,000 rows, a connection with
four calls of 1,024 rows in a closed loop, and 49 connections with requests of all sizes. Beside each, a light caller
with a deadline of 5 s scores one row at a time, with pauses. A fair share's time is what one row takes on the idle
service, times the callers that have work.
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
from tests.service.running import Service, running, tensor

SCENES = {BATCH_CLIENT: 1, CLOSED_LOOP: 1, MIXED: 49}  # heavy callers

DEADLINE = 5.0
PAUSE = 0.1
WARM_UP_ROWS = 8_192

MOST_OF_FAIR = 2.0  # p99, in fair shares' times
LEAST_HEAVY = 0.9  # rows a second, in those of the heavy alone


def main(arguments: list[str] | None = None) -> None:
    """Play the scenes, print, and fail where a promise is broken."""
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
                broken += asyncio.run(_play(name, callers, service, Path(folder) / "rows.npy", options.seconds))
    if broken:
        raise SystemExit("fairness: not so: " + "; ".join(broken))
    print("  all promises kept")


def _rows(model: Path) -> np.ndarray:
    """Rows like those the model was trained on."""
    scorer = load(model)
    if len(scorer.schema.columns) == table(1, 0).shape[1]:
        return table(4_096, seed=1)
    return scorer.sample(4_096, seed=1)


async def _play(name: str, callers: int, service: Service, rows: Path, seconds: float) -> list[str]:
    alone, light = Tally(), Tally()
    await _light(service, np.load(rows), alone, 10.0)
    with _heavy(name, service, rows) as heavy:
        before = await _rate(service, seconds / 4)
        heavy_beside, _ = await asyncio.gather(_rate(service, seconds), _light(service, np.load(rows), light, seconds))
        heavy_alone = (before + await _rate(service, seconds / 4)) / 2  # the machine drifts
    fair = float(np.median(alone.seconds)) * (callers + 1)
    p50, p99 = np.quantile(light.seconds or [np.inf], [0.5, 0.99])
    kept = (heavy_beside - len(light.seconds) / seconds) / heavy_alone
    print(
        f"  {name}: {len(light.seconds)} light calls answered, {len(light.faults)} failed; "
        f"fair share's time {1e3 * fair:.1f} ms, p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms = {p99 / fair:.2f} of "
        f"it; heavy {heavy_alone:.0f} rows/s alone, {kept:.2f} of that beside, {len(heavy)} failed"
    )
    for fault in {*light.faults, *heavy}:
        print(f"    {fault[:200]}")
    promises = {
        f"{name}: every light call answered": not light.faults and not alone.faults,
        f"{name}: no heavy call fails": not heavy,
        f"{name}: p99 at most {MOST_OF_FAIR} fair shares' times": p99 <= MOST_OF_FAIR * fair,
        f"{name}: heavy callers keep {LEAST_HEAVY}": kept >= LEAST_HEAVY,
    }
    return [promise for promise, is_kept in promises.items() if not is_kept]


async def _rate(service: Service, seconds: float) -> float:
    """Rows a second that the service computes."""
    start, before = time.monotonic(), service.metric("anomaly_vae_batch_rows_sum")
    await asyncio.sleep(seconds)
    return (service.metric("anomaly_vae_batch_rows_sum") - before) / (time.monotonic() - start)


async def _light(service: Service, rows: np.ndarray, tally: Tally, seconds: float) -> None:
    """One caller, a row at a time."""
    rng, until = np.random.default_rng(), time.monotonic() + seconds
    async with channel_to(service.target) as channel:
        while time.monotonic() < until:
            row = rows[rng.integers(len(rows))][None, :]
            await ask(score_of(channel), pb.ScoreRequest(tensor=tensor(row)), tally, DEADLINE)
            await asyncio.sleep(PAUSE * rng.uniform(0.5, 1.5))


@contextlib.contextmanager
def _heavy(name: str, service: Service, rows: Path) -> Iterator[list[str]]:
    """Heavy callers in a process of their own, warmed up; their faults at the end."""
    faults: list[str] = []
    command = [sys.executable, "-m", "tests.load.fairness_heavy", name, service.target, str(rows)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        while service.metric("anomaly_vae_batch_rows_sum") < WARM_UP_ROWS:
            time.sleep(0.1)
        yield faults
    finally:
        faults += [line for line in process.communicate("stop")[0].splitlines() if line]


if __name__ == "__main__":
    main()
