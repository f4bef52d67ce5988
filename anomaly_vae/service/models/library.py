"""The models of a service: found, loaded, watched, and changed by callers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomaly_vae.errors import RemoteError, StartupError
from anomaly_vae.remote.address import is_url
from anomaly_vae.remote.keys import read_public_key
from anomaly_vae.remote.sources import source_of
from anomaly_vae.service.loading import Loader
from anomaly_vae.service.models.catalogue import Catalogue
from anomaly_vae.service.models.control import ModelControl
from anomaly_vae.service.models.places import LocalPlaces, Places
from anomaly_vae.service.models.repository import Change, Repository
from anomaly_vae.service.models.watch import ModelWatch
from anomaly_vae.service.peers import Peers
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.change_metrics import ChangeMetrics

__all__ = ["Library"]


class Library:
    """The models of the place that the settings name.

    Attributes:
        control: Changes them for callers.
    """

    def __init__(
        self,
        config: ServeConfig,
        peers: Peers,
        threads: int,
        metrics: ChangeMetrics,
        on_change: Callable[[Change], None],
    ) -> None:
        """Load nothing yet. Needs a running event loop.

        Args:
            config: The settings.
            peers: All workers of the service.
            threads: Number of networks that run at a time.
            metrics: Where changes are counted.
            on_change: As for :class:`Repository`.

        Raises:
            ConfigError: A setting of models is not possible.
        """
        explicit = config.model_control == "explicit"
        if not explicit:
            metrics.show_checks()
        self._repository = Repository(config, _places(config), Loader(config, threads), metrics, on_change)
        anyone = config.anyone_may_change_models
        self.control = ModelControl(self._repository, peers, is_explicit=explicit, anyone=anyone)
        self._watch = ModelWatch(self._repository, math.inf if explicit else config.poll_seconds)
        peers.handle("reload", self._reload)

    @property
    def catalogue(self) -> Catalogue:
        """The models that are served now."""
        return self._repository.catalogue

    async def start(self) -> None:
        """Load the models for the first time.

        Raises:
            StartupError: The remote storage cannot be read.
            AnomalyVaeError: No model can be served.
        """
        try:
            await self._repository.start()
        except RemoteError as error:
            raise StartupError(str(error)) from error

    async def watch(self) -> None:
        """Look for new versions until cancelled."""
        await self._watch.run()

    def look_now(self) -> None:
        """Look for new versions now."""
        self._watch.look_now()

    def close(self) -> None:
        """Load nothing any more."""
        self._repository.close()

    async def _reload(self, _: dict[str, Any]) -> None:
        self.look_now()


def _places(config: ServeConfig) -> Places:
    if config.verify_key is not None:
        read_public_key(config.verify_key)  # a wrong key is one error here, and one for each bundle later
    if is_url(config.model):
        return source_of(config.model, verify_key=config.verify_key, cache_dir=config.cache_dir)
    return LocalPlaces(Path(config.model), config.model_name, config.model_version)
