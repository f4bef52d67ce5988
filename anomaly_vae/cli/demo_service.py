"""The demo's service: started as a user would, asked over a real channel, stopped."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from anomaly_vae.batch import score_table
from anomaly_vae.client import Client
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.table import open_table

__all__ = ["check_service"]

_SECONDS_TO_STOP = 30


def check_service(model: Path, rows: Path, expected: Path, output: Path, keep: tuple[str, ...]) -> str:
    """Serve a model, score a table over gRPC, and compare the output with the command line's, bit for bit.

    Returns:
        What happened, for the user.

    Raises:
        AnomalyVaeError: The service did not start, did not stop, or scored differently.
    """
    with _running(model) as address, Client(address) as client:
        start = time.perf_counter()
        summary = score_table(client, open_table(str(rows)), str(output), keep=keep, overwrite=True)
        seconds = time.perf_counter() - start
    if output.read_bytes() != expected.read_bytes():
        raise AnomalyVaeError(f"{output}: the service's scores are not those of the command line, {expected}")
    return f"served on {address}: {summary.rows} rows over gRPC in {seconds:.2f} s, same bits as from the command line"


@contextlib.contextmanager
def _running(model: Path) -> Iterator[str]:
    """Run ``anomaly-vae serve`` on free ports, and give the address of gRPC."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model), "--port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(  # noqa: S603 (our own program)
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=own, text=True
    )
    try:
        first = process.stdout.readline() if process.stdout else ""
        if not first:
            raise AnomalyVaeError(f"the service did not start: {process.communicate()[1].strip()}")
        yield first.split(" on ")[1].split(",")[0]
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    if process.returncode != 0:
        raise AnomalyVaeError(f"the service ended with exit code {process.returncode}")
