"""What decides on a call before its message is read."""

import contextvars

import grpc
import pytest

from anomaly_vae.service.access.gate import Gate
from anomaly_vae.service.access.token_file import add_token, make_token
from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import begin_record
from tests.support.callers import bearer

METHOD, HEALTH = "/a.Service/Call", "/grpc.health.v1.Health/"
BATCH = (("x-priority", "batch"),)
FULL = CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")


def gate(tokens=None, too_many=None):
    metrics = Metrics(1, 1)
    return Gate(tokens, metrics, lambda: too_many, always=(HEALTH,)), metrics.registry.get_sample_value


def let_in(gate, metadata=()):
    """Return who the next record says makes the call."""

    def begin():
        assert gate.refuse(METHOD, metadata) is None
        return begin_record("unary", "a.Service", "Call").identity

    return contextvars.copy_context().run(begin)


@pytest.fixture
def tokens(tmp_path):
    """Tokens by their callers' names, and the gate that asks for them."""
    callers = [Caller("online", rows_per_second=5), Caller("nightly", Priority.BATCH), Caller("boss", admin=True)]
    made = {caller.name: make_token() for caller in callers}
    for caller in callers:
        add_token(tmp_path / "tokens", caller, made[caller.name])
    return made, Tokens(tmp_path / "tokens")


def test_without_tokens_everybody_is_let_in_and_nobody_is_known():
    assert let_in(gate()[0], bearer("anything")) == NO_TOKEN
    assert (NO_TOKEN.name, NO_TOKEN.priority, NO_TOKEN.admin) == ("-", "online", False)


def test_a_token_says_who_calls_and_what_they_may_do(tokens):
    made, known = tokens
    guarded, _ = gate(known)
    assert let_in(guarded, bearer(made["online"])) == Caller("online", rows_per_second=5)
    assert let_in(guarded, bearer(made["boss"])) == Caller("boss", admin=True)


def test_a_call_without_a_token_is_refused_and_counted(tokens):
    guarded, sample = gate(tokens[1])
    error = guarded.refuse(METHOD, bearer(make_token()))
    assert error.code is grpc.StatusCode.UNAUTHENTICATED
    assert sample("anomaly_vae_rejected_total", {"reason": "unauthenticated"}) == 1


def test_a_refused_call_is_nobodys_although_its_task_has_had_a_caller(tokens):
    made, known = tokens
    guarded, sample = gate(known)

    def two_requests_of_one_connection():
        assert guarded.refuse(METHOD, bearer(made["boss"])) is None
        assert guarded.refuse(METHOD, ()) is not None
        assert begin_record("unary", "a.Service", "Call").identity == NO_TOKEN

    contextvars.copy_context().run(two_requests_of_one_connection)
    assert sample("anomaly_vae_caller_rejected_total", {"caller": "-", "reason": "unauthenticated"}) == 1


@pytest.mark.parametrize("too_many", [None, FULL])
def test_methods_that_are_always_allowed_need_neither_token_nor_room(tokens, too_many):
    guarded, _ = gate(tokens[1], too_many)
    assert guarded.refuse(f"{HEALTH}Check", ()) is None
    refuse = contextvars.copy_context().run  # a call that is let in is this context's own
    assert refuse(guarded.refuse, METHOD, bearer(tokens[0]["boss"])) is too_many


def test_the_metadata_lower_the_priority_and_never_raise_it(tokens):
    made, known = tokens
    for guarded, metadata in ((gate()[0], ()), (gate(known)[0], bearer(made["online"]))):
        assert let_in(guarded, (*metadata, *BATCH)).priority is Priority.BATCH
        assert let_in(guarded, (*metadata, ("x-priority", "urgent"))).priority is Priority.ONLINE
        assert let_in(guarded, metadata).priority is Priority.ONLINE
    raised = (*bearer(made["nightly"]), ("x-priority", "online"))
    assert let_in(gate(known)[0], raised) == Caller("nightly", Priority.BATCH)
