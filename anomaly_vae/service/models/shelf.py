"""The versions that were looked at: those that are loaded, and why others are refused."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from anomaly_vae.errors import AnomalyVaeError, BundleError, ConfigError
from anomaly_vae.service.loading import Loader, Measured, measure_speed
from anomaly_vae.service.models.audit import audit
from anomaly_vae.service.models.held import Held, text_of
from anomaly_vae.service.models.places import stamp_of
from anomaly_vae.service.queue.thread_priority import lower_priority
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import MAX_NAME_LENGTH
from anomaly_vae.service.telemetry.change_metrics import ChangeMetrics
from anomaly_vae.service.telemetry.logs import event
from anomaly_vae.service.telemetry.model_metrics import ModelKey

__all__ = ["START", "Shelf"]

_LOG = logging.getLogger("anomaly_vae.service")

# What has caused the first look, in the audit log.
START = "start"

Result = TypeVar("Result")


class Shelf:
    """Loads versions in a thread of its own, and keeps what it has loaded."""

    def __init__(self, loader: Loader, metrics: ChangeMetrics, nice: int) -> None:
        """Start empty.

        Args:
            loader: Loads versions.
            metrics: Where loaded and refused versions are counted.
            nice: Added to the nice value of the thread by :meth:`make_way`.
        """
        self._loader, self._metrics = loader, metrics
        self._held: dict[str, dict[str, Held]] = defaultdict(dict)
        self._refused: dict[ModelKey, BundleError] = {}
        self._unannounced: dict[ModelKey, tuple[Served, list[Measured]]] = {}  # loaded, and not in a catalogue yet
        self._is_closed = False
        self._thread, self._nice = ThreadPoolExecutor(1, "models"), nice

    @property
    def keys(self) -> set[ModelKey]:
        """Name and version of everything that was looked at."""
        return {*self._refused, *((name, version) for name, versions in self._held.items() for version in versions)}

    async def usable(self, name: str, version: str, path: Path, by: str) -> Served | None:
        """Return a version, loaded if it is new or has changed; None if it is refused and was never loaded."""
        held = self._held[name].get(version)
        stamp = await self.in_thread(stamp_of, path)
        if held is not None and (held.path, held.stamp) == (path, stamp):
            return held.served
        before = None if held is None else held.served
        try:
            _check_label(name)
            served = await self.in_thread(self._loader.load, name, version, path)
            if before is not None and before.digest == served.digest:
                served = before
            else:
                self._unannounced[name, version] = served, await self.in_thread(measure_speed, served)
                audit("loaded", name, version, by=by, digest=served.digest, before=before.digest if before else "")
                self._metrics.count(name, "loaded")
        except Exception as error:  # whatever is wrong with a bundle, the others are served on
            if self._is_closed:
                raise AnomalyVaeError("the service is shutting down; no model is loaded any more") from error
            # A fault that is not the bundle's, such as a full memory, may pass: look at it again.
            seen = stamp if isinstance(error, AnomalyVaeError) else None
            self._held[name][version] = Held(path, seen, before, error)
            self._metrics.count(name, "refused")
            if by != START:  # then it is said once it is clear whether the start fails
                self.say_refused((name, version), error, by)
            return before
        self._held[name][version] = Held(path, stamp, served)
        return served

    def refuse(self, refused: Mapping[ModelKey, BundleError], by: str) -> None:
        """Count and say what the place itself has refused since the last look."""
        before, self._refused = self._refused, dict(refused)
        for key, error in self._refused.items():
            if key not in before or str(before[key]) != str(error):
                self._metrics.show(key[0])
                self._metrics.count(key[0], "refused")
                if by != START:
                    self.say_refused(key, error, by)

    def errors(self) -> dict[ModelKey, Exception]:
        """Return why versions are refused."""
        held = {(name, version): one.error for name, of in self._held.items() for version, one in of.items()}
        return {**self._refused, **{key: error for key, error in held.items() if error is not None}}

    def say_refused(self, key: ModelKey, error: Exception, by: str) -> None:
        """Log that a version is refused."""
        if not isinstance(error, AnomalyVaeError):
            _LOG.error("%s", text_of(error), exc_info=error, extra=event("fault"))
        audit("refused", *key, by=by, why=text_of(error))

    def new_among(self, served: Iterable[Served]) -> list[tuple[Served, list[Measured]]]:
        """Return the models that were loaded and not announced yet, with their speed."""
        return [self._unannounced[one.key] for one in served if one.key in self._unannounced]

    def mark_announced(self, new: Iterable[tuple[Served, list[Measured]]]) -> None:
        """Note that models were announced."""
        for served, _ in new:
            del self._unannounced[served.key]

    def keep_only(self, name: str, versions: Collection[str]) -> None:
        """Forget all other versions of a model: they are gone, or not wanted any more."""
        for version in [version for version in self._held[name] if version not in versions]:
            del self._held[name][version]
            self._unannounced.pop((name, version), None)
        if not self._held[name]:
            del self._held[name]

    def free(self, name: str, loaded: Collection[str]) -> None:
        """Free the memory of all versions of a model but the loaded ones; remember which ones are refused."""
        held = self._held.get(name, {})
        for version, entry in list(held.items()):
            if version not in loaded and entry.served is not None:
                del held[version]

    def close(self) -> None:
        """Load nothing any more. A model that is being loaded is waited for only when the process ends."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def make_way(self) -> None:
        """Load at the priority of the compute threads from now on.

        Before the first models are loaded, callers wait for nothing else, and other processes should not delay it.
        """
        await self.in_thread(lower_priority, self._nice)

    async def in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _check_label(name: str) -> None:
    """Raise ConfigError for a name that cannot be a label of metrics and a part of log lines."""
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ConfigError(f"{name[:40]!r}: a model's name must have 1 to {MAX_NAME_LENGTH} printable characters")
