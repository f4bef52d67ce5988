"""Trace context and request id of callers are parsed strictly."""

import pytest

from anomaly_vae.service.telemetry.trace_context import TraceContext, request_id_of, trace_context_of
from tests.support.callers import CALLER, SAMPLED, TRACE


def parsed(*values, state=()):
    return trace_context_of([("traceparent", value) for value in values] + [("tracestate", value) for value in state])


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (SAMPLED, True),
        (f"00-{TRACE}-{CALLER}-00", False),
        (f"00-{TRACE}-{CALLER}-03", True),  # a flag that version 00 does not know
        (f"00-{TRACE}-{CALLER}-02", False),
        (f"cc-{TRACE}-{CALLER}-01", True),  # a later version
        (f"cc-{TRACE}-{CALLER}-01-what-comes-then", True),
        (f"cc-{TRACE}-{CALLER}-01-", True),
        (f"00-{'0' * 31}1-{'0' * 15}1-ff", True),
    ],
)
def test_a_traceparent_of_this_or_a_later_version_is_read(value, sampled):
    _, trace_id, span_id, *_ = value.split("-")
    assert parsed(value) == TraceContext(trace_id, span_id, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        TRACE,
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",  # version 00 ends there
        f"00-{TRACE}-{CALLER}-01-",
        f"cc-{TRACE}-{CALLER}-01more",
        f"cc-{TRACE}-{CALLER}-01.more",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        SAMPLED.upper(),
        f"00-{TRACE.replace('b', 'B')}-{CALLER}-01",
        f"00-{TRACE[:-1]}-{CALLER}-01",
        f"00-{TRACE}a-{CALLER}-01",
        f"00-{TRACE}-{CALLER}a-01",
        f"00-{TRACE}-{CALLER}-1",
        f"00-{TRACE}-{CALLER}-0g",
        f"0-{TRACE}-{CALLER}-01",
        f"00_{TRACE}_{CALLER}_01",
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        f"00-{TRACE.replace('4', '٤')}-{CALLER}-01",  # a digit, but not an ASCII one
        f"cc-{TRACE}-{CALLER}-01-\x1b[31m",
        SAMPLED.encode(),
    ],
)
def test_a_malformed_traceparent_is_ignored(value):
    assert parsed(value) is None


def test_two_traceparents_are_ignored():
    assert parsed(SAMPLED, SAMPLED) is None
    assert parsed() is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["rojo=1", "congo=2"], "rojo=1,congo=2"),
        (["rojo=1 ,\t congo=2, ,"], "rojo=1,congo=2"),
        (["0tenant@system=a b"], "0tenant@system=a b"),
        ([",".join(f"k{i}=v" for i in range(32))], ",".join(f"k{i}=v" for i in range(32))),
        ([",".join(f"k{i}=v" for i in range(33))], ""),
        (["rojo=1,rojo=2"], ""),
        (["Rojo=1"], ""),
        (["rojo"], ""),
        (["rojo=1=2"], ""),
        (["rojo=\x1b"], ""),
        ([f"{'k' * 257}=v"], ""),
        ([f"k={'v' * 257}"], ""),
        ([b"rojo=1"], ""),
        ([], ""),
    ],
)
def test_a_tracestate_is_kept_as_a_whole_or_dropped(values, state):
    assert parsed(SAMPLED, state=values) == TraceContext(TRACE, CALLER, True, state)
    assert parsed("nonsense", state=values) is None


def test_a_child_is_a_new_span_of_the_same_trace():
    parent = parsed(SAMPLED, state=["rojo=1"])
    one, other = parent.child(), parent.child()
    assert (one.trace_id, one.parent_id, one.sampled, one.state) == (TRACE, CALLER, True, "rojo=1")
    assert len({one.span_id, other.span_id, CALLER}) == 3
    assert parsed(f"00-{TRACE}-{one.span_id}-01") is not None


@pytest.mark.parametrize(
    ("value", "found"),
    [("r-17", "r-17"), ("x" * 128, "x" * 128), ("x" * 129, ""), ("two\nlines", ""), ("\x1b[31m", ""), (b"r-17", "")],
)
def test_a_request_id_in_the_metadata_is_used_only_if_it_is_printable(value, found):
    assert request_id_of([("other", "y"), ("x-request-id", value)]) == found
