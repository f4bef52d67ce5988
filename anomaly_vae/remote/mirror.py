"""A copy of the bundles below a URL in the local cache, brought up to date by every scan."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from anomaly_vae.bundle.contents import SIGNATURE
from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import BundleError, RemoteError
from anomaly_vae.progress import Clock
from anomaly_vae.remote.cache import Cache
from anomaly_vae.remote.fetch import OnBytes, check_sealed, fetch_bundle, fetch_sealed, joined, place_of
from anomaly_vae.remote.keys import read_public_key
from anomaly_vae.remote.layout import Key, bundles_in, refuse_choice
from anomaly_vae.remote.store import Found, Store

__all__ = ["Mirror"]

# Seconds: the time of a change is trusted to tell two contents apart only if it is this far in the past, since object
# stores round it to seconds and clocks differ. Chosen, not measured.
_SETTLED_S = 60.0
# Seconds until a refused bundle is fetched again though no file of it has another size or time. Chosen, not measured:
# one that is broken for good should not be fetched at every poll.
_AGAIN_S = 300.0


class _Known(NamedTuple):
    """The entry of a folder, and its manifest and signature as listed; None if their times cannot be trusted yet."""

    seals: list[Found] | None
    entry: str


class _Refused(NamedTuple):
    files: list[Found] | None
    entry: str
    at: float
    error: BundleError


class Mirror:
    """The bundles below a URL. One thread at a time may use it; processes may share the cache.

    Attributes:
        refused: What is wrong with bundles of the last scan that were refused, by name and version. Where an older
            bundle of that name and version is in the cache, the scan still returns it.
        is_stale: Whether the last scan returned what was in the cache because the storage failed.
    """

    def __init__(
        self,
        store: Store,
        cache: Cache,
        *,
        verify_key: Path | None = None,
        only: bool = False,
        on_bytes: OnBytes | None = None,
        wall_clock: Callable[[], float] = time.time,
        clock: Clock = time.monotonic,
    ) -> None:
        """Contact nothing yet.

        Args:
            store: Where the bundles are.
            cache: Where they are copied to.
            verify_key: A public key: bundles that it did not sign are refused. Who loads a bundle must check it again.
            only: Whether there must be exactly one bundle; others fail the scan before anything is fetched.
            on_bytes: Is told of the progress of fetching.
            wall_clock: Seconds since 1970.
            clock: Seconds since some moment.
        """
        self.refused: Mapping[Key, BundleError] = {}
        self.is_stale = False
        self._store, self._cache, self._on_bytes = store, cache, on_bytes
        self._only = only
        self._key = None if verify_key is None else read_public_key(verify_key)
        self._wall_clock, self._clock = wall_clock, clock
        self._bundles: Mapping[Key, str] | None = None
        self._known: dict[str, _Known] = {}
        self._failed: dict[str, _Refused] = {}

    def scan(self) -> Mapping[Key, Path]:
        """Fetch new and changed bundles, and return the folders of all in the cache, by name and version.

        A returned folder never changes, and stays until the scan after the next one. A bundle with other bytes has
        another folder.

        Raises:
            BundleError: There must be exactly one bundle, and there is none or more than one.
            RemoteError: The storage fails. At the first scan this is only raised if the cache has none of the bundles;
                otherwise they are returned with a warning.
        """
        before = self._bundles if self._bundles is not None else self._cached()
        try:
            files = self._store.files()
            found = self._found(files, before)
        except RemoteError as error:
            if self._bundles is not None or not before:
                raise
            warn_caller(f"{error}; the cache {self._cache.folder} has bundles of it, which are used and may be old")
            found, self.is_stale = dict(before), True
        else:
            self.is_stale = False
        self._keep(found, before)
        return {key: self._cache.path(entry) for key, entry in found.items()}

    def close(self) -> None:
        """Let other processes remove the bundles from the cache."""
        self._cache.lease(())

    def _cached(self) -> dict[Key, str]:
        """Return what the cache has of this URL."""
        with self._cache.locked():
            view = self._cache.view(self._url)
            found = {key: entry for key, entry in view.items() if self._cache.has(entry)}
            self._cache.lease(found.values())
        return found

    def _found(self, files: list[Found] | None, before: Mapping[Key, str]) -> dict[Key, str]:
        """Return the entry of each bundle there; where one is refused, that of the one before."""
        folders, listed = bundles_in(self._store.address, files), _by_folder(files or ())
        if self._only:
            refuse_choice(folders, str(self._store.address))
        found: dict[Key, str] = {}
        refused: dict[Key, BundleError] = {}
        for key, folder in folders.items():
            try:
                found[key] = self._entry(folder, None if files is None else listed[folder])
            except BundleError as error:
                refused[key] = error
                if key in before:
                    found[key] = before[key]
        self._known = {folder: known for folder, known in self._known.items() if folder in folders.values()}
        self._failed = {folder: failed for folder, failed in self._failed.items() if folder in folders.values()}
        self.refused = MappingProxyType(refused)
        return found

    def _entry(self, folder: str, files: list[Found] | None) -> str:
        """Return the entry of a bundle, after fetching it if the cache does not have it."""
        names = joined(folder, MANIFEST), joined(folder, SIGNATURE)
        seals = None if files is None else [each for each in files if each.path in names]
        known = self._known.get(folder)
        if known is not None and seals is not None and known.seals == seals:
            return known.entry
        sealed = fetch_sealed(self._store, folder, signed=None if seals is None else len(seals) > 1)
        failed = self._failed.get(folder)
        if failed and failed[:2] == (files, sealed.entry) and self._clock() < failed.at + _AGAIN_S:
            raise failed.error
        try:
            check_sealed(sealed, self._key, place_of(self._store, folder))
            with self._cache.locked():
                if not self._cache.has(sealed.entry):
                    self._cache.add(fetch_bundle(self._store, folder, sealed, self._on_bytes))
                self._cache.lease({*self._cache.leased, sealed.entry})
        except BundleError as error:
            self._failed[folder] = _Refused(files, sealed.entry, self._clock(), error)
            raise
        self._known[folder] = _Known(seals if self._have_settled(seals) else None, sealed.entry)
        return sealed.entry

    def _have_settled(self, seals: list[Found] | None) -> bool:
        if seals is None:
            return False
        latest = 1e9 * (self._wall_clock() - _SETTLED_S)
        return all(each.changed is not None and each.changed < latest for each in seals)

    def _keep(self, found: Mapping[Key, str], before: Mapping[Key, str]) -> None:
        """Keep the bundles of this scan and of the one before, and remove those that no process wants any more."""
        wanted = {*found.values(), *before.values()}
        if wanted != self._cache.leased or found != self._bundles:
            with self._cache.locked():
                self._cache.write_view(self._url, found)
                self._cache.lease(wanted)
                self._cache.sweep()
        self._cache.touch_view(self._url)
        self._bundles = found

    @property
    def _url(self) -> str:
        """The URL with its options, since other endpoints have other bundles."""
        address = self._store.address
        return f"{address}?{sorted(address.options.items())}"


def _by_folder(files: Iterable[Found]) -> Mapping[str, list[Found]]:
    """Return the files directly in each folder, in order of their paths."""
    found: dict[str, list[Found]] = defaultdict(list)
    for each in sorted(files):
        found[each.path.rpartition("/")[0]].append(each)
    return found
