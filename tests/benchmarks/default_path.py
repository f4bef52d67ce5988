"""What a user gets with no option set, beside an earlier version: speed, samples, intervals and flags.

    python -m tests.benchmarks.default_path [DIR] --out FOLDER [--tables cardio,mixed] [--quick] [--models FOLDER]

DIR holds the ADBench tables as .npz files. ``VAEDetector(random_state=0)`` trains on half of the normal rows of each,
and of a table with texts and gaps that is made from one of them ("mixed"). Rows are scored with ``score(rows)``,
``flag(rows)`` and ``score(rows, max_std_error=0.05)``.

    rows a second   1 and 2 threads; normal rows, anomalies, and a stream with 1 % anomalies; one row a call;
                    1, 64 and 1,024 rows a request to ``anomaly-vae serve``
    floor           the decoder's matrix products for the samples spent, on one thread
    samples         decoder evaluations a row
    coverage        share of rows whose log p(x) is within 99.7 % intervals of references (tests.benchmarks.reference)
    flags           agreement of flag and score on all rows, false positives, AUROC

Each version runs in a process of its own and uses only the public API. The versions take turns, because the speed of
machines drifts; the best turn counts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from tests.benchmarks import default_path_report as report
from tests.benchmarks import reference
from tests.benchmarks.default_path_figures import coverage, quality, same_networks
from tests.benchmarks.default_path_tables import Prepared, prepare, table_paths
from tests.benchmarks.default_path_worker import Worker
from tests.benchmarks.floor import Floor
from tests.benchmarks.tables import DATA

ROOT = Path(__file__).parents[2]

# The version that is compared: the last one before samples, starts and proposals were chosen anew.
BEFORE = "586b2034f45518bad68a115c6be5df133addfbcf"

# Ways to score, and the sets of rows and threads that are timed.
WAYS = ("score", "flag", "max_std_error")
TIMED = (("stream", 1), ("stream", 2), ("normal", 1), ("anomalies", 1))

# Rows a request to the service, with the calls of one turn; and turns. The service's threads are nice, so they suffer
# more from a busy machine: with two turns, two equal versions differed by 30 %.
REQUESTS, SERVICE_TURNS = {1: 200, 64: 30, 1024: 2}, 4

# Pairs of row and sample of a turn of the floor: about a tenth of a second.
FLOOR_PAIRS = 2**18


class Sizes(NamedTuple):
    """Sizes of a run.

    Attributes:
        rows: Most normal rows, and the rows of the stream; there are a quarter as many anomalies.
        turns: Timed turns.
        calls: Calls with a single row in one turn.
        references: Most normal rows, and most anomalies, with a reference.
    """

    rows: int = 2000
    turns: int = 2
    calls: int = 300
    references: int = 60


QUICK = Sizes(rows=200, turns=2, calls=200, references=8)


class Version(NamedTuple):
    """A version of the package: its name in tables, the name of its folder of models, and its process."""

    name: str
    models: Path
    worker: Worker


class Bench:
    """Measures tables, one after the other."""

    def __init__(self, versions: list[Version], folder: Path, sizes: Sizes, options: argparse.Namespace) -> None:
        """Take the versions, the current one last, and a folder for temporary files."""
        self._versions, self._folder, self._sizes, self._options = versions, folder, sizes, options

    def measure(self, name: str, path: Path) -> dict[str, Any]:
        """Return the figures of all versions on one table."""
        sizes = self._sizes
        table = prepare(name, path, self._folder / name, sizes.rows, quick=self._options.quick)
        figures: dict[str, Any] = {version.name: self._start(version, table) for version in self._versions}
        self._time(table, figures)
        for version in self._versions:
            of = figures[version.name]
            found = self._found(version, table)
            of |= quality(found, of["calibration_rows"])
            of["floor"] = self._floor(self._versions[-1].models / name, of["samples"])
        for turn in range(sizes.turns):
            for version in self._versions:
                _keep_best(figures[version.name], "lone", version.worker.ask("lone", calls=sizes.calls), turn)
        if name in self._options.service:
            self._serve(figures)
        if not self._options.no_coverage:
            self._cover(table, figures)
        rows = {of: len(indices) for of, indices in table.sets.items()}
        return {"table": name, "columns": table.rows.shape[1], "rows": rows, "versions": figures}

    def _start(self, version: Version, table: Prepared) -> dict[str, Any]:
        """Train or reuse a model, load it, and return first figures."""
        model, record = version.models / table.name, version.models / f"{table.name}.json"
        version.worker.ask("table", folder=table.folder)
        if not (model.exists() and record.exists()):
            version.models.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({"train_s": version.worker.ask("fit", path=model)}))
        return json.loads(record.read_text()) | version.worker.ask("load", path=model)

    def _time(self, table: Prepared, figures: dict[str, Any]) -> None:
        """Time every way to score; save results in the first turn."""
        for turn in range(self._sizes.turns):
            for way in WAYS:
                for of, threads in TIMED:
                    for version in self._versions:
                        out = self._out(version, table, way, of) if turn == 0 and threads == 1 else None
                        seconds = version.worker.ask("run", way=way, of=of, threads=threads, out=out)
                        rates = figures[version.name].setdefault("rows_per_s", {}).setdefault(way, {})
                        key = f"{of} {threads}"
                        rates[key] = max(rates.get(key, 0.0), len(table.sets[of]) / seconds)
        for way in ("score", "flag"):
            for version in self._versions:
                version.worker.ask("run", way=way, of="all", out=self._out(version, table, way, "all"))

    def _out(self, version: Version, table: Prepared, way: str, of: str) -> Path:
        return table.folder / f"{version.name}-{way}-{of}.npz"

    def _found(self, version: Version, table: Prepared) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """Read the saved results of a version."""
        sets = {of for of, _ in TIMED}
        places = [*((way, of) for way in WAYS for of in sorted(sets)), ("score", "all"), ("flag", "all")]
        return {place: _arrays(self._out(version, table, *place)) for place in places}

    def _floor(self, model: Path, samples: dict[str, dict[str, float]]) -> dict[str, float]:
        """Return rows a second of the matrix products of the stream's samples, by way, on one thread."""
        floors = [Floor.of_shapes(shapes) for shapes in reference.decoder_shapes(model)]
        seconds = np.mean([floor.seconds_per_pair(FLOOR_PAIRS, self._sizes.turns) for floor in floors])
        return {way: 1.0 / (of["stream"] * float(seconds)) for way, of in samples.items()}

    def _serve(self, figures: dict[str, Any]) -> None:
        """Measure requests to the service of each version."""
        for version in self._versions:
            version.worker.ask("start_service")
        try:
            for turn in range(SERVICE_TURNS):
                for size, calls in REQUESTS.items():
                    for version in self._versions[:: -1 if turn % 2 else 1]:
                        service = figures[version.name].setdefault("service", {})
                        _keep_best(service, str(size), version.worker.ask("ask_service", size=size, calls=calls), turn)
        finally:
            for version in self._versions:
                version.worker.ask("stop_service")

    def _cover(self, table: Prepared, figures: dict[str, Any]) -> None:
        """Compare with references; versions with other networks than the current one are left out."""
        now, saved = self._versions[-1], {}
        for version in self._versions:
            out = table.folder / f"{version.name}-networks.npz"
            version.worker.ask("networks", out=out)
            saved[version.name] = _arrays(out)
        kinds = {of: table.sets[of][: self._sizes.references] for of in ("normal", "anomalies")}
        cache = now.models.parent / "references" / f"{table.name}.npz" if self._options.models else None
        rows = table.take(np.concatenate(list(kinds.values())))
        both = reference.of_bundle(now.models / table.name, rows, cache)
        count = len(kinds["normal"])
        for version in self._versions:
            if not same_networks(saved[version.name], saved[now.name]):
                print(f"{table.name}: no coverage of {version.name}, whose training gives other networks")
                continue
            figures[version.name]["coverage"] = {
                way: {
                    of: coverage(_arrays(self._out(version, table, way, of)), reference.References(*part))
                    for of, part in (
                        ("normal", [values[:, :count] for values in both]),
                        ("anomalies", [values[:, count:] for values in both]),
                    )
                }
                for way in ("score", "max_std_error")
            }


def _keep_best(figures: dict[str, Any], key: str, new: dict[str, float], turn: int) -> None:
    """Keep the highest rows a second and the lowest milliseconds of all turns."""
    old = figures.get(key, new) if turn else new
    figures[key] = {name: (max if name == "rows_per_s" else min)(value, old[name]) for name, value in new.items()}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def export(commit: str, folder: Path) -> str | None:
    """Write the package of a commit to a folder and return its id; say why if that is not possible."""
    try:
        full = _git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").decode().strip()
        archive = _git("archive", full, "anomaly_vae")
    except FileNotFoundError:
        print("no comparison with an earlier version: git is not installed")
        return None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        print(f"no comparison with an earlier version: git has no commit {commit} here ({reason})")
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return full


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


def start(stack: ExitStack, folder: Path, options: argparse.Namespace) -> list[Version]:
    """Start the processes of the earlier version, if there is one, and of the current one."""
    models = options.models or folder / "models"
    versions = []
    source = folder / "before"
    if options.before and (commit := export(options.before, source)):
        worker = stack.enter_context(Worker(source))
        versions.append(Version("before", models.resolve() / commit[:12], worker))
    return [*versions, Version("now", models.resolve() / "now", stack.enter_context(Worker(ROOT)))]


def options_of(arguments: list[str] | None) -> tuple[argparse.Namespace, dict[str, Path]]:
    """Return the options and the files of the chosen tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "adbench", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help="the earlier version; empty for none")
    parser.add_argument("--tables", default="", help="names, for example cardio,mixed (default: all)")
    parser.add_argument("--rows", type=int, help=f"most normal rows, and rows of the stream (default: {Sizes().rows})")
    parser.add_argument("--service", default="annthyroid,optdigits", help="tables that are served: %(default)s")
    parser.add_argument("--no-service", action="store_true", help="do not measure the service")
    parser.add_argument("--no-coverage", action="store_true", help="do not compare with references")
    parser.add_argument("--quick", action="store_true", help=f"few rows: {QUICK.rows}; {QUICK.references} references")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="keep models and references here, and use those of earlier runs; delete FOLDER/now after training changed",
    )
    options = parser.parse_args(arguments)
    paths = table_paths(options.folder)
    if options.tables:
        chosen = options.tables.split(",")
        if missing := [name for name in chosen if name not in paths]:
            parser.error(f"{options.folder}: no table {missing[0]}; there are {', '.join(paths) or 'none'}")
        paths = {name: paths[name] for name in chosen}
    options.service = [] if options.no_service else options.service.split(",")
    return options, paths


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and draw; return the figures saved as ``default_path.json``."""
    options, paths = options_of(arguments)
    if not paths:
        print(f"no default path: {options.folder} has no .npz files; set ANOMALY_VAE_DATA or give another DIR")
        return {}
    sizes = QUICK if options.quick else Sizes()
    sizes = sizes._replace(rows=options.rows or sizes.rows)
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"cores": os.cpu_count(), "before": options.before, "sizes": sizes._asdict()}
    figures |= {"load": [os.getloadavg()[0]], "tables": [], "failed": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        versions = start(stack, folder, options)
        bench = Bench(versions, folder / "tables", sizes, options)
        for name, path in track(paths.items(), "tables", console=Console(file=sys.stderr)):
            try:
                figures["tables"].append(bench.measure(name, path))
            except Exception as error:  # noqa: BLE001 (the other tables must still run)
                figures["failed"][name] = f"{type(error).__name__}: {error}"
            (options.out / "default_path.json").write_text(json.dumps(figures, indent=2, default=float))
    figures["load"].append(os.getloadavg()[0])
    (options.out / "default_path.json").write_text(json.dumps(figures, indent=2, default=float))
    report.show(figures, Console(width=180))
    report.draw(figures, options.out / "default_path.png")
    return figures


if __name__ == "__main__":
    main()
