"""One version of the package in its own process, for tests.benchmarks.default_path.

    PYTHONPATH=FOLDER python -P default_path_worker.py

The command imports anomaly_vae from FOLDER and uses only its public API, so it runs with other versions too. It reads
jobs from standard input, one line of JSON each, and answers each with one line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np

__all__ = ["Worker", "WorkerFailed"]

# Nats: the most common value of the option in the documentation.
MAX_STD_ERROR = 0.05

# Calls that are not counted, at the start of each series of small calls.
WARM_UP_CALLS = 5

# Fields of scores and flags that are saved; reason is saved as whether there is one.
FIELDS = ("log_px", "score", "std_error", "reliable", "p_value", "is_anomaly", "num_samples")

# A timed call is repeated until all calls took this time, seconds. Chosen, not measured: on a busy machine, shorter
# times differed by a quarter.
MIN_SECONDS = 0.3

# Rows of the first fit, which loads libraries and is not counted.
WARM_UP_ROWS = 100

# Seconds that a service may take to start. Chosen, not measured.
START_SECONDS = 60.0


class WorkerFailed(RuntimeError):
    """A job failed, or the process ended; the text of the error is on standard error."""


class Worker:
    """The benchmark's side of the process: sends one job at a time."""

    def __init__(self, source: Path) -> None:
        """Start the process with the package in this folder."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=own | {"PYTHONPATH": str(source)},
        )
        found = Path(self.ask("where"))
        if not found.is_relative_to(source):
            raise WorkerFailed(f"the worker imported {found}, expected a module in {source}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the process ends at the end of its input

    def ask(self, job: str, **values: Any) -> Any:
        """Do a job, a method of Jobs, with these arguments.

        Raises:
            WorkerFailed: The job failed, or the process ended.
        """
        self._process.stdin.write(json.dumps([job, values], default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"the worker ended with code {self._process.wait()}; see its output above")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"job {job} failed: {answer['error']}")
        return answer["value"]


class Jobs:
    """The jobs of a worker. A table and its model are loaded first; the other jobs use them."""

    def __init__(self) -> None:
        self._service: Service | None = None

    def where(self) -> str:
        """Return the file of the package, after a first fit."""
        import anomaly_vae

        _fit(np.random.default_rng(0).normal(size=(WARM_UP_ROWS, 2)))
        return str(Path(anomaly_vae.__file__).resolve())

    def table(self, folder: str) -> None:
        """Read the rows of a table and the indices of its sets."""
        path = Path(folder)
        if (path / "rows.npy").exists():
            self._rows = np.load(path / "rows.npy")
        else:
            import pandas

            self._rows = pandas.read_parquet(path / "rows.parquet")
        with np.load(path / "sets.npz") as sets:
            self._sets = dict(sets)

    def fit(self, path: str) -> float:
        """Train on the set "train", save the model and return the seconds of the training."""
        rows = self._take(self._sets["train"])
        start = time.perf_counter()
        detector = _fit(rows)
        seconds = time.perf_counter() - start
        detector.save(path, overwrite=True, force=True)
        return seconds

    def load(self, path: str) -> dict[str, Any]:
        """Load a model for every number of threads, and return facts of it."""
        from anomaly_vae import load

        self._path = path
        self._scorers = {threads: load(path, threads=threads) for threads in (None, 1, 2)}
        info = self._scorers[None].info
        return {
            "calibration_rows": info["calibration"]["num_rows"],
            "latent_dims": [member["architecture"]["latent_dim"] for member in info["members"]],
            "num_samples": info["estimator"]["num_samples"],
        }

    def run(self, way: str, of: str, threads: int | None = None, out: str | None = None) -> float:
        """Score or flag a set, save the results if ``out`` is given, and return the seconds.

        A call that takes little time is repeated, and the shortest one counts.
        """
        scorer, rows = self._scorers[threads], self._take(self._sets[of])
        call = scorer.flag if way == "flag" else scorer.score
        options = {"max_std_error": MAX_STD_ERROR} if way == "max_std_error" else {}
        seconds: list[float] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows scored with max_std_error have no flag
            while sum(seconds) < MIN_SECONDS:
                start = time.perf_counter()
                found = call(rows, **options)
                seconds.append(time.perf_counter() - start)
        if out:
            values = {name: getattr(found, name, None) for name in FIELDS}
            values["has_reason"] = np.array([reason is not None for reason in found.reason])
            np.savez(out, **{name: value for name, value in values.items() if value is not None})
        return min(seconds)

    def lone(self, calls: int) -> dict[str, float]:
        """Score one row of the stream a call with the default number of threads; return as :meth:`ask_service`."""
        return _timed(self._scorers[None].score, self._blocks(1, calls), 1)

    def networks(self, out: str) -> None:
        """Save what shows whether two versions have the same networks: means of q(z|x) and drawn rows."""
        scorer = self._scorers[None]
        encoded = scorer.encode(self._take(self._sets["normal"][:64]))
        np.savez(out, encoded=encoded, drawn=scorer.sample(64, seed=0))

    def start_service(self) -> None:
        """Serve the model in a process."""
        self._service = Service(self._path)

    def ask_service(self, size: int, calls: int) -> dict[str, float]:
        """Score the stream through the service; return rows a second, and milliseconds a call."""
        return _timed(self._service.client.score, self._blocks(size, calls), size)

    def stop_service(self) -> None:
        """End the service."""
        service, self._service = self._service, None
        if service is not None:
            service.stop()

    def _take(self, indices: np.ndarray) -> Any:
        return self._rows[indices] if isinstance(self._rows, np.ndarray) else self._rows.iloc[indices]

    def _blocks(self, size: int, calls: int) -> list[Any]:
        """Return blocks of the stream, which starts again at its end."""
        stream = self._sets["stream"]
        return [self._take(stream[np.arange(i * size, (i + 1) * size) % len(stream)]) for i in range(calls)]


class Service:
    """``anomaly-vae serve`` with its defaults, in a process, and a client of it."""

    def __init__(self, path: str) -> None:
        """Start it and wait until it is ready."""
        from anomaly_vae.client import Client

        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by stop)
        # -P: without it, -m would import the package from the current folder.
        command = [sys.executable, "-P", "-m", "anomaly_vae", "serve", path, "--port", "0", "--metrics-port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        line = self._process.stdout.readline()
        found = re.search(r":(\d+), metrics on ", line)
        if found is None:
            self._process.kill()
            self._log.seek(0)
            raise RuntimeError(f"the service did not start: {line}{self._log.read()}")
        self.client = Client(f"127.0.0.1:{found[1]}")
        self.client.wait_until_ready(START_SECONDS)

    def stop(self) -> None:
        """Close the client and end the process."""
        self.client.close()
        self._process.terminate()
        self._process.communicate()
        self._log.close()


def _fit(rows: Any) -> Any:
    """Train with the defaults. Warnings are off: small tables have too few rows to calibrate 1 %."""
    from anomaly_vae import VAEDetector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VAEDetector(random_state=0).fit(rows)


def _timed(score: Any, blocks: list[Any], size: int) -> dict[str, float]:
    """Score blocks of this size, one after the other; return rows a second, and p50 and p99 of a call in ms."""
    for block in blocks[:WARM_UP_CALLS]:
        score(block)
    seconds = []
    for block in blocks:
        start = time.perf_counter()
        score(block)
        seconds.append(time.perf_counter() - start)
    p50, p99 = 1e3 * np.quantile(seconds, [0.5, 0.99])
    return {"rows_per_s": size * len(blocks) / sum(seconds), "p50": float(p50), "p99": float(p99)}


def main() -> None:
    """Do jobs until standard input ends; everything but the answers goes to standard error."""
    jobs = Jobs()
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        for line in sys.stdin:
            job, values = json.loads(line)
            try:
                answer = {"value": getattr(jobs, job)(**values)}
            except Exception as error:  # noqa: BLE001 (the benchmark goes on with the next table)
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        jobs.stop_service()


if __name__ == "__main__":
    main()
