"""Rounding error of log p(x) in float32, for the constant ROUNDING of anomaly_vae.density.importance.

    python -m tests.benchmarks.rounding DIR [--search fast]

A model is trained on each ADBench table of a folder. log p(x) of normal and anomalous test rows under each member is
compared with torch in float64 at the same points. The unit is 2^-23 times the largest log-weight term of the row.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anomaly_vae.bundle.members import open_members
from anomaly_vae.density import tiles
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.member import Member
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.sampler import EncoderSampler, Rows
from anomaly_vae.training.onnx_check import log_px_in_float64
from tests.benchmarks.adbench import split
from tests.benchmarks.tables import MODELS, SEARCH_HELP, train

# Normal and anomalous rows a table, and samples a row: the calibrated budget.
ROWS, SAMPLES = 200, 1024


def measure(path: Path, search: str) -> np.ndarray:
    """Return the differences of normal and anomalous test rows under all M members, shape (up to 2 M ROWS,)."""
    fitted, *tests = split(path, 0)
    model = train(fitted, MODELS[search])
    rows = np.concatenate([test[:ROWS] for test in tests])
    bundle = model.bundle
    members = open_members(bundle.manifest.schema, bundle.manifest.members, bundle.files)
    errors = []
    for trained, member in zip(model.members, members, strict=True):
        estimator = DensityEstimator([member], bundle.noise)
        difference = estimator.plain_log_px(rows, SAMPLES) - log_px_in_float64([trained.vae], estimator, rows, SAMPLES)
        errors.append(np.abs(difference) / (2.0**-23 * largest_terms(member, Noise(bundle.noise), rows)))
    return np.concatenate(errors)


def largest_terms(member: Member, noise: Noise, rows: np.ndarray) -> np.ndarray:
    """Return the largest absolute term in the log-weights of each row, nats, shape (N,)."""
    inputs = member.features.encode(rows)
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    encoded = Rows(x, mask, *tiles.encode(member.network, x, mask))
    sampler = EncoderSampler(member.network, noise.of_member(0, 1, member.latent_dim), encoded)
    sampler.extend(SAMPLES // noise.scramblings)
    return sampler.log_weights()[1]


def main() -> None:
    """Print quantiles of the error per table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--search", default="off", choices=list(MODELS), help=SEARCH_HELP)
    options = parser.parse_args()
    table = Table("table", "median", "99 %", "largest")
    for path in track(sorted(options.folder.glob("*.npz")), "tables", console=Console(file=sys.stderr)):
        values = measure(path, options.search)
        table.add_row(path.stem, f"{np.median(values):.3f}", f"{np.quantile(values, 0.99):.3f}", f"{values.max():.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
