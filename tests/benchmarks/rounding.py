"""How far float32 puts log p(x) off: the constant ROUNDING of anomaly_vae.importance.

    python -m tests.benchmarks.rounding DIR

Trains on each ADBench table of a folder and compares scores of normal and anomalous test rows with torch in float64 at
the same points, in units of 2^-23 times the largest log-weight term of the row.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anomaly_vae.config import TrainConfig
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.gates import log_px_in_float64
from anomaly_vae.training.pipeline import train_model
from tests.benchmarks.adbench import split

ROWS, SAMPLES = 200, 1024


def measure(path: Path) -> np.ndarray:
    """Differences in those units for normal and for anomalous test rows, shape (up to 2 ROWS,)."""
    train, *tests = split(path, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = train_model(train, tuple(f"x{d}" for d in range(train.shape[1])), TrainConfig(random_state=0))
    estimator = Scorer(model.bundle)._estimator
    rows = np.concatenate([test[:ROWS] for test in tests])
    off = np.abs(estimator.estimate(rows, SAMPLES).log_px - log_px_in_float64(model.vae, estimator, rows, SAMPLES))
    largest = np.concatenate([estimator._log_weights(block, SAMPLES)[1] for block in estimator._blocks(rows)])
    return off / (2.0**-23 * largest)


def main() -> None:
    """Print quantiles per table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    table = Table("table", "median", "99 %", "largest")
    for path in track(sorted(parser.parse_args().folder.glob("*.npz")), "tables", console=Console(file=sys.stderr)):
        values = measure(path)
        table.add_row(path.stem, f"{np.median(values):.3f}", f"{np.quantile(values, 0.99):.3f}", f"{values.max():.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
