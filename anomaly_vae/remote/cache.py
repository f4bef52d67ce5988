"""The folder of fetched bundles on this machine, which several processes share.

::

    lock                  locked by the process that changes the folder
    sha256/ENTRY/         a bundle; ENTRY is its digest, and the start of that of its signature
    leases/ENTRY          locked by every process that may still read the bundle
    views/KEY.json        which bundles a URL had when it could be reached last

An entry never changes: another manifest or signature makes another entry. It gets its name when it is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Set
from pathlib import Path

import msgspec

from anomaly_vae.bundle.files import BundleFiles, read_files
from anomaly_vae.errors import BundleError, ConfigError, RemoteError
from anomaly_vae.remote.fetch import entry_of, is_entry
from anomaly_vae.remote.layout import Key
from anomaly_vae.storage import atomic_file, write_directory

__all__ = ["DEFAULT_BYTES", "Cache", "default_cache_dir"]

# The most bytes of all entries: 16 GiB. Chosen, not measured: many models, on the disk of a small machine.
DEFAULT_BYTES = 16 * 2**30

# Seconds to wait for another process that changes the cache, and between two looks. Chosen, not measured: it may be
# fetching a large bundle for both.
_LOCK_S, _LOOK_S = 600.0, 0.02


def default_cache_dir() -> Path:
    """Return ANOMALY_VAE_CACHE_DIR, or anomaly-vae in the user's cache folder."""
    if given := os.environ.get("ANOMALY_VAE_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "anomaly-vae"
    except RuntimeError as error:  # there is no home
        raise ConfigError("there is no folder for fetched bundles; set ANOMALY_VAE_CACHE_DIR") from error


# Seconds after which a URL that no process has looked at is forgotten: 90 days. Chosen, not measured.
_FORGET_S = 90 * 86_400.0


class _View(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    bundles: list[tuple[str, str, str]]


class Cache:
    """The cache in one folder. Methods that change it are called while it is :meth:`locked`."""

    def __init__(self, folder: Path, *, max_bytes: int = DEFAULT_BYTES) -> None:
        """Make the folder if it is missing.

        Raises:
            ConfigError: Nothing can be written there.
        """
        self.folder, self._max_bytes = folder.absolute(), max_bytes
        self._leases: dict[str, int] = {}
        self._checked: set[str] = set()
        try:
            for name in ("sha256", "leases", "views"):
                (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(
                f"{folder}: the cache of fetched bundles cannot be made: {reason}; choose another folder "
                "(ANOMALY_VAE_CACHE_DIR, for serve also --cache-dir)"
            ) from error

    def path(self, entry: str) -> Path:
        """Return the folder of an entry."""
        return self.folder / "sha256" / entry

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the cache.

        Raises:
            RemoteError: Another process has kept it locked for minutes.
        """
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + _LOCK_S
            while not _take(handle, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise RemoteError(f"{self.folder}: another process has locked the cache for {_LOCK_S:g} s")
                time.sleep(_LOOK_S)
            yield
        finally:
            os.close(handle)

    def has(self, entry: str) -> bool:
        """Return whether an entry is there and intact; remove one that is damaged.

        Its files are read when this process asks for the first time: a disk may have lost some.
        """
        if not self.path(entry).is_dir():
            return False
        if entry in self._checked:
            return True
        try:
            intact = read_files(self.path(entry)).digest == entry[:64]
        except BundleError:
            intact = False
        if not intact:
            shutil.rmtree(self.path(entry), ignore_errors=True)
            return False
        self._checked.add(entry)
        return True

    @property
    def leased(self) -> Set[str]:
        """The entries that this process may still read."""
        return self._leases.keys()

    def add(self, files: BundleFiles) -> None:
        """Write an entry; if there is no room, remove the oldest ones that no process has leased.

        Raises:
            RemoteError: There is still no room.
        """
        entry, size = entry_of(files), sum(map(len, files.contents.values()))
        self._make_room(size)
        try:
            write_directory(self.path(entry), files.contents, replaceable=(), overwrite=False)
        except OSError as error:
            raise RemoteError(f"{self.folder}: the cache cannot be written: {error.strerror or error}") from error
        self._checked.add(entry)

    def lease(self, entries: Collection[str]) -> None:
        """Keep these entries from being removed by any process, and give up the leases of others."""
        for entry in set(entries) - set(self._leases):
            handle = os.open(self._lease_path(entry), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._leases[entry] = handle
            _take(handle, fcntl.LOCK_SH)
        for entry in set(self._leases) - set(entries):
            os.close(self._leases.pop(entry))

    def sweep(self) -> None:
        """Remove entries that no URL has any more and no process may read, and what a killed process has left."""
        for path in (self.folder / "views").glob("*.json"):
            if path.stat().st_mtime < time.time() - _FORGET_S:
                path.unlink()
        wanted = {entry for view in (self.folder / "views").glob("*.json") for entry in _entries(view)}
        for path in (self.folder / "sha256").iterdir():
            if not is_entry(path.name):
                shutil.rmtree(path, ignore_errors=True)  # a process was killed while it wrote
            elif path.name not in wanted:
                self._remove(path.name)

    def write_view(self, url: str, bundles: Mapping[Key, str]) -> None:
        """Remember which entries a URL has."""
        view = _View(url, [(*key, entry) for key, entry in bundles.items()])
        with atomic_file(self._view_path(url), overwrite=True) as part:
            part.write_bytes(msgspec.json.encode(view))

    def touch_view(self, url: str) -> None:
        """Remember that the URL is still in use."""
        with contextlib.suppress(OSError):
            os.utime(self._view_path(url))

    def view(self, url: str) -> dict[Key, str]:
        """Return which entries a URL had last; nothing if that is not known."""
        try:
            view = msgspec.json.decode(self._view_path(url).read_bytes(), type=_View)
        except (OSError, msgspec.MsgspecError):
            return {}
        return {(name, version): entry for name, version, entry in view.bundles if is_entry(entry)}

    def _view_path(self, url: str) -> Path:
        return self.folder / "views" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"

    def _lease_path(self, entry: str) -> Path:
        return self.folder / "leases" / entry

    def _make_room(self, size: int) -> None:
        found = {path: _size(path) for path in (self.folder / "sha256").iterdir()}
        total = sum(found.values())
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns):
            if total + size <= self._max_bytes:
                return
            if self._remove(path.name):
                total -= found[path]
        if total + size > self._max_bytes:
            raise RemoteError(
                f"{self.folder}: no room for a bundle of {size} bytes; bundles in use have {total}, the cache holds at "
                f"most {self._max_bytes}"
            )

    def _remove(self, entry: str) -> bool:
        """Remove an entry, if no process has leased it."""
        if entry in self._leases:
            return False
        handle = os.open(self._lease_path(entry), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _take(handle, fcntl.LOCK_EX):
                return False
            shutil.rmtree(self.path(entry), ignore_errors=True)
            self._lease_path(entry).unlink(missing_ok=True)
        finally:
            os.close(handle)
        self._checked.discard(entry)
        return True


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entries(view: Path) -> list[str]:
    try:
        return [entry for _, _, entry in msgspec.json.decode(view.read_bytes(), type=_View).bundles]
    except (OSError, msgspec.MsgspecError):
        return []


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
