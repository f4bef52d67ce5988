"""The blocking client, against a real service: its results equal those of the scorer."""

import socket
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly_vae.bundle.files import with_calibration, write_bundle
from anomaly_vae.calibration import calibrate
from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.errors import AnomalyVaeWarning, ConfigError, InvalidInput, Overloaded, ServiceError
from anomaly_vae.scorer import load
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.running import assert_same_bits, running, tensor
from tests.support.scripted import ask, scripted


@pytest.fixture
def client(service):
    with Client(service.target) as client:
        yield client


def test_arrays_frames_and_tables_score_as_in_the_scorer(client, scorer, new_rows):
    expected = scorer.score(new_rows)
    frame = pd.DataFrame(new_rows, columns=NAMES)[[*NAMES[::-1]]].assign(extra="text")
    table = pa.table({name: new_rows[:, d] for d, name in enumerate(NAMES)})
    for data in (new_rows, np.asfortranarray(new_rows), new_rows.tolist(), frame, table):
        scores = client.score(data)
        assert_same_bits(scores, expected)
        assert scores.is_anomaly.dtype == bool
        assert scores.num_samples.dtype == np.int64
    assert_same_bits(client.score(new_rows.astype(np.float32)), scorer.score(new_rows.astype(np.float32)))


def test_missing_cells_score_as_in_the_scorer(client, scorer, new_rows):
    """NaN of arrays, None and NA of frames, nulls of tables."""
    rows = new_rows.copy()
    rows[::3, 1] = rows[::4, 3] = np.nan
    expected = scorer.score(rows)
    frame = pd.DataFrame(rows, columns=NAMES).convert_dtypes()
    table = pa.table({name: pa.array(rows[:, d], from_pandas=True) for d, name in enumerate(NAMES)})
    assert table["flow"].null_count == 25
    for data in (rows, frame, frame.astype(object), table):
        assert_same_bits(client.score(data), expected)


def test_flags_and_scores_by_largest_error_are_those_of_the_scorer(client, scorer, new_rows):
    flags, expected = client.flag(new_rows), scorer.flag(new_rows)
    for name in ("is_anomaly", "num_samples"):
        np.testing.assert_array_equal(getattr(flags, name), getattr(expected, name))
    assert flags.reason == expected.reason
    assert len(client.flag(new_rows[:0])) == 0
    for one in (client, scorer):
        with pytest.warns(AnomalyVaeWarning, match="no p-value and no flag") as warned:
            scores = one.score(new_rows, max_std_error=0.1)
        assert warned[0].filename == __file__
        assert scores.p_value is None
        assert scores.num_samples.max() <= 4096
        for error in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="max_std_error must be a positive number of nats"):
                one.score(new_rows, max_std_error=error)


def test_many_rows_go_in_several_calls_and_come_back_in_order(service, client, scorer):
    rows = make_rows(60_000, seed=4)
    before = service.metric("grpc_server_started_total", grpc_method="Score")
    with pytest.warns(UserWarning, match="no p-value and no flag"):
        scores = client.score(rows, num_samples=16)
    assert scores.log_px.tobytes() == scorer.score_rows(rows, num_samples=16).log_px.tobytes()
    assert scores.p_value is None
    assert scores.is_anomaly is None
    assert service.metric("grpc_server_started_total", grpc_method="Score") >= before + 3


def test_calls_keep_to_the_limits_of_the_service(model_path, scorer, new_rows):
    with running(model_path, "--max-rows", 10, "--max-message-bytes", 4096) as service:
        with Client(service.target) as client:
            assert_same_bits(client.score(new_rows), scorer.score(new_rows))
        assert service.metric("grpc_server_started_total", grpc_method="Score") == 8


def test_no_rows_give_no_scores(client, scorer):
    nothing = np.empty((0, 5))
    assert_same_bits(client.score(nothing), scorer.score(nothing))


def test_the_schema_and_the_threshold_are_the_model_s(client, scorer):
    assert client.schema == scorer.schema
    assert client.threshold == scorer.threshold
    assert (client.tail, client.upper_threshold, client.thresholds()) == ("low", None, (scorer.threshold, None))
    assert client.num_samples == scorer.num_samples
    assert client.get_model().name == "model"


def test_the_grid_of_p_values_is_the_model_s(client, scorer):
    digest = scorer.bundle.digest
    assert client.p_value_grid() == scorer.p_value_grid()._replace(bundle_digest=digest)
    assert client.score(make_rows(2)).bundle_digest == digest
    with pytest.raises(ConfigError, match="tail: a service flags at the tail of its model"):
        client.p_value_grid(tail="both")


def test_bad_rows_are_named_before_they_are_sent(service, client, new_rows):
    before = service.metric("grpc_server_started_total", grpc_method="Score")
    rows = new_rows.copy()
    rows[3, 1] = np.inf
    with pytest.raises(InvalidInput, match="row 3, column 'flow' is inf") as error:
        client.score(rows)
    assert error.value.field == "flow"
    with pytest.raises(InvalidInput, match="the model is expecting 5 features"):
        client.score(new_rows[:, :3])
    assert service.metric("grpc_server_started_total", grpc_method="Score") == before


@pytest.mark.parametrize("num_samples", [0, 17, -1, 2**40])
def test_a_budget_that_cannot_be_is_refused_as_by_the_scorer(client, scorer, new_rows, num_samples):
    for one in (client, scorer):
        with pytest.raises(ConfigError, match="num_samples must be one of 16, 32"):
            one.score(new_rows, num_samples=num_samples)


def test_what_the_service_refuses_is_invalid_input_with_the_field(client, new_rows):
    with pytest.raises(InvalidInput, match=r"tensor.shape: has 4 columns, the model has 5") as error:
        client.score_rows(new_rows[:, :4])
    assert error.value.field == "tensor.shape"


@pytest.fixture(scope="module")
def backwards(tmp_path_factory):
    """A model of the same columns in reverse order, under the same name."""
    config = TrainConfig(random_state=4, max_steps=60, target_fpr=0.05, search="off")
    path = tmp_path_factory.mktemp("backwards") / "model"
    write_bundle(train_model(make_rows(600)[:, ::-1], NAMES[::-1], config).bundle, path)
    return path


def test_the_columns_of_a_replaced_model_are_requested_again(model_path, backwards, new_rows):
    """Name and version are the same and only the digest differs: rows must not be sent in the old column order."""
    table = pa.table({name: new_rows[:, d] for d, name in enumerate(NAMES)})
    with running(model_path) as first, Client(first.target) as client:
        client.score(table)
        assert first.stop() == 0
        with running(backwards, "--port", first.port):
            scores = client.score(table)
    assert_same_bits(scores, load(backwards).score(table))


def test_another_model_is_not_found(service, new_rows):
    with Client(service.target, model_name="other") as client, pytest.raises(ServiceError, match="'model' is") as error:
        client.score(new_rows)
    assert error.value.code == "NOT_FOUND"
    with Client(f"grpc://{service.target}/", model_name="model", model_version="1") as client:
        assert len(client.score(new_rows)) == len(new_rows)


def test_a_full_queue_is_overloaded_with_a_time_to_return(model_path):
    with running(model_path, "--max-queue-rows", 10_000, "--max-rows", 10_000) as service, service.channel() as channel:
        slow = pb.ScoreRequest(tensor=tensor(make_rows(10_000)), max_std_error=1e-9)
        waiting = ScoringServiceStub(channel).Score.future(slow)
        while service.metric("anomaly_vae_queue_rows") == 0:
            time.sleep(0.01)
        with (
            Client(service.target, retries=0) as client,
            pytest.raises(Overloaded, match="rows are waiting") as error,
        ):
            client.score(make_rows(1))
        assert 0 < error.value.retry_after <= 30
        waiting.cancel()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_call_that_takes_too_long_says_so(service, new_rows, kind):
    def hold(_number, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(20)

    with scripted(service.target) as slow:
        slow.before = hold
        with pytest.raises(ServiceError, match="no reply in time") as error:
            ask(kind, slow.target, lambda client: client.score(new_rows), timeout=2.0)
    assert error.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_without_retries_a_missing_service_is_reported_at_once(kind):
    start = time.monotonic()
    with pytest.raises(ServiceError, match="no service answers there: it is not") as error:
        ask(kind, "127.0.0.1:9", lambda client: client.score(make_rows(1)), retries=0)
    assert error.value.code == "UNAVAILABLE"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_at_the_timeout_a_missing_service_is_reported_with_its_cause(kind):
    start = time.monotonic()
    with pytest.raises(ServiceError, match=r"no service answers there: it is not .* \(connection refused\)") as error:
        ask(kind, "127.0.0.1:9", lambda client: client.score(make_rows(1)), timeout=1.5)
    assert error.value.code == "UNAVAILABLE"
    assert time.monotonic() - start > 1.4


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_silent_port_is_reported_as_no_service(kind):
    """The connection is made, and gRPC only reports that the deadline has passed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceError, match=r"no service answers there: nothing came in \d") as error:
            ask(kind, target, lambda client: client.score(make_rows(1)), timeout=1.0)
    assert error.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_port_without_grpc_is_reported_before_the_timeout(service, kind):
    target = f"127.0.0.1:{service.metrics_port}"
    with pytest.raises(ServiceError, match="what answers there is no gRPC service") as error:
        ask(kind, target, lambda client: client.score(make_rows(1)), timeout=None)
    assert error.value.code == "UNAVAILABLE"


def test_waiting_for_a_service_that_starts_later(model_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = []

    def wait():
        with Client(f"127.0.0.1:{port}") as client:
            client.wait_until_ready()
            found.append(client.threshold)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.3)
    with running(model_path, "--port", port) as service:
        waiter.join(20)
        assert found == [service.metric("anomaly_vae_threshold_nats")]
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(ServiceError, match="no service answers there"):
        client.wait_until_ready(timeout=0.3)


def test_a_target_of_its_own_is_refused(client, new_rows):
    with pytest.raises(ConfigError, match="a service flags at the target of its model"):
        client.score_rows(new_rows, target_fpr=0.1)
    for refused in (client.score, client.flag, client.flag_rows):
        with pytest.raises(ConfigError, match="a service flags at the target of its model"):
            refused(new_rows, target_fpr=0.1)
    for refused in (client.score, client.score_rows, client.flag, client.flag_rows):
        with pytest.raises(ConfigError, match="a service flags at the tail of its model"):
            refused(new_rows, tail="low")
    with pytest.raises(ConfigError, match="a service flags at the tail of its model"):
        client.thresholds(tail="low")


def test_a_model_with_two_thresholds_flags_the_same_rows_behind_a_service(bundle, new_rows, tmp_path):
    record, scores = calibrate(bundle.calibration, np.zeros(len(bundle.calibration), bool), 0.2, tail="both")
    write_bundle(with_calibration(bundle, record, scores, ""), tmp_path / "model")
    here = load(tmp_path / "model", threads=1)
    with running(tmp_path / "model") as service, Client(service.target) as client:
        assert (client.tail, client.thresholds()) == ("both", here.thresholds())
        assert_same_bits(client.score(new_rows), here.score(new_rows))
        np.testing.assert_array_equal(client.flag(new_rows).is_anomaly, here.flag(new_rows).is_anomaly)


def test_a_reply_of_the_wrong_length_is_refused(client, new_rows, monkeypatch):
    reply = pb.ScoreResponse(log_px=[1.0, 2.0], bundle_digest=client.get_model().bundle_digest)
    monkeypatch.setattr(client._transport, "method", lambda _: lambda *_, **__: reply)
    with pytest.raises(ServiceError, match="2 entries of log_px for 75 rows"):
        client.score(new_rows)


def test_rows_are_explained_as_by_the_scorer_bit_for_bit(small_calls, scorer, new_rows):
    """In two calls, by either client."""
    rows, done = new_rows[:12].copy(), []
    rows[3, 1], rows[7, 4] = 1.0, 8.0
    expected = scorer.explain(rows, top=2)
    frame = pd.DataFrame(rows, columns=NAMES)
    for kind in (Client, AsyncClient):
        assert ask(kind, small_calls.target, lambda client: client.explain(frame, top=2)) == expected
    with Client(small_calls.target) as client:
        assert client.explain_rows(rows, top=2, on_rows=done.append) == expected
        assert sorted(done) == [2, 10]
        assert client.explain(rows[:0]) == []
        with pytest.raises(ConfigError, match="from 1 to 16"):
            client.explain(rows, top=17)
