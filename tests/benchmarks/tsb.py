"""Find anomalies in time series under the protocol of the benchmark TSB-AD, with all defaults.

    python -m tests.benchmarks.tsb [DIR] --out FILE.csv [--seeds 0,1] [--fast] [--series LIST.csv]

DIR holds windows.json and the CSV files that it names, as the Numenta Anomaly Benchmark does. The first steps of a
series train, all its steps are scored. A model gets the values alone, as the published methods do; --timestamps gives
it the times as well. A seed chooses split, weights and noise.

    vus_pr          volume under the precision-recall surface of step_score; from the package vus, or with --fast from
                    an equal implementation that takes milliseconds
    causal_vus_pr   the same of the score of the window that ends at the step, which is known at once
    flags_normal    the share of flags among the windows that end after training and cover no labelled step, beside
                    stated, the rate that calibration promises; flags_labelled is that among labelled steps
    live            whether pushing steps one by one gives the same bits

Series without labels show the flags only. The published figures are means over six series; each of those methods was
tuned on other series of TSB-AD.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.scorer import Scorer
from anomaly_vae.series.live import SeriesScorer
from anomaly_vae.series.results import SeriesScores
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel, to_training_panel
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.windows import train_series
from tests.benchmarks import tsb_metric, tsb_vus
from tests.benchmarks.tables import DATA
from tests.benchmarks.tsb_series import PUBLISHED, Series, read_series, wanted

# Mean VUS-PR over the published series.
PEERS = {
    "KShapeAD": 0.566,
    "SAND": 0.425,
    "POLY": 0.416,
    "Sub-PCA": 0.400,
    "AutoEncoder": 0.387,
    "USAD": 0.266,
    "Donut": 0.171,
    "a table model on windows cut by hand": 0.589,
}

# Steps that are pushed one by one.
LIVE_STEPS = 32

Metric = Callable[[np.ndarray, np.ndarray, int], float]


def measure(series: Series, seed: int, metric: Metric, *, timestamps: bool, max_steps: int | None) -> dict[str, Any]:
    """Train and score one series; return its figures."""
    data = _table(series, timestamps)
    limit = {} if max_steps is None else {"max_steps": max_steps}
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some series have too few calibration windows for 1 %
        config = TrainConfig(random_state=seed, window="auto", **limit)
        bundle = train_series(to_training_panel(data[: series.num_train]), config).bundle
    fitted = time.perf_counter()
    scorer = Scorer(bundle)
    shape = scorer.schema.shape
    loaded = time.perf_counter()
    scores = score_panel(scorer.score_rows, to_panel(data, shape), shape.length)
    seconds = time.perf_counter() - loaded
    figures: dict[str, Any] = {
        "series": series.name,
        "file": series.file,
        "seed": seed,
        "steps": len(series.values),
        "train": series.num_train,
        "window": shape.length,
    }
    if series.labels.any():
        length = tsb_metric.period(series.values)
        figures["vus_pr"] = metric(_abnormality(scores.step_score), series.labels, length)
        figures["causal_vus_pr"] = metric(_abnormality(scores.score), series.labels, length)
    figures |= flags(series, scores, shape.length) | {"stated": bundle.manifest.calibration.effective_fpr}
    figures |= {"fit_s": fitted - start, "windows_per_s": int(scores.has_window.sum()) / seconds}
    return figures | {"live": live_is_equal(series, scorer, scores, timestamps=timestamps)}


def _table(series: Series, timestamps: bool) -> Any:
    if timestamps:
        return pa.table({"timestamp": series.times, "value": series.values})
    return series.values


def _abnormality(scores: np.ndarray) -> np.ndarray:
    """Return minus the scores; steps without one, such as the first, get the most normal value."""
    return -np.where(np.isnan(scores), np.nanmax(scores), scores)


def flags(series: Series, scores: SeriesScores, length: int) -> dict[str, Any]:
    """Return the shares of flags among normal windows after training, and among labelled steps."""
    labelled_so_far = np.concatenate([[0], np.cumsum(series.labels)])
    ends = np.arange(len(series.labels))
    covers_label = labelled_so_far[ends + 1] > labelled_so_far[np.maximum(ends + 1 - length, 0)]
    normal = scores.has_window & ~covers_label & (ends >= series.num_train + length - 1)
    labelled = scores.has_window & (series.labels == 1)
    return {
        "normal": int(normal.sum()),
        "flags_normal": float(np.mean(scores.is_anomaly[normal])) if normal.any() else None,
        "flags_labelled": float(np.mean(scores.is_anomaly[labelled])) if labelled.any() else None,
    }


def live_is_equal(series: Series, scorer: Scorer, scores: SeriesScores, *, timestamps: bool) -> bool:
    """Return whether steps after the training ones have the same scores, bit for bit, when they are pushed."""
    live, length = SeriesScorer(scorer), scorer.schema.shape.length
    stop = min(series.num_train + LIVE_STEPS, len(series.values))
    for step in range(max(stop - LIVE_STEPS - length + 1, 0), stop):
        result = live.push(series.times[step].item() if timestamps else None, series.values[step])
        if step < stop - LIVE_STEPS:
            continue
        found = np.nan if result.score is None else result.score
        if not np.array_equal(found, scores.score[step], equal_nan=True):
            return False
    return True


def show(records: list[dict[str, Any]]) -> None:
    """Print means over the seeds for each series, over the published ones, and the published figures."""
    names = ("train", "window", "vus_pr", "causal_vus_pr", "stated", "flags_normal", "flags_labelled")
    table = Table("series", *names, "fit_s", "windows_per_s", "live", title="Time series, all defaults")
    for column in table.columns[1:]:
        column.justify = "right"
    names_found = dict.fromkeys(record["series"] for record in records)
    by_name = {name: [record for record in records if record["series"] == name] for name in names_found}
    for name, chosen in by_name.items():
        table.add_row(name, *_cells(chosen), end_section=name == list(by_name)[-1])
    published = [name for name, *_ in PUBLISHED]
    chosen = [record for record in records if record["series"] in published]
    if chosen:
        table.add_row(f"mean of {len(set(published) & set(by_name))} published", *_cells(chosen), style="bold")
    console = Console(width=180)
    console.print(table)
    if set(published) <= set(by_name):
        ours = float(np.mean([record["vus_pr"] for record in chosen]))
        peers = Table("VUS-PR, mean of the published series", "", title="Beside published figures")
        for name, value in sorted([*PEERS.items(), ("anomaly_vae", ours)], key=lambda each: -each[1]):
            peers.add_row(name, f"{value:.3f}", style="bold" if name == "anomaly_vae" else None)
        console.print(peers)
    if unequal := [record["series"] for record in records if not record["live"]]:
        console.print(f"live scores DIFFER from those of the table: {', '.join(dict.fromkeys(unequal))}")


def _cells(records: list[dict[str, Any]]) -> list[str]:
    digits = {"vus_pr": 3, "causal_vus_pr": 3, "stated": 4, "flags_normal": 4, "flags_labelled": 3, "fit_s": 1}
    cells = []
    names = ("train", "window", "vus_pr", "causal_vus_pr", "stated", "flags_normal", "flags_labelled", "fit_s")
    for name in (*names, "windows_per_s"):
        known = [record[name] for record in records if record.get(name) is not None]
        cells.append(f"{np.mean(known):,.{digits.get(name, 0)}f}" if known else "")
    return [*cells, "equal" if all(record["live"] for record in records) else "DIFFERS"]


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one line for each series and seed."""
    fields = list(dict.fromkeys(name for record in records for name in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(records)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure and print; return the records, which ``--out`` saves. Without the series there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "nab", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--seeds", default="0", help="for example 0,1,2 (default: %(default)s)")
    parser.add_argument("--series", type=Path, metavar="LIST.csv", help="measure these: columns name, file and train")
    parser.add_argument("--only", default="", metavar="NAMES", help="parts of names, for example 001,rogue")
    parser.add_argument("--fast", action="store_true", help="compute the metric here, without the package vus")
    parser.add_argument("--timestamps", action="store_true", help="give the model the times of the steps as well")
    parser.add_argument("--max-steps", type=int, metavar="N", help="train shorter, for a try (default: the product's)")
    parser.add_argument("--venv", type=Path, help="environment with vus (default: .venv-vus beside FILE.csv)")
    options = parser.parse_args(arguments)
    if not (options.folder / "windows.json").exists():
        print(f"no series: {options.folder} has no windows.json; set ANOMALY_VAE_DATA or give another DIR")
        return []
    chosen = [
        each
        for each in wanted(options.folder, options.series)
        if any(part in f"{each.name} {each.file}" for part in options.only.split(","))
    ]
    if not chosen:
        parser.error(f"--only: no series {options.only}")
    python = None if options.fast else tsb_vus.environment(options.venv or options.out.resolve().parent / ".venv-vus")
    jobs = [(each, int(seed)) for each in chosen for seed in options.seeds.split(",")]
    records: list[dict[str, Any]] = []
    with tsb_vus.Vus(python) if python else nullcontext(tsb_metric.vus_pr) as metric:
        for which, seed in track(jobs, "series", console=Console(file=sys.stderr)):
            series = read_series(options.folder, which)
            try:
                found = measure(series, seed, metric, timestamps=options.timestamps, max_steps=options.max_steps)
            except AnomalyVaeError as error:
                print(f"{which.name} is left out: {error}", flush=True)
                continue
            records.append(found | {"metric": "vus" if python else "fast"})
            write(options.out, records)
    if records:
        show(records)
    return records


if __name__ == "__main__":
    main()
