"""Where the ADBench tables lie, and the models that the benchmarks train on them.

The folder is that of tests/conftest.py, which is not imported here: it takes all but one thread from torch, and times
would be those of a library that its users do not have.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from anomaly_vae.config import TrainConfig
from anomaly_vae.training.pipeline import TrainedModel, train_model

__all__ = ["DATA", "MODELS", "SEARCH_HELP", "train"]

DATA = Path(os.environ.get("ANOMALY_VAE_DATA", Path(__file__).parents[3] / "shared" / "data"))

# By the value of --search. One Gaussian model is what the figures of earlier releases were measured on.
MODELS = {
    "off": TrainConfig(random_state=0, search="off", likelihood="gaussian"),
    "fast": TrainConfig(random_state=0),
}
SEARCH_HELP = "off: one Gaussian model, comparable between releases; fast: the mixture that the defaults train"


def train(rows: np.ndarray, config: TrainConfig) -> TrainedModel:
    """Train on rows whose columns have no names, and do not warn: small tables have too few rows to calibrate 1 %."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train_model(rows, tuple(f"x{d}" for d in range(rows.shape[1])), config)
