"""Forty connections at once, single rows among large requests: every reply is correct, and none is lost.

The environment variable ANOMALY_VAE_LOAD_SECONDS sets how long it runs.
"""

import asyncio
import os
import time

import grpc
import numpy as np

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.data import make_rows
from tests.support.running import ARRAYS, running, tensor

SECONDS = float(os.environ.get("ANOMALY_VAE_LOAD_SECONDS", "6"))
CONNECTIONS = 40


def test_forty_connections_get_every_reply_right(model_path, scorer):
    rows = make_rows(1024, seed=77)
    expected = scorer.score(rows)
    bits = {name: getattr(expected, name) for name in ARRAYS}

    async def connection(target, seed, until, done):
        rng = np.random.default_rng(seed)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(target, options) as channel:
            stub = ScoringServiceStub(channel)
            while time.monotonic() < until:
                large = seed % 4 == 0
                i = 0 if large else int(rng.integers(0, 1024))
                n = 1024 if large else 1
                request = pb.ScoreRequest(tensor=tensor(rows[i : i + n]), request_id=f"{seed}-{i}")
                reply = await stub.Score(request, timeout=120)
                assert reply.request_id == request.request_id
                for name, values in bits.items():
                    actual = np.array(getattr(reply, name), dtype=values.dtype)
                    assert actual.tobytes() == values[i : i + n].tobytes(), name
                done[large] += 1

    async def load(target):
        until, done = time.monotonic() + SECONDS, {False: 0, True: 0}
        await asyncio.gather(*(connection(target, seed, until, done) for seed in range(CONNECTIONS)))
        return done

    with running(model_path) as service:
        done = asyncio.run(load(service.target))
        total = done[False] + done[True]
        print(f"{done[False]} single rows and {done[True]} requests of 1,024 in {SECONDS:g} s")
        assert done[False] > 5 * SECONDS
        assert done[True] >= CONNECTIONS // 4
        assert service.metric("grpc_server_handled_total", grpc_method="Score", grpc_code="OK") == total
        assert service.metric("anomaly_vae_rows_total") == done[False] + 1024 * done[True]
        assert service.metric("anomaly_vae_queue_rows") == 0
        assert service.stop() == 0
