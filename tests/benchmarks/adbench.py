"""Train and score every ADBench table of a folder: half of the normal rows train, all other rows are tested.

    python -m tests.benchmarks.adbench DIR --seeds 0,1 --out FILE.csv [--peers PEERS.csv] [--hide 0.2] [--search off]

DIR holds .npz files with X and y (1 marks an anomaly). All tables are trained with the defaults. With --hide, that
share of the test rows' cells is removed at random, and the detection quality without them is printed as well.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import betabinom

from anomaly_vae.assessment.ranking import detection_quality
from anomaly_vae.calibration import threshold_rank
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model

# Larger tables are sampled down to this number of rows, to limit the time.
MAX_ROWS = 20_000
FIELDS = ["dataset", "seed", "model", "auroc", "ap", "fit_s", "score_s"]

# Target false-positive rates that are checked.
RATES = (0.01, 0.05)


def split(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return normal rows to train on, the other normal rows, and all anomalous rows."""
    with np.load(path) as data:
        X, y = data["X"].astype(np.float64), data["y"].astype(int)
    rng = np.random.default_rng(seed)
    if len(y) > MAX_ROWS:
        chosen = rng.permutation(len(y))[:MAX_ROWS]
        X, y = X[chosen], y[chosen]
    normal = rng.permutation(np.flatnonzero(y == 0))
    half = len(normal) // 2
    return X[normal[:half]], X[normal[half:]], X[y == 1]


def run_one(path: Path, seed: int, hide: float = 0.0, search: str = "fast") -> dict[str, object]:
    """Train and score one table; return its figures, with false positives and their 99.9 % intervals."""
    train, normal, anomalous = split(path, seed)
    names = tuple(f"x{d}" for d in range(train.shape[1]))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small tables have too few calibration rows for 1 %
        bundle = train_model(train, names, TrainConfig(random_state=seed, search=search)).bundle
    fitted = time.perf_counter()
    scorer = Scorer(bundle)
    good, bad = scorer.score(normal), scorer.score(anomalous)
    done = time.perf_counter()
    finite = bool(np.isfinite(good.score).all() and np.isfinite(bad.score).all())
    quality = detection_quality(good.score, bad.score)
    manifest = bundle.manifest
    row: dict[str, object] = {
        "dataset": path.stem,
        "seed": seed,
        "model": "anomaly_vae",
        "auroc": round(quality.auroc, 4),
        "ap": round(quality.average_precision, 4),
        "fit_s": round(fitted - start, 3),
        "score_s": round(done - fitted, 3),
        "finite": finite,
        "reliable": float(np.mean(good.reliable)),
        "gates": [gate.name for gate in manifest.training.gates if gate.passed is False],
    }
    row |= false_positives(good.p_value, manifest.calibration.num_rows)
    return row | (with_gaps(scorer, normal, anomalous, hide, seed) if hide else {})


def with_gaps(scorer: Scorer, normal: np.ndarray, anomalous: np.ndarray, hide: float, seed: int) -> dict[str, object]:
    """Return the figures with a share of the cells removed, by score and by log p(x) of the remaining cells."""
    rng = np.random.default_rng([seed, 99])
    good, bad = (scorer.score(np.where(rng.random(rows.shape) < hide, np.nan, rows)) for rows in (normal, anomalous))
    row: dict[str, object] = {
        "auroc_gaps": detection_quality(good.score, bad.score).auroc,
        "auroc_gaps_raw": detection_quality(good.log_px, bad.log_px).auroc,
    }
    counts = false_positives(good.p_value, scorer.bundle.manifest.calibration.num_rows)
    return row | {f"gaps {key}": value for key, value in counts.items()}


def false_positives(p_value: np.ndarray, n: int) -> dict[str, object]:
    """For each target with k >= 1, compare flags among normal rows with 99.9 % of their beta-binomial law."""
    counts: dict[str, object] = {}
    for rate in RATES:
        k = threshold_rank(n, rate)
        if k == 0:
            continue
        flags = int((p_value <= k / (n + 1) + 1e-12).sum())
        law = betabinom(len(p_value), k, n + 1 - k)
        low, high = int(law.ppf(0.0005)), int(law.ppf(0.9995))
        counts[f"flags@{rate:g}"] = f"{flags} of {len(p_value)} in [{low}, {high}]"
        counts[f"inside@{rate:g}"] = low <= flags <= high
    return counts


def show(rows: list[dict[str, object]], peers: Path | None) -> None:
    """Print our means per table with those of the peers."""
    means: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    records = [row for row in rows if row["auroc"] != ""]
    if peers:
        with peers.open() as file:
            records += [row for row in csv.DictReader(file) if row["auroc"]]
    ours = {row["dataset"] for row in rows}
    for row in records:
        if row["dataset"] in ours:
            means[str(row["dataset"])][str(row["model"])].append(float(str(row["auroc"])))
    names = {model for table in means.values() for model in table}
    models = ["anomaly_vae", *sorted(names - {"anomaly_vae"})]
    table = Table("AUROC, mean over seeds", *models)
    for dataset in sorted(means):
        table.add_row(dataset, *(f"{np.mean(means[dataset][m]):.4f}" if means[dataset][m] else "" for m in models))
    columns = [[np.mean(means[d][m]) for d in means if means[d][m]] for m in models]
    table.add_row("mean", *(f"{np.mean(values):.4f}" for values in columns), style="bold")
    console = Console(width=160)
    console.print(table)
    done = [row for row in rows if row["auroc"] != ""]
    console.print(
        f"anomaly_vae: mean AUROC {np.mean([row['auroc'] for row in done]):.4f}, "
        f"mean AP {np.mean([row['ap'] for row in done]):.4f}, fit {sum(row['fit_s'] for row in done):.0f} s, "
        f"score {sum(row['score_s'] for row in done):.0f} s, all finite: {all(row['finite'] for row in done)}"
    )
    for row in done:
        if row["gates"]:
            console.print(f"release gates failed: {row['dataset']} seed {row['seed']}: {', '.join(row['gates'])}")
    for prefix in ("", "gaps "):
        for rate in RATES:
            show_false_positives(console, done, prefix, rate)
    if done and "auroc_gaps" in done[0]:
        gaps, raw = (np.mean([row[key] for row in done]) for key in ("auroc_gaps", "auroc_gaps_raw"))
        console.print(
            f"with cells removed: mean AUROC {gaps:.4f} by score, {raw:.4f} by log p(x) of the remaining cells"
        )


def show_false_positives(console: Console, done: list[dict[str, object]], prefix: str, rate: float) -> None:
    """Print how many false-positive counts are in their intervals, and each that is not."""
    key = f"{prefix}inside@{rate:g}"
    inside = [row[key] for row in done if key in row]
    if inside:
        text = f"{prefix}target {rate:g}: {sum(inside)} of {len(inside)} false-positive counts in their 99.9 % interval"
        console.print(text)
    for row in done:
        if not row.get(key, True):
            console.print(f"  outside: {row['dataset']} seed {row['seed']}: {row[f'{prefix}flags@{rate:g}']}")


def main(arguments: list[str] | None = None) -> list[dict[str, object]]:
    """Run all tables and seeds; a table that fails gets empty cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seeds", default="0,1", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--peers", type=Path, help="CSV with the columns dataset, model and auroc")
    parser.add_argument("--hide", type=float, default=0.0, help="also test with this share of the cells removed")
    parser.add_argument("--search", default="fast", choices=["off", "fast", "full"])
    options = parser.parse_args(arguments)
    jobs = [(path, int(seed)) for path in sorted(options.folder.glob("*.npz")) for seed in options.seeds.split(",")]
    rows = []
    for path, seed in track(jobs, "tables", console=Console(file=sys.stderr)):
        try:
            rows.append(run_one(path, seed, options.hide, options.search))
        except Exception as error:  # noqa: BLE001 (the other tables must still run)
            print(f"{path.stem} seed {seed} failed: {error}", file=sys.stderr)
            rows.append({"dataset": path.stem, "seed": seed, "model": "anomaly_vae"} | dict.fromkeys(FIELDS[3:], ""))
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    if rows:
        show(rows, options.peers)
    return rows


if __name__ == "__main__":
    main()
