"""Speed of the cascade, and how often its decisions differ from those of the full budget, on whole tables.

    python -m tests.benchmarks.cascade DIR [--out FILE.json] [--search fast]

Each ADBench table of a folder is trained on half of its normal rows. Then all rows of the file are decided, anomalies
included. Samples a row and rows per second are for a stream with 1 % anomalies, at the target rate 0.01.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anomaly_vae.scorer import Scorer
from tests.benchmarks.adbench import split
from tests.benchmarks.tables import MODELS, SEARCH_HELP, train

# The timed stream: share of anomalies, rows.
ANOMALIES, TIMED_ROWS = 0.01, 2000


def measure(path: Path, search: str) -> dict[str, float | str]:
    """Measure one table."""
    fitted, normal, anomalous = split(path, 0)
    scorer = Scorer(train(fitted, MODELS[search]).bundle)
    with np.load(path) as data:
        rows = data["X"].astype(np.float64)
    flags, scores = scorer.flag(rows), scorer.score(rows)
    stream = mixed(normal, anomalous)
    seconds = {"flag": timed(scorer.flag, stream), "score": timed(scorer.score, stream)}
    of_stream = scorer.flag(stream)
    return {
        "dataset": path.stem,
        "rows": len(rows),
        "flagged": int(scores.is_anomaly.sum()),
        "missed": int((scores.is_anomaly & ~flags.is_anomaly).sum()),
        "added": int((flags.is_anomaly & ~scores.is_anomaly).sum()),
        "samples": float(of_stream.num_samples.mean()),
        "left_at_16": float((of_stream.num_samples == 16).mean()),
        "rows_per_s": len(stream) / seconds["flag"],
        "speedup": seconds["score"] / seconds["flag"],
    }


def mixed(normal: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    """Return a stream of rows in random order, 1 % of them anomalies."""
    rng = np.random.default_rng(0)
    bad = max(round(ANOMALIES * TIMED_ROWS), 1)
    chosen = [rng.choice(normal, TIMED_ROWS - bad), rng.choice(anomalous, bad)]
    return rng.permutation(np.concatenate(chosen))


def timed(work, rows: np.ndarray) -> float:
    """Return the seconds of the faster of two runs."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work(rows)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def show(results: list[dict[str, float | str]]) -> dict[str, float]:
    """Print a table and return the totals."""
    table = Table("table", "rows", "flagged", "missed", "added", "samples a row", "left at 16", "rows/s", "speed-up")
    for r in results:
        cells = [f"{r['samples']:.1f}", f"{r['left_at_16']:.1%}", f"{r['rows_per_s']:,.0f}", f"{r['speedup']:.1f}"]
        table.add_row(*(str(r[key]) for key in ("dataset", "rows", "flagged", "missed", "added")), *cells)
    Console().print(table)
    rows = sum(r["rows"] for r in results)
    disagreed = sum(r["missed"] + r["added"] for r in results)
    total = {
        "rows": rows,
        "agreement": 1.0 - disagreed / rows,
        "samples": float(np.mean([r["samples"] for r in results])),
        "most_samples": max(r["samples"] for r in results),
        "speedup": float(np.mean([r["speedup"] for r in results])),
    }
    print(
        f"agreement with the full budget on {rows:,} rows: {total['agreement']:.5%}; "
        f"samples a row {total['samples']:.1f} on average, {total['most_samples']:.1f} at most; "
        f"{total['speedup']:.1f} times the rows per second"
    )
    return total


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Measure all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--search", default="off", choices=list(MODELS), help=SEARCH_HELP)
    options = parser.parse_args(arguments)
    paths = sorted(options.folder.glob("*.npz"))
    results = [measure(path, options.search) for path in track(paths, "tables", console=Console(file=sys.stderr))]
    figures: dict[str, object] = {"search": options.search, "total": show(results), "tables": results}
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2))
    return figures


if __name__ == "__main__":
    main()
