"""Find the files of a data set: in a folder or by a pattern, with the keys of a partitioned one.

pyarrow.dataset finds them too, but its import brings pandas if that is installed: 0.2 s and 60 MB.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import unquote

from anomaly_vae.errors import InvalidInput
from anomaly_vae.remote.address import is_url
from anomaly_vae.table.sources.formats import ending_of, expected_format

__all__ = [
    "Found",
    "choose",
    "find_in_folder",
    "find_matches",
    "is_hidden",
    "is_pattern",
    "names_many",
    "partition_keys",
    "refuse_delta_names",
    "refuse_model_names",
]

# Endings that other files than tables have too: they count only if no file has another known ending.
_WEAK_ENDINGS = frozenset({".txt", ".json"})

_MANIFEST, _DELTA_LOG = "manifest.json", "_delta_log"

_NULL_VALUE = "__HIVE_DEFAULT_PARTITION__"

# Names in a message.
_SHOWN = 3


class Found(NamedTuple):
    """The files of a data set.

    Attributes:
        root: The folder under which the names of folders may be keys: a Path, or an ObjectPath.
        files: The files in sorted order, as the root.
        ignored: Names of files beside them that are no tables.
    """

    root: Any
    files: list[Any]
    ignored: list[str]


def is_pattern(path: str) -> bool:
    """Return whether a path is a pattern and not the name of a file."""
    return glob.has_magic(path) and not os.path.lexists(path)


def names_many(path: str) -> bool:
    """Return whether a path or URL is that of a folder or a pattern, as far as that can be told without a store."""
    if is_url(path):
        name = path.partition("?")[0]
        return name.endswith("/") or glob.has_magic(name)
    return path != "-" and (Path(path).is_dir() or is_pattern(path))


def find_in_folder(folder: Path, where: str) -> Found:
    """Return the files below a folder.

    Raises:
        InvalidInput: There are none, or they have several formats.
    """
    refuse_model_names(where, [_MANIFEST] if (folder / _MANIFEST).is_file() else [])
    _refuse_delta(folder, where)
    return choose(folder, _walk(folder), where, takes_all=False)


def find_matches(pattern: str, where: str) -> Found:
    """Return the files that a pattern such as ``data/**/*.csv`` names, also those below folders that it names.

    Raises:
        InvalidInput: There are none, or they have several formats.
    """
    root = _fixed_part(pattern)
    _refuse_delta(root, where)
    paths: dict[Path, None] = {}
    for match in sorted(map(Path, glob.glob(pattern, recursive=True))):  # noqa: PTH207 - the pattern may be absolute
        paths |= dict.fromkeys(_walk(match) if match.is_dir() else [match])
    if not paths:
        raise InvalidInput(f"{where}: no file matches")
    visible = [path for path in paths if not any(map(is_hidden, path.relative_to(root).parts))]
    return choose(root, visible, where, takes_all=True)


def partition_keys(relative: PurePath) -> dict[str, str | None]:
    """Return the keys in the names of folders, such as ``year=2024``; their values are encoded as in a URL."""
    keys: dict[str, str | None] = {}
    for part in relative.parent.parts:
        name, mark, value = part.partition("=")
        if mark and name:
            keys[unquote(name)] = unquote(value) if value not in ("", _NULL_VALUE) else None
    return keys


def _walk(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [Path(parent, name) for name in names if not is_hidden(name)]
    return found


def is_hidden(name: str) -> bool:
    """Return whether a file or a folder of this name is none of a table, such as ``_SUCCESS``."""
    return name.startswith(("_", ".")) or name.endswith(".crc")


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before the first part that is a pattern."""
    parts = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def refuse_model_names(where: str, names: Iterable[str]) -> None:
    """Raise InvalidInput if a folder that holds these names is a model."""
    if _MANIFEST in names:
        raise InvalidInput(f"{where}: is a model, not a table; give a file or a folder with rows")


def _refuse_delta(folder: Path, where: str) -> None:
    refuse_delta_names(where, [_DELTA_LOG] if (folder / _DELTA_LOG).is_dir() else [])


def refuse_delta_names(where: str, names: Iterable[str]) -> None:
    """Raise InvalidInput if a folder that holds folders of these names is a Delta table."""
    if _DELTA_LOG in names:
        raise InvalidInput(f"{where}: is a Delta table, whose files also hold deleted rows; export it as Parquet first")


def choose(root: Any, paths: Iterable[Any], where: str, *, takes_all: bool) -> Found:
    """Choose the files of the one format that counts; ``takes_all`` takes files with other endings if there is none.

    Raises:
        InvalidInput: There are none, or they have several formats.
    """
    paths = sorted(paths, key=lambda path: path.as_posix())
    endings = {path: ending_of(path.name) for path in paths}
    strong = [path for path in paths if expected_format(endings[path]) and endings[path] not in _WEAK_ENDINGS]
    weak = [path for path in paths if endings[path] in _WEAK_ENDINGS]
    others = [path for path in paths if takes_all or not endings[path]]
    files = strong or weak or others
    by_format: dict[str | None, list[Any]] = {}
    for path in files:
        by_format.setdefault(expected_format(endings[path]), []).append(path)
    if len(by_format) > 1:
        shown = ", ".join(f"{len(group)} like {group[0].name}" for group in by_format.values())
        raise InvalidInput(
            f"{where}: holds files of several formats: {shown}; choose by a pattern in quotes, such as "
            f"'{root / '*'}{endings[files[0]]}'"
        )
    if not files:
        found = f"only {_shown([path.name for path in paths])}" if paths else "no files"
        raise InvalidInput(f"{where}: holds {found}; expected tables such as .csv or .parquet files")
    chosen = set(files)
    return Found(root, files, [path.name for path in paths if path not in chosen])


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
