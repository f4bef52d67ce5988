"""The metric of the benchmark tsb by the package vus.

    python tsb_vus.py

The command needs vus and nothing of this project, so it runs in a separate environment. It reads jobs from standard
input, one line of JSON each, and answers each with one line: the volume under the precision-recall surface.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import numpy as np

__all__ = ["Vus", "environment"]


class Vus:
    """The benchmark's side of the process with vus: sends one job at a time."""

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

    def __call__(self, scores: np.ndarray, labels: np.ndarray, window: int) -> float:
        """Return VUS-PR; the arguments are those of :func:`tests.benchmarks.tsb_metric.vus_pr`."""
        path = Path(self._folder.name) / "scores.npz"
        np.savez(path, scores=np.asarray(scores, dtype=np.float64), labels=np.asarray(labels, dtype=int))
        self._process.stdin.write(json.dumps([str(path), window]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process with vus ended with code {self._process.wait()}; see its output above")
        return float(answer)


def environment(folder: Path) -> Path | None:
    """Return the interpreter of an environment with vus; create it if needed; None if that fails."""
    from tests.benchmarks import peers

    return peers.environment(folder, "vus.txt", ("vus.utils.metrics",), ("--no-deps",))


def serve() -> None:
    """Run jobs until standard input ends; send the output of vus itself to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    # TSB-AD calls generate_curve(..., "opt", 250), which calls this, but whose module needs much more.
    from vus.utils.metrics import metricor

    for line in sys.stdin:
        path, window = json.loads(line)
        with np.load(path) as job:
            volume = metricor().RangeAUC_volume_opt(job["labels"], job["scores"], window, 250)[-1]
        print(float(volume), file=answers, flush=True)


if __name__ == "__main__":
    serve()
