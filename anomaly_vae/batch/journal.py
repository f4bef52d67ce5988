"""What a job has done so far, in a folder beside its output: a job that was stopped goes on from there.

The folder is locked as long as the job runs, so two jobs cannot write one output. It is removed when the output is
complete, and when the job fails before anything was kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import sync, writing

__all__ = ["Journal", "job_folder", "open_journal", "read_state"]

# Seconds between two commits: what a job that is killed loses at most. A commit waits for the disk two or three times,
# a few milliseconds each. Chosen, not measured.
_COMMIT_S = 2.0
# Bytes of results that are held in memory before they are written. Chosen, not measured.
_HELD_BYTES = 16 * 2**20

# Bytes of a name; file systems allow 255, and the folder of a job has five more than its output.
_LONGEST_NAME = 250

_STATE = "job.json"
_FORMAT = 1

_OTHER_JOB = (
    "{}: the unfinished job there is another one: {} changed since it was started; score again without --resume, which "
    "starts from the first row"
)
_DAMAGED = "{}: the files of the unfinished job there are damaged ({}); score again without --resume"


@dataclass(frozen=True)
class _Part:
    """A file of results: all rows are of one fragment, or of several ones that are complete; then it names the last."""

    name: str
    fragment: int
    size: int


class Journal:
    """Takes results, then gives them back in their order, also to the process that goes on with the job.

    Attributes:
        folder: Where it lies; other files of the job may lie there too.
        state: The state at the last commit; None if there was none.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        by_fragment: bool,
        reduce: Callable[[pa.Table], pa.Table] | None = None,
    ) -> None:
        """Begin in an empty folder.

        Args:
            folder: Exists, and is locked by this process.
            identity: What must not change if the job goes on, by name.
            by_fragment: Whether results are read back fragment by fragment.
            reduce: Leaves out rows before they are written.
        """
        self.folder, self._identity, self._by_fragment, self._reduce = folder, identity, by_fragment, reduce
        self.state: Any = None
        self._parts: list[_Part] = []
        self._held: list[tuple[int, pa.RecordBatch]] = []
        self._held_bytes, self._fragment, self._number = 0, 0, 0
        self._unsynced: list[Path] = []
        self._committed = time.monotonic()

    @property
    def has_commits(self) -> bool:
        """Whether there is something to go on with."""
        return self.state is not None

    def write(self, records: pa.RecordBatch, fragment: int) -> None:
        """Append results of a fragment; fragments follow each other."""
        if not records.num_rows:
            return
        self._fragment = fragment
        self._held.append((fragment, records))
        self._held_bytes += records.nbytes
        if self._held_bytes > _HELD_BYTES:
            self._flush()

    def batches(self, fragment: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the results of a fragment, or of all."""
        for part in self._parts:
            if fragment in (None, part.fragment):
                with (self.folder / part.name).open("rb") as file:
                    yield from pa.ipc.open_stream(file)
        for number, records in self._held:
            if fragment in (None, number):
                yield records

    def drop(self, fragment: int) -> None:
        """Forget the results of a fragment: the last one, or any one if results are read back by fragment."""
        self._held = [each for each in self._held if each[0] != fragment]
        self._held_bytes = sum(records.nbytes for _, records in self._held)
        self._parts = [part for part in self._parts if part.fragment != fragment]

    def will_sync(self, path: Path) -> None:
        """Flush a file to the disk before the next commit."""
        self._unsynced.append(path)

    @property
    def is_due(self) -> bool:
        """Whether it is time for a commit."""
        return time.monotonic() - self._committed >= _COMMIT_S

    def commit(self, state: Any) -> None:
        """Keep the results so far and the state that belongs to them, plain JSON values.

        Raises:
            OSError: The disk is full or broken.
        """
        with writing(self.folder):
            self._flush()
            for path in self._unsynced:
                sync(path)
            self._unsynced = []
            document = {"format": _FORMAT, "identity": self._identity, "parts": list(map(asdict, self._parts))}
            _write_json(self.folder / _STATE, {**document, "state": state})
            known = {part.name for part in self._parts}
            for path in self.folder.glob("part-*"):
                if path.name not in known:
                    path.unlink()
        self.state, self._committed = state, time.monotonic()

    def restore(self, output: str) -> None:
        """Go on from the last commit, if there is one.

        Raises:
            ConfigError: It is of another job, or damaged.
        """
        document = read_state(self.folder)
        if document is None:
            return
        try:
            if document["format"] != _FORMAT:
                raise ConfigError(_OTHER_JOB.format(output, "the version of anomaly-vae"))
            found = document["identity"]
            changed = [name for name in {**found, **self._identity} if found.get(name) != self._identity.get(name)]
            if changed:
                raise ConfigError(_OTHER_JOB.format(output, " and ".join(changed)))
            self._parts = [_Part(**part) for part in document["parts"]]
            for part in self._parts:
                if (size := (self.folder / part.name).stat().st_size) != part.size:
                    raise ConfigError(_DAMAGED.format(output, f"{part.name} has {size} bytes, expected {part.size}"))
            self.state = document["state"]
        except (KeyError, TypeError, OSError) as error:
            raise ConfigError(_DAMAGED.format(output, error)) from error
        self._number = 1 + max((int(part.name[5:13]) for part in self._parts), default=-1)

    def _flush(self) -> None:
        """Write what is held: rows of the current fragment apart, since they may be dropped."""
        groups: dict[int, list[tuple[int, pa.RecordBatch]]] = {}
        for number, records in self._held:
            alone = self._by_fragment or number == self._fragment
            groups.setdefault(number if alone else -1, []).append((number, records))
        for group in groups.values():
            name = f"part-{self._number:08d}.arrow"
            self._number += 1
            with writing(self.folder):
                size = self._write_part(self.folder / name, [records for _, records in group])
            self._parts.append(_Part(name, group[-1][0], size))
            self._unsynced.append(self.folder / name)
        self._held, self._held_bytes = [], 0

    def _write_part(self, path: Path, batches: list[pa.RecordBatch]) -> int:
        schema, options = batches[0].schema, pa.ipc.IpcWriteOptions(compression="lz4")  # see Spool
        if self._reduce is not None:
            batches = self._reduce(pa.Table.from_batches(batches)).to_batches()
        with path.open("wb") as file:
            with pa.ipc.new_stream(file, schema, options=options) as stream:
                for records in batches:
                    stream.write_batch(records)
            return file.tell()


@contextlib.contextmanager
def open_journal(
    output: Path,
    identity: Mapping[str, Any],
    *,
    resume: bool,
    by_fragment: bool = False,
    reduce: Callable[[pa.Table], pa.Table] | None = None,
    where: str | None = None,
) -> Iterator[Journal]:
    """Open the journal of a job, locked; it is removed if the block ends without an error, or nothing was kept.

    Args:
        output: Where the results go in the end.
        identity, by_fragment, reduce: See :class:`Journal`.
        resume: Whether to go on with what an earlier job kept; otherwise it is removed, with a warning.
        where: The name of the output in messages, if it is another one.

    Raises:
        ConfigError: Another job writes this output; what was kept is of another job; nothing can be written there.
    """
    folder, name = job_folder(output), where or str(output)
    with _locked(folder, output, name):
        journal = Journal(folder, identity, by_fragment=by_fragment, reduce=reduce)
        if resume:
            journal.restore(name)
        elif read_state(folder) is not None:
            warn_caller(f"{name}: an unfinished job is dropped, since --resume was not given")
        if not journal.has_commits:
            _clear(folder)
        try:
            yield journal
        except BaseException as error:
            if journal.has_commits:
                error.add_note(f"{name}: the rows that are done are kept; the same command with --resume goes on")
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def job_folder(output: Path) -> Path:
    """Return the folder of the job that writes an output."""
    path = output.absolute()
    name = path.name
    if len(name.encode()) > _LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()
    return path.parent / f".{name}.job"


def read_state(folder: Path) -> Any:
    """Return what the last commit wrote, or None if there was none."""
    try:
        return json.loads((folder / _STATE).read_bytes())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _locked(folder: Path, output: Path, name: str) -> Iterator[None]:
    """Make the folder and lock it; the lock ends with the process, however it ends."""
    with writing(output):
        handle = _open_locked(folder, name)
    try:
        yield
    finally:
        os.close(handle)


def _open_locked(folder: Path, name: str) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise ConfigError(
                f"{name}: another job is writing it; wait until it ends, or give another output"
            ) from error
        except FileNotFoundError:
            pass
        os.close(handle)  # the job that held the lock has ended, and removed the folder


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_json(path: Path, document: Any) -> None:
    part = path.with_suffix(".new")
    part.write_text(json.dumps(document))
    sync(part)
    part.replace(path)
    sync(path.parent)
