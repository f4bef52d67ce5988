"""Where the versions of models lie: one bundle, NAME/VERSION folders of one model, or a folder of such models."""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from anomaly_vae.errors import BundleError

__all__ = ["MANIFEST", "LocalPlaces", "Place", "Places", "Stamp", "folders_in", "is_version", "stamp_of"]

# The state of the files of a bundle.
Stamp = tuple[tuple[str, int, int, int], ...] | None

# A folder is a bundle if it holds this file.
MANIFEST = "manifest.json"
# Digits of the longest version: it fits 64 bits. Chosen, not measured.
_VERSION_DIGITS = 18
# Files of a bundle whose state is compared. Chosen, not measured: more than a bundle may have.
_MOST_FILES = 64
# Most entries of a folder. Chosen, not measured: a folder with more is most likely the wrong one.
_MOST_ENTRIES = 10_000
# Where ext4 puts what it has repaired: in the top folder of every volume, and only root can read it.
_LOST_AND_FOUND = "lost+found"


class Place(NamedTuple):
    """A version of a model, and where it lies.

    Attributes:
        name: The model.
        version: The version, a positive whole number without leading zeros.
        path: The folder of its bundle.
    """

    name: str
    version: str
    path: Path


class _Kind(enum.Enum):
    BUNDLE, VERSIONS, MODELS = range(3)


class Places(Protocol):
    """Where versions come from.

    Attributes:
        refused: What is wrong with bundles that the last scan refused, by name and version.
        is_stale: Whether the last scan returned what was known before, because the place cannot be read now.
    """

    refused: Mapping[tuple[str, str], BundleError]
    is_stale: bool

    def scan(self) -> Mapping[tuple[str, str], Path]:
        """Return the folder of each version of each model, by name and version. May take long; runs in a thread.

        Raises:
            AnomalyVaeError: The place cannot be read. The versions that were found before stay.
        """
        ...


class LocalPlaces:
    """A local folder.

    Names that begin with a dot or an underscore are left out: commands write new folders under such names, and rename
    them when they are complete.

    What the folder is, a bundle, versions or models, is decided by the first look that finds something. A file or
    folder that is put into the wrong place later could otherwise make all models vanish.
    """

    def __init__(self, folder: Path, name: str, version: str) -> None:
        """Look at nothing yet.

        Args:
            folder: A bundle, a folder of versions, or a folder of models.
            name: The name of the model, if the folder holds only one.
            version: The version, if the folder is a bundle.
        """
        self._folder, self._name, self._version = folder, name, version
        self._kind: _Kind | None = None
        self.refused: Mapping[tuple[str, str], BundleError] = {}  # versions that two folders claim
        self.is_stale = False

    def scan(self) -> Mapping[tuple[str, str], Path]:
        """Return the folder of each version of each model.

        Raises:
            BundleError: The folder cannot be read.
        """
        refused: dict[tuple[str, str], BundleError] = {}
        try:
            folders = folders_in(self._folder)
            kind = self._kind or self._kind_now(folders)
            found = {(place.name, place.version): place.path for place in self._places(kind, folders, refused)}
        except OSError as error:  # such as a network file system that does not answer
            raise BundleError(f"{self._folder}: cannot be read: {error.strerror or error}") from error
        if found:
            self._kind = kind
        self.refused = refused
        return found

    @property
    def is_bundle(self) -> bool:
        """Whether the folder itself is a bundle."""
        return (self._folder / MANIFEST).exists()

    def _kind_now(self, folders: list[Path]) -> _Kind:
        if self.is_bundle:
            return _Kind.BUNDLE
        if any(is_version(folder.name) for folder in folders):
            return _Kind.VERSIONS
        # Files and no folder: a bundle without its manifest. Its reader says best what is wrong.
        return _Kind.BUNDLE if not folders and any(self._folder.iterdir()) else _Kind.MODELS

    def _places(self, kind: _Kind, folders: list[Path], refused: dict[tuple[str, str], BundleError]) -> Iterator[Place]:
        if kind is _Kind.BUNDLE:
            yield Place(self._name, self._version, self._folder)
        elif kind is _Kind.VERSIONS:
            yield from _versions(self._name, folders, refused)
        else:
            for folder in folders:
                yield from _versions(folder.name, folders_in(folder), refused)


def is_version(name: str) -> bool:
    """Return whether the name of a folder is that of a version: a positive whole number."""
    return name.isascii() and name.isdecimal() and len(name) <= _VERSION_DIGITS and int(name) > 0


def stamp_of(path: Path) -> Stamp:
    """Return a value that changes when a file of a bundle is replaced or written; None if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            found = [(entry.name, entry.stat()) for entry, _ in zip(entries, range(_MOST_FILES), strict=False)]
    except OSError:
        return None
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in sorted(found))


def _versions(name: str, folders: list[Path], refused: dict[tuple[str, str], BundleError]) -> Iterator[Place]:
    """Yield the versions of a model. Of two folders with the same number, the one with fewer zeros before it counts."""
    seen: dict[str, Path] = {}
    for folder in sorted(folders, key=lambda folder: len(folder.name)):
        if is_version(folder.name):
            version = str(int(folder.name))
            if version in seen:
                text = f"{folder}: {seen[version].name} beside it is the same version; remove one of the two"
                refused[name, version] = BundleError(text)
                continue
            seen[version] = folder
            yield Place(name, version, folder)


def _is_model(name: str) -> bool:
    return not name.startswith((".", "_")) and name != _LOST_AND_FOUND


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without those that commands still write.

    Raises:
        BundleError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = list(itertools.islice(entries, _MOST_ENTRIES + 1))
            if len(found) > _MOST_ENTRIES:
                raise BundleError(f"{folder}: has more than {_MOST_ENTRIES:,} entries; is it the folder of models?")
            names = [entry.name for entry in found if _is_model(entry.name) and _is_folder(entry)]
    except OSError as error:
        raise BundleError(
            f"{folder}: no model there: {error.strerror}; expected a bundle or a folder of models"
        ) from error
    return [folder / name for name in sorted(names)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
