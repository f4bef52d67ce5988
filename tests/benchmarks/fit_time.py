"""Time from rows to a model, summed over tables, against PyOD's VAE.

    python -m tests.benchmarks.fit_time [DIR] --out FOLDER [--tables cardio,vowels] [--seed 0]

DIR holds the ADBench tables as .npz files; half of the normal rows of each are fitted to, as in the benchmark adbench.

    pyod_vae    VAE(random_state=seed, verbose=0).fit, on standardised rows and one thread, in a process of its own
    ours off    train_model with search "off": training, export, calibration and gates
    ours fast   the same with the default search, which trains a mixture of models

Each table is fitted to by all three in turn, because the speed of machines drifts. A first fit of each, to a few rows,
is not counted: it loads libraries. Ours has more threads and suffers more where cores are busy, so the load is shown.
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

from anomaly_vae.config import TrainConfig
from tests.benchmarks import peers
from tests.benchmarks.adbench import split
from tests.benchmarks.peers_pyod import PyOD
from tests.benchmarks.tables import DATA, train

# Most of PyOD's total that ours may take.
LIMITS = {"off": 0.5, "fast": 1.5}

_WARM_UP_ROWS = 100


def measure(rows: np.ndarray, pyod: PyOD, seed: int) -> dict[str, float]:
    """Seconds of every contender on one table, one after the other."""
    found = {"pyod_vae": pyod.fit(rows, seed)}
    for search in LIMITS:
        start = time.perf_counter()
        train(rows, TrainConfig(random_state=seed, search=search))
        found[search] = time.perf_counter() - start
    return found


def totals(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the tables, ours as shares of PyOD's, and whether these are within their limits."""
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
    """Print seconds and ratios by table, their totals, and the limits."""
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
    """Fit, print; return what is saved as ``fit_time.json``, nothing where the tables or PyOD cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "adbench", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tables", default="", help="some of them, for example cardio,vowels (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--venv", type=Path, help="environment of the peers (default: FOLDER/.venv-peers)")
    options = parser.parse_args(arguments)
    paths = sorted(options.folder.glob("*.npz"))
    if not paths:
        print(f"no fit times: {options.folder} has no .npz files; set ANOMALY_VAE_DATA, or name another folder")
        return {}
    if options.tables:
        wanted = {name: next(options.folder.glob(f"*_{name}.npz"), None) for name in options.tables.split(",")}
        if missing := [name for name, path in wanted.items() if path is None]:
            parser.error(f"{options.folder}: found no *_{missing[0]}.npz")
        paths = list(wanted.values())
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
    print(
        f"load average {load[0]:.1f} before, {load[1]:.1f} after, of which 1 to 2 are this run; {os.cpu_count()} cores"
    )
    (options.out / "fit_time.json").write_text(json.dumps(figures, indent=2, default=float))
    return figures


if __name__ == "__main__":
    main()
