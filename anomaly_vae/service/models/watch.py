"""Looks for versions of models again and again, and when the process is told to."""

from __future__ import annotations

import asyncio
import logging
import math

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.models.repository import Repository
from anomaly_vae.service.telemetry.logs import event

__all__ = ["ModelWatch"]

_LOG = logging.getLogger("anomaly_vae.service")


class ModelWatch:
    """Calls :meth:`Repository.refresh` at intervals and at signals. A failure is logged once, until it is another."""

    def __init__(self, repository: Repository, seconds: float = math.inf) -> None:
        """Watch nothing yet; look every ``seconds``, or only when told to."""
        self._repository = repository
        self._seconds = seconds
        self._told = asyncio.Event()
        self._failure = ""

    def look_now(self) -> None:
        """Look at once."""
        self._told.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            told = True
            try:
                seconds = None if self._seconds == math.inf else self._seconds
                await asyncio.wait_for(self._told.wait(), seconds)
            except TimeoutError:
                told = False
            self._told.clear()
            await self._look("signal" if told else "poll")

    async def _look(self, by: str) -> None:
        try:
            await self._repository.refresh(by)
        except Exception as error:  # noqa: BLE001 (the watch must go on, whatever has happened)
            expected = isinstance(error, AnomalyVaeError)
            text = str(error) if expected else type(error).__name__
            if text != self._failure:
                trace = None if expected else error
                message = "%s; the models that were loaded before are served on"
                _LOG.error(message, text, exc_info=trace, extra=event("models_not_read"))
            self._failure = text
        else:
            if self._failure:
                _LOG.info("the place of the models can be read again", extra=event("models_read"))
            self._failure = ""
