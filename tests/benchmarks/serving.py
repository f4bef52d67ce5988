"""Requests a second and their latencies over gRPC, against MLServer and Triton.

    python -m tests.benchmarks.serving --out FOLDER [--quick] [--rounds 3]

One model of 30 columns, on one compute thread in every server. First log p(x) with K = 64 samples: peers serve one
ONNX graph made of our networks and points. Then flags: ours by the cascade, theirs from log p(x) with K = 1,024.

    ours            anomaly-vae serve --threads 1; rows in data units, float64, transformed by it
    MLServer        a custom runtime on its event loop, no workers, no batching; rows in model units, float32
    MLServer batch  the same with its adaptive batching, at most 64 requests or 1 ms
    Triton          nvidia-pytriton's Python backend (its wheel has no ONNX backend), dynamic batching without delay

These settings were the best of those tried: for MLServer batches of 16 to 64 requests in 0.1 to 3 ms, and a thread for
onnxruntime beside the event loop; for Triton delays of 0, 0.5 and 2 ms. Peers get their rows in tiles, as ours does.

Every reply is compared with the scorer's before and after each load, and no request of a load may fail. Servers take
turns, one running at a time, because the speed of machines drifts; medians over the rounds count. h2load takes a part
of the cores, the same for all. It is Debian's nghttp2-client; Triton needs Debian's python3.11. A peer that cannot be
had is left out.
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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import anomaly_vae
from tests.benchmarks.serving_load import load, missing_h2load
from tests.benchmarks.serving_report import report
from tests.benchmarks.serving_servers import Graph, Running, ServerFailed, Spec, environment, mlserver, ours, triton
from tests.benchmarks.serving_work import WORKS, OurQuestion, PeerQuestion, Question, Rows, Work, assert_all_ok
from tests.load.model import table

# Clients at a time, by rows a request.
CLIENTS = {1: (1, 8, 32, 64, 128), 64: (1, 4, 16), 1024: (1, 2, 4)}
QUICK_CLIENTS = {1: (1, 32), 64: (4,), 1024: (2,)}

# Debian's first: nvidia-pytriton brings a stub linked to a 3.11 of an early patch level, which others crash.
_TRITON_PYTHONS = ("/usr/bin/python3.11", "python3.11")


class Contender(NamedTuple):
    """A server and how to ask it."""

    spec: Spec
    question: Callable[[Rows, Work, int], Question]


def make_model(folder: Path) -> Path:
    """A model of ordinary size, trained for a moment on scikit-learn's breast-cancer table."""
    detector = anomaly_vae.VAEDetector(
        random_state=0, search="off", likelihood="gaussian", hidden=(128, 128), latent_dim=8, max_steps=300
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is loaded, not judged
        detector.fit(table(2_000, seed=0))
    detector.save(folder / "model")
    return folder / "model"


def contenders(model: Path, graphs: list[Graph], folder: Path, venvs: Path) -> list[Contender]:
    """Ours and the peers that can be had; says which cannot, and why."""
    found = [Contender(ours(model), OurQuestion)]
    try:
        python = environment("mlserver", "mlserver", sys.executable, venvs / "mlserver")
        options = {"python": python, "graphs": graphs, "in_thread": False}
        found.append(Contender(mlserver(**options, folder=folder / "off", batch=0, seconds=0.0), PeerQuestion))
        found.append(Contender(mlserver(**options, folder=folder / "on", batch=64, seconds=0.001), PeerQuestion))
    except ServerFailed as failure:
        print(f"MLServer is left out: {failure}")
    try:
        interpreter = next((path for name in _TRITON_PYTHONS if (path := shutil.which(name))), None)
        if interpreter is None:
            raise ServerFailed("it needs python3.11; Debian's package of that name and its python3.11-venv would do")
        python = environment("triton", "pytriton", interpreter, venvs / "triton")
        found.append(Contender(triton(python, graphs, batch_rows=2048, delay_microseconds=0), PeerQuestion))
    except ServerFailed as failure:
        print(f"Triton is left out: {failure}")
    return found


def measure(
    contender: Contender, rows: Rows, clients: dict[int, tuple[int, ...]], seconds: float, log: Path
) -> dict[str, Any]:
    """One round of a server: start it, load it at every point, stop it.

    Raises:
        ServerFailed: It did not start.
        RuntimeError: Requests failed, or were answered wrongly.
    """
    points, memory = [], {}
    with Running(contender.spec, log) as server:
        memory["at start"] = server.megabytes()
        for work in WORKS:
            for num_rows, counts in clients.items():
                question = contender.question(rows, work, num_rows)
                for count in counts:
                    point = _point(server, question, count, seconds)
                    points.append({"work": work.name, "rows": num_rows, "clients": count, **point})
            memory[work.name] = server.megabytes()
        if contender.spec.name == "ours":
            assert_all_ok(server, sum(point["requests"] for point in points))
        return {"seconds_to_ready": server.seconds_to_ready, "megabytes": memory, "points": points}


def _point(server: Running, question: Question, clients: int, seconds: float) -> dict[str, float]:
    reply = server.call(question.method, question.message)
    try:
        question.check(reply)
        found = load(server.ports.grpc, question.method, question.message, len(reply), clients, seconds)
        question.check(server.call(question.method, question.message))
    except AssertionError as error:
        raise RuntimeError(f"{server.spec.name} answers something else than the scorer: {error}") from error
    return found._asdict()


def run_rounds(
    chosen: list[Contender], rows: Rows, clients: dict[int, tuple[int, ...]], seconds: float, rounds: int, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Rounds of every server by name; a peer that fails is left out of all, a failure of ours is raised."""
    found: dict[str, list[dict[str, Any]]] = {contender.spec.name: [] for contender in chosen}
    for i in range(rounds):
        for contender in chosen[i % len(chosen) :] + chosen[: i % len(chosen)]:
            name = contender.spec.name
            if name not in found:
                continue
            print(f"round {i + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                found[name].append(measure(contender, rows, clients, seconds, folder / f"{name}.log"))
            except RuntimeError as failure:
                if name == "ours":
                    raise
                print(f"{name} is left out: {failure}")
                del found[name]
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print; return what is saved as ``serving.json`` beside ``serving.png``, nothing without h2load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, help="turns of every server (default: 3, with --quick 1)")
    parser.add_argument(
        "--seconds", type=float, help="of a load; slow requests get more (default: 2, with --quick 0.5)"
    )
    parser.add_argument("--quick", action="store_true", help="few points, for a look")
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
        chosen = contenders(model, rows.graphs(folder), folder, venvs)
        found = run_rounds(chosen, rows, clients, seconds, rounds, options.out)
        facts = rows.facts()
    load_average.append(os.getloadavg()[0])
    figures = {
        "cores": os.cpu_count(),
        "load": load_average,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("onnxruntime", "numpy", "grpcio")},
        "rounds": rounds,
        "cascade": facts,
        "servers": {name: summarise(turns) for name, turns in found.items()},
        "all_rounds": found,
    }
    report(figures, options.out, Console(width=160))
    (options.out / "serving.json").write_text(json.dumps(figures, indent=2, default=float))
    return figures


def summarise(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
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
