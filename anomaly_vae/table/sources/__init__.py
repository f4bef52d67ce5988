"""Sources of rows: files, folders and pipes in all formats, read in batches and bounded memory."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.remote.address import is_url, local_path
from anomaly_vae.table.filtering.parser import parse_filter
from anomaly_vae.table.filtering.source import FilteredSource
from anomaly_vae.table.raw import Fragment, Source
from anomaly_vae.table.sources.discovery import Found, find_in_folder, find_matches, is_pattern
from anomaly_vae.table.sources.files import open_file, open_pipe
from anomaly_vae.table.sources.folder import FolderSource
from anomaly_vae.table.sources.partitions import with_possible_files
from anomaly_vae.table.sources.remote_files import find_objects
from anomaly_vae.table.stores.places import ObjectPath, place_of

__all__ = ["open_source"]

_DEFAULTS = ReadOptions()


def open_source(path: str, options: ReadOptions = _DEFAULTS, *, skips: bool = False) -> Source:
    """Open a table: a file, a folder, a pattern such as ``data/*.csv``, or ``-`` for CSV on standard input.

    Files, folders and patterns may be URLs of object stores: ``s3://BUCKET/PATH``, gs:// and az:// alike. With
    ``skips``, files of a folder that cannot be read are left out, and those whose columns differ from most files'.

    With ``options.filter`` it has only the rows that pass the filter.

    Raises:
        InvalidInput: It does not exist, is damaged, or is of a format that cannot be read.
        ConfigError: The URL or the filter cannot be used.
        RemoteError: The object store fails.
    """
    if options.filter is None:
        found = _found(path, options)
        return FolderSource(found.files, found.where, options, skips=skips) if isinstance(found, _Files) else found
    node = parse_filter(options.filter)
    found = _found(path, options)
    if not isinstance(found, _Files):
        return FilteredSource(found, node, options.filter)
    files = with_possible_files(found.files, options, node)
    skipped = len(found.files.files) - len(files.files), len(found.files.files)
    return FilteredSource(FolderSource(files, found.where, options, skips=skips), node, options.filter, skipped)


class _Files(NamedTuple):
    """The files of a data set, and its name in messages."""

    files: Found
    where: str


def _found(path: str, options: ReadOptions) -> Source | _Files:
    """Open a single file or pipe, or find the files of a data set."""
    if path == "-":
        if sys.stdin is None:
            raise InvalidInput("standard input is closed; give the name of a file")
        return open_pipe(sys.stdin.buffer, "standard input", options)
    path = local_path(path)
    if is_url(path):
        return _open_remote(path, options)
    try:
        file = Path(path).expanduser()
        is_folder = file.is_dir()
    except RuntimeError as error:
        raise InvalidInput(f"{path}: no such file: {error}") from error
    except OSError as error:  # such as a name that is too long
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from error
    if is_folder:
        where = path if path.endswith("/") else f"{path}/"
        return _Files(find_in_folder(file, where), where)
    if is_pattern(str(file)):
        return _Files(find_matches(str(file), path), path)
    source, status = open_file(file, path, options), file.stat()
    if stat.S_ISREG(status.st_mode):
        source.fragments = (Fragment(file.name, path, status.st_size, status.st_mtime_ns),)
    return source


def _open_remote(url: str, options: ReadOptions) -> Source | _Files:
    place = place_of(url)
    found = find_objects(place)
    if isinstance(found, ObjectPath):
        source = open_file(found, str(found), options)
        source.fragments = (Fragment(found.name, str(found), found.size, found.modified_ns),)
        return source
    where = str(found.root) + "/" if found.root == place.path else place.where
    return _Files(found, where)
