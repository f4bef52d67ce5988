"""PyOD's VAE, fitted to rows from files, for the benchmark fit_time.

    python peers_pyod.py

The command needs pyod and nothing of this project, so it runs in a separate environment. It reads jobs from standard
input, one line of JSON each, and answers each with one line: the seconds of the fit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import numpy as np

__all__ = ["PyOD"]


class PyOD:
    """The benchmark's side of the process with PyOD: sends one job at a time."""

    def __init__(self, python: Path) -> None:
        """Start the process with the interpreter of its environment."""
        self._folder = tempfile.TemporaryDirectory()
        command = [str(python), "-P", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the process ends at the end of its input
        self._folder.cleanup()

    def fit(self, rows: np.ndarray, seed: int) -> float:
        """Return the seconds of a fit to rows (N, D); they are standardised before, which is not counted."""
        path = Path(self._folder.name) / "rows.npy"
        np.save(path, rows)
        self._process.stdin.write(json.dumps([str(path), seed]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process with PyOD ended with code {self._process.wait()}; see its output above")
        return float(answer)


def fit(path: str, seed: int) -> float:
    """Standardise rows and return the seconds of a fit with default settings and a seed."""
    from pyod.models.vae import VAE
    from sklearn.preprocessing import StandardScaler

    rows = StandardScaler().fit_transform(np.load(path))
    start = time.perf_counter()
    VAE(random_state=seed, verbose=0).fit(rows)
    return time.perf_counter() - start


def serve() -> None:
    """Run jobs until standard input ends; send PyOD's own output to standard error."""
    import torch

    torch.set_num_threads(1)  # more threads are slower: the layers are small
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(fit(*json.loads(line)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
