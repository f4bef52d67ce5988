"""Reloads: versions come, go and are replaced under load; no call fails, and no reply mixes two versions.

    python -m tests.load.reloads [--cycles 100] [--seed 0]

Clients of all kinds, with no option but the address, score without a pause: blocking and asyncio, with requests that
fit a call and with ones that take several; in streams and over HTTP, which are not sent again when they fail. The
versions change in each cycle, found by SIGHUP and by polling in turn. Half of the cycles run with the default policy,
half with ``latest:2``. Every reply must have the bits of the version and the bundle that it names, scored in this
process.
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
from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scorer import Scorer
from anomaly_vae.scorer import load as load_bundle
from tests.load.model import make_models, table
from tests.support.running import Service, running
from tests.support.version_folder import VersionFolder
from tests.support.version_loops import VersionLoops, asking

ROWS, BUNDLES = 512, 3
POLICIES = ("latest:1", "latest:2")
SERVING = ("--poll-seconds", 0.5, "--max-rows", 64, "--http-port", 0, "--log-calls", "none")
KEPT = 3  # versions in the folder: one more than is served at most
LEAST_CALLS_PER_SECOND = 20.0
QUIET_SECONDS = 10.0  # without reloads, for the times to compare
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Change the versions, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=100, help="changes of the folder, with each policy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundles = make_models(Path(folder), BUNDLES)
        rows = table(ROWS, seed=9)
        for policy in POLICIES:
            models = VersionFolder(Path(folder) / policy)
            draws = random.Random(f"{options.seed} {policy}")
            found = reload(models, bundles, rows, policy, options.cycles, draws, QUIET_SECONDS)
            print(f"  {policy}")
            for name, value in found.items():
                print(f"    {name:<24} {value:.6g}")
            if found["calls_per_second"] < LEAST_CALLS_PER_SECOND:
                raise SystemExit(f"reloads: there were less than {LEAST_CALLS_PER_SECOND} small calls/s")
            figures |= {f"{policy} {name}": value for name, value in found.items()}
    return figures


def reload(
    models: VersionFolder,
    bundles: list[Path],
    rows: FloatArray,
    policy: str,
    cycles: int,
    draws: random.Random,
    quiet: float,
    **load: Any,
) -> dict[str, float]:
    """Change the versions under load of clients with these options; return the figures.

    Raises:
        SystemExit: A reply was wrong, a call failed, or a client had no reply.
    """
    scorers = [load_bundle(bundle) for bundle in bundles]
    for version in (1, 2):
        models.add(bundles[version % len(bundles)], version)
    known = [(version, scorers[version % len(scorers)].bundle.digest) for version in (1, 2)]
    with (
        running(models.models, "--versions", policy, *SERVING) as service,
        asking(service.target, rows, scorers, known, http_port=service.http_port, **load) as loops,
    ):
        loops.wait_until_all_are_answered()
        loops.take_seconds()
        time.sleep(quiet)
        before = loops.take_seconds()
        began, changes = time.monotonic(), _changes(service)
        reloads = _Reloads(service, loops, models, bundles, scorers, draws)
        for cycle in range(cycles):
            reloads.change(cycle)
        loops.wait_until_all_are_answered()
        seconds, during = time.monotonic() - began, loops.take_seconds()
        changes = _changes(service) - changes
        loops.stop()
        service.stop()
    calls = sum(loops.answered.values()) + len(loops.wrong) + len(loops.errors)
    figures = {
        "reloads": float(cycles),
        "loaded_and_removed": changes,
        "versions_that_answered": float(len(loops.versions)),
        "seconds": seconds,
        "calls": float(calls),
        **{f"calls_{kind}": float(count) for kind, count in sorted(loops.answered.items())},
        "calls_per_second": len(during) / seconds,
        "errors": float(len(loops.errors)),
        "wrong": float(len(loops.wrong)),
        "p50_ms": _quantile(during, 0.5),
        "p99_ms": _quantile(during, 0.99),
        "p99_ms_without_reloads": _quantile(before, 0.99),
        "longest_call_seconds": loops.longest,
    }
    _judge(loops, figures)
    return figures


class _Reloads:
    """Changes of the folder, each of which is waited for."""

    def __init__(
        self,
        service: Service,
        loops: VersionLoops,
        models: VersionFolder,
        bundles: list[Path],
        scorers: list[Scorer],
        draws: random.Random,
    ) -> None:
        self._service, self._loops, self._models, self._draws = service, loops, models, draws
        self._bundles, self._scorers = bundles, scorers
        self._newest = models.versions[-1]

    def change(self, cycle: int) -> None:
        """Add a version, replace the newest one in its place, or go back by removing it; wait until it answers."""
        kind = ("add", "replace", "add", "roll back")[cycle % 4]
        if kind == "roll back":
            self._models.remove(self._models.versions[-1])
        else:
            number = (self._newest if kind == "replace" else self._newest + 1) + cycle
            number %= len(self._bundles)
            self._newest += kind == "add"
            version = self._models.versions[-1] if kind == "replace" else self._newest
            self._loops.know(version, self._scorers[number].bundle.digest)
            change = self._models.replace if kind == "replace" else self._models.add
            change(self._bundles[number], version)
        if cycle % 2:
            self._service.process.send_signal(signal.SIGHUP)
        self._wait(str(self._models.versions[-1]))
        while len(self._models.versions) > KEPT:
            self._models.remove(self._models.versions[0])
        self._loops.wait_until_all_are_answered()
        time.sleep(self._draws.uniform(0.0, 0.3))

    def _wait(self, version: str) -> None:
        """Wait until the newest version answers by default."""
        until = time.monotonic() + 60.0
        while not self._service.has_metric("anomaly_vae_model_share", model_version=version, role="default"):
            if time.monotonic() > until:
                raise SystemExit(f"reloads: version {version} was not served within 60 s")
            time.sleep(0.05)


def _changes(service: Service) -> float:
    return sum(service.metric("anomaly_vae_model_changes_total", change=change) for change in ("loaded", "removed"))


def _quantile(seconds: FloatArray, part: float) -> float:
    return float(np.quantile(seconds, part) * 1e3) if len(seconds) else float("nan")


def _judge(loops: VersionLoops, figures: dict[str, float]) -> None:
    for error in loops.errors[:SHOWN]:
        print(f"  {type(error).__name__}: {error}")
    for text in loops.wrong[:SHOWN]:
        print(f"  {text}")
    limits = {
        "no error": figures["errors"] == 0,
        "no wrong reply": figures["wrong"] == 0,
        "a load or a removal for each reload": figures["loaded_and_removed"] >= figures["reloads"],
        "calls of every kind in every cycle": min(loops.answered.values()) >= figures["reloads"],
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"reloads: limits broken: {'; '.join(broken)}")
    print("  every reply correct, no reload noticed")


if __name__ == "__main__":
    main()
