"""Sources of rows: files, folders and pipes in all formats, read in batches and bounded memory."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.raw import Fragment, Source
from anomaly_vae.table.sources.discovery import find_in_folder, find_matches, is_pattern
from anomaly_vae.table.sources.files import open_file, open_pipe
from anomaly_vae.table.sources.folder import FolderSource

__all__ = ["open_source"]

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_DEFAULTS = ReadOptions()


def open_source(path: str, options: ReadOptions = _DEFAULTS, *, skips: bool = False) -> Source:
    """Open a table: a file, a folder, a pattern such as ``data/*.csv``, or ``-`` for CSV on standard input.

    With ``skips``, files of a folder that cannot be read are left out, and those whose columns differ from most files'.

    Raises:
        InvalidInput: It does not exist, is damaged, or is of a format that cannot be read.
    """
    if path == "-":
        if sys.stdin is None:
            raise InvalidInput("standard input is closed; give the name of a file")
        return open_pipe(sys.stdin.buffer, "standard input", options)
    if _REMOTE.match(path):
        raise InvalidInput(f"{path}: is not on this computer; copy it here first, and give the name of the copy")
    try:
        file = Path(path).expanduser()
        is_folder = file.is_dir()
    except RuntimeError as error:
        raise InvalidInput(f"{path}: no such file: {error}") from error
    except OSError as error:  # such as a name that is too long
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from error
    if is_folder:
        where = path if path.endswith("/") else f"{path}/"
        return FolderSource(find_in_folder(file, where), where, options, skips=skips)
    if is_pattern(str(file)):
        return FolderSource(find_matches(str(file), path), path, options, skips=skips)
    source, status = open_file(file, path, options), file.stat()
    if stat.S_ISREG(status.st_mode):
        source.fragments = (Fragment(file.name, path, status.st_size, status.st_mtime_ns),)
    return source
