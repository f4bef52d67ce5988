"""The versions that were looked at; tests/service/models/test_repository.py tests what is made of them."""

import asyncio
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.service.models import shelf as module
from anomaly_vae.service.models.shelf import Shelf
from anomaly_vae.service.telemetry.metrics import Metrics


class FakeLoader:
    """Loads what a file says, and notes the thread."""

    def __init__(self):
        self.threads = []

    def load(self, name, version, path):
        self.threads.append((threading.current_thread().name, os.getpriority(os.PRIO_PROCESS, 0)))
        digest = (path / "manifest.json").read_text()
        if digest == "bad":
            raise BundleError("bad")
        return SimpleNamespace(key=(name, version), digest=digest)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure_speed", lambda served: [f"speed of {served.digest}"])
    (tmp_path / "manifest.json").write_text("a")
    return tmp_path


def on_shelf(scenario, nice=0):
    async def run():
        loader = FakeLoader()
        shelf = Shelf(loader, Metrics(1, 1).changes, nice)
        try:
            await scenario(shelf, loader)
        finally:
            shelf.close()

    asyncio.run(run())


def test_a_version_is_loaded_once_until_a_file_of_it_changes(bundle):
    async def scenario(shelf, loader):
        first = await shelf.usable("fraud", "4", bundle, "poll")
        assert await shelf.usable("fraud", "4", bundle, "poll") is first
        assert shelf.new_among([first]) == [(first, ["speed of a"])]
        shelf.mark_announced(shelf.new_among([first]))
        assert shelf.new_among([first]) == []
        (bundle / "manifest.json").write_text("other")
        assert (await shelf.usable("fraud", "4", bundle, "poll")).digest == "other"
        assert len(loader.threads) == 2

    on_shelf(scenario)


def test_models_are_loaded_in_one_thread_that_makes_way_for_others_once_some_are_served(bundle):
    async def scenario(shelf, loader):
        await shelf.usable("fraud", "4", bundle, "start")
        await shelf.make_way()
        await shelf.usable("fraud", "5", bundle, "poll")
        (name, first), (later_name, later) = loader.threads
        assert name == later_name
        assert name.startswith("models")
        assert first == os.getpriority(os.PRIO_PROCESS, 0)
        assert later == min(first + 3, 19)

    on_shelf(scenario, nice=3)


def test_a_refused_bundle_leaves_the_model_that_was_loaded_before(bundle):
    async def scenario(shelf, _loader):
        first = await shelf.usable("fraud", "4", bundle, "poll")
        (bundle / "manifest.json").write_text("bad")
        assert await shelf.usable("fraud", "4", bundle, "poll") is first
        assert str(shelf.errors()["fraud", "4"]) == "bad"
        shelf.free("fraud", ())
        assert shelf.keys == set()

    on_shelf(scenario)


def test_what_the_place_refuses_is_an_error_until_it_does_not_any_more():
    async def scenario(shelf, _loader):
        shelf.refuse({("fraud", "5"): BundleError("unsigned")}, "poll")
        assert (str(shelf.errors()["fraud", "5"]), shelf.keys) == ("unsigned", {("fraud", "5")})
        shelf.refuse({}, "poll")
        assert (shelf.errors(), shelf.keys) == ({}, set())

    on_shelf(scenario)


def test_once_it_is_closed_nothing_is_loaded_and_nothing_refused(bundle):
    async def scenario(shelf, _loader):
        shelf.close()
        with pytest.raises((AnomalyVaeError, RuntimeError), match=r"shutdown|shutting down"):
            await shelf.usable("fraud", "4", Path(bundle), "poll")
        assert shelf.errors() == {}

    on_shelf(scenario)
