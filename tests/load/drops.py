"""Drops: damaged, unsigned and misplaced bundles appear among the served versions; none is served.

    python -m tests.load.drops [--number 100] [--seed 0]

Clients of all kinds score without a pause, while bad bundles are dropped one after the other under the number of a
newer version: corrupt, cut off, mixed from two bundles, half copied, with links, of other formats, and hostile ones;
with ``--verify-key`` also ones with a wrong signature. Each must be refused, counted, and shown by
``anomaly_vae_model_refused``; the version that was served before must answer every call. Things in wrong places must
not change what is served. At last a good version must take over.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.remote.keys import make_keys
from anomaly_vae.remote.signing import sign
from anomaly_vae.scorer import load as load_bundle
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.drops import Drop, damaged, misplaced, wrongly_signed
from tests.support.running import Service, eventually, running
from tests.support.version_folder import VersionFolder
from tests.support.version_loops import VersionLoops, asking

SERVING = ("--poll-seconds", 0.2, "--max-rows", 64, "--http-port", 0, "--log-calls", "none")
NAME = "model"
LEAST_CALLS_PER_DROP = 5
SHOWN = 5  # errors that are printed


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Drop bad bundles, print the figures, and fail if one is served or stops the service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100, help="damaged bundles, with a key and without")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("anomaly_vae.client").addHandler(logging.NullHandler())
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some attacks write to where they run
        bundles = [_train(Path(folder) / f"bundle{seed}", seed) for seed in range(2)]
        for signed in (False, True):
            place = Path(folder) / ("signed" if signed else "unsigned")
            place.mkdir()
            found = drop_all(place, bundles, options.number, random.Random(options.seed), signed=signed)
            print("  with --verify-key" if signed else "  without --verify-key")
            for name, value in found.items():
                print(f"    {name:<28} {value:.6g}", flush=True)
            if found["calls"] < LEAST_CALLS_PER_DROP * found["drops"]:
                raise SystemExit(f"drops: there were less than {LEAST_CALLS_PER_DROP} calls for each drop")
            figures |= {f"{'signed' if signed else 'unsigned'} {name}": value for name, value in found.items()}
    print("  none was served, every reply correct")
    return figures


def drop_all(
    place: Path,
    bundles: list[Path],
    number: int,
    draws: random.Random,
    *,
    signed: bool,
    misplace: bool = True,
    most: int | None = None,
    **load: Any,
) -> dict[str, float]:
    """Drop bad versions of the first of two bundles beside the served one, under load of clients with these options.

    With ``most`` only so many of them, chosen by chance, are dropped.

    Raises:
        AssertionError: One was served, was not counted, or a call failed.
    """
    key, options = place / "release.pub.pem", [*SERVING]
    bundles = [Path(shutil.copytree(bundle, place / f"good{i}")) for i, bundle in enumerate(bundles)]
    drops = damaged(bundles[0], bundles[1], number, draws)
    if signed:
        make_keys(place / "release.pem", key)
        for bundle in bundles:
            sign(bundle, place / "release.pem")
        (place / "keys").mkdir()
        drops |= wrongly_signed(bundles[1], place / "keys")
        options += ["--verify-key", key]
    if most is not None:
        drops = dict(draws.sample(sorted(drops.items()), most))
    models, rows = VersionFolder(place / "models", NAME), make_rows(512, seed=9)
    models.add(bundles[0], 1)
    scorers = [load_bundle(bundle) for bundle in bundles]
    known = [(1, scorers[0].bundle.digest)]
    with (
        running(models.models, *options) as service,
        asking(service.target, rows, scorers, known, http_port=service.http_port, model=NAME, **load) as loops,
    ):
        loops.wait_until_all_are_answered()
        began = time.monotonic()
        taken = [
            _drop(service, models, bundles[0], version, name, drop)
            for version, (name, drop) in enumerate(drops.items(), 2)
        ]
        elsewhere = misplaced(models.models, NAME, bundles[1]) if misplace else {}
        for name, (path, make) in elsewhere.items():
            make(path)
            _look(service)
            _look(service)  # the first may have begun before
            serving = service.metric("anomaly_vae_model_share", model_name=NAME, model_version="1", role="default")
            assert serving == 1, f"{name}: version 1 does not answer by default any more"
            loops.wait_until_all_are_answered()
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _look(service)
        assert loops.versions == {"1"}, loops.versions
        seconds, calls = time.monotonic() - began, sum(loops.answered.values())
        loops.know(10_000, scorers[1].bundle.digest)
        models.add(bundles[1], 10_000)
        loops.wait_until_version(10_000)
        loops.wait_until_all_are_answered()
        loops.stop()
        service.stop()
    assert not Path("executed").exists()
    figures = {
        "drops": float(len(drops)),
        "misplaced": float(len(elsewhere)),
        "seconds": seconds,
        "calls": float(calls),
        "errors": float(len(loops.errors)),
        "wrong": float(len(loops.wrong)),
        "longest_refusal_seconds": max(taken),
        "longest_call_seconds": loops.longest,
    }
    _judge(loops)
    return figures


def _drop(service: Service, models: VersionFolder, bundle: Path, version: int, name: str, drop: Drop) -> float:
    """Drop one bad bundle, and wait until it is refused and counted once; return the seconds that it took."""
    stage = models.models.parent / "stage"
    stage.mkdir()
    bad = Path(shutil.copytree(bundle, stage / "bad", symlinks=True))
    drop(bad)
    before, began = _refused(service), time.monotonic()
    bad.rename(models.path / str(version))
    shown = {"model_name": NAME, "model_version": str(version)}
    try:
        eventually(lambda: service.has_metric("anomaly_vae_model_refused", **shown))
    except AssertionError as error:
        raise AssertionError(f"{name}: not shown as refused") from error
    took = time.monotonic() - began
    assert _refused(service) == before + 1, f"{name}: counted {_refused(service) - before} times"
    assert not service.has_metric("anomaly_vae_model_share", model_version=str(version)), name
    models.remove(version)
    eventually(lambda: not service.has_metric("anomaly_vae_model_refused", **shown))
    _look(service)  # one that began before the removal may refuse the version once more
    shutil.rmtree(stage)
    return took


def _refused(service: Service) -> float:
    return service.metric("anomaly_vae_model_changes_total", model_name=NAME, change="refused")


def _look(service: Service) -> None:
    """Wait until the service has looked at its folder once more, whether it could read it or not."""
    looks = _looks(service)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: _looks(service) != looks)


def _looks(service: Service) -> tuple[float, float]:
    return (
        service.metric("anomaly_vae_model_check_timestamp_seconds"),
        service.metric("anomaly_vae_model_check_failures_total"),
    )


def _judge(loops: VersionLoops) -> None:
    assert loops.errors == [], [(error, error.__notes__) for error in loops.errors[:SHOWN]]
    assert loops.wrong == [], loops.wrong[:SHOWN]


def _train(path: Path, seed: int) -> Path:
    """Train the small model that the attacks are made for."""
    config = TrainConfig(random_state=3 + seed, max_steps=300, target_fpr=0.05, search="off", likelihood="gaussian")
    write_bundle(train_model(make_rows(600), NAMES, config, label="broken").bundle, path)
    return path


if __name__ == "__main__":
    main()
