"""Soak: ten minutes of requests of all kinds; every reply is compared bit for bit, and no resource leaks.

    python -m tests.load.soak [--seconds 600]

Clients of ScoringService send requests of random sizes, as tensors of either type and as columns; for scores, for
fewer samples and for flags; alone and in streams. Some deadlines are too short, some calls are cancelled, some
connections are short-lived, some requests are wrong. Others ask over HTTP. Meanwhile versions come and go, a canary
answers a part of the requests, and a shadow scores a part of them. Each reply must have the scores, in this process, of
the bundle that it names, or be the error that the client caused. Memory, threads and file descriptors must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from anomaly_vae.scorer import Scorer, load
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.load.changes import Changes
from tests.load.model import make_models, table
from tests.support.rest import infer, tensor_json
from tests.support.running import ARRAYS, Service, columns, running, tensor
from tests.support.version_folder import VersionFolder

ROWS = 2_048
SIZES = (1, 1, 1, 2, 5, 16, 17, 64, 200, 512, 1_024)
CLIENTS = 24
SAMPLES = 64

WARM_UP = 0.2  # part of the time, before resources are measured
MOST_GROWTH = 32e6  # of memory, bytes
LEAST_REQUESTS_PER_SECOND = 50
LEAST_ROWS_PER_SECOND = 1_500
LEAST_GONE = 0.01  # part of the calls that are cancelled or expired: with fewer they are not tested


Wanted = dict[str, dict[str, Any]]


class Expected:
    """The rows, and the values that a reply must have for each, by kind of request."""

    def __init__(self, *scorers: Scorer) -> None:
        self.names = scorers[0].schema.names
        self.versions: dict[str, str] = {}  # the digest of each; the folder adds to it
        self.rows = {"FP64": table(ROWS, seed=9)}
        self.rows["FP32"] = self.rows["FP64"].astype(np.float32).astype(np.float64)
        self.arrays = {scorer.bundle.digest: self._arrays_of(scorer) for scorer in scorers}

    def _arrays_of(self, scorer: Scorer) -> dict[tuple[str, str], dict[str, Any]]:
        few = ("log_px", "elbo", "std_error", "num_samples")
        return {
            key: values
            for dtype, rows in self.rows.items()
            for key, values in {
                (dtype, "score"): _arrays(scorer.score(rows), ARRAYS),
                (dtype, "few"): _arrays(scorer.score_rows(rows, num_samples=SAMPLES), few),
                (dtype, "flag"): _arrays(scorer.flag(rows), ("is_anomaly", "num_samples")),
            }.items()
        }

    def request(self, rng: np.random.Generator, request_id: str) -> tuple[pb.ScoreRequest, Wanted]:
        """Return a random request, and the values that its reply must have, by digest."""
        kind = str(rng.choice(["score", "few", "few", "few", "flag", "flag"]))
        n = int(rng.choice(SIZES[:7] if kind == "score" else SIZES))
        start = int(rng.integers(ROWS - n + 1))
        dtype = str(rng.choice(["FP32", "FP64"]))
        rows = self.rows[dtype][start : start + n]
        options: dict[str, Any] = {"request_id": request_id, "flag_only": kind == "flag"}
        if kind == "few":
            options["num_samples"] = SAMPLES
        if rng.random() < 0.2:
            options["columns"] = columns(rows, self.names)
        else:
            options["tensor"] = tensor(rows, dtype)
        wanted = {
            digest: {name: values[start : start + n] for name, values in arrays[dtype, kind].items()}
            for digest, arrays in self.arrays.items()
        }
        return pb.ScoreRequest(**options), wanted


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Run the clients, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        bundles = make_models(Path(folder), 2)
        scorers = [load(bundle) for bundle in bundles]
        expected = Expected(*scorers)
        changes = Changes(VersionFolder(Path(folder) / "models"), bundles, scorers, expected.versions)
        serving = ("--canary", "model=1:0.2", "--shadow", "model=2:0.2", "--poll-seconds", 1, "--http-port", 0)
        with running(changes.folder.models, *serving, "--max-queue-rows", 32_768, "--log-calls", "none") as service:
            figures = asyncio.run(_soak(service, expected, options.seconds, changes))
    for name, value in figures.items():
        print(f"  {name:<24} {value:.6g}")
    _judge(figures)
    return figures


async def _soak(service: Service, expected: Expected, seconds: float, changes: Changes) -> dict[str, float]:
    counts: Counter[str] = Counter()
    start = time.monotonic()
    until = start + seconds
    process = psutil.Process(service.process.pid)
    watching = asyncio.create_task(_watch(process, start + WARM_UP * seconds, until))
    clients = [_client(service.target, number, expected, until, counts) for number in range(CLIENTS)]
    clients += [_streamer(service.target, CLIENTS + number, expected, until, counts) for number in range(4)]
    clients += [_http_client(service.http_port, CLIENTS + 4 + number, expected, until, counts) for number in range(2)]
    await asyncio.gather(changes.run(until), *clients)
    figures = await watching
    while service.metric("anomaly_vae_queue_rows"):
        await asyncio.sleep(0.05)
    calls = sum(counts[name] for name in ("right", "gone", "refused"))
    return {
        "seconds": seconds,
        "requests_per_second": (calls + counts["streamed"]) / seconds,
        "rows_per_second": counts["rows"] / seconds,
        **{name: float(counts[name]) for name in ("right", "streamed", "http", "gone", "refused")},
        "versions_loaded": service.metric("anomaly_vae_model_changes_total", change="loaded"),
        "canary_rows": service.metric("anomaly_vae_rows_total", model_version="1"),
        "shadow_rows": service.metric("anomaly_vae_shadow_rows_total"),
        "gone_of_calls": counts["gone"] / calls,
        **figures,
        "internal_errors": service.metric("grpc_server_handled_total", grpc_code="Internal"),
        "unanswered": service.metric("grpc_server_started_total", grpc_service="anomaly_vae.v1.ScoringService")
        - service.metric("grpc_server_handled_total", grpc_service="anomaly_vae.v1.ScoringService"),
    }


async def _client(target: str, number: int, expected: Expected, until: float, counts: Counter[str]) -> None:
    """Make calls over a connection that is replaced after 3 to 300 calls."""
    rng = np.random.default_rng(number)
    while time.monotonic() < until:
        async with _channel(target) as channel:
            for call in range(int(rng.choice([3, 30, 300]))):
                if time.monotonic() > until:
                    break
                await _call(ScoringServiceStub(channel), rng, f"{number}-{call}", expected, counts)


async def _call(
    stub: ScoringServiceStub, rng: np.random.Generator, request_id: str, expected: Expected, counts: Counter[str]
) -> None:
    request, arrays = expected.request(rng, request_id)
    habit = rng.random()
    if habit < 0.03:
        request.tensor.dtype = "FP16"
    timeout = rng.uniform(0.001, 0.2) if 0.03 <= habit < 0.08 else 60.0
    waiting = stub.Score(request, timeout=timeout)
    if 0.08 <= habit < 0.15:
        asyncio.get_running_loop().call_later(float(rng.uniform(0, 0.1)), waiting.cancel)
    try:
        reply = await waiting
    except asyncio.CancelledError:
        counts["gone"] += 1
    except grpc.aio.AioRpcError as error:
        code = error.code()
        invalid, hurried = habit < 0.03, 0.03 <= habit < 0.08
        if invalid and code is grpc.StatusCode.INVALID_ARGUMENT:
            counts["refused"] += 1
        elif (hurried and code is grpc.StatusCode.DEADLINE_EXCEEDED) or code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            counts["gone"] += 1
        else:
            raise
    else:
        _compare(reply, request_id, arrays)
        counts["right"] += 1
        counts["rows"] += len(reply.num_samples)


async def _http_client(port: int, number: int, expected: Expected, until: float, counts: Counter[str]) -> None:
    """Ask over HTTP, which does not say the digest, so by the version."""
    rng, rows = np.random.default_rng(number), expected.rows["FP64"]
    while time.monotonic() < until:
        start = int(rng.integers(ROWS - 4))
        _, _, reply = await asyncio.to_thread(infer, port, tensor_json(rows[start : start + 4]))
        outputs = {output["name"]: np.array(output["data"]) for output in reply["outputs"]}
        wanted = expected.arrays[expected.versions[reply["model_version"]]]["FP64", "score"]
        assert outputs["log_px"].tobytes() == wanted["log_px"][start : start + 4].tobytes()
        counts["http"] += 1
        await asyncio.sleep(float(rng.uniform(0, 1)))


async def _streamer(target: str, number: int, expected: Expected, until: float, counts: Counter[str]) -> None:
    """Make calls of ScoreStream with 1 to 19 requests each."""
    rng = np.random.default_rng(number)
    async with _channel(target) as channel:
        while time.monotonic() < until:
            asked = [expected.request(rng, f"{number}-{i}") for i in range(int(rng.integers(1, 20)))]

            async def requests(asked: list[Any] = asked) -> AsyncIterator[pb.ScoreRequest]:
                for request, _ in asked:
                    yield request

            answered = 0
            async for reply in ScoringServiceStub(channel).ScoreStream(requests(), timeout=120):
                _compare(reply, f"{number}-{answered}", asked[answered][1])
                answered += 1
                counts["rows"] += len(reply.num_samples)
            assert answered == len(asked)
            counts["streamed"] += answered


def _compare(reply: pb.ScoreResponse, request_id: str, wanted: Wanted) -> None:
    assert reply.request_id == request_id
    for name, values in wanted[reply.bundle_digest].items():
        actual = np.array(getattr(reply, name), dtype=values.dtype)
        assert actual.tobytes() == values.tobytes(), (request_id, name)


async def _watch(process: psutil.Process, warm: float, until: float) -> dict[str, float]:
    """Return memory, threads and descriptors just after the warm-up and at the end."""
    seen: list[tuple[float, float, float]] = []
    while time.monotonic() < until:
        await asyncio.sleep(1.0)
        if time.monotonic() > warm:
            memory = process.memory_info().rss
            seen.append((memory, process.num_threads(), process.num_fds()))
    memory, threads, descriptors = np.array(seen).T
    fifth = max(len(seen) // 5, 1)
    return {
        "memory_first": float(np.median(memory[:fifth])),
        "memory_last": float(np.median(memory[-fifth:])),
        "threads_first": float(np.median(threads[:fifth])),
        "threads_last": float(np.median(threads[-fifth:])),
        "descriptors_first": float(np.median(descriptors[:fifth])),
        "descriptors_last": float(np.median(descriptors[-fifth:])),
    }


def _arrays(scores: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(scores, name) for name in names}


def _channel(target: str) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(target, options)


def _judge(figures: dict[str, float]) -> None:
    limits = {
        f"at least {LEAST_REQUESTS_PER_SECOND} requests/s": figures["requests_per_second"] >= LEAST_REQUESTS_PER_SECOND,
        f"at least {LEAST_ROWS_PER_SECOND} rows/s": figures["rows_per_second"] >= LEAST_ROWS_PER_SECOND,
        f"at least {LEAST_GONE} cancelled or expired": figures["gone_of_calls"] >= LEAST_GONE,
        f"memory flat within {MOST_GROWTH:.0f} bytes": figures["memory_last"] - figures["memory_first"] <= MOST_GROWTH,
        "threads flat": abs(figures["threads_last"] - figures["threads_first"]) <= 2,
        "descriptors flat": abs(figures["descriptors_last"] - figures["descriptors_first"]) <= 8,
        "replies over HTTP": figures["http"] > 0,
        "rows of the canary and the shadow": min(figures["canary_rows"], figures["shadow_rows"]) > 0,
        "a load every 10 s": figures["versions_loaded"] >= figures["seconds"] / 10,
        "no INTERNAL": figures["internal_errors"] == 0,
        "no call left open": figures["unanswered"] == 0,
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"soak: limits broken: {'; '.join(broken)}")
    print("  every reply correct, all limits kept")


if __name__ == "__main__":
    main()
