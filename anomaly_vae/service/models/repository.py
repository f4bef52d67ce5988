"""Looks for versions of models, loads new ones beside the old, and switches to them at once.

A bundle that cannot be used is refused: what was served before stays. All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.remote.address import is_url
from anomaly_vae.service.loading import Loader, Measured
from anomaly_vae.service.models.audit import audit
from anomaly_vae.service.models.catalogue import Catalogue, Versions
from anomaly_vae.service.models.held import choose, text_of
from anomaly_vae.service.models.places import Places
from anomaly_vae.service.models.policy import parse_policy
from anomaly_vae.service.models.remarks import check_name, misplaced, nothing_there, share_remarks, version_remarks
from anomaly_vae.service.models.shares import parse_shares
from anomaly_vae.service.models.shelf import START, Shelf
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.change_metrics import ChangeMetrics
from anomaly_vae.service.telemetry.logs import event
from anomaly_vae.service.telemetry.model_metrics import ModelKey

__all__ = ["Change", "Listed", "Repository"]

_LOG = logging.getLogger("anomaly_vae.service")


class Change(NamedTuple):
    """A new catalogue, and the speed of the models that are new in it."""

    catalogue: Catalogue
    measured: list[tuple[Served, list[Measured]]]


class Listed(NamedTuple):
    """A version that was found.

    Attributes:
        name, version: The model.
        state: READY or UNAVAILABLE, as Triton names them.
        reason: Why it is not ready, or why its new bundle is refused.
    """

    name: str
    version: str
    state: str
    reason: str


class Repository:
    """The models of one place.

    Attributes:
        catalogue: What is served now.
    """

    def __init__(
        self,
        config: ServeConfig,
        places: Places,
        loader: Loader,
        metrics: ChangeMetrics,
        on_change: Callable[[Change], None],
    ) -> None:
        """Look at nothing yet.

        Args:
            config: The settings.
            places: Where versions come from.
            loader: Loads them.
            metrics: Where changes are counted.
            on_change: Called with each new catalogue, before anything is said about it; the first one has all models,
                so that a service is not ready with a part of them.

        Raises:
            ConfigError: The policy, the canary or the shadow is not possible.
        """
        self.catalogue = Catalogue()
        self._config = config
        self._policy = parse_policy(config.versions)
        self._canaries, self._shadows = parse_shares(config.canary, "canary"), parse_shares(config.shadow, "shadow")
        self._places, self._shelf = places, Shelf(loader, metrics, config.nice)
        self._metrics, self._on_change = metrics, on_change
        self._found: dict[str, dict[str, Path]] = {}
        self._folder = None if is_url(config.model) else Path(config.model)
        self._misplaced: list[str] = []
        self._unloaded: set[str] = set()
        self._is_first = True  # until the first look is complete, nothing is announced
        self._warned: set[str] = set()
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Load the models for the first time.

        Raises:
            AnomalyVaeError: The place cannot be read, or none of its models can be used.
        """
        await self.refresh(START)
        errors = self._shelf.errors()
        if not self.catalogue:
            if len(errors) == 1:
                raise next(iter(errors.values()))
            reasons = "; ".join(dict.fromkeys(text_of(error) for error in errors.values()))
            raise BundleError(reasons or nothing_there(self._config.model, self._found, self._misplaced))
        self._is_first = False
        self._announce(self.catalogue)
        for key, error in errors.items():
            self._shelf.say_refused(key, error, START)
        await self._shelf.make_way()

    async def refresh(self, by: str, only: str | None = None) -> None:
        """Look for new, changed and removed versions, and serve them.

        Args:
            by: Who or what asks for it, for the audit log.
            only: The only model to look at; None for all.

        Raises:
            AnomalyVaeError: The place cannot be read; what was served before stays.
        """
        async with self._lock:
            found = await self._scan()
            names = {*found, *(name for name, _ in self._shelf.keys)}
            if only is not None:
                names &= {only}
            for name in sorted(names - self._unloaded):
                await self._update(name, found.get(name, {}), by)
            self._shelf.refuse(self._places.refused, by)
            self._remark()
            self._metrics.check(complete=not self._places.is_stale)
            self._show()

    async def load(self, name: str, by: str) -> None:
        """Load the newest versions of a model, also one that was unloaded.

        Raises:
            BundleError: There is no such model, or its newest version is refused; an older one may still be served.
        """
        self._unloaded.discard(name)
        await self.refresh(by, name)
        for (other, _), error in self._shelf.errors().items():
            if other == name:
                raise BundleError(text_of(error))
        if name not in self.catalogue.models:
            raise BundleError(f"{name}: there is no such model, or no version of it that may be served")

    async def unload(self, name: str, by: str) -> None:
        """Stop serving a model until it is loaded again. Requests that are under way are answered."""
        async with self._lock:
            self._unloaded.add(name)
            if name in self.catalogue.models:
                audit("unloaded", name, by=by)
                self._switch(name, None, by)
            self._shelf.keep_only(name, ())
            self._show()

    def index(self) -> list[Listed]:
        """Return all versions that were looked at, by name and version."""
        known = {(name, version) for name, versions in self._found.items() for version in versions}
        errors = self._shelf.errors()
        keys = sorted(known | self._shelf.keys, key=lambda key: (key[0], int(key[1])))
        return [self._listed(key, errors.get(key)) for key in keys]

    def close(self) -> None:
        """Load nothing any more; see :meth:`Shelf.close`."""
        self._shelf.close()

    def _listed(self, key: ModelKey, error: Exception | None) -> Listed:
        (name, version), versions = key, self.catalogue.models.get(key[0])
        refusal = "" if error is None else text_of(error)
        if versions is not None and version in versions.loaded:
            return Listed(name, version, "READY", refusal)
        reason = "the model was unloaded" if name in self._unloaded else "not among the versions that are served"
        return Listed(name, version, "UNAVAILABLE", refusal or reason)

    async def _scan(self) -> dict[str, dict[str, Path]]:
        """Return the folder of each version, by name and version."""
        try:
            places = await self._shelf.in_thread(self._places.scan)
            self._misplaced = await self._shelf.in_thread(misplaced, self._folder) if self._folder else []
            if not places and self.catalogue:
                raise BundleError("no model is left there")
        except AnomalyVaeError:
            self._metrics.check(complete=False)
            raise
        found: dict[str, dict[str, Path]] = defaultdict(dict)
        for (name, version), path in places.items():
            found[name][version] = path
        if self._is_first:  # later folders are no reason to stop what is served
            check_name(self._config, found)
        self._found = dict(found)
        return found

    async def _update(self, name: str, places: Mapping[str, Path], by: str) -> None:
        """Load what is new of a model, then serve it."""
        before = self.catalogue.models.get(name)
        self._metrics.show(name)
        rule, canary, shadow = self._policy.rule(name), self._canaries.get(name), self._shadows.get(name)
        apart = [share.version for share in (canary, shadow) if share is not None]
        usable: dict[str, Served] = {}
        looked_at: set[str] = set()
        num_regular = 0
        for number in sorted(map(int, places), reverse=True):
            version = str(number)
            is_regular = version not in apart and number in rule.candidates([number]) and num_regular != rule.latest
            if is_regular or version in apart:
                looked_at.add(version)
                served = await self._shelf.usable(name, version, places[version], by)
                if served is not None:
                    usable[version] = served
                    num_regular += is_regular
        versions = choose(usable, rule, canary, shadow)
        if versions is None and places and before is not None:
            self._warn(f"{name}: none of its versions can be used; version {before.default.version} is served on")
            return
        self._shelf.keep_only(name, looked_at)
        self._switch(name, versions, by)
        if not places:
            self._metrics.forget(name)

    def _switch(self, name: str, versions: Versions | None, by: str) -> None:
        """Serve other versions of a model from now on; None for no version."""
        before = self.catalogue.models.get(name)
        if versions == before:
            return
        models = {**self.catalogue.models, name: versions}
        catalogue = Catalogue({key: value for key, value in sorted(models.items()) if value is not None})
        if not self._is_first:
            self._announce(catalogue)  # if it fails, the next look tries it again
        self.catalogue = catalogue
        self._shelf.free(name, versions.loaded if versions is not None else ())
        old = {} if before is None else before.loaded
        for version in old.keys() - (versions.loaded.keys() if versions else ()):
            audit("removed", name, version, by=by, digest=old[version].digest)
            self._metrics.count(name, "removed")
        if before is not None and versions is not None and before.default.version != versions.default.version:
            default = versions.default
            audit("default", name, default.version, by=by, digest=default.digest, before=before.default.version)

    def _announce(self, catalogue: Catalogue) -> None:
        """Serve a catalogue from now on."""
        new = self._shelf.new_among(catalogue)
        self._on_change(Change(catalogue, new))
        self._shelf.mark_announced(new)

    def _remark(self) -> None:
        """Warn of options without an effect, and of bundles in the wrong folder."""
        served = self.catalogue.models
        texts = [*version_remarks(self._policy, self._found, served)]
        for option, shares in (("canary", self._canaries), ("shadow", self._shadows)):
            texts += share_remarks(option, shares, self._found, served)
        if served:  # otherwise these are the reason why nothing is
            texts += self._misplaced
        for text in texts:
            self._warn(text)

    def _show(self) -> None:
        """Show in the metrics which versions are refused, and who answers which share."""
        self._metrics.set_refused(set(self._shelf.errors()))
        shares: dict[tuple[str, str, str], float] = {}
        for name, versions in self.catalogue.models.items():
            part = versions.canary.part if versions.canary else 0.0
            shares[name, versions.default.version, "default"] = 1.0 - part
            for role, share in (("canary", versions.canary), ("shadow", versions.shadow)):
                if share is not None:
                    shares[name, share.version, role] = share.part
        self._metrics.set_shares(shares)

    def _warn(self, text: str) -> None:
        """Log a warning, once."""
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("%s", text, extra=event("models"))
