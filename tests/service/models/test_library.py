"""The models of a service, from its settings; tests/service/test_server.py serves real ones."""

import asyncio
import logging

import pytest

from anomaly_vae.errors import BundleError, ConfigError, StartupError
from anomaly_vae.service.models.library import Library
from anomaly_vae.service.peers import Alone
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics


def on_library(scenario, model, **settings):
    async def run():
        metrics, peers, changes = Metrics(1, 1), Alone(), []
        config = ServeConfig(model=model, **settings)
        library = Library(config, peers, 1, metrics.changes, changes.append)
        try:
            return await scenario(library, peers, changes, metrics.registry.get_sample_value)
        finally:
            library.close()

    return asyncio.run(run())


def test_a_folder_is_loaded_and_watched(model_path, caplog):
    async def scenario(library, peers, changes, value):
        await library.start()
        assert [served.key for served in library.catalogue] == [("model", "1")]
        assert changes[-1].catalogue == library.catalogue
        assert value("anomaly_vae_model_check_timestamp_seconds") > 0
        watch = asyncio.create_task(library.watch())
        looked = value("anomaly_vae_model_check_timestamp_seconds")
        await peers.broadcast("reload", {})
        while value("anomaly_vae_model_check_timestamp_seconds") == looked:
            await asyncio.sleep(0.01)
        watch.cancel()

    with caplog.at_level(logging.INFO, "anomaly_vae.audit"):
        on_library(scenario, model_path)
    assert "loaded model version 1" in caplog.text


def test_with_explicit_control_there_is_no_time_of_the_last_look(model_path):
    async def scenario(_library, _peers, _changes, value):
        return value("anomaly_vae_model_check_timestamp_seconds")

    assert on_library(scenario, model_path, model_control="explicit") is None


def test_a_start_without_models_fails_by_what_is_wrong(tmp_path):
    async def scenario(library, *_):
        await library.start()

    with pytest.raises(BundleError, match=r"no manifest\.json there"):
        on_library(scenario, tmp_path)
    with pytest.raises(StartupError):
        on_library(scenario, "https://127.0.0.1:1/model", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"key\.pem"):
        on_library(scenario, tmp_path, verify_key=tmp_path / "key.pem")
