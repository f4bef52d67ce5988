"""Soak: ten minutes of requests of all kinds; every reply is compared bit for bit, and no resource leaks.

    python -m tests.load.soak [--seconds 600]

Clients of ScoringService send requests of random sizes, as tensors of either type and as columns; for scores, for
fewer samples and for flags; alone and in streams. Some deadlines are too short, some calls are cancelled, some
connections are short-lived, some requests are wrong. Each reply must have the model's scores in this process, or be
the error that the client caused. Memory, threads and file descriptors must not grow.
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
from tests.load.model import make_model, table
from tests.support.running import ARRAYS, Service, columns, running, tensor

ROWS = 2_048
SIZES = (1, 1, 1, 2, 5, 16, 17, 64, 200, 512, 1_024)
CLIENTS = 24
SAMPLES = 64

WARM_UP = 0.2  # part of the time, before resources are measured
MOST_GROWTH = 32e6  # of memory, bytes
LEAST_REQUESTS_PER_SECOND = 50
LEAST_ROWS_PER_SECOND = 1_500
LEAST_GONE = 0.01  # part of the calls that are cancelled or expired: with fewer they are not tested


class Expected:
    """The rows, and the values that a reply must have for each, by kind of request."""

    def __init__(self, scorer: Scorer) -> None:
        self.names = scorer.schema.names
        self.rows = {"FP64": table(ROWS, seed=9)}
        self.rows["FP32"] = self.rows["FP64"].astype(np.float32).astype(np.float64)
        self.arrays = {
            dtype: {
                "score": _arrays(scorer.score(rows), ARRAYS),
                "few": _arrays(
                    scorer.score_rows(rows, num_samples=SAMPLES), ("log_px", "elbo", "std_error", "num_samples")
                ),
                "flag": _arrays(scorer.flag(rows), ("is_anomaly", "num_samples")),
            }
            for dtype, rows in self.rows.items()
        }

    def request(self, rng: np.random.Generator, request_id: str) -> tuple[pb.ScoreRequest, dict[str, Any]]:
        """Return a random request, and the values that its reply must have."""
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
        arrays = self.arrays[dtype][kind]
        return pb.ScoreRequest(**options), {name: values[start : start + n] for name, values in arrays.items()}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Run the clients, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        expected = Expected(load(model))
        with running(model, "--max-queue-rows", 32_768, "--log-calls", "none") as service:
            figures = asyncio.run(_soak(service, expected, options.seconds))
    for name, value in figures.items():
        print(f"  {name:<24} {value:.6g}")
    _judge(figures)
    return figures


async def _soak(service: Service, expected: Expected, seconds: float) -> dict[str, float]:
    counts: Counter[str] = Counter()
    start = time.monotonic()
    until = start + seconds
    process = psutil.Process(service.process.pid)
    watching = asyncio.create_task(_watch(process, start + WARM_UP * seconds, until))
    clients = [_client(service.target, number, expected, until, counts) for number in range(CLIENTS)]
    clients += [_streamer(service.target, CLIENTS + number, expected, until, counts) for number in range(4)]
    await asyncio.gather(*clients)
    figures = await watching
    while service.metric("anomaly_vae_queue_rows"):
        await asyncio.sleep(0.05)
    calls = sum(counts[name] for name in ("right", "gone", "refused"))
    return {
        "seconds": seconds,
        "requests_per_second": (calls + counts["streamed"]) / seconds,
        "rows_per_second": counts["rows"] / seconds,
        **{name: float(counts[name]) for name in ("right", "streamed", "gone", "refused")},
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


def _compare(reply: pb.ScoreResponse, request_id: str, arrays: dict[str, Any]) -> None:
    assert reply.request_id == request_id
    for name, values in arrays.items():
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
        "no INTERNAL": figures["internal_errors"] == 0,
        "no call left open": figures["unanswered"] == 0,
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"soak: limits broken: {'; '.join(broken)}")
    print("  every reply correct, all limits kept")


if __name__ == "__main__":
    main()
