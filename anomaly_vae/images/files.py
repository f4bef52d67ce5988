"""Images in files of their own: a folder, a pattern, or one file."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from anomaly_vae.errors import InvalidInput
from anomaly_vae.images.base import BadImage, ImageSource, Read
from anomaly_vae.images.decoding import Decoder
from anomaly_vae.images.sizes import Sizes
from anomaly_vae.storage import STRAY_NAMES

__all__ = ["ENDINGS", "FileImages", "Found", "find_files", "find_matches", "has_mostly_images", "tables_of"]

ENDINGS = (".png", ".jpg", ".jpeg")
_TABLE_ENDINGS = (".parquet", ".arrow", ".feather")

_T = TypeVar("_T")


class Found(NamedTuple):
    """The files of a folder, sorted by name.

    Attributes:
        root: The folder.
        names: Names of the images relative to it.
        others: Names of files that are no images; hidden ones are not listed.
    """

    root: Path
    names: list[str]
    others: list[str]


class FileImages(ImageSource):
    """Images in files. See :class:`~anomaly_vae.images.base.ImageSource`."""

    def __init__(self, found: Found, where: str, decoder: Decoder, *, is_resized: bool) -> None:
        """Read the headers of all files; a file with a damaged one is a problem of that image."""
        super().__init__()
        self.where, self._files, self._root, self._decoder = where, found.names, found.root, decoder
        self.names = [_shown(name) for name in found.names]
        sizes = Sizes()
        for index, name in enumerate(self._files):
            look = self._try(decoder.look, name)
            if isinstance(look, BadImage):
                self._problems[index] = str(look)
            else:
                sizes.add(look, self.names[index])
        if not found.names:
            raise InvalidInput(f"{where}: holds no PNG or JPEG files")
        if sizes.is_empty:
            first = f"{self.names[0]}: {self._problems[0]}"
            raise InvalidInput(f"{where}: none of {len(found.names)} images can be read; {first}")
        self.shape = sizes.shape(where, is_resized=is_resized)
        self.dtype = sizes.dtype
        self.notes = tuple(sizes.notes(where))
        if found.others:
            more = f" and {len(found.others) - 1} more" if len(found.others) > 1 else ""
            note = f"{where}: ignores files that are neither PNG nor JPEG: {_shown(found.others[0])}{more}"
            self.notes = (note, *self.notes)

    def _read_all(self) -> Iterator[Read]:
        return (self._try(self._decoder.decode, name) for name in self._files)

    def _read_some(self, numbers: Sequence[int]) -> Iterable[Read]:
        return (self._try(self._decoder.decode, self._files[number]) for number in numbers)

    def _try(self, read: Callable[[BinaryIO], _T], name: str) -> _T | BadImage:
        try:
            with (self._root / name).open("rb") as file:
                return read(file)
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage(f"cannot be read: {error.strerror or error}")


def find_files(folder: Path, where: str) -> Found:
    """Return the files below a folder; a folder that links lead to twice is read once.

    Raises:
        InvalidInput: A folder cannot be read.
    """
    paths = list(_walk(folder, where, set()))
    return _found(folder, (path.relative_to(folder) for path in paths))


def find_matches(pattern: str, where: str) -> Found:
    """Return the files that a pattern such as ``data/*.png`` names, and those below folders that it names."""
    paths: dict[Path, None] = {}
    for match in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 - the pattern may be absolute
        paths |= dict.fromkeys(_walk(match, where, set()) if match.is_dir() else [match])
    if not paths:
        raise InvalidInput(f"{where}: no file matches")
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return _found(root, (path.relative_to(root) for path in paths))


def tables_of(found: Found) -> list[Path]:
    """Return the Parquet and Arrow files of a folder without images: their columns may hold some."""
    return [] if found.names else [found.root / name for name in found.others if name.lower().endswith(_TABLE_ENDINGS)]


def has_mostly_images(found: Found) -> bool:
    """Return whether more than half of the files are images."""
    return len(found.names) > len(found.others)


def _walk(folder: Path, where: str, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield regular files. A pipe or a device would block the reader."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidInput(f"{where}: the folder {folder} cannot be read: {error.strerror or error}") from error
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in found:
        if entry.name.startswith(".") or entry.name in STRAY_NAMES:
            continue
        if _is(entry, "dir"):
            yield from _walk(Path(entry.path), where, seen)
        elif _is(entry, "file"):
            yield Path(entry.path)


def _shown(name: str) -> str:
    """Return a name of a file as text of one line; a name may hold any bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:  # links that lead to each other
        return False


def _found(root: Path, names: Iterable[Path]) -> Found:
    ordered = sorted(name.as_posix() for name in names)
    images = [name for name in ordered if name.lower().endswith(ENDINGS)]
    return Found(root, images, [name for name in ordered if not name.lower().endswith(ENDINGS)])
