"""The service of the demo: started as a user would start it, called over gRPC, stopped."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from anomaly_vae.batch import Explaining, score_table
from anomaly_vae.client import Client
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.table import open_table

__all__ = ["SHOWN", "check_service", "running_service"]

# Rows that are explained.
SHOWN = 10

# Seconds until a service that does not stop is killed. It answers its last calls for 10 s at most (--grace).
_SECONDS_TO_STOP = 30


def check_service(model: Path, rows: Path, expected: Path, output: Path, worst: Path, keep: tuple[str, ...]) -> str:
    """Serve a model, score a table over gRPC, and compare the output byte for byte with that of the command line.

    The service also explains the most anomalous rows.

    Args:
        model: The bundle.
        rows: The table to score.
        expected: The output of the command line.
        output: The output of the service, written here.
        worst: The most anomalous rows with their explanations, written here.
        keep: Input columns to copy to the output.

    Returns:
        The address, the number of rows and the seconds, in one line.

    Raises:
        AnomalyVaeError: The service did not start, did not stop, or gave other scores.
    """
    with running_service(model) as address, Client(address) as client:
        start = time.perf_counter()
        summary = score_table(client, open_table(str(rows)), str(output), keep=keep, overwrite=True)
        seconds = time.perf_counter() - start
        explaining, table = Explaining(top=1), open_table(str(rows))
        score_table(client, table, str(worst), keep=keep, top=SHOWN, explaining=explaining, overwrite=True)
    if output.read_bytes() != expected.read_bytes():
        raise AnomalyVaeError(f"{output}: the scores of the service differ from those of the command line, {expected}")
    return f"served on {address}: {summary.rows} rows over gRPC in {seconds:.2f} s, same bits as from the command line"


@contextlib.contextmanager
def running_service(model: Path) -> Iterator[str]:
    """Run ``anomaly-vae serve`` on free ports and yield the address of gRPC."""
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
