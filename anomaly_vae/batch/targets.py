"""Where the results of a job go in the end: one file, or a folder with a Parquet file for each file of the input.

Both appear under their name only when they are complete, and a job that is stopped meanwhile can tell whether they did.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import publish, refuse_existing, refuse_file, replace_directory, sync, writing
from anomaly_vae.table import Fragment, Writer, check_ending, open_part

__all__ = ["MARKER", "NOT_OURS", "DataSetTarget", "FileTarget", "Target", "is_data_set", "marker_of"]

# The file that says of a folder that it is a complete output. Readers of data sets ignore such names.
MARKER = "_anomaly_vae.json"

_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")

NOT_OURS = (
    "{}: --overwrite replaces a folder only if it is an earlier output, which has a file {}; give another name, or "
    "delete the folder"
)


class Target(Protocol):
    """The output of a job.

    Attributes:
        path: Where it is written on this computer.
        by_fragment: Whether each file of the input has a file of its own in it.
        overwrite: Whether an existing output is replaced.
        format: A name with the ending of its files.
    """

    path: Path
    by_fragment: bool
    overwrite: bool
    format: str

    @property
    def where(self) -> str:
        """Its name in messages."""
        ...

    def refuse(self) -> None:
        """Raise ConfigError if it cannot be written, as far as can be known before."""
        ...

    def written_ns(self) -> int | None:
        """Return when the output was written, nanoseconds since 1970; None if there is none."""
        ...

    def published(self) -> int | None:
        """Return the number of the file or folder that has its name, if the file system knows one."""
        ...

    def part(self, folder: Path) -> Path:
        """Return where it lies in the folder of the job until it is complete."""
        ...

    def writer(self, folder: Path, fragment: int, schema: pa.Schema) -> contextlib.AbstractContextManager[Writer]:
        """Open the writer of a file of it: of the results of a fragment, or of all results."""
        ...

    def written(self, folder: Path, fragment: int) -> Path:
        """Return the file of a fragment, as long as it is not complete."""
        ...

    def publish(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Give it its name."""
        ...


def is_data_set(output: str, *, has_many_files: bool) -> bool:
    """Return whether an output is a folder: its name says so, or there are many files and the name has no ending."""
    return output.endswith(("/", os.sep)) or (has_many_files and output != "-" and not Path(output).suffix)


def marker_of(facts: Mapping[str, Any]) -> str:
    """Return what the file says that makes a folder a complete output."""
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


class _Local:
    """An output on this computer."""

    path: Path

    @property
    def where(self) -> str:
        """See :class:`Target`."""
        return str(self.path)

    def written_ns(self) -> int | None:
        """See :class:`Target`."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def published(self) -> int | None:
        """See :class:`Target`."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return None


class FileTarget(_Local):
    """One file. See :class:`Target`."""

    by_fragment = False

    def __init__(self, output: str, *, overwrite: bool) -> None:
        """Check the ending of the name."""
        self.path, self.overwrite, self.format = check_ending(output), overwrite, output

    def refuse(self) -> None:
        """See :class:`Target`."""
        refuse_file(self.path, overwrite=self.overwrite)

    def part(self, folder: Path) -> Path:
        """See :class:`Target`."""
        return folder / "output"

    def written(self, folder: Path, fragment: int) -> Path:  # noqa: ARG002 (there is one file)
        """See :class:`Target`."""
        return self.part(folder)

    @contextlib.contextmanager
    def writer(self, folder: Path, fragment: int, schema: pa.Schema) -> Iterator[Writer]:  # noqa: ARG002
        """See :class:`Target`."""
        with writing(self.path), open_part(self.part(folder), str(self.path), schema) as writer:
            yield writer

    def publish(self, folder: Path, facts: Mapping[str, Any]) -> None:  # noqa: ARG002 (a file holds no facts)
        """See :class:`Target`."""
        publish(self.part(folder), self.path, overwrite=self.overwrite)


class DataSetTarget(_Local):
    """A folder that mirrors the files of the input: ``day=1/a.csv`` gives ``day=1/a.parquet``. See :class:`Target`."""

    by_fragment, format = True, "a.parquet"

    def __init__(self, output: str, fragments: Sequence[Fragment], *, overwrite: bool) -> None:
        """Find the names of the files."""
        self.path, self.overwrite, self._names = Path(output), overwrite, _names(fragments)

    def refuse(self) -> None:
        """See :class:`Target`."""
        refuse_existing(self.path, overwrite=self.overwrite)
        if not os.path.lexists(self.path):
            return
        if self.path.is_symlink() or not self.path.is_dir():
            raise ConfigError(f"{self.path} is not a folder; --overwrite replaces only a folder by a folder")
        if os.listdir(self.path) and not (self.path / MARKER).is_file():
            raise ConfigError(NOT_OURS.format(self.path, MARKER))

    def part(self, folder: Path) -> Path:
        """See :class:`Target`."""
        return folder / "output"

    def written(self, folder: Path, fragment: int) -> Path:
        """See :class:`Target`."""
        return self.part(folder) / self._names[fragment]

    @contextlib.contextmanager
    def writer(self, folder: Path, fragment: int, schema: pa.Schema) -> Iterator[Writer]:
        """See :class:`Target`."""
        path = self.written(folder, fragment)
        with writing(self.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_part(path, path.name, schema) as writer:
                yield writer

    def publish(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """See :class:`Target`."""
        self.refuse()  # it may have appeared meanwhile
        part = self.part(folder)
        with writing(self.path):
            part.mkdir(exist_ok=True)
            (part / MARKER).write_text(marker_of(facts), encoding="utf-8")
            for path in sorted(part.rglob("*"), reverse=True):
                sync(path)
            sync(part)
            replace_directory(part, self.path)
            sync(self.path.absolute().parent)


def _names(fragments: Sequence[Fragment]) -> list[str]:
    """Return the name of each file of the output; two files such as a.csv and a.csv.gz keep their whole names."""
    short = [_without_endings(each.name) for each in fragments]
    counts = Counter(short)
    return [f"{name if counts[name] == 1 else each.name}.parquet" for name, each in zip(short, fragments, strict=True)]


def _without_endings(name: str) -> str:
    """Return a path without what ends the name of its file: a format, and a compression."""
    path = PurePosixPath(name)
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    return str(path.with_suffix(""))
