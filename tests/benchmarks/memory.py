"""Peak memory of ``anomaly-vae score`` on a Parquet file of a million rows, compared with a thousand rows.

    python -m tests.benchmarks.memory [--rows 1000000] [--num-samples 32]

The model is the default ensemble of two members. Memory does not depend on the number of samples, time does. 32
samples, the smallest budget of this ensemble, keep the run short; 1,024 is the calibrated budget.
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
import pyarrow.parquet

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model

COLUMNS = 10

# Seconds between two readings of the process's memory. A shorter peak may be missed.
_POLL_S = 0.02


def make_rows(n: int, seed: int) -> np.ndarray:
    """Return random rows with correlated columns."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) @ np.ones((3, COLUMNS)) + rng.normal(size=(n, COLUMNS))


def peak_mib(folder: Path, rows: int, num_samples: int) -> tuple[float, float]:
    """Return peak resident memory in MiB and seconds of one run of the command; raise RuntimeError if a row is lost."""
    names = [f"x{d}" for d in range(COLUMNS)]
    table = pa.table(dict(zip(names, make_rows(rows, 1).T, strict=True)))
    pa.parquet.write_table(table, folder / "in.parquet")  # row groups of a million rows, pyarrow's default
    del table
    command = ["score", "model", "in.parquet", "-o", "out.parquet", "--overwrite", "--num-samples", str(num_samples)]
    start = time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", "anomaly_vae", *command], cwd=folder, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(_POLL_S)
    if process.wait() != 0 or pa.parquet.read_metadata(folder / "out.parquet").num_rows != rows:
        raise RuntimeError("the score command failed or lost rows")
    return peak / 2**20, time.perf_counter() - start


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print and return the two peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--num-samples", type=int, default=32)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = tuple(f"x{d}" for d in range(COLUMNS))
        write_bundle(train_model(make_rows(2000, 0), names, TrainConfig(random_state=0)).bundle, folder / "model")
        small, _ = peak_mib(folder, 1000, options.num_samples)
        large, seconds = peak_mib(folder, options.rows, options.num_samples)
    print(
        f"peak memory: {small:.0f} MiB for 1,000 rows, {large:.0f} MiB for {options.rows:,} rows "
        f"({large - small:+.0f} MiB); {options.rows / seconds:,.0f} rows/s at {options.num_samples} samples"
    )
    return {"small_mib": small, "large_mib": large, "rows": options.rows, "seconds": seconds}


if __name__ == "__main__":
    main()
