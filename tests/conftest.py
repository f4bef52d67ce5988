"""Fixtures shared by the tests: small trained models, made once per worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly_vae.bundle import write_bundle
from anomaly_vae.config import TrainConfig
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.pipeline import train_model

DATA = Path(os.environ.get("ANOMALY_VAE_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAMES = ("pressure", "flow", "valve", "temperature", "unit")

torch.set_num_threads(1)  # the workers of a parallel run share the cores


def make_rows(n: int, seed: int = 0) -> np.ndarray:
    """Rows with structure: a curve, a correlation, very different units, and a constant column ("unit")."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n)
    return np.column_stack(
        [
            1e5 + 2e3 * t + 200 * rng.normal(size=n),
            0.01 * np.sin(2 * t) + 0.001 * rng.normal(size=n),
            np.where(rng.random(n) < 0.5, -1.0, 1.0) + 0.1 * rng.normal(size=n),
            20 + t**2 + rng.normal(size=n),
            np.full(n, 7.0),
        ]
    )


@pytest.fixture(scope="session")
def trained():
    """One model trained for a moment; its calibration is real. Most tests need no mixture, which takes longer."""
    config = TrainConfig(random_state=3, max_steps=300, target_fpr=0.05, search="off", likelihood="gaussian")
    return train_model(make_rows(600), NAMES, config, label="broken")


@pytest.fixture(scope="session")
def mixture():
    """What the defaults train, two models scored as one, on the same rows."""
    config = TrainConfig(random_state=3, max_steps=200, target_fpr=0.05, search="fast")
    return train_model(make_rows(600), NAMES, config, label="broken")


@pytest.fixture(scope="session")
def mixture_scorer(mixture):
    return Scorer(mixture.bundle, threads=2)


@pytest.fixture(scope="session")
def bundle(trained):
    return trained.bundle


@pytest.fixture(scope="session")
def scorer(bundle):
    return Scorer(bundle, threads=2)


@pytest.fixture(scope="session")
def model_path(bundle, tmp_path_factory):
    """The bundle on disk; tests that change it copy it first."""
    path = tmp_path_factory.mktemp("bundles") / "model"
    write_bundle(bundle, path)
    return path


@pytest.fixture(scope="session")
def new_rows():
    return make_rows(75, seed=99)


@pytest.fixture
def run_cli(tmp_path):
    """Run the command line in a process of its own, in an empty folder."""

    def run(*arguments, stdin=b"", code=0):
        done = subprocess.run(
            [sys.executable, "-m", "anomaly_vae", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stderr.decode()
        return done

    return run
