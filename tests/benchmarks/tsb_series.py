"""Labelled time series as the benchmark TSB-AD has them: a folder with windows.json and the CSV files that it names.

A series is a file of the Numenta Anomaly Benchmark without its first row. A step is anomalous if its timestamp lies in
(start, end] of a labelled window. The first steps train, and all steps are scored and judged.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["PUBLISHED", "Series", "Wanted", "read_series", "wanted"]

# Name in TSB-AD, file, and steps to train on, of the series with published figures.
PUBLISHED = (
    ("001_NAB_id_1_Facility", "realKnownCause/ec2_request_latency_system_failure.csv", 1007),
    ("006_NAB_id_6_Traffic", "realKnownCause/nyc_taxi.csv", 2579),
    ("013_NAB_id_13_Traffic", "realTraffic/speed_t4013.csv", 623),
    ("017_NAB_id_17_Synthetic", "artificialWithAnomaly/art_increase_spike_density.csv", 1007),
    ("018_NAB_id_18_Facility", "realKnownCause/rogue_agent_key_hold.csv", 500),
    ("023_NAB_id_23_Facility", "realKnownCause/cpu_utilization_asg_misconfiguration.csv", 4512),
)

# The share of the steps of other series that train, at most. TSB-AD has about a quarter as well.
_TRAIN_SHARE = 0.25


class Wanted(NamedTuple):
    """A series to measure: its name, its file, and the steps to train on; None for the default."""

    name: str
    file: str
    train: int | None = None


class Series(NamedTuple):
    """A series.

    Attributes:
        name: Its name.
        file: Its file, in the folder.
        times: Shape (T,).
        values: Shape (T,).
        labels: 1 at anomalous steps, else 0, shape (T,).
        num_train: Steps to train on, the first ones.
    """

    name: str
    file: str
    times: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    num_train: int


def wanted(folder: Path, listed: Path | None = None) -> list[Wanted]:
    """Return the series of a folder: those of a list, or all files of windows.json that exist, known ones first.

    Args:
        folder: Holds windows.json.
        listed: A CSV file with the columns name, file and train; an empty train means the default.

    Raises:
        ValueError: A listed file does not exist or has no entry in windows.json.
    """
    windows = json.loads((folder / "windows.json").read_text())
    if listed is None:
        known = [Wanted(*each) for each in PUBLISHED]
        files = {each.file for each in known}
        others = [Wanted(Path(file).stem, file) for file in windows if file not in files]
        return [each for each in [*known, *others] if each.file in windows and (folder / each.file).exists()]
    with listed.open(newline="") as lines:
        found = [Wanted(row["name"], row["file"], int(row["train"] or 0) or None) for row in csv.DictReader(lines)]
    for each in found:
        if each.file not in windows or not (folder / each.file).exists():
            raise ValueError(f"{listed}: {folder} has no file {each.file!r}, or windows.json has no entry for it")
    return found


def read_series(folder: Path, which: Wanted) -> Series:
    """Read a series; without a train length, its steps before the first label train, a quarter of all at most."""
    with (folder / which.file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))[1:]
    times = np.array([row["timestamp"] for row in rows], dtype="datetime64[us]")
    values = np.array([float(row["value"]) for row in rows])
    labels = _labels(times, json.loads((folder / "windows.json").read_text())[which.file])
    first = int(labels.argmax()) if labels.any() else len(labels)
    train = which.train or min(first, int(_TRAIN_SHARE * len(labels)))
    return Series(which.name, which.file, times, values, labels, train)


def _labels(times: np.ndarray, windows: Sequence[Sequence[str]]) -> np.ndarray:
    labels = np.zeros(len(times), dtype=int)
    for start, end in windows:
        labels[(times > np.datetime64(start)) & (times <= np.datetime64(end))] = 1
    return labels
