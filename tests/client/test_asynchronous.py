"""The asynchronous client, against a real service: its results equal those of the scorer."""

import asyncio
import socket
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from tests.support.data import NAMES, make_rows
from tests.support.running import assert_same_bits, running
from tests.support.scripted import ask


def test_arrays_frames_and_tables_score_as_in_the_scorer(service, scorer, new_rows):
    rows = new_rows.copy()
    rows[::3, 1] = np.nan
    frame = pd.DataFrame(rows, columns=NAMES)[[*NAMES[::-1]]].assign(extra="text").convert_dtypes()
    table = pa.table({name: pa.array(rows[:, d], from_pandas=True) for d, name in enumerate(NAMES)})
    expected = scorer.score(rows)

    async def main():
        async with AsyncClient(service.target) as client:
            for data in (rows, np.asfortranarray(rows), rows.tolist(), frame, table):
                assert_same_bits(await client.score(data), expected)
                flags = await client.flag(data)
                assert flags.is_anomaly.tolist() == expected.is_anomaly.tolist()
            assert_same_bits(await client.score_rows(rows), expected)
            assert len(await client.flag_rows(rows)) == len(rows)
            assert_same_bits(await client.score(rows[:0]), scorer.score(rows[:0]))

    asyncio.run(main())


def test_tasks_that_share_a_client_get_their_own_rows(service, scorer):
    """Twenty tasks at a time, each with its own rows in several parts, as in one process of a web service."""
    rows = [make_rows(40 + i, seed=i) for i in range(20)]
    expected = [scorer.score(some) for some in rows]

    async def main(client):
        return await asyncio.gather(*(client.score(some) for some in rows))

    for scores, wanted in zip(ask(AsyncClient, service.target, main), expected, strict=True):
        assert_same_bits(scores, wanted)


def test_threads_that_share_a_client_get_their_own_rows(small_calls, scorer):
    rows = [make_rows(35 + i, seed=i) for i in range(8)]
    found = {}
    with Client(small_calls.target) as client:

        def score(i):
            found[i] = client.score(rows[i])

        threads = [threading.Thread(target=score, args=(i,)) for i in range(len(rows))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for i, some in enumerate(rows):
        assert_same_bits(found[i], scorer.score(some))


def test_the_model_and_its_columns_are_returned(service, scorer):
    async def main(client):
        return await client.get_model(), await client.get_schema()

    model, schema = ask(AsyncClient, service.target, main)
    assert schema == scorer.schema
    assert model.calibration.threshold == scorer.threshold
    assert model.estimator.num_samples == scorer.num_samples


def test_bad_rows_are_named_before_they_are_sent(service, new_rows):
    rows = new_rows.copy()
    rows[3, 1] = np.inf
    with pytest.raises(InvalidInput, match="row 3, column 'flow' is inf") as error:
        ask(AsyncClient, service.target, lambda client: client.score(rows))
    assert error.value.field == "flow"
    with pytest.raises(ConfigError, match="num_samples must be one of 16, 32"):
        ask(AsyncClient, service.target, lambda client: client.score(new_rows, num_samples=17))
    with pytest.raises(InvalidInput, match=r"tensor.shape: has 4 columns"):
        ask(AsyncClient, service.target, lambda client: client.score_rows(new_rows[:, :4]))
    with pytest.raises(ConfigError, match="a service flags at the target of its model"):
        ask(AsyncClient, service.target, lambda client: client.score_rows(new_rows, target_fpr=0.1))
    with pytest.raises(ServiceError, match="'model' is") as error:
        ask(AsyncClient, service.target, lambda client: client.score(new_rows), model_name="other")
    assert error.value.code == "NOT_FOUND"


def test_another_budget_has_no_flags_and_the_warning_points_at_the_call(service, new_rows):
    async def main(client):
        with pytest.warns(UserWarning, match="no p-value and no flag") as warned:
            scores = await client.score(new_rows, num_samples=64)
        assert warned[0].filename == __file__
        return scores

    scores = ask(AsyncClient, service.target, main)
    assert scores.p_value is None
    assert scores.is_anomaly is None


def test_waiting_for_a_service_that_starts_later(model_path, new_rows):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def main(client):
        await client.wait_until_ready()
        return await client.score(new_rows)

    found = []
    waiter = threading.Thread(target=lambda: found.append(ask(AsyncClient, f"127.0.0.1:{port}", main)))
    waiter.start()
    time.sleep(0.3)
    with running(model_path, "--port", port):
        waiter.join(20)
    assert len(found[0]) == len(new_rows)
    with pytest.raises(ServiceError) as error:
        ask(AsyncClient, f"127.0.0.1:{port}", lambda client: client.wait_until_ready(timeout=0.3))
    assert error.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_restart_gives_no_error(model_path, scorer, new_rows, kind):
    """The first call after it finds no service until the new process has started."""
    done = threading.Event()

    def serve(port):
        with running(model_path, "--port", port):
            done.wait(60)

    def restart(service):
        assert service.stop() == 0
        again = threading.Thread(target=serve, args=(service.port,))
        again.start()
        return again

    def blocking(client):
        client.score(new_rows)
        return restart(first), client.score(new_rows)

    async def asynchronous(client):
        await client.score(new_rows)
        return restart(first), await client.score(new_rows)

    with running(model_path) as first:
        try:
            again, scores = ask(kind, first.target, blocking if kind is Client else asynchronous)
        finally:
            done.set()
        again.join(30)
    assert_same_bits(scores, scorer.score(new_rows))
