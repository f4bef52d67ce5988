"""Find the files of a table in an object store: one file, those of a folder, or those of a pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from anomaly_vae.errors import InvalidInput
from anomaly_vae.remote.systems import failures
from anomaly_vae.table.sources.discovery import Found, choose, is_hidden, refuse_delta_names, refuse_model_names
from anomaly_vae.table.stores.places import ObjectPath, Place

__all__ = ["find_objects"]

_MAGIC = "*["
_ANY_FOLDERS = "**"


def find_objects(place: Place) -> ObjectPath | Found:
    """Return the one file that a URL names, or the files of a folder or a pattern.

    A name with ``*`` or ``[`` is a pattern, unless there is a file of that name.

    Raises:
        InvalidInput: There is no such file, or the files have several formats.
        RemoteError: The store fails.
    """
    if not place.is_folder:
        found = _look(place.path)
        if isinstance(found, ObjectPath):
            return found
        if found is None and _is_pattern(place.path.key):
            return _find_matches(place.path)
        if found is None:
            raise InvalidInput(f"{place.where}: no such file or folder")
    elif _is_pattern(place.path.key):
        return _find_matches(place.path)
    return _find_in_folder(place.path)


def _find_in_folder(folder: ObjectPath) -> Found:
    where = f"{folder}/"
    paths = _files_below(folder)
    if paths is None:
        raise InvalidInput(f"{where}: no such folder")
    names = [path.relative_to(folder) for path in paths]
    refuse_model_names(where, map(str, names))
    refuse_delta_names(where, (name.parts[0] for name in names))
    visible = [path for path, name in zip(paths, names, strict=True) if not any(map(is_hidden, name.parts))]
    return choose(folder, visible, where, takes_all=False)


def _find_matches(pattern: ObjectPath) -> Found:
    root, parts = _fixed_part(pattern)
    matches = list(_matches(root, parts))
    if not matches:
        raise InvalidInput(f"{pattern}: no file matches")
    visible = [path for path in matches if not any(map(is_hidden, path.relative_to(root).parts))]
    return choose(root, visible, str(pattern), takes_all=True)


def _matches(folder: ObjectPath, parts: Sequence[str]) -> Iterable[ObjectPath]:
    """Yield the files below a folder whose names a pattern names, and those below folders that it names.

    Folders are listed one by one along the pattern, so that the rest of a large bucket is not; only ``**`` needs all.
    """
    if _ANY_FOLDERS in parts:
        for path in _files_below(folder) or ():
            names = path.relative_to(folder).parts
            if any(_fits(names[:length], parts) for length in range(len(names) + 1)):
                yield path
        return
    for info in _listed(folder, recursive=False) or ():
        path = ObjectPath(folder.system, folder.scheme, info.path.rstrip("/"), info.size or 0, info.mtime_ns or 0)
        if not fnmatch.fnmatchcase(path.name, parts[0]) or is_hidden(path.name):
            continue
        if not info.is_file and len(parts) == 1:
            yield from _files_below(path) or ()
        elif not info.is_file:
            yield from _matches(path, parts[1:])
        elif len(parts) == 1:
            yield path


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether a pattern names exactly these folders and this file; ``**`` stands for any number of folders."""
    if not parts:
        return not names
    if parts[0] == _ANY_FOLDERS:
        return any(_fits(names[start:], parts[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def _fixed_part(pattern: ObjectPath) -> tuple[ObjectPath, list[str]]:
    """Return the folder before the first part of a pattern that is one, and the other parts."""
    parts = list(PurePosixPath(pattern.key).parts)
    first = next(i for i, part in enumerate(parts) if _is_pattern(part))
    return ObjectPath(pattern.system, pattern.scheme, "/".join(parts[:first])), parts[first:]


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in _MAGIC)


def _look(path: ObjectPath) -> ObjectPath | str | None:
    """Return a file with its size, "folder", or None if there is nothing of that name."""
    from pyarrow.fs import FileType

    with failures(path):
        info = path.system.get_file_info(path.key)
    if info.type == FileType.File:
        return ObjectPath(path.system, path.scheme, path.key, info.size or 0, info.mtime_ns or 0)
    return "folder" if info.type == FileType.Directory else None


def _files_below(folder: ObjectPath) -> list[ObjectPath] | None:
    """Return all files below a folder; None if there is no such folder."""
    infos = _listed(folder, recursive=True)
    if infos is None:
        return None
    return [
        ObjectPath(folder.system, folder.scheme, info.path, info.size or 0, info.mtime_ns or 0)
        for info in infos
        if info.is_file
    ]


def _listed(folder: ObjectPath, *, recursive: bool) -> list[Any] | None:
    """Return what is in a folder; None if there is no such folder."""
    from pyarrow.fs import FileSelector

    try:
        with failures(folder):
            found: list[Any] = folder.system.get_file_info(FileSelector(folder.key, recursive=recursive))
    except FileNotFoundError:
        return None
    return found
