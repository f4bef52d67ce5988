"""Versions come, change, fail and go, with a loader that reads the digest of a bundle from its manifest."""

import asyncio
import logging
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from anomaly_vae.errors import AnomalyVaeError, BundleError, ConfigError
from anomaly_vae.service.models import shelf as module
from anomaly_vae.service.models.places import LocalPlaces
from anomaly_vae.service.models.repository import Listed, Repository
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics


class FakeLoader:
    def __init__(self):
        self.loads = []

    def load(self, name, version, path):
        self.loads.append((name, version))
        digest = (path / "manifest.json").read_text()
        if digest == "crash":
            raise MemoryError
        if digest.startswith("bad"):
            raise BundleError(f"{path.name}: {digest}")
        return SimpleNamespace(name=name, version=version, key=(name, version), digest=digest)


def put(folder, digest):
    """Write a bundle beside its place, and rename it there."""
    part = folder.parent / f".{folder.name}"
    part.mkdir(parents=True)
    (part / "manifest.json").write_text(digest)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


class Fixture:
    """A repository over a folder, and everything that it did."""

    def __init__(self, folder, **settings):
        self.folder, self.metrics, self.loader = folder, Metrics(1, 1), FakeLoader()
        self.config = ServeConfig(model=folder, **settings)
        self.changes = []
        self.metrics.changes.show_checks()
        places = LocalPlaces(folder, "only", "1")
        self.repository = Repository(
            self.config, places, self.loader, self.metrics.changes, lambda change: self.changes.append(change)
        )

    def served(self):
        return {name: (of.default.version, sorted(of.loaded)) for name, of in self.repository.catalogue.models.items()}

    def value(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"anomaly_vae_{name}", labels)


def on_repository(folder, scenario, **settings):
    async def run():
        fixture = Fixture(folder, **settings)
        try:
            await scenario(fixture)
        finally:
            fixture.repository.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch):
    monkeypatch.setattr(module, "measure_speed", lambda served: [])


def audits(caplog):
    return [
        tuple(record.fields[key] for key in ("change", "model_name", "model_version") if key in record.fields)
        for record in caplog.records
        if record.name == "anomaly_vae.audit"
    ]


def test_a_new_version_takes_over_and_the_old_one_goes(tmp_path, caplog):
    put(tmp_path / "fraud/1", "a")
    put(tmp_path / "other/7", "b")

    async def scenario(it):
        await it.repository.start()
        assert it.served() == {"fraud": ("1", ["1"]), "other": ("7", ["7"])}
        put(tmp_path / "fraud/2", "c")
        await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("2", ["2"]), "other": ("7", ["7"])}
        assert [served.key for served, _ in it.changes[-1].measured] == [("fraud", "2")]
        before = len(it.changes)
        await it.repository.refresh("poll")
        assert (len(it.changes), len(it.loader.loads)) == (before, 3)  # nothing is loaded or switched twice
        assert it.value("model_changes_total", model_name="fraud", change="loaded") == 2
        assert it.value("model_changes_total", model_name="fraud", change="removed") == 1
        assert it.value("model_share", model_name="fraud", model_version="2", role="default") == 1
        assert it.value("model_share", model_name="fraud", model_version="1", role="default") is None
        assert it.value("model_check_timestamp_seconds") > 0

    with caplog.at_level(logging.INFO, "anomaly_vae.audit"):
        on_repository(tmp_path, scenario)
    assert audits(caplog)[2:] == [("loaded", "fraud", "2"), ("removed", "fraud", "1"), ("default", "fraud", "2")]


def test_the_new_version_is_ready_before_the_old_one_goes(tmp_path):
    """At every change, each model has a version."""
    put(tmp_path / "1", "a")

    async def scenario(it):
        await it.repository.start()
        for version in ("2", "3"):
            put(tmp_path / version, version)
            await it.repository.refresh("poll")
        shutil.rmtree(tmp_path / "3")
        await it.repository.refresh("poll")  # back to the version before, which is loaded again
        assert [change.catalogue.models["only"].default.version for change in it.changes] == ["1", "2", "3", "2"]

    on_repository(tmp_path, scenario)


def test_a_refused_version_leaves_the_old_one_and_is_tried_again_once_it_changes(tmp_path, caplog):
    put(tmp_path / "fraud/1", "a")

    async def scenario(it):
        await it.repository.start()
        put(tmp_path / "fraud/2", "bad: encoder.onnx")
        for _ in range(3):
            await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("1", ["1"])}
        assert it.loader.loads.count(("fraud", "2")) == 1
        assert it.value("model_refused", model_name="fraud", model_version="2") == 1
        assert it.value("model_changes_total", model_name="fraud", change="refused") == 1
        assert it.repository.index() == [
            Listed("fraud", "1", "READY", ""),
            Listed("fraud", "2", "UNAVAILABLE", "2: bad: encoder.onnx"),
        ]
        put(tmp_path / "fraud/2", "b")
        await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("2", ["2"])}
        assert it.value("model_refused", model_name="fraud", model_version="2") is None

    on_repository(tmp_path, scenario)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


def test_a_bundle_that_is_replaced_in_its_place_is_served_under_the_same_version(tmp_path):
    put(tmp_path / "m", "a")

    async def scenario(it):
        await it.repository.start()
        first = it.repository.catalogue.models["only"].default
        put(tmp_path / "m", "bad")
        await it.repository.refresh("poll")
        assert it.repository.catalogue.models["only"].default is first
        put(tmp_path / "m", "a")  # the same bundle again: the model in memory stays
        await it.repository.refresh("poll")
        assert it.repository.catalogue.models["only"].default is first
        assert it.value("model_refused", model_name="only", model_version="1") is None
        assert it.value("model_changes_total", model_name="only", change="loaded") == 1
        put(tmp_path / "m", "b")
        await it.repository.refresh("poll")
        assert it.repository.catalogue.models["only"].default.digest == "b"

    on_repository(tmp_path / "m", scenario)


def test_older_versions_are_served_if_newer_ones_are_refused_at_the_start(tmp_path):
    for version, digest in (("1", "a"), ("2", "b"), ("3", "bad"), ("4", "bad")):
        put(tmp_path / version, digest)

    async def scenario(it):
        await it.repository.start()
        assert it.served() == {"only": ("2", ["1", "2"])}

    on_repository(tmp_path, scenario, versions=("latest:2",))


def test_a_start_without_a_usable_model_fails_with_the_reasons(tmp_path):
    put(tmp_path / "fraud/1", "bad: one")
    put(tmp_path / "other/1", "bad: two")

    async def scenario(it):
        with pytest.raises(BundleError, match=r"bad: one; .*bad: two"):
            await it.repository.start()

    on_repository(tmp_path, scenario)
    (tmp_path / "empty").mkdir()

    async def empty(it):
        with pytest.raises(BundleError, match=r"no manifest\.json there, and no folder NAME/VERSION"):
            await it.repository.start()

    on_repository(tmp_path / "empty", empty)


def test_a_service_has_all_models_at_once_when_it_starts(tmp_path):
    """Otherwise it would be ready, and refuse requests for models that are still loading as unknown."""
    put(tmp_path / "fraud/1", "a")
    put(tmp_path / "other/1", "b")

    async def scenario(it):
        await it.repository.start()
        (change,) = it.changes
        assert [served.key for served in change.catalogue] == [("fraud", "1"), ("other", "1")]
        assert [served.key for served, _ in change.measured] == [("fraud", "1"), ("other", "1")]

    on_repository(tmp_path, scenario)


def test_options_without_an_effect_and_misplaced_bundles_are_said_once(tmp_path, caplog):
    put(tmp_path / "fraud/1", "a")
    put(tmp_path / "fraud/v2", "b")
    put(tmp_path / "flat", "c")

    async def scenario(it):
        await it.repository.start()
        await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("1", ["1"])}

    on_repository(tmp_path, scenario, versions=("frau=1",), shadow=("fraud=1:0.5",))
    for text in (
        "versions: there is no model 'frau', fraud are there",
        "shadow fraud=1: it answers all requests",
        f"{tmp_path / 'fraud/v2'} is a bundle, but 'v2' is no version",
        f"{tmp_path / 'flat'} is a bundle without a version",
    ):
        assert caplog.text.count(text) == 1


def test_a_given_name_must_be_that_of_the_folder(tmp_path):
    put(tmp_path / "fraud/1", "a")

    async def scenario(it):
        with pytest.raises(ConfigError, match=r"name is 'foo', but .* holds models with names of their own, fraud;"):
            await it.repository.start()

    on_repository(tmp_path, scenario, name="foo")


def test_one_broken_model_does_not_keep_the_others_from_starting(tmp_path, caplog):
    put(tmp_path / "fraud/1", "bad")
    put(tmp_path / "other/1", "a")

    async def scenario(it):
        await it.repository.start()
        assert it.served() == {"other": ("1", ["1"])}
        assert it.value("model_refused", model_name="fraud", model_version="1") == 1

    on_repository(tmp_path, scenario)
    assert audits(caplog).count(("refused", "fraud", "1")) == 1


def test_what_the_place_refuses_is_said_and_counted_once_until_it_changes(tmp_path, caplog):
    for name in ("fraud/1", "fraud/2", "fraud/02"):
        put(tmp_path / name, name)

    async def scenario(it):
        await it.repository.start()
        for _ in range(3):
            await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("2", ["2"])}
        assert it.value("model_changes_total", model_name="fraud", change="refused") == 1
        assert it.value("model_refused", model_name="fraud", model_version="2") == 1
        shutil.rmtree(tmp_path / "fraud" / "02")
        await it.repository.refresh("poll")
        assert it.value("model_refused", model_name="fraud", model_version="2") is None

    on_repository(tmp_path, scenario)
    assert audits(caplog).count(("refused", "fraud", "2")) == 1


def test_a_look_that_found_only_what_was_known_before_is_not_complete(tmp_path):
    put(tmp_path / "1", "a")

    async def scenario(it):
        before = it.value("model_check_timestamp_seconds")
        it.repository._places.is_stale = True
        await it.repository.start()
        assert it.value("model_check_failures_total") == 1
        assert it.value("model_check_timestamp_seconds") == before

    on_repository(tmp_path, scenario)


def test_a_model_without_a_version_goes_but_an_empty_place_is_a_failure(tmp_path):
    put(tmp_path / "fraud/1", "a")
    put(tmp_path / "other/1", "b")

    async def scenario(it):
        await it.repository.start()
        shutil.rmtree(tmp_path / "other")
        await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("1", ["1"])}
        shutil.rmtree(tmp_path / "fraud")
        for _ in range(2):
            with pytest.raises(BundleError, match="no model is left there"):
                await it.repository.refresh("poll")
        shutil.rmtree(tmp_path)
        with pytest.raises(BundleError, match="no model there"):
            await it.repository.refresh("poll")
        assert it.served() == {"fraud": ("1", ["1"])}
        assert it.value("model_check_failures_total") == 3

    on_repository(tmp_path, scenario)


def test_a_fault_that_may_pass_is_tried_again(tmp_path, caplog):
    put(tmp_path / "1", "a")

    async def scenario(it):
        await it.repository.start()
        put(tmp_path / "2", "crash")
        for _ in range(2):
            await it.repository.refresh("poll")
        assert it.loader.loads.count(("only", "2")) == 2
        assert it.served() == {"only": ("1", ["1"])}

    on_repository(tmp_path, scenario)
    assert "MemoryError while it was loaded" in caplog.text


def test_a_canary_and_a_shadow_are_loaded_beside_the_default(tmp_path, caplog):
    for version in ("1", "2", "3"):
        put(tmp_path / "fraud" / version, version)

    async def scenario(it):
        await it.repository.start()
        assert it.served() == {"fraud": ("1", ["1", "2", "3"])}
        shares = [("1", "default", 0.75), ("2", "canary", 0.25), ("3", "shadow", 0.5)]
        for version, role, share in shares:
            assert it.value("model_share", model_name="fraud", model_version=version, role=role) == share
        shutil.rmtree(tmp_path / "fraud" / "2")
        for _ in range(2):
            await it.repository.refresh("poll")
        assert it.value("model_share", model_name="fraud", model_version="1", role="default") == 1

    on_repository(tmp_path, scenario, canary=("fraud=2:0.25",), shadow=("fraud=3:0.5",))
    assert caplog.text.count("canary fraud=2: there is no such version, 1, 3 are there") == 1


def test_models_are_unloaded_and_loaded_by_name(tmp_path):
    put(tmp_path / "fraud/1", "a")
    put(tmp_path / "other/1", "b")

    async def scenario(it):
        await it.repository.start()
        await it.repository.unload("other", "ops")
        await it.repository.refresh("signal")
        assert it.served() == {"fraud": ("1", ["1"])}
        assert it.repository.index()[1] == Listed("other", "1", "UNAVAILABLE", "the model was unloaded")
        put(tmp_path / "fraud/2", "c")
        await it.repository.load("other", "ops")
        assert it.served() == {"fraud": ("1", ["1"]), "other": ("1", ["1"])}  # no other model is looked at
        put(tmp_path / "other/2", "bad")
        with pytest.raises(BundleError, match="2: bad"):
            await it.repository.load("other", "ops")
        assert it.served()["other"] == ("1", ["1"])
        with pytest.raises(BundleError, match="missing: there is no such model"):
            await it.repository.load("missing", "ops")
        assert it.value("model_changes_total", model_name="missing", change="loaded") is None

    on_repository(tmp_path, scenario)


def test_a_change_that_was_cancelled_or_failed_is_made_at_the_next_look(tmp_path, monkeypatch):
    """Otherwise the version would be served without its metrics, which start with the change."""
    put(tmp_path / "1", "a")

    async def scenario(it):
        await it.repository.start()
        put(tmp_path / "2", "b")
        measuring, go = threading.Event(), threading.Event()
        monkeypatch.setattr(module, "measure_speed", lambda served: (measuring.set(), go.wait(20), [])[2])
        looking = asyncio.create_task(it.repository.refresh("ops"))
        await asyncio.to_thread(measuring.wait, 20)
        monkeypatch.setattr(module, "measure_speed", lambda served: [])
        looking.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert it.served() == {"only": ("1", ["1"])}
        failing = it.repository._on_change
        it.repository._on_change = lambda change: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await it.repository.refresh("poll")
        it.repository._on_change = failing
        await it.repository.refresh("poll")
        assert it.served() == {"only": ("2", ["2"])}
        assert [served.key for served, _ in it.changes[-1].measured] == [("only", "2")]

    on_repository(tmp_path, scenario)


def test_an_old_version_that_was_refused_is_no_failure_once_a_newer_one_is_served(tmp_path):
    put(tmp_path / "1", "a")

    async def scenario(it):
        await it.repository.start()
        put(tmp_path / "2", "bad")
        await it.repository.refresh("poll")
        put(tmp_path / "3", "c")
        await it.repository.load("only", "ops")
        assert it.served() == {"only": ("3", ["3"])}
        assert it.value("model_refused", model_name="only", model_version="2") is None
        shutil.rmtree(tmp_path / "3")
        with pytest.raises(BundleError, match="2: bad"):  # now it is the newest again
            await it.repository.load("only", "ops")
        assert it.served() == {"only": ("1", ["1"])}

    on_repository(tmp_path, scenario)


def test_a_model_that_is_gone_has_no_series_left(tmp_path):
    for name in ("fraud", "other"):
        put(tmp_path / name / "1", name)

    async def scenario(it):
        await it.repository.start()
        shutil.rmtree(tmp_path / "other")
        await it.repository.refresh("poll")
        samples = [sample for family in it.metrics.registry.collect() for sample in family.samples]
        assert {sample.labels["model_name"] for sample in samples if "model_name" in sample.labels} == {"fraud"}

    on_repository(tmp_path, scenario)


def test_a_service_that_ends_while_it_loads_refuses_no_version(tmp_path, caplog):
    put(tmp_path / "1", "a")

    async def scenario(it):
        load = it.loader.load
        it.loader.load = lambda *arguments: (it.repository.close(), load(*arguments))[1]
        with pytest.raises(AnomalyVaeError, match="shutting down"):
            await it.repository.refresh("ops")
        assert it.repository.index()[0].reason == "not among the versions that are served"

    with caplog.at_level(logging.INFO, "anomaly_vae.audit"):
        on_repository(tmp_path, scenario)
    assert audits(caplog) == []


def test_versions_that_the_policy_leaves_out_are_listed_and_not_loaded(tmp_path):
    for version in ("1", "2"):
        put(tmp_path / version, version)

    async def scenario(it):
        await it.repository.start()
        assert it.loader.loads == [("only", "1")]
        reason = "not among the versions that are served"
        assert it.repository.index() == [Listed("only", "1", "READY", ""), Listed("only", "2", "UNAVAILABLE", reason)]

    on_repository(tmp_path, scenario, versions=("only=1",))


def test_a_name_that_cannot_be_a_label_is_refused(tmp_path):
    put(tmp_path / "x" / "1", "a")
    put(tmp_path / "a\nb" / "1", "a")

    async def scenario(it):
        await it.repository.start()
        assert list(it.served()) == ["x"]

    on_repository(tmp_path, scenario)


@pytest.mark.parametrize("settings", [{"versions": ("x",)}, {"canary": ("x",)}, {"shadow": ("x",)}])
def test_wrong_settings_fail_before_anything_is_loaded(settings):
    async def scenario():
        Fixture(Path("m"), **settings)

    with pytest.raises(ConfigError):
        asyncio.run(scenario())
