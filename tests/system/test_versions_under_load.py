"""Versions come and go, bad bundles are dropped, replicas are restarted: clients get right replies, and no error.

These are short runs of the load tests; `make load` has the long ones. test_workers.py has the deaths of workers.
"""

import random

import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.load.drops import drop_all
from tests.load.reloads import reload
from tests.load.rolling import roll
from tests.support.data import NAMES, make_rows
from tests.support.version_folder import VersionFolder

# Other tests run at the same time: the clients pause, and large requests take only two calls.
LIGHT = {"pause": 0.05, "many": 70}


@pytest.fixture(scope="module")
def two_bundles(model_path, tmp_path_factory):
    """Two bundles with other scores for the same rows."""
    other = tmp_path_factory.mktemp("bundles") / "other"
    config = TrainConfig(random_state=4, max_steps=50, target_fpr=0.05, search="off", likelihood="gaussian")
    write_bundle(train_model(make_rows(600), NAMES, config, label="broken").bundle, other)
    return [model_path, other]


def test_no_reload_gives_an_error_or_mixes_versions(two_bundles, new_rows, tmp_path):
    models = VersionFolder(tmp_path / "models")
    figures = reload(models, two_bundles, new_rows, "latest:1", cycles=3, draws=random.Random(1), quiet=0.0, **LIGHT)
    assert figures["versions_that_answered"] >= 3


def test_no_bad_bundle_is_served_or_stops_the_served_one(two_bundles, tmp_path, monkeypatch):
    """Damaged ones, and wrongly signed ones."""
    monkeypatch.chdir(tmp_path)  # some attacks write to where they run
    figures = drop_all(tmp_path, two_bundles, 11, random.Random(2), signed=True, misplace=False, most=8, **LIGHT)
    assert figures["drops"] == 8


def test_no_restart_of_two_replicas_gives_an_error_or_a_wrong_score(two_bundles, new_rows):
    assert roll(two_bundles, new_rows, restarts=2, draws=random.Random(3), **LIGHT)["calls"] > 0
