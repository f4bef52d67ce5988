"""Requests a second and latencies over gRPC, compared with MLServer and Triton.

    python -m tests.benchmarks.serving --out FOLDER [--quick] [--rounds 3]

Every server has one model of 30 columns and one compute thread. First it returns log p(x) with K = 64 samples: peers
serve one ONNX graph made of our networks and points. Then it returns flags: ours by the cascade, those of the peers
from log p(x) with K = 1,024.

    ours            anomaly-vae serve --threads 1; rows in data units, float64; the service transforms them
    ours, 2 workers the same with --workers 2, so with two compute threads and two event loops
    MLServer        a custom runtime on its event loop, no workers, no batching; rows in model units, float32
    MLServer batch  the same with its adaptive batching, at most 64 requests or 1 ms
    Triton          nvidia-pytriton's Python backend (its wheel has no ONNX backend), dynamic batching without delay

These settings were the best of those measured: for MLServer batches of 16 to 64 requests in 0.1 to 3 ms, and a separate
thread for onnxruntime; for Triton delays of 0, 0.5 and 2 ms. Peers run the graph once on each batch, as their
documentation shows. With --tiles they are also measured with code that cuts batches into tiles as ours does.

Before and after each load, one reply is compared with the scorer's, and no request of a load may fail. Servers take
turns at every point while the others are suspended, because the speed of machines drifts. Medians over the rounds are
reported. h2load uses a part of the cores, the same for all servers. It comes with Debian's nghttp2-client; Triton needs
Debian's python3.11. A peer that cannot be installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
import numpy as np
import psutil
from rich.console import Console

import anomaly_vae
from tests.benchmarks.serving_load import load, missing_h2load
from tests.benchmarks.serving_report import report
from tests.benchmarks.serving_servers import Graph, Running, ServerFailed, Spec, environment, mlserver, ours, triton
from tests.benchmarks.serving_work import WORKS, OurQuestion, PeerQuestion, Question, Rows, Work, assert_all_ok
from tests.load.model import table

# Numbers of clients at a time, by rows a request.
CLIENTS = {1: (1, 8, 32, 64, 128), 64: (1, 4, 16), 1024: (1, 2, 4)}
QUICK_CLIENTS = {1: (1, 32), 64: (4,), 1024: (2,)}

# Debian's interpreter comes first: nvidia-pytriton's stub is linked to an early patch level of 3.11 and crashes with
# others.
_TRITON_PYTHONS = ("/usr/bin/python3.11", "python3.11")


class Contender(NamedTuple):
    """A server and the kind of its requests."""

    spec: Spec
    question: Callable[[Rows, Work, int], Question]


def make_model(folder: Path) -> Path:
    """Train a model of usual size for 300 steps on scikit-learn's breast-cancer table; return its folder."""
    detector = anomaly_vae.VAEDetector(
        random_state=0, search="off", likelihood="gaussian", hidden=(128, 128), latent_dim=8, max_steps=300
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its quality does not matter here
        detector.fit(table(2_000, seed=0))
    detector.save(folder / "model")
    return folder / "model"


def contenders(
    model: Path, graphs: list[Graph], tiled_graphs: list[Graph], folder: Path, venvs: Path
) -> list[Contender]:
    """Return our server and the available peers, also with tiles if given such graphs; print why a peer is missing."""
    specs = []
    try:
        python = environment("mlserver", "mlserver", sys.executable, venvs / "mlserver")
        off = {"python": python, "batch": 0, "seconds": 0.0, "in_thread": False}
        specs.append(mlserver(**off, graphs=graphs, folder=folder / "off"))
        specs.append(mlserver(**off | {"batch": 64, "seconds": 0.001}, graphs=graphs, folder=folder / "on"))
        if tiled_graphs:
            specs.append(_tiled(mlserver(**off, graphs=tiled_graphs, folder=folder / "tiled")))
    except ServerFailed as failure:
        print(f"MLServer is left out: {failure}")
    try:
        interpreter = next((path for name in _TRITON_PYTHONS if (path := shutil.which(name))), None)
        if interpreter is None:
            raise ServerFailed("it needs python3.11; install Debian's python3.11 and python3.11-venv")
        python = environment("triton", "pytriton", interpreter, venvs / "triton")
        specs.append(triton(python, graphs, batch_rows=2048, delay_microseconds=0))
        if tiled_graphs:
            specs.append(_tiled(triton(python, tiled_graphs, batch_rows=2048, delay_microseconds=0)))
    except ServerFailed as failure:
        print(f"Triton is left out: {failure}")
    our_specs = [ours(model), ours(model, workers=2)]
    return [*(Contender(spec, OurQuestion) for spec in our_specs), *(Contender(spec, PeerQuestion) for spec in specs)]


def _tiled(spec: Spec) -> Spec:
    return spec._replace(name=f"{spec.name}, tiles")


class Turns:
    """The servers of one round, all started; each is suspended except during its turn."""

    def __init__(self, chosen: list[Contender], rows: Rows, folder: Path) -> None:
        """Start the servers one by one; logs go to the folder.

        Raises:
            ServerFailed: Our server did not start.
        """
        self._rows = rows
        self._stack = ExitStack()
        self._servers: dict[str, tuple[Contender, Running]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        with ExitStack() as stack:
            for contender in chosen:
                name = contender.spec.name
                with self._may_fail(name):
                    server = stack.enter_context(Running(contender.spec, folder / f"{name}.log"))
                    self.results[name] = {"seconds_to_ready": server.seconds_to_ready, "megabytes": {}, "points": []}
                    self._servers[name] = contender, server
                    server.freeze()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self, work: Work, num_rows: int, clients: int, seconds: float) -> None:
        """Measure one point, one server after the other."""
        for name, (contender, server) in list(self._servers.items()):
            question = contender.question(self._rows, work, num_rows)
            with self._may_fail(name), server.awake():
                point = _point(server, question, clients, seconds)
                self.results[name]["points"].append({"work": work.name, "rows": num_rows, "clients": clients, **point})

    def record_memory(self, when: str) -> None:
        """Record the memory of every server."""
        for name, (_, server) in self._servers.items():
            self.results[name]["megabytes"][when] = server.megabytes()

    def check_ours(self) -> None:
        """Compare h2load's count of successes with our service's own."""
        with self._servers["ours"][1].awake() as server:
            assert_all_ok(server, sum(point["requests"] for point in self.results["ours"]["points"]))

    @contextmanager
    def _may_fail(self, name: str) -> Iterator[None]:
        """Leave out a peer that fails from here on; a failure of our server is raised."""
        try:
            yield
        except (RuntimeError, grpc.RpcError, psutil.Error) as failure:
            if name.startswith("ours"):
                raise
            print(f"{name} is left out: {failure}")
            self._servers.pop(name, None)
            self.results.pop(name, None)


def _point(server: Running, question: Question, clients: int, seconds: float) -> dict[str, float]:
    reply = server.call(question.method, question.message)
    try:
        question.check(reply)
        results = load(server.ports.grpc, question.method, question.message, len(reply), clients, seconds)
        question.check(server.call(question.method, question.message))
    except AssertionError as error:
        raise RuntimeError(f"{server.spec.name} returns another answer than the scorer: {error}") from error
    return results._asdict()


def run_round(
    chosen: list[Contender], rows: Rows, clients: dict[int, tuple[int, ...]], seconds: float, folder: Path
) -> dict[str, dict[str, Any]]:
    """Return the results of every server that did not fail, by name."""
    with Turns(chosen, rows, folder) as turns:
        turns.record_memory("start")
        for work in WORKS:
            for num_rows, counts in clients.items():
                for count in counts:
                    turns.load(work, num_rows, count, seconds)
            turns.record_memory(work.name)
        turns.check_ours()
        return turns.results


def run_rounds(
    chosen: list[Contender], rows: Rows, clients: dict[int, tuple[int, ...]], seconds: float, rounds: int, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return the results of all rounds, for the servers that failed in none, by name."""
    results: dict[str, list[dict[str, Any]]] = {contender.spec.name: [] for contender in chosen}
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        first = i % len(results)
        order = [c for c in chosen[first:] + chosen[:first] if c.spec.name in results]
        this = run_round(order, rows, clients, seconds, folder)
        results = {name: [*earlier, this[name]] for name, earlier in results.items() if name in this}
    return results


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and draw; return the figures saved as ``serving.json``, or nothing without h2load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, help="rounds of all servers (default: 3, with --quick 1)")
    parser.add_argument(
        "--seconds", type=float, help="of a load; slow requests take longer (default: 2, with --quick 0.5)"
    )
    parser.add_argument("--tiles", action="store_true", help="also measure peers with tiles of rows, as ours")
    parser.add_argument("--quick", action="store_true", help="measure few points")
    parser.add_argument(
        "--venvs", type=Path, metavar="FOLDER", help="environments of the peers (default: FOLDER/.venv-serving)"
    )
    options = parser.parse_args(arguments)
    if reason := missing_h2load():
        print(f"no serving figures: {reason}")
        return {}
    options.out.mkdir(parents=True, exist_ok=True)
    clients = QUICK_CLIENTS if options.quick else CLIENTS
    rounds = options.rounds or (1 if options.quick else 3)
    seconds = options.seconds or (0.5 if options.quick else 2.0)
    load_average = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder)
        rows = Rows(model, max(clients))
        venvs = (options.venvs or options.out / ".venv-serving").resolve()
        (folder / "tiles").mkdir()
        tiled = rows.graphs(folder / "tiles", tiled=True) if options.tiles else []
        chosen = contenders(model, rows.graphs(folder, tiled=False), tiled, folder, venvs)
        results = run_rounds(chosen, rows, clients, seconds, rounds, options.out)
        facts = rows.facts()
    load_average.append(os.getloadavg()[0])
    figures = {
        "cores": os.cpu_count(),
        "load": load_average,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("onnxruntime", "numpy", "grpcio")},
        "rounds": rounds,
        "cascade": facts,
        "servers": {name: summarise(turns) for name, turns in results.items()},
        "all_rounds": results,
    }
    (options.out / "serving.json").write_text(json.dumps(figures, indent=2, default=float))
    report(figures, options.out, Console(width=160))
    return figures


def summarise(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the rounds."""
    points = []
    for same in zip(*(turn["points"] for turn in turns), strict=True):
        values = {key: float(np.median([point[key] for point in same])) for key in ("per_second", "p50", "p99")}
        requests = sum(point["requests"] for point in same)
        place = {key: same[0][key] for key in ("work", "rows", "clients")}
        points.append(place | values | {"requests": requests, "rows_per_second": values["per_second"] * place["rows"]})
    memory = {
        when: {kind: float(np.median([turn["megabytes"][when][kind] for turn in turns])) for kind in ("rss", "pss")}
        for when in turns[0]["megabytes"]
    }
    ready = float(np.median([turn["seconds_to_ready"] for turn in turns]))
    return {"seconds_to_ready": ready, "megabytes": memory, "points": points}


if __name__ == "__main__":
    main()
