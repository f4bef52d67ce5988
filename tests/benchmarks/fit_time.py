"""Time from rows to a model, summed over tables, compared with PyOD's VAE.

    python -m tests.benchmarks.fit_time [DIR] --out FOLDER [--tables cardio,vowels] [--seed 0]

DIR holds the ADBench tables as .npz files. Half of the normal rows of each table train, as in the benchmark adbench.

    pyod_vae    VAE(random_state=seed, verbose=0).fit, on standardised rows and one thread, in a separate process
    ours off    train_model with search "off": training, export, calibration and gates
    ours fast   the same with the default search, which trains an ensemble

All three fit a table before the next table starts, because the speed of machines drifts. A first fit of each, to a few
rows, loads libraries and is not counted. Our fits use more threads and are slowed more by a busy machine, so the load
is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anomaly_vae.training.config import TrainConfig
from tests.benchmarks import peers
from tests.benchmarks.adbench import split
from tests.benchmarks.peers_pyod import PyOD
from tests.benchmarks.tables import DATA, train

# Our largest allowed total time as a share of PyOD's, by search.
LIMITS = {"off": 1.5, "fast": 4.0}

# Rows of the fits that are not counted.
_WARM_UP_ROWS = 100


def measure(rows: np.ndarray, pyod: PyOD, seed: int) -> dict[str, float]:
    """Return the seconds of every contender on one table, one after the other."""
    seconds = {"pyod_vae": pyod.fit(rows, seed)}
    for search in LIMITS:
        start = time.perf_counter()
        train(rows, TrainConfig(random_state=seed, search=search))
        seconds[search] = time.perf_counter() - start
    return seconds


def totals(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return sums over the tables, ours as shares of PyOD's, and whether these are within their limits."""
    seconds = {name: sum(result["seconds"][name] for result in results) for name in ("pyod_vae", *LIMITS)}
    ratios = {search: seconds[search] / seconds["pyod_vae"] for search in LIMITS}
    return {
        "seconds": seconds,
        "ratio": ratios,
        "limits": [
            {"search": search, "most": most, "found": ratios[search], "met": ratios[search] <= most}
            for search, most in LIMITS.items()
        ],
    }


def show(results: list[dict[str, Any]], total: dict[str, Any]) -> None:
    """Print seconds and ratios by table, totals and limits."""
    table = Table(
        "table", "rows", "columns", "pyod_vae s", "ours off s", "ours fast s", "off / pyod", "fast / pyod",
        title="Fit time",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        table.add_row(result["dataset"], f"{result['rows']:,}", str(result["columns"]), *_cells(result["seconds"]))
    table.add_section()
    num_rows = sum(result["rows"] for result in results)
    table.add_row("total", f"{num_rows:,}", "", *_cells(total["seconds"]), style="bold")
    console = Console(width=160)
    console.print(table)
    for limit in total["limits"]:
        verdict = "met" if limit["met"] else "MISSED"
        console.print(f"{limit['search']}: {limit['found']:.2f} of PyOD's time, at most {limit['most']:g}: {verdict}")


def _cells(seconds: dict[str, float]) -> list[str]:
    ratios = [seconds[search] / seconds["pyod_vae"] for search in LIMITS]
    return [*(f"{seconds[name]:.2f}" for name in ("pyod_vae", *LIMITS)), *(f"{ratio:.2f}" for ratio in ratios)]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Fit and print; return the figures saved as ``fit_time.json``, or nothing without the tables or PyOD."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "adbench", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tables", default="", help="names, for example cardio,vowels (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of all fits (default: %(default)s)")
    parser.add_argument("--venv", type=Path, help="environment of the peers (default: FOLDER/.venv-peers)")
    options = parser.parse_args(arguments)
    paths = sorted(options.folder.glob("*.npz"))
    if not paths:
        print(f"no fit times: {options.folder} has no .npz files; set ANOMALY_VAE_DATA or give another DIR")
        return {}
    if options.tables:
        path_of = {name: next(options.folder.glob(f"*_{name}.npz"), None) for name in options.tables.split(",")}
        if missing := [name for name, path in path_of.items() if path is None]:
            parser.error(f"{options.folder}: found no *_{missing[0]}.npz")
        paths = list(path_of.values())
    options.out.mkdir(parents=True, exist_ok=True)
    python = peers.environment(options.venv or options.out / ".venv-peers")
    if python is None:
        return {}
    results, load = [], [os.getloadavg()[0]]
    with PyOD(python) as pyod:
        measure(split(paths[0], options.seed)[0][:_WARM_UP_ROWS], pyod, options.seed)
        for path in track(paths, "tables", console=Console(file=sys.stderr)):
            rows = split(path, options.seed)[0]
            seconds = measure(rows, pyod, options.seed)
            results.append({"dataset": path.stem, "rows": len(rows), "columns": rows.shape[1], "seconds": seconds})
    load.append(os.getloadavg()[0])
    figures = {
        "cores": os.cpu_count(),
        "load": load,
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "numpy")},
        "seed": options.seed,
        "tables": results,
        "total": totals(results),
    }
    show(results, figures["total"])
    print(f"load average {load[0]:.1f} before, {load[1]:.1f} after (1 to 2 of it by this run); {os.cpu_count()} cores")
    (options.out / "fit_time.json").write_text(json.dumps(figures, indent=2, default=float))
    return figures


if __name__ == "__main__":
    main()
