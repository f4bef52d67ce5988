"""The exchange with a service, over a transport that answers in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.client.blocking_transport import run_blocking
from anomaly_vae.client.connection import connection_settings
from anomaly_vae.client.session import _MOST_MODELS, Session
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.pb import scoring_pb2 as pb


def model_of(*names: str, digest: str = "one", max_rows: int = 2, version: str = "") -> pb.Model:
    return pb.Model(
        version=version,
        bundle_digest=digest,
        columns=[pb.ModelColumn(name=name, kind="continuous") for name in names],
        estimator=pb.Estimator(num_samples=64, budgets=[16, 64]),
        limits=pb.Limits(max_rows=max_rows, max_message_bytes=2**20),
    )


class FakeService:
    """A transport and the service behind it: log p(x) of a row is its first number.

    Attributes:
        model: The model of GetModel.
        scoring: Digests of the models that score the next calls; the last one stays.
        version: The version that replies name.
        sent: The calls, in order: a method and its request.
    """

    def __init__(self, model: pb.Model, *scoring: str) -> None:
        self.model = model
        self.scoring = list(scoring or [model.bundle_digest])
        self.version = model.version
        self.sent: list[tuple[str, object]] = []
        self.slept: list[float] = []

    async def send(self, method, request, _timeout, *, wait_for_ready=False):
        assert not wait_for_ready
        self.sent.append((method, request))
        if method == "GetModel":
            return self.model
        digest = self.scoring.pop(0) if len(self.scoring) > 1 else self.scoring[0]
        origin = {"bundle_digest": digest, "model_version": self.version}
        rows = np.frombuffer(request.tensor.data).reshape(request.tensor.shape)
        counts = {"num_samples": [request.num_samples] * len(rows), "reason": [""] * len(rows)}
        if request.flag_only:
            return pb.ScoreResponse(**origin, is_anomaly=rows[:, 0] < 0.0, **counts)
        numbers = dict.fromkeys(("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k"), rows[:, 0])
        return pb.ScoreResponse(**origin, **numbers, reliable=rows[:, 0] < 9.0, **counts)

    async def sleep(self, seconds):
        self.slept.append(seconds)

    async def gather(self, tasks):
        return [await task(self) for task in tasks]

    def methods(self):
        return [method for method, _ in self.sent]


def session_of(service: FakeService) -> Session:
    settings = {"model_name": "m", "model_version": "3", "timeout": None, "retries": 0, "tls": None, "token": ""}
    return Session(connection_settings("localhost:9", **settings), service)


ROWS = np.array([[1.0, 0.0], [-2.0, 0.0], [3.0, 0.0], [4.0, 0.0], [5.0, 0.0]])


def test_the_parts_of_many_rows_are_joined_in_order():
    service = FakeService(model_of("a", "b"))
    scores = run_blocking(session_of(service).score_rows(ROWS, ScoreOptions(num_samples=16)))
    np.testing.assert_array_equal(scores.log_px, ROWS[:, 0])
    assert service.methods() == ["GetModel", "Score", "Score", "Score"]
    requests = [request for _, request in service.sent[1:]]
    assert [list(request.tensor.shape) for request in requests] == [[2, 2], [2, 2], [1, 2]]
    assert {(each.model_name, each.model_version, each.num_samples) for each in requests} == {("m", "3", 16)}


def test_the_model_is_requested_once():
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    for _ in range(2):
        flags = run_blocking(session.flag(ROWS, None))
        assert flags.is_anomaly.tolist() == [False, True, False, False, False]
    assert service.methods().count("GetModel") == 1
    run_blocking(session.get_model())
    assert service.methods().count("GetModel") == 2


@pytest.mark.parametrize(("num_samples", "calibrated"), [(None, True), (16, False)])
def test_no_rows_need_no_call(num_samples, calibrated):
    """They have p-values exactly if rows with the same options would have them."""
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    scores = run_blocking(session.score(ROWS[:0], ScoreOptions(num_samples=num_samples)))
    assert (scores.p_value is not None, scores.is_anomaly is not None) == (calibrated, calibrated)
    assert len(run_blocking(session.flag(ROWS[:0], None))) == 0
    assert service.methods() == ["GetModel"]


def test_rows_with_names_are_sent_again_in_the_order_of_a_replaced_model():
    """The first reply is of another model. The columns are requested again before the rows are sent again."""
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    run_blocking(session.model())
    service.model, service.scoring = model_of("b", "a", digest="two", max_rows=9), ["two"]
    scores = run_blocking(session.score(pa.table({"a": [1.0, 2.0], "b": [7.0, 8.0]}), ScoreOptions()))
    np.testing.assert_array_equal(scores.log_px, [7.0, 8.0])
    assert service.methods() == ["GetModel", "Score", "GetModel", "Score"]


@pytest.mark.parametrize(
    ("num_rows", "methods"), [(2, ["Score"]), (4, ["Score", "GetModel", "Score", "Score"])], ids=["one call", "two"]
)
def test_a_result_of_several_calls_has_one_version_even_if_another_has_the_same_bundle(num_rows, methods):
    service = FakeService(model_of("a", "b", version="3"))
    session = session_of(service)
    run_blocking(session.model())
    service.model, service.version = model_of("a", "b", version="4"), "4"
    scores = run_blocking(session.score(ROWS[:num_rows], ScoreOptions()))
    assert scores.model_version == "4"
    assert service.methods() == ["GetModel", *methods]


def test_a_reply_of_another_model_than_the_described_one_is_an_error():
    service = FakeService(model_of("a", "b"), "two")
    with pytest.raises(ServiceError, match="localhost:9: the service has another model than a moment ago") as error:
        run_blocking(session_of(service).score(ROWS, ScoreOptions()))
    assert error.value.code == "ABORTED"
    assert service.methods() == ["GetModel", *["Score", "GetModel"] * _MOST_MODELS, "Score"]
    assert service.slept == [0.5] * (_MOST_MODELS - 4)


def test_a_service_that_changes_its_model_again_and_again_is_followed():
    service = FakeService(model_of("a", "b"), "two", "three", "two", "three", "one")
    scores = run_blocking(session_of(service).score(ROWS, ScoreOptions()))
    assert len(scores) == len(ROWS)
    assert service.slept == [0.5]
    assert service.methods().count("Score") == 4 + 3  # the last attempt sends all three parts


def test_rows_that_an_old_description_refuses_are_checked_again_by_the_current_one():
    """Three columns are wrong for the model that was replaced, and right for the one that is served now."""
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    run_blocking(session.model())
    rows = np.arange(6.0).reshape(2, 3)
    with pytest.raises(InvalidInput, match="2 features"):
        run_blocking(session.score(rows, ScoreOptions()))
    service.model, service.scoring = model_of("a", "b", "c", digest="two"), ["two"]
    np.testing.assert_array_equal(run_blocking(session.score(rows, ScoreOptions())).log_px, [0.0, 3.0])


def test_wrong_options_are_refused_before_a_row_is_sent():
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    with pytest.raises(ConfigError, match="num_samples must be one of 16, 64"):
        run_blocking(session.score_rows(ROWS, ScoreOptions(num_samples=17)))
    for refused in (
        session.score(ROWS, ScoreOptions(target_fpr=0.1)),
        session.score_rows(ROWS, ScoreOptions(target_fpr=0.1)),
        session.flag(ROWS, 0.1),
        session.flag_rows(ROWS, 0.1),
    ):
        with pytest.raises(ConfigError, match="target_fpr: a service flags at the target of its model"):
            run_blocking(refused)
    for refused in (
        session.score(ROWS, ScoreOptions(tail="both")),
        session.score_rows(ROWS, ScoreOptions(tail="both")),
        session.flag(ROWS, None, "low"),
        session.flag_rows(ROWS, None, "low"),
    ):
        with pytest.raises(ConfigError, match="tail: a service flags at the tail of its model"):
            run_blocking(refused)
    assert "Score" not in service.methods()


def test_the_columns_are_read_once_for_a_model():
    """A model of images has thousands; a program that scores row by row reads no description twice."""
    service = FakeService(model_of("a", "b"))
    session = session_of(service)
    model = run_blocking(session.model())
    schema = session.schema_of(model)
    assert session.schema_of(run_blocking(session.model())) is schema
    service.model = model_of("b", "a", digest="two")
    assert session.schema_of(run_blocking(session.get_model())).names == ("b", "a")
