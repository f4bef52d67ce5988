"""False alarms and power of ``anomaly-vae drift`` on ADBench tables.

    python -m tests.benchmarks.drift DIR [--tables NAMES] [--halves 200] [--out FILE.json]

DIR holds .npz files with X and y (1 marks an anomaly). Half of the normal rows train a model and calibrate it; the
others are scored once. Then, at alpha = 1 %:

- halves: one half of the scored rows is the calibration, the other half is new, many times. Every alarm is false.
- contaminated: 5 % of the rows are anomalies. At which row does the martingale notice, and with how many rows does the
  test of all scores?
- units: one column is multiplied by 1000, or becomes 1.8 x + 32. Is it noticed, and named?
- service: the time for the detector of the service, as a share of the scoring time.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np

from anomaly_vae.assessment.drift import Drift, DriftWatch
from anomaly_vae.assessment.shifts import NewRows
from anomaly_vae.assessment.uniformity import score_shift
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.statistics import RowStatistics, statistics_of
from anomaly_vae.scorer import Scorer
from anomaly_vae.service.telemetry.drift_watch import DriftWatch as ServiceWatch
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.benchmarks.adbench import split

TABLES = "2_annthyroid,38_thyroid,28_pendigits,6_cardio,23_mammography,27_PageBlocks,31_satimage-2,32_shuttle"
ALPHA, SHARE = 0.01, 0.05
MOST_TRAIN, MOST_NEW, MOST_ANOMALIES = 6000, 4000, 1000
STREAMS, STREAM_ROWS = 40, 2000
SIZES = (25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 2000)


class Scored:
    """Rows and their scores, minus infinity for rows that rank below all others."""

    def __init__(self, scorer: Scorer, rows: np.ndarray) -> None:
        start = time.process_time()
        scores = scorer.score_rows(rows)
        self.seconds = time.process_time() - start
        self.rows, self.plain = rows, scores
        self.scores = np.where(scorer.schema.ranks_lowest(rows), -np.inf, scores.score)


def compare(
    schema: Schema, statistics: RowStatistics, calibration: np.ndarray, scores: np.ndarray, rows: np.ndarray
) -> Drift:
    novel = np.isneginf(calibration)
    columns = NewRows(schema, statistics)
    watch = DriftWatch(np.sort(calibration[~novel]), int(novel.sum()), alpha=ALPHA, columns=columns)
    watch.add(scores, rows)
    return watch.result()


def halves(schema: Schema, normal: Scored, times: int) -> dict[str, float]:
    """Return how many of the halves raise a false alarm, by part."""
    found = {"halves": times, "any": 0, "scores": 0, "order": 0, "columns": 0}
    limit, rng = math.log(ALPHA / 3), np.random.default_rng(0)
    for _ in range(times):
        order = rng.permutation(len(normal.scores))
        old, new = np.array_split(order, 2)
        drift = compare(
            schema, statistics_of(schema, normal.rows[old]), normal.scores[old], normal.scores[new], normal.rows[new]
        )
        found["any"] += drift.drifted
        found["scores"] += drift.scores.log_p_value <= limit
        found["order"] += drift.order.log_p_value <= limit
        found["columns"] += any(each.changed for each in drift.columns)
    return found


def contaminated(calibration: np.ndarray, normal: np.ndarray, anomalous: np.ndarray) -> dict[str, float]:
    """Return the median row at which the martingale notices 5 % of anomalies, and the rows that the test needs."""
    rng, first, needed = np.random.default_rng(1), [], []
    novel = np.isneginf(calibration)
    kept, num_novel = np.sort(calibration[~novel]), int(novel.sum())
    for _ in range(STREAMS):
        is_odd = rng.random(STREAM_ROWS) < SHARE
        stream = np.where(is_odd, rng.choice(anomalous, STREAM_ROWS), rng.choice(normal, STREAM_ROWS))
        watch = DriftWatch(kept, num_novel, alpha=ALPHA)
        watch.add(stream)
        first.append(watch.result().order.first_row or math.inf)
        limit = math.log(ALPHA / 3)
        enough = [m for m in SIZES if score_shift(kept, num_novel, stream[:m]).log_p_value <= limit]
        needed.append(min(enough, default=math.inf))
    return {
        "martingale_median_row": float(np.median(first)),
        "martingale_noticed": float(np.mean(np.isfinite(first))),
        "test_median_rows": float(np.median(needed)),
        "test_noticed": float(np.mean(np.isfinite(needed))),
    }


def units(scorer: Scorer, calibration: np.ndarray, rows: np.ndarray) -> dict[str, object]:
    """Return what is said of one column in other units: the one with the most different values."""
    column = int(np.argmax([len(np.unique(rows[:, d])) for d in range(rows.shape[1])]))
    found = {}
    for name, change in {"x1000": lambda x: 1000.0 * x, "1.8x+32": lambda x: 1.8 * x + 32.0}.items():
        changed = rows.copy()
        changed[:, column] = change(changed[:, column])
        new = Scored(scorer, changed)
        drift = compare(scorer.schema, scorer.bundle.manifest.statistics, calibration, new.scores, changed)
        first = drift.columns[0]
        found[name] = {
            "drift": drift.drifted,
            "first_is_right": first.column == f"x{column}",
            "units": first.units,
            "noticed_at": drift.order.first_row,
        }
    return found


def run_one(path: Path, times: int) -> dict[str, object]:
    """Train and compare one table."""
    train, normal, anomalous = split(path, 0)
    names = tuple(f"x{d}" for d in range(train.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = train_model(train[:MOST_TRAIN], names, TrainConfig(random_state=0, search="off")).bundle
    scorer = Scorer(bundle, threads=1)
    new = Scored(scorer, normal[:MOST_NEW])
    odd = Scored(scorer, anomalous[:MOST_ANOMALIES])
    num_novel = bundle.manifest.calibration.num_novel
    calibration = np.r_[np.full(num_novel, -np.inf), bundle.calibration]
    drift = compare(scorer.schema, bundle.manifest.statistics, calibration, new.scores, new.rows)
    watch = ServiceWatch(scorer)
    batches = [new.plain[row : row + 8] for row in range(0, len(new.plain), 8)]
    start = time.process_time()
    for batch in batches:
        watch.add(batch)
    watch.log_detector()
    service = time.process_time() - start
    return {
        "calibration_rows": len(calibration),
        "new_rows": len(new.rows),
        "num_columns": len(names),
        "other_normal_rows_p": math.exp(drift.log_p_value),
        **halves(scorer.schema, new, times),
        **contaminated(calibration, new.scores, odd.scores),
        "units": units(scorer, calibration, new.rows[:500]),
        "service_share_of_scoring": service / new.seconds,
        "service_us_per_row": 1e6 * service / len(new.rows),
        "score_us_per_row": 1e6 * new.seconds / len(new.rows),
    }


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Print and return the figures of each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--halves", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    found = {}
    for name in options.tables.split(","):
        found[name] = run_one(options.folder / f"{name}.npz", options.halves)
        print(name, json.dumps(found[name], default=float), flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=2, default=float))
    return found


if __name__ == "__main__":
    main()
