"""A service on loopback that fails according to a script, and otherwise forwards calls to a real service."""

import asyncio
import contextlib
import inspect
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from anomaly_vae.client import AsyncClient, Client


@dataclass(frozen=True)
class Failure:
    code: grpc.StatusCode
    retry_after: float | None = None
    details: bytes | None = None
    text: str = "scripted failure"

    def abort(self, context):
        context.set_trailing_metadata(self.trailing())
        context.abort(self.code, self.text)

    def trailing(self):
        if self.details is not None:
            return (("grpc-status-details-bin", self.details),)
        if self.retry_after is None:
            return ()
        delay = Duration()
        delay.FromMilliseconds(round(1000 * self.retry_after))
        packed = Any()
        packed.Pack(RetryInfo(retry_delay=delay))
        status = Status(code=self.code.value[0], message=self.text, details=[packed])
        return (("grpc-status-details-bin", status.SerializeToString()),)


class Scripted(grpc.GenericRpcHandler):
    """Forwards calls to a real service, unless a script says otherwise.

    Attributes:
        script: One entry per Score call: a :class:`Failure`, or None to forward the call.
        other_script: Failures of all other calls.
        before: Called at the start of each Score call, with its number and its context.
        metadata: Of each Score call.
        remaining: Seconds until the deadline of each Score call.
        most: Largest number of Score calls in progress at a time.
    """

    def __init__(self, real):
        self.real = real
        self.script, self.other_script = deque(), deque()
        self.before = None
        self.metadata = []
        self.remaining = []
        self.most = 0
        self._in_progress = 0
        self._lock = threading.Lock()

    def service(self, details):
        method = details.method
        answer = self._score if method.endswith("/Score") else partial(self._other, method)
        return grpc.unary_unary_rpc_method_handler(answer)

    def _score(self, data, context):
        with self._lock:
            number = len(self.remaining)
            self.metadata.append(dict(context.invocation_metadata()))
            self.remaining.append(context.time_remaining())
            failure = self.script.popleft() if self.script else None
            self._in_progress += 1
            self.most = max(self.most, self._in_progress)
        try:
            if self.before:
                self.before(number, context)
            if failure:
                failure.abort(context)
            return self._pass_on("/anomaly_vae.v1.ScoringService/Score", data)
        finally:
            with self._lock:
                self._in_progress -= 1

    def _other(self, method, data, context):
        if self.other_script:
            self.other_script.popleft().abort(context)
        return self._pass_on(method, data)

    def _pass_on(self, method, data):
        return self.real.unary_unary(method)(data, timeout=60)


@contextlib.contextmanager
def scripted(real_target, credentials=None):
    """Run a :class:`Scripted` in front of a real service; its ``target`` is its address, "host:port"."""
    with grpc.insecure_channel(real_target) as channel:
        service = Scripted(channel)
        server = grpc.server(ThreadPoolExecutor(16), handlers=[service], options=[("grpc.so_reuseport", 0)])
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        service.target = f"127.0.0.1:{port}"
        server.start()
        try:
            yield service
        finally:
            server.stop(0).wait(10)


class Clock:
    """A clock that advances only in sleeps."""

    def __init__(self):
        self.time = 1000.0
        self.sleeps = []

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds


def ask(kind, target, question, clock=None, draw=0.5, **options):
    """Make a client of either kind, pass it to ``question``, and return the result."""

    def prepared(client):
        if clock:
            client._session.caller.now = lambda: clock.time
            client._session.caller.draw = lambda: draw
            client._transport.sleep = clock.sleep
        return client

    if kind is Client:
        with Client(target, **options) as client:
            return question(prepared(client))

    async def main():
        async with AsyncClient(target, **options) as client:
            answer = question(prepared(client))
            return await answer if inspect.isawaitable(answer) else answer

    return asyncio.run(main())
