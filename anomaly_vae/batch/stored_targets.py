"""Outputs in object stores: written on this computer first, and uploaded when they are complete.

A file is uploaded under another name, compared in size, and then gets its own name, so that no reader ever sees a part
of it. The files of a folder come one after the other; the one that says that the folder is complete comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from anomaly_vae.batch.targets import MARKER, NOT_OURS, Target, marker_of
from anomaly_vae.errors import ConfigError, RemoteError
from anomaly_vae.remote.cache import default_cache_dir
from anomaly_vae.remote.systems import failures
from anomaly_vae.table import Writer
from anomaly_vae.table.stores.places import place_of

__all__ = ["StoredTarget", "local_place"]

_CHUNK = 8 * 2**20  # bytes that are uploaded at a time


def local_place(url: str) -> Path:
    """Return where an output is written on this computer; its job is kept beside it. The folder exists.

    Raises:
        ConfigError: The folder cannot be made.
    """
    place = place_of(url)
    folder = default_cache_dir() / "jobs" / hashlib.sha256(str(place.path).encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made: {error.strerror}; set XDG_CACHE_HOME to another folder"
        ) from error
    return folder / place.path.name


class StoredTarget:
    """An output in an object store. See :class:`~anomaly_vae.batch.targets.Target`."""

    def __init__(self, url: str, local: Target) -> None:
        """Upload what the target ``local`` writes on this computer, at :func:`local_place`.

        Raises:
            ConfigError: The URL cannot be used.
            RemoteError: The store fails.
        """
        self._local, self._place = local, place_of(url).path
        self.path, self.by_fragment, self.format = local.path, local.by_fragment, local.format
        self.overwrite = local.overwrite

    @property
    def where(self) -> str:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        return str(self._place)

    def refuse(self) -> None:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        if self.written_ns() is None:
            return
        if not self.overwrite:
            raise ConfigError(
                f"{self.where} exists already; choose another name, or pass --overwrite (Python: overwrite=True)"
            )
        if self.by_fragment and self._info(f"{self._place.key}/{MARKER}") is None:
            raise ConfigError(NOT_OURS.format(self.where, MARKER))

    def written_ns(self) -> int | None:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        if not self.by_fragment:
            info = self._info(self._place.key)
            return None if info is None else int(info.mtime_ns or 0)
        found = self._files()
        return max((int(info.mtime_ns or 0) for info in found), default=None)

    def published(self) -> int | None:
        """See :class:`~anomaly_vae.batch.targets.Target`; a store has no such numbers."""
        return None

    def part(self, folder: Path) -> Path:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        return self._local.part(folder)

    def written(self, folder: Path, fragment: int) -> Path:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        return self._local.written(folder, fragment)

    @contextlib.contextmanager
    def writer(self, folder: Path, fragment: int, schema: pa.Schema) -> Iterator[Writer]:
        """See :class:`~anomaly_vae.batch.targets.Target`."""
        with self._local.writer(folder, fragment, schema) as writer:
            yield writer

    def publish(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Upload the output.

        Raises:
            RemoteError: The store fails; what was there before may be lost of a folder, and never of a file.
            ConfigError: It has appeared meanwhile.
        """
        self.refuse()
        part = self.part(folder)
        if not self.by_fragment:
            self._upload(part, self._place.key)
            return
        part.mkdir(exist_ok=True)
        before = {info.path for info in self._files()}
        self._delete(f"{self._place.key}/{MARKER}")
        names = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
        for name in names:
            self._upload(part / name, f"{self._place.key}/{name}")
        for path in before - {f"{self._place.key}/{name}" for name in [*names, MARKER]}:
            self._delete(path)
        marker = folder / MARKER
        marker.write_text(marker_of(facts), encoding="utf-8")
        self._upload(marker, f"{self._place.key}/{MARKER}")

    def _upload(self, path: Path, key: str) -> None:
        system, (parent, _, name) = self._place.system, key.rpartition("/")
        hidden = f"{parent}/.{name}.part"  # readers of data sets ignore such names
        with failures(self.where):
            with path.open("rb") as file, system.open_output_stream(hidden, compression=None) as stream:
                shutil.copyfileobj(file, stream, _CHUNK)
            if (size := system.get_file_info(hidden).size) != path.stat().st_size:
                raise RemoteError(f"{self.where}: {size} bytes arrived, expected {path.stat().st_size}; score again")
            system.move(hidden, key)

    def _delete(self, key: str) -> None:
        with failures(self.where), contextlib.suppress(FileNotFoundError):
            self._place.system.delete_file(key)

    def _info(self, key: str) -> Any:
        with failures(self.where):
            info = self._place.system.get_file_info(key)
        return info if info.is_file else None

    def _files(self) -> list[Any]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._place.key, recursive=True, allow_not_found=True)
        with failures(self.where):
            found: list[Any] = self._place.system.get_file_info(selector)
        return [info for info in found if info.is_file]
