"""The folder of the ADBench tables, and the models that the benchmarks train on them.

It is the folder of tests/conftest.py. That module is not imported, because it limits torch to one thread and would
change the measured times.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import TrainedModel, train_model

__all__ = ["DATA", "MODELS", "SEARCH_HELP", "train"]

DATA = Path(os.environ.get("ANOMALY_VAE_DATA", Path(__file__).parents[3] / "shared" / "data"))

# By the value of --search. "off" keeps figures comparable with earlier releases, which had one Gaussian model.
MODELS = {
    "off": TrainConfig(random_state=0, search="off", likelihood="gaussian"),
    "fast": TrainConfig(random_state=0),
}
SEARCH_HELP = "off: one Gaussian model, comparable between releases; fast: the default ensemble"


def train(rows: np.ndarray, config: TrainConfig) -> TrainedModel:
    """Train on rows without column names. Warnings are off: small tables have too few rows to calibrate 1 %."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train_model(rows, tuple(f"x{d}" for d in range(rows.shape[1])), config)
