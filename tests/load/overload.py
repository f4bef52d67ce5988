"""Overload: five times as many rows as the service can score, in requests of 256 to 1,024 rows.

    python -m tests.load.overload [--seconds 30]

Runs in rounds, since the speed of a machine varies. Each round first measures the peak: a few clients send requests and
wait for the replies. Then requests arrive at random times, with five times the rows of the peak. Each has a deadline,
and a refused one is not sent again. The service must go on at its peak, refuse the rest within 10 ms, keep the limit of
its queue, and compute hardly any rows of requests that have expired.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.load.model import make_model, table
from tests.support.running import Service, running, tensor

NUM_SAMPLES = 64
SIZES = (256, 512, 768, 1_024)
TIMES = 5
ROUNDS = 5
DEADLINE = 2.0
QUEUE_ROWS = 16_384

LEAST_GOODPUT = 0.9
MOST_REJECT_SECONDS = 0.010
MOST_WASTE = 0.05
LEAST_OFFERED = 4.0  # times the peak: with less there was no overload
LEAST_REJECTS = 100


# Number of rows, and the bytes: made in advance, since the load shares the machine with the service.
Request = tuple[int, bytes]
Stub = Callable[..., Awaitable[pb.ScoreResponse]]


@dataclass
class Run:
    """The outcomes of the requests of one phase."""

    rows: int = 0  # rows of replies within the phase
    answered: int = 0  # rows of all replies
    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    reject_seconds: list[float] = field(default_factory=list)
    offered: int = 0


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Load the service, print the figures, and fail if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        with running(model, "--threads", 1, "--max-queue-rows", QUEUE_ROWS, "--log-calls", "none") as service:
            return asyncio.run(_load(service, options.seconds))


async def _load(service: Service, seconds: float) -> dict[str, float]:
    requests = [_request(size, seed) for seed, size in enumerate(SIZES * 4)]
    channel_options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(service.target, channel_options) for _ in range(8)]
    stubs = [
        channel.unary_unary("/anomaly_vae.v1.ScoringService/Score", response_deserializer=pb.ScoreResponse.FromString)
        for channel in channels
    ]
    _lower_own_priority()
    gc.collect()
    gc.freeze()  # otherwise a collection stops this process now and then, and a refusal seems to take 0.1 s
    await _closed(stubs[:3], requests, 3.0)
    peak, run, length = Run(), Run(), seconds / ROUNDS
    computed = highest = 0.0
    for number in range(ROUNDS):
        before = peak.rows
        await _closed(stubs[:3], requests, length / 2, peak)
        rate = TIMES * (peak.rows - before) / (length / 2)
        computed -= service.metric("anomaly_vae_batch_rows_sum")
        watcher = asyncio.create_task(_watch(service))
        await _open(stubs, requests, rate, length, run, number)
        highest = max(highest, await _stop(watcher))
        while service.metric("anomaly_vae_queue_rows"):
            await asyncio.sleep(0.05)
        computed += service.metric("anomaly_vae_batch_rows_sum")
    for channel in channels:
        await channel.close()
    figures = _figures(peak.rows / (seconds / 2), run, seconds) | {
        "queue_rows_highest": highest,
        "queue_rows_limit": service.metric("anomaly_vae_queue_limit_rows"),
        "wasted_of_computed": 1 - run.answered / computed,
    }
    for name, value in figures.items():
        print(f"  {name:<22} {value:.4g}")
    _judge(figures)
    return figures


def _lower_own_priority() -> None:
    """Lower the priority of this process, as if the load came from another machine."""
    for thread in Path("/proc/self/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)


def _figures(peak: float, run: Run, seconds: float) -> dict[str, float]:
    rejects = np.array(run.reject_seconds or [np.nan])
    return {
        "peak_rows_per_second": peak,
        "offered_times_peak": run.offered / seconds / peak,
        "goodput_of_peak": run.rows / seconds / peak,
        "rejects": float(len(run.reject_seconds)),
        "reject_seconds_p50": float(np.quantile(rejects, 0.5)),
        "reject_seconds_p99": float(np.quantile(rejects, 0.99)),
        "answer_seconds_p50": float(np.quantile(run.seconds, 0.5)),
        "answer_seconds_p99": float(np.quantile(run.seconds, 0.99)),
        **{f"code_{code}": float(count) for code, count in sorted(run.codes.items())},
    }


def _request(num_rows: int, seed: int) -> Request:
    request = pb.ScoreRequest(tensor=tensor(table(num_rows, seed)), num_samples=NUM_SAMPLES)
    return num_rows, request.SerializeToString()


async def _closed(stubs: list[Stub], requests: list[Request], seconds: float, run: Run | None = None) -> None:
    """Run clients that wait for each reply."""
    run, until = Run() if run is None else run, time.monotonic() + seconds

    async def client(number: int) -> None:
        rng = np.random.default_rng(number)
        while time.monotonic() < until:
            await _ask(stubs[number], requests[int(rng.integers(len(requests)))], run, until, None)

    await asyncio.gather(*(client(number) for number in range(len(stubs))))


async def _open(stubs: list[Stub], requests: list[Request], rate: float, seconds: float, run: Run, seed: int) -> None:
    """Send requests at random times, ``rate`` rows a second on average, without waiting for replies."""
    rng = np.random.default_rng(seed)
    start = due = time.monotonic()
    tasks = set()
    while due < start + seconds:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        request = requests[int(rng.integers(len(requests)))]
        run.offered += request[0]
        stub = stubs[int(rng.integers(len(stubs)))]
        task = asyncio.create_task(_ask(stub, request, run, start + seconds, DEADLINE))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += rng.exponential(np.mean(SIZES) / rate)
    await asyncio.gather(*tasks)


async def _ask(stub: Stub, request: Request, run: Run, until: float, deadline: float | None) -> None:
    start = time.monotonic()
    try:
        reply = await stub(request[1], timeout=deadline)
    except grpc.aio.AioRpcError as error:
        run.codes[error.code().name] += 1
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            run.reject_seconds.append(time.monotonic() - start)
        return
    now = time.monotonic()
    run.codes["OK"] += 1
    run.seconds.append(now - start)
    run.answered += len(reply.log_px)
    if now <= until:
        run.rows += len(reply.log_px)


async def _watch(service: Service) -> float:
    """Return the most rows seen in the queue. Does little work, since this process measures the time of refusals."""
    highest = 0.0
    try:
        while True:
            _, text = await asyncio.to_thread(service.get, "/metrics")
            highest = max(highest, float(text.partition("\nanomaly_vae_queue_rows ")[2].partition("\n")[0]))
            await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        return highest


async def _stop(watcher: asyncio.Task[float]) -> float:
    watcher.cancel()
    return await watcher


def _judge(figures: dict[str, float]) -> None:
    limits = {
        f"offered at least {LEAST_OFFERED} times the peak": figures["offered_times_peak"] >= LEAST_OFFERED,
        f"at least {LEAST_REJECTS} rejects": figures["rejects"] >= LEAST_REJECTS,
        f"goodput at least {LEAST_GOODPUT} of the peak": figures["goodput_of_peak"] >= LEAST_GOODPUT,
        f"99 % of rejects within {MOST_REJECT_SECONDS} s": figures["reject_seconds_p99"] <= MOST_REJECT_SECONDS,
        "the queue within its limit": figures["queue_rows_highest"] <= figures["queue_rows_limit"],
        f"at most {MOST_WASTE} of the computed rows expired": figures["wasted_of_computed"] <= MOST_WASTE,
        "no other errors": not any(name in figures for name in ("code_INTERNAL", "code_UNKNOWN", "code_UNAVAILABLE")),
    }
    broken = [limit for limit, kept in limits.items() if not kept]
    if broken:
        raise SystemExit(f"overload: limits broken: {'; '.join(broken)}")
    print("  all limits kept")


if __name__ == "__main__":
    main()
