"""Train four models from fixed seeds, score rows with them, and compare all bits with those of an earlier run.

Two commands, the first with the code before a change, the second with the code after it:

    PYTHONPATH=before python tests/support/same_scores.py write scores.json
    PYTHONPATH=after python tests/support/same_scores.py compare scores.json

It uses only the documented interface, so it runs with any release. Expect equal digests only on the same machine with
the same torch, numpy and onnxruntime.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from statsmodels.datasets import modechoice

import anomaly_vae

# Training steps of each model: enough for typical proposals, few enough for 15 seconds in all.
_STEPS = 400


def tables() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield the name, the rows and the parameters of each of the four models."""
    yield "cancer", load_breast_cancer().data, {}
    wine = load_wine().data
    wine[np.random.default_rng(1).random(wine.shape) < 0.1] = np.nan
    yield "wine with missing cells", wine, {"ensemble": 2}
    conditional = {"decoder_variance": "conditional", "search": "off", "column_transform": "auto"}
    yield "diabetes", load_diabetes(scaled=False).data, conditional
    mixed = modechoice.load_pandas().data.astype({"mode": "category", "psize": "int64"})
    yield "travel modes, mixed", mixed, {"search": "full", "columns": {"choice": "binary"}}


def digests() -> dict[str, str]:
    """Return a digest of every array that scoring returns, and of the calibration, by model and name."""
    all_digests: dict[str, str] = {}
    for name, data, settings in tables():
        detector = anomaly_vae.VAEDetector(random_state=0, max_steps=_STEPS, **settings)
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            detector.fit(data)
            detector.save(Path(folder) / "model")
            scorer = anomaly_vae.load(Path(folder) / "model")
            rows = _with_outliers(data)
            results = {
                "default": scorer.score(rows),
                "fixed": scorer.score(rows, num_samples=256),
                "by error": scorer.score(rows, max_std_error=0.05),
                "flags": scorer.flag(rows),
            }
            arrays = {f"{call}.{key}": value for call, result in results.items() for key, value in vars(result).items()}
            arrays |= {
                "encode": scorer.encode(rows),
                "sample": scorer.sample(64, seed=3),
                "calibration": json.dumps(scorer.info["calibration"], sort_keys=True),
            }
        all_digests |= {f"{name}: {key}": _digest(value) for key, value in arrays.items()}
    return all_digests


def _with_outliers(data: Any) -> Any:
    """Return the first 120 rows, every fifth with an outlier in one column; an array also gets one missing cell."""
    if isinstance(data, np.ndarray):
        rows = data[:120].copy()
        rows[::5, 1] += 8.0 * np.nanstd(data[:, 1])
        rows[7, 2] = np.nan
        return rows
    rows = data.iloc[:120].copy()
    rows.loc[rows.index[::5], "gc"] *= 4.0
    return rows


def _digest(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(
            f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
        ).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def main(command: str, path: str) -> int:
    """Write the digests to a file, or compare them with the file."""
    now = digests()
    if command == "write":
        Path(path).write_text(json.dumps(now, indent=1))
        return 0
    before = json.loads(Path(path).read_text())
    different = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    print("\n".join(different) or f"{len(now)} arrays of four models: the same bits")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
