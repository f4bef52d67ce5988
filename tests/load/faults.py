"""Faults in batch jobs: whatever happens to the files, the disk and the process, no output is ever wrong or incomplete.

    python -m tests.load.faults [--number 100] [--seed 0] [--kinds KIND,...]

Each case scores a folder of Parquet files with the command line, to a file or a folder, in full, as flags or with
``--fdr``, while one fault is injected: a file that is cut off, damaged, unreadable, has a renamed column or another
type, or is empty; a full disk, a read-only one; SIGTERM, SIGINT or SIGKILL at a random moment. Then the output must be
absent under its name, or be exactly that of an undisturbed job over the files that could be read, which only
``--on-error skip`` allows. At last the fault is removed, and the job, with ``--resume`` where its input did not change,
must give the output of an undisturbed one, byte for byte, and leave nothing beside it.

The full and the read-only disk are small tmpfs file systems, which only root may mount; without that they are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anomaly_vae.scorer import load
from tests.load.model import make_model
from tests.support.batch_files import contents, remove

FILES, ROWS, GROUP = 5, 1500, 500
OUTPUTS = ("out.parquet", "out.csv", "out.jsonl.gz", "out/")
OPTIONS = ((), ("--flag-only",), ("--fdr", "0.1"), ("--only-flagged",), ("--keep", "x0"))
TIMEOUT_S = 120.0


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Inject faults, print how many of each kind there were, and fail at the first wrong output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100, help="faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="kinds of faults, comma-separated; default: all")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = make_model(place)
        write_files(place / "whole", model)
        return inject_all(place, model, options.number, random.Random(options.seed), options.kinds)


def write_files(folder: Path, model: Path) -> None:
    """Write rows of the model and some anomalies to files in folders of two days."""
    scorer = load(model)
    for i in range(FILES):
        rows = scorer.sample(ROWS, seed=i)
        rows[:: 100 + i] *= 3.0
        path = folder / f"day={i % 2}" / f"rows{i}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        names = scorer.schema.names
        pq.write_table(pa.table(dict(zip(names, rows.T, strict=True))), path, row_group_size=GROUP)


def inject_all(place: Path, model: Path, number: int, draws: random.Random, kinds: str = "") -> dict[str, float]:
    """Inject this many faults, every kind in turn.

    Raises:
        AssertionError: An output was wrong, incomplete, or not reached after the fault was removed.
    """
    names = [name for name in kinds.split(",") if name] or [*INPUT_FAULTS, *SIGNALS]
    if not kinds and (os.geteuid() == 0 and _can_mount(place)):
        names += ["full disk", "read-only disk"]
    outcomes = Counter[str]()
    for i in range(number):
        kind = names[i % len(names)]
        case = _Case(place, model, kind, draws.choice(OUTPUTS), draws.choice(OPTIONS), draws.random() < 0.5, draws)
        outcome = case.run()
        outcomes[outcome] += 1
        print(f"  {i + 1:>4} {kind:<16} {case.describe():<60} {outcome}", flush=True)
    return {"faults": float(number), **outcomes}


class _Case:
    def __init__(
        self,
        place: Path,
        model: Path,
        kind: str,
        output: str,
        options: tuple[str, ...],
        skips: bool,
        draws: random.Random,
    ) -> None:
        self.place, self.model, self.kind, self.draws = place, model, kind, draws
        self.options = (*options, *(("--on-error", "skip") if skips else ()))
        self.skips, self.output = skips, output

    def describe(self) -> str:
        return f"-> {self.output} {' '.join(self.options)}"

    def run(self) -> str:
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)
            shutil.copytree(self.place / "whole", self.place / "in")  # keeps the times of the files
            expected = self._reference(self.place / "in")
            if self.kind in SIGNALS:
                return self._stopped(expected)
            if self.kind.endswith("disk"):
                return self._without_disk(expected)
            return self._with_bad_file(expected)

    def _with_bad_file(self, expected: Any) -> str:
        victim = self.draws.choice(sorted((self.place / "in").rglob("*.parquet")))
        INPUT_FAULTS[self.kind](victim, self.draws)
        code = self._score("in", "work")
        found = self._found()
        if not self.skips:
            assert (code, found) == (2, None), (code, self.error)
            assert victim.name in self.error, self.error
            outcome = "refused"
        else:
            assert code == 2, (code, self.error)
            if os.path.lexists(victim):
                victim.unlink()
            assert found == self._reference(self.place / "in"), "the output is not that of the other files"
            outcome = "left out"
            remove(self._path())
        shutil.rmtree(self.place / "in")
        shutil.copytree(self.place / "whole", self.place / "in")
        self._score("in", "work")
        self._check_complete(expected)
        return outcome

    def _stopped(self, expected: Any) -> str:
        code = self._score("in", "work", kill=(SIGNALS[self.kind], self.draws.uniform(0.2, 4.0)))
        found = self._found()
        outcome = "complete before" if found is not None else "stopped"
        if found is not None:
            assert found == expected, f"the output is wrong (exit status {code})"
        else:
            assert code in (-9, -15, -2, 130, 143), (code, self.error)
        self._score("in", "work", "--resume")
        self._check_complete(expected)
        return outcome

    def _without_disk(self, expected: Any) -> str:
        work = self.place / "work"
        work.mkdir()
        is_full = self.kind == "full disk"
        kilobytes = self.draws.choice([4, 16, 40]) if is_full else 1000
        with _mounted(work, f"size={kilobytes}k" if is_full else "size=1m,ro"):
            code = self._score("in", "work")
            found = self._found()
            if found is not None:
                assert (code, found) == (0, expected), (code, self.error)
                return "complete"
            assert code == (1 if is_full else 2), (code, self.error)
            assert str(work) in self.error or "work/" in self.error, self.error
            if is_full:
                subprocess.run(["mount", "-o", "remount,size=50m", str(work)], check=True)
                self._score("in", "work", "--resume")
                self._check_complete(expected)
        return "refused"

    def _check_complete(self, expected: Any) -> None:
        assert self.code == 0, self.error
        assert self._found() == expected, "the output differs from that of an undisturbed job"
        beside = [path.name for path in (self.place / "work").iterdir()]
        assert beside == [self.output.rstrip("/")], beside

    def _reference(self, folder: Path) -> Any:
        shutil.rmtree(self.place / "reference", ignore_errors=True)
        code = self._score(folder.name, "reference")
        assert code == 0, self.error
        return contents(self._path("reference"))

    def _path(self, place: str = "work") -> Path:
        return self.place / place / self.output.rstrip("/")

    def _found(self) -> Any:
        return contents(self._path()) if os.path.lexists(self._path()) else None

    def _score(self, source: str, place: str, *more: str, kill: tuple[signal.Signals, float] | None = None) -> int:
        (self.place / place).mkdir(exist_ok=True)
        output = f"{place}/{self.output}"
        command = [sys.executable, "-m", "anomaly_vae", "score", self.model, f"{source}/", "-o", output, "-q"]
        with subprocess.Popen(
            [*command, *self.options, *more], cwd=self.place, stderr=subprocess.PIPE, text=True
        ) as process:
            if kill is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(kill[1])
                process.send_signal(kill[0])
            _, self.error = process.communicate(timeout=TIMEOUT_S)
        self.code: int = process.returncode
        return self.code

    def _tidy(self) -> None:
        for name in ("in", "work", "reference"):
            shutil.rmtree(self.place / name, ignore_errors=True)


def _cut(path: Path, draws: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draws.randrange(len(data))])


def _damage(path: Path, draws: random.Random) -> None:
    """Overwrite the pages of a row group, not the footer."""
    group = pq.ParquetFile(path).metadata.row_group(draws.randrange(ROWS // GROUP))
    start = group.column(draws.randrange(group.num_columns)).data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 64)


def _rename_column(path: Path, draws: random.Random) -> None:
    table = pq.read_table(path, partitioning=None)
    names = list(table.column_names)
    names[draws.randrange(len(names))] = "renamed"
    pq.write_table(table.rename_columns(names), path)


def _change_type(path: Path, draws: random.Random) -> None:
    table = pq.read_table(path, partitioning=None)
    place = draws.randrange(table.num_columns)
    name = table.column_names[place]
    pq.write_table(table.set_column(place, name, pc.cast(table[name], pa.string())), path)


def _make_unreadable(path: Path, _draws: random.Random) -> None:
    if os.geteuid():
        path.chmod(0)
        return
    path.unlink()  # root may read every file, so this one leads nowhere
    path.symlink_to(path.parent / "nowhere")


def _empty(path: Path, _draws: random.Random) -> None:
    path.write_bytes(b"")


INPUT_FAULTS: dict[str, Callable[[Path, random.Random], None]] = {
    "cut off": _cut,
    "damaged": _damage,
    "renamed column": _rename_column,
    "other type": _change_type,
    "unreadable": _make_unreadable,
    "empty": _empty,
}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


def _can_mount(place: Path) -> bool:
    folder = place / "mounted"
    folder.mkdir()
    try:
        with _mounted(folder, "size=4k"):
            return True
    except subprocess.CalledProcessError:
        return False


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        while subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
