"""What happens around every call."""

import asyncio
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from anomaly_vae.service.call_errors import CallError, invalid
from anomaly_vae.service.rpc.arrivals import Arrivals
from anomaly_vae.service.rpc.interceptor import CallInterceptor, is_expired
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import begin_record, current_call
from tests.support.contexts import Context, settle
from tests.support.running import INVALID, fault_of, send_bytes


@pytest.mark.parametrize(
    ("remaining", "allowed", "expired"),
    [
        (None, None, False),
        (0.0, 0.3, True),
        (0.04, 0.3, True),
        (0.2, 0.3, False),
        (0.9, 10.0, True),
        (5.0, 10.0, False),
    ],
)
def test_a_deadline_has_passed_a_little_before_the_clock_of_the_server_says_so(remaining, allowed, expired):
    assert is_expired(remaining, allowed) is expired


def test_bytes_that_are_no_message_of_health_or_reflection_are_invalid(channel):
    assert fault_of(send_bytes, channel, b"\xff\xff", "/grpc.health.v1.Health/Check")[0] is INVALID
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    assert fault_of(list, watch(b"\xff\xff", timeout=10))[0] is INVALID
    reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert fault_of(list, reflect(iter([b"\xff\xff"]), timeout=10))[0] is INVALID


CALL, STREAM, PROBE = "/a.Service/Call", "/a.Service/Stream", "/grpc.health.v1.Health/Check"


class Observed:
    """Keeps the record of each call that has ended, with its status."""

    def __init__(self):
        self.ended = []

    def begin(self, kind, service, method, context):
        return begin_record(kind, service, method, context.peer())

    def end(self, record, code, seconds, _context):
        assert record is current_call()
        record.code, record.seconds = code, seconds
        self.ended.append(record)


class Wrapped:
    """An interceptor around one handler per method, with at most four calls."""

    def __init__(self, refusal=None, **handlers):
        self.metrics, self.observed = Metrics(1, 1), Observed()
        self.calls = OpenCalls(4, self.metrics)
        self.handlers = {CALL: unary(handlers.get("call")), PROBE: unary(handlers.get("call"))}
        self.handlers[STREAM] = grpc.stream_stream_rpc_method_handler(handlers.get("stream"))
        self.arrivals = Arrivals(handlers.get("seconds", 60.0))
        self.interceptor = CallInterceptor(
            self.calls, self.arrivals, self.metrics, lambda *_: refusal, {STREAM}, self.observed
        )

    async def handler(self, method):
        async def continuation(details):
            return self.handlers.get(details.method)

        details = SimpleNamespace(method=method, invocation_metadata=())
        return await self.interceptor.intercept_service(continuation, details)

    async def answer(self, data, method=CALL, context=None):
        """Return the reply, and the context in which the call has ended."""
        handler, context = await self.handler(method), context or Context()
        behaviour, reply = handler.unary_unary or handler.stream_stream, None
        try:
            reply = await behaviour(data, context)
        except grpc.aio.AbortError:
            assert context.aborted is not None
        context.end()
        return reply, context

    def handled(self, method=CALL, **labels):
        _, service, name = method.split("/")
        labels = {"grpc_service": service, "grpc_method": name, "grpc_type": "unary"} | labels
        return self.metrics.registry.get_sample_value("grpc_server_handled_total", labels)


def unary(behaviour):
    return grpc.unary_unary_rpc_method_handler(behaviour, StringValue.FromString, StringValue.SerializeToString)


async def shout(message, _context):
    return StringValue(value=message.value.upper())


def ended(wrapped):
    return [(record.kind, record.service, record.method, record.code.name) for record in wrapped.observed.ended]


def test_a_message_is_parsed_and_its_reply_is_serialised_counted_and_recorded():
    wrapped = Wrapped(call=shout)
    reply, context = asyncio.run(wrapped.answer(StringValue(value="hear").SerializeToString()))
    assert StringValue.FromString(reply).value == "HEAR"
    assert context.aborted is None
    assert wrapped.handled(grpc_code="OK") == 1
    assert ended(wrapped) == [("unary", "a.Service", "Call", "OK")]
    assert wrapped.calls.unfinished == 0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff", "request: the message cannot be parsed; is it built from this service's .proto?"),
        (bytes(4_097), "request: has 4097 bytes, this method accepts at most 4096"),
    ],
)
def test_a_message_that_is_wrong_or_long_reaches_no_handler(data, text):
    wrapped = Wrapped()
    _, context = asyncio.run(wrapped.answer(data))
    assert context.aborted[:2] == (INVALID, text)
    assert wrapped.handled(grpc_code="InvalidArgument") == 1


def test_an_error_that_a_handler_raises_is_the_status():
    async def refuse(_message, _context):
        raise invalid("name", "is unknown")

    wrapped = Wrapped(call=refuse)
    _, context = asyncio.run(wrapped.answer(b""))
    assert context.aborted[:2] == (INVALID, "name: is unknown")
    assert ended(wrapped) == [("unary", "a.Service", "Call", "INVALID_ARGUMENT")]
    assert wrapped.observed.ended[0].error_type == ""


def test_any_other_exception_is_internal_and_only_its_type_is_recorded():
    """Its text may hold values of a row."""

    async def fail(_message, _context):
        raise KeyError("31337")

    wrapped = Wrapped(call=fail)
    _, context = asyncio.run(wrapped.answer(b""))
    assert context.aborted[:2] == (grpc.StatusCode.INTERNAL, "internal error; the server's log says where")
    (record,) = wrapped.observed.ended
    assert (record.code, record.error_type) == (grpc.StatusCode.INTERNAL, "KeyError")
    assert record.frames[-1].endswith(" in fail")
    assert "31337" not in repr(record)


@pytest.mark.parametrize(("remaining", "code"), [(None, "CANCELLED"), (5.0, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")])
def test_a_call_whose_caller_has_gone_is_cancelled_or_late(remaining, code):
    async def never(_message, _context):
        await asyncio.Event().wait()

    async def scenario():
        wrapped = Wrapped(call=never)
        task = asyncio.create_task(wrapped.answer(b"", context=Context(remaining=remaining)))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        return wrapped

    assert ended(asyncio.run(scenario())) == [("unary", "a.Service", "Call", code)]


@pytest.mark.parametrize("method", [CALL, STREAM])
def test_a_refused_call_is_not_read(method):
    """Its handler is one of streams, which gets no message before it asks for one."""

    async def scenario():
        wrapped = Wrapped(CallError(grpc.StatusCode.UNAUTHENTICATED, "no token"))
        assert (await wrapped.handler(method)).request_streaming
        _, context = await wrapped.answer(None, method)
        return wrapped, context

    wrapped, context = asyncio.run(scenario())
    assert context.aborted[:2] == (grpc.StatusCode.UNAUTHENTICATED, "no token")
    kind = "unary" if method == CALL else "bidi_stream"
    assert wrapped.handled(method, grpc_type=kind, grpc_code="Unauthenticated") == 1


def test_an_unknown_method_has_no_handler_and_is_not_counted():
    wrapped = Wrapped()
    assert asyncio.run(wrapped.handler("/a.Service/Other")) is None
    assert ended(wrapped) == []


def test_with_too_many_calls_further_ones_are_refused_but_probes_are_not():
    wrapped = Wrapped(call=shout)
    for i in range(4):
        wrapped.calls.admit(Context(peer=str(i)))
    _, context = asyncio.run(wrapped.answer(b""))
    assert context.aborted[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    reply, _ = asyncio.run(wrapped.answer(b"", PROBE))
    assert reply == b""


def test_the_replies_of_a_stream_are_sent_one_by_one():
    async def count(requests, _context):
        async for request in requests:
            yield request * 2

    async def two():
        yield b"a"
        yield b"b"

    wrapped = Wrapped(stream=count)
    _, context = asyncio.run(wrapped.answer(two(), STREAM))
    assert context.written == [b"aa", b"bb"]
    assert ended(wrapped) == [("bidi_stream", "a.Service", "Stream", "OK")]


def test_a_stream_that_the_end_of_the_service_cancels_is_unavailable():
    """A stream in progress, and one that begins afterwards."""

    async def silent(requests, _context):
        await asyncio.Event().wait()
        yield b""

    async def scenario():
        wrapped = Wrapped(stream=silent)
        task = asyncio.create_task(wrapped.answer(None, STREAM))
        await settle()
        wrapped.calls.end_streams()
        late = await wrapped.answer(None, STREAM, Context(peer="another"))
        return [context.aborted[:2] for _, context in (await task, late)]

    ending = grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again"
    assert asyncio.run(scenario()) == [ending, ending]
