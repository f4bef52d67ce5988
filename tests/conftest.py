"""Fixtures for all tests: small trained models, made once per worker."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.forked import run_forked
from tests.support.pictures import picture_model
from tests.support.remote_stores import bucket_server, make_bucket
from tests.support.running import running

_TESTS = Path(__file__).parent

_bucket_numbers = itertools.count()

torch.set_num_threads(1)  # the workers of a parallel run share the cores

# Folders with slow tests. They come first: at the end of a parallel run, a worker with slow tests keeps others waiting.
_SLOW = ("docs", "system", "training", "cli", "density", "service")


def pytest_collection_modifyitems(items):
    """Put slow folders first; the order within a folder stays."""
    items.sort(key=lambda item: item.path.relative_to(_TESTS).parts[0] not in _SLOW)


@pytest.fixture(scope="session")
def trained():
    """One model after a short training, with a real calibration. Most tests need no ensemble, which takes longer."""
    config = TrainConfig(random_state=3, max_steps=300, target_fpr=0.05, search="off", likelihood="gaussian")
    return train_model(make_rows(600), NAMES, config, label="broken")


@pytest.fixture(scope="session")
def ensemble():
    """An ensemble of two models, as the default parameters give, on the same rows."""
    config = TrainConfig(random_state=3, max_steps=200, target_fpr=0.05, search="fast")
    return train_model(make_rows(600), NAMES, config, label="broken")


@pytest.fixture(scope="session")
def ensemble_scorer(ensemble):
    return Scorer(ensemble.bundle, threads=2)


@pytest.fixture(scope="session")
def bundle(trained):
    return trained.bundle


@pytest.fixture(scope="session")
def scorer(bundle):
    return Scorer(bundle, threads=2)


@pytest.fixture(scope="session")
def picture_bundle():
    """A model of images with a contrast."""
    return picture_model().bundle


@pytest.fixture(scope="session")
def picture_scorer(picture_bundle):
    return Scorer(picture_bundle, threads=2)


@pytest.fixture(scope="session")
def model_path(bundle, tmp_path_factory):
    """The bundle on disk. A test that changes it must copy it first."""
    path = tmp_path_factory.mktemp("bundles") / "model"
    write_bundle(bundle, path)
    return path


@pytest.fixture(scope="session")
def new_rows():
    return make_rows(75, seed=99)


@pytest.fixture
def run_cli(tmp_path):
    """Run the command line in its own process, in an empty folder."""

    def run(*arguments, stdin=b"", code=0):
        if stdin or "serve" in arguments:  # which must set what gRPC reads when it is imported
            command = [sys.executable, "-m", "anomaly_vae", *map(str, arguments)]
            done = subprocess.run(command, input=stdin, capture_output=True, cwd=tmp_path, timeout=300, check=False)
        else:
            done = subprocess.CompletedProcess(arguments, *run_forked(tmp_path, arguments))
        assert done.returncode == code, done.stderr.decode()
        return done

    return run


@pytest.fixture(scope="module")
def service(model_path):
    """A running service, shared by the tests of a module."""
    with running(model_path) as service:
        yield service


@pytest.fixture
def channel(service):
    with service.channel() as channel:
        yield channel


@pytest.fixture(scope="session")
def s3_server():
    with bucket_server() as place:
        yield place


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The name of an empty bucket, with the environment that leads to it."""
    name = f"bucket-{next(_bucket_numbers)}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_server}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    make_bucket(s3_server, name)
    return name
