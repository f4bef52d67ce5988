"""PyOD's VAE, fitted to rows from files: the contender of the benchmark of fit times.

    python peers_pyod.py

needs pyod, nothing of this project, so it runs in an environment of its own: it reads jobs from standard input, a line
of JSON each, and answers each with a line, the seconds that the fit took.
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
    """The process with PyOD, seen from the benchmark: give it jobs, one at a time."""

    def __init__(self, python: Path) -> None:
        """Start it with the interpreter of its environment."""
        self._folder = tempfile.TemporaryDirectory()
        command = [str(python), "-P", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is the end of it
        self._folder.cleanup()

    def fit(self, rows: np.ndarray, seed: int) -> float:
        """Seconds that a fit to rows (N, D), standardised before, took it."""
        path = Path(self._folder.name) / "rows.npy"
        np.save(path, rows)
        self._process.stdin.write(json.dumps([str(path), seed]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process with PyOD ended with code {self._process.wait()}; see what it printed")
        return float(answer)


def fit(path: str, seed: int) -> float:
    """Standardise rows and time a fit to them, with nothing set but the seed."""
    from pyod.models.vae import VAE
    from sklearn.preprocessing import StandardScaler

    rows = StandardScaler().fit_transform(np.load(path))
    start = time.perf_counter()
    VAE(random_state=seed, verbose=0).fit(rows)
    return time.perf_counter() - start


def serve() -> None:
    """Run jobs until standard input ends; what PyOD prints goes to standard error."""
    import torch

    torch.set_num_threads(1)  # more make it slower: its layers are small
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(fit(*json.loads(line)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
