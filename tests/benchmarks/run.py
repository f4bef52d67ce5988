"""Run all benchmarks; print their tables, save their figures as JSON and their pictures as PNG.

    python -m tests.benchmarks.run --out FOLDER [--only NAMES]

Each benchmark is also a command: python -m tests.benchmarks.NAME --help.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    accuracy,
    adbench,
    cascade,
    default_path,
    drift,
    errors,
    explain,
    fit_time,
    images,
    memory,
    serving,
    speed,
    tsb,
)
from tests.benchmarks.tables import DATA


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", default="", metavar="NAMES", help="comma-separated, for example speed,cascade")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    runs = benchmarks(options.out)
    chosen = options.only.split(",") if options.only else list(runs)
    if unknown := set(chosen) - set(runs):
        parser.error(f"--only: no benchmark {', '.join(sorted(unknown))}; available: {', '.join(runs)}")
    figures = {}
    for name in chosen:
        print(f"\n{name}", flush=True)
        figures[name] = runs[name]()
        (options.out / "figures.json").write_text(json.dumps(figures, indent=2, default=float))


def benchmarks(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the benchmarks that can run on this machine, by name."""
    runs: dict[str, Callable[[], object]] = {
        "speed": lambda: speed.main(["--out", str(folder)]),
        "memory": lambda: memory.main([]),
        "serving": lambda: serving.main(["--out", str(folder)]),
        "errors": lambda: errors.main(["--out", str(folder / "errors.json")]),
        "explain": lambda: explain.main(["--out", str(folder / "explain.json")]),
        "images": lambda: images.main(["--out", str(folder / "images.csv")]),
    }
    if (DATA / "nab" / "windows.json").exists():
        runs["tsb"] = lambda: tsb.main([str(DATA / "nab"), "--out", str(folder / "tsb.csv")])
    else:
        print("tsb is skipped: set ANOMALY_VAE_DATA to a folder with labelled series, nab/windows.json and its files")
    tables = DATA / "adbench"
    if not tables.is_dir():
        print("other benchmarks are skipped: set ANOMALY_VAE_DATA to a folder with the ADBench tables, adbench/*.npz")
        return runs
    peers = DATA.parent / "peers" / "adbench_peers.csv"
    options = ["--peers", str(peers)] if peers.exists() else []
    return runs | {
        "default_path": lambda: default_path.main([str(tables), "--out", str(folder)]),
        "accuracy": lambda: accuracy.main([str(tables), "--out", str(folder)]),
        "cascade": lambda: cascade.main([str(tables), "--out", str(folder / "cascade.json")]),
        "adbench": lambda: {
            search: adbench.main(
                [str(tables), "--out", str(folder / f"adbench_{search}.csv"), "--search", search, *options]
            )
            for search in ("off", "fast")
        },
        "drift": lambda: drift.main([str(tables), "--out", str(folder / "drift.json")]),
        "fit_time": lambda: fit_time.main([str(tables), "--out", str(folder)]),
    }


if __name__ == "__main__":
    main()
