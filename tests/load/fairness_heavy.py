"""The heavy callers of tests.load.fairness, in a process of their own. They stop at any standard input.

    python -m tests.load.fairness_heavy SCENE TARGET ROWS.npy

Prints the errors of calls, one a line.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import numpy as np

from anomaly_vae.client import Client
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.support.running import tensor

BATCH_CLIENT, CLOSED_LOOP, MIXED = "batch client", "closed loop", "49 connections"
SIZES = (1, 1, 2, 5, 16, 40, 64, 200, 512, 1_024)

Score = Callable[..., Awaitable[pb.ScoreResponse]]


@dataclass
class Tally:
    """The times of answered calls, and the errors of the others."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Load the service until stopped, then print the errors."""
    name, target, path = sys.argv[1:]
    rows, stop, tally = np.load(path), threading.Event(), Tally()
    threading.Thread(target=lambda: (sys.stdin.read(1), stop.set()), daemon=True).start()
    if name == BATCH_CLIENT:
        _score_until(target, np.resize(rows, (60_000, rows.shape[1])), stop, tally)
    else:
        asyncio.run(_call_until(name, target, rows, stop, tally))
    for error in tally.errors:
        print(error)


def _score_until(target: str, rows: np.ndarray, stop: threading.Event, tally: Tally) -> None:
    client = Client(target)
    threading.Thread(target=lambda: (stop.wait(), client.close())).start()
    while not stop.is_set():
        try:
            client.score(rows)
        except AnomalyVaeError as error:
            if not stop.is_set():
                tally.errors.append(str(error))


async def _call_until(name: str, target: str, rows: np.ndarray, stop: threading.Event, tally: Tally) -> None:
    sizes, connections, calls = ((1_024,), 1, 4) if name == CLOSED_LOOP else (SIZES, 49, 1)
    requests = [pb.ScoreRequest(tensor=tensor(rows[:size])) for size in sizes]
    channels = [channel_to(target) for _ in range(connections)]
    loops = [_loop(score_of(channel), requests, tally, i) for i, channel in enumerate(channels * calls)]
    tasks = [asyncio.create_task(loop) for loop in loops]
    await asyncio.to_thread(stop.wait)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _loop(score: Score, requests: list[pb.ScoreRequest], tally: Tally, seed: int) -> None:
    """Send random requests, one after the other."""
    rng = np.random.default_rng(seed)
    while True:
        await ask(score, requests[int(rng.integers(len(requests)))], tally)


async def ask(score: Score, request: pb.ScoreRequest, tally: Tally, deadline: float | None = None) -> None:
    """Make one call, and record its time or its error."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        await score(request, timeout=deadline)
    except grpc.aio.AioRpcError as error:
        tally.errors.append(f"{error.code().name}: {error.details()}")
        await asyncio.sleep(0.1)
    else:
        tally.seconds.append(loop.time() - start)


def channel_to(target: str) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(target, options)


def score_of(channel: grpc.aio.Channel) -> Score:
    """Return the method Score of a channel."""
    serialise, parse = pb.ScoreRequest.SerializeToString, pb.ScoreResponse.FromString
    return channel.unary_unary("/anomaly_vae.v1.ScoringService/Score", serialise, parse)


if __name__ == "__main__":
    main()
