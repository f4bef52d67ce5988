"""No client gets the scores of another's rows: two hundred clients at once, every reply checked."""

import asyncio

import grpc
import numpy as np

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.data import make_rows
from tests.support.running import ARRAYS, running, tensor

CLIENTS = 200
CALLS = 8
ROWS = 400
GONE = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}


def kinds(scorer, rows):
    """Return the options of requests, with the values that each row of the reply must have."""
    full, few, flags = scorer.score(rows), scorer.score_rows(rows, num_samples=64), scorer.flag(rows)
    return [
        ({}, {name: getattr(full, name) for name in ARRAYS}),
        ({"num_samples": 64}, {name: getattr(few, name) for name in ("log_px", "elbo", "std_error", "num_samples")}),
        ({"flag_only": True}, {name: getattr(flags, name) for name in ("is_anomaly", "num_samples")}),
    ]


def test_two_hundred_clients_get_their_own_scores(model_path, scorer):
    rows = make_rows(ROWS, seed=41)
    rows[::17, 4] = 8.0  # novelties, whose reasons must not reach other rows
    known = kinds(scorer, rows)
    reasons = [reason or "" for reason in scorer.score(rows).reason]
    counts = {"right": 0, "gone": 0, "tiles": 0}

    async def client(target, number):
        rng = np.random.default_rng(number)
        async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = ScoringServiceStub(channel)
            for call in range(CALLS):
                n = int(rng.choice([1, 1, 2, 7, 16, 33, 64]))
                i = int(rng.integers(0, ROWS - n + 1))
                options, expected = known[int(rng.integers(len(known)))]
                request = pb.ScoreRequest(tensor=tensor(rows[i : i + n]), request_id=f"{number}-{call}", **options)
                habit = rng.random()
                waiting = stub.Score(request, timeout=rng.uniform(0.001, 0.3) if habit < 0.15 else 120)
                if 0.15 <= habit < 0.3:
                    asyncio.get_running_loop().call_later(float(rng.uniform(0, 0.2)), waiting.cancel)
                try:
                    reply = await waiting
                except grpc.aio.AioRpcError as error:
                    # A deadline too short for the waiting rows is refused at once.
                    assert habit < 0.15 and error.code() in {*GONE, grpc.StatusCode.RESOURCE_EXHAUSTED}, error  # noqa: PT018, PT017
                    counts["gone"] += 1
                    continue
                except asyncio.CancelledError:
                    counts["gone"] += 1
                    continue
                assert reply.request_id == request.request_id
                assert list(reply.reason) == reasons[i : i + n]
                for name, values in expected.items():
                    actual = np.array(getattr(reply, name), dtype=values.dtype)
                    assert actual.tobytes() == values[i : i + n].tobytes(), (name, options, i, n)
                counts["right"] += 1
                counts["tiles"] += -(-n // 16)

    async def load(target):
        await asyncio.gather(*(client(target, number) for number in range(CLIENTS)))

    with running(model_path) as service:
        asyncio.run(load(service.target))
        assert counts["right"] + counts["gone"] == CLIENTS * CALLS
        assert counts["right"] > CLIENTS * CALLS / 2
        assert service.metric("anomaly_vae_queue_rows") == 0
        assert service.metric("grpc_server_handled_total", grpc_code="Internal") == 0
        assert service.metric("grpc_server_handled_total", grpc_method="Score", grpc_code="OK") >= counts["right"]
        assert service.metric("anomaly_vae_batch_rows_count") < counts["tiles"]  # some batches were shared
