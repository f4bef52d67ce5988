"""Peak memory of ``anomaly-vae score`` on a file of a million rows, compared with a thousand rows, for each format.

    python -m tests.benchmarks.memory [--rows 1000000] [--formats .csv,.parquet]

The model is the default ensemble of two members. Rows are flagged only: memory does not depend on the number of
samples, time does. The output has the format of the input, but .csv where the input is .npy, which holds no texts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.table import open_writer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model

COLUMNS = 10
FORMATS = (".csv", ".tsv", ".csv.gz", ".csv.zst", ".parquet", ".arrow", ".feather", ".jsonl", ".npy")

# Seconds between two readings of the process's memory. A shorter peak may be missed.
_POLL_S = 0.02


def make_rows(n: int, seed: int) -> np.ndarray:
    """Return random rows with correlated columns."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) @ np.ones((3, COLUMNS)) + rng.normal(size=(n, COLUMNS))


def write(path: Path, rows: int) -> None:
    """Write a table in one batch, so that Parquet and Arrow files have groups as large as they get."""
    table = pa.table({f"x{d}": column for d, column in enumerate(make_rows(rows, 1).T)})
    with open_writer(str(path), table.schema, overwrite=True) as writer:
        for batch in table.to_batches():
            writer.write(batch)


def peak_mib(folder: Path, ending: str, rows: int) -> tuple[float, float]:
    """Return peak resident memory in MiB and seconds of one run of the command; raise RuntimeError if it fails."""
    write(folder / f"in{ending}", rows)
    output = f"out{'.csv' if ending == '.npy' else ending}"
    command = ["score", "model", f"in{ending}", "-o", output, "--overwrite", "--flag-only", "--json"]
    start = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "anomaly_vae", *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(_POLL_S)
    if process.wait() != 0 or f'"rows": {rows},' not in process.stdout.read().decode():
        raise RuntimeError(f"the score command failed or lost rows of {ending}")
    return peak / 2**20, time.perf_counter() - start


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Print and return the two peaks of each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default=",".join(FORMATS))
    options = parser.parse_args(arguments)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = tuple(f"x{d}" for d in range(COLUMNS))
        write_bundle(train_model(make_rows(2000, 0), names, TrainConfig(random_state=0)).bundle, folder / "model")
        for ending in options.formats.split(","):
            small, _ = peak_mib(folder, ending, 1000)
            large, seconds = peak_mib(folder, ending, options.rows)
            found[ending] = {"small_mib": small, "large_mib": large, "rows": options.rows, "seconds": seconds}
            print(
                f"{ending:>9}: {small:.0f} MiB for 1,000 rows, {large:.0f} MiB for {options.rows:,} rows "
                f"({large - small:+.0f} MiB), {options.rows / seconds:,.0f} rows/s flagged",
                flush=True,
            )
    return found


if __name__ == "__main__":
    main()
