"""The context of a call, without gRPC."""

from __future__ import annotations

import asyncio

import grpc

__all__ = ["Context", "settle"]


async def settle():
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


class Context:
    """Records how a call is ended and what it sends.

    Attributes:
        written: The messages sent.
        aborted: Code, text and trailing metadata of its end; None before.
    """

    def __init__(self, peer="ipv4:127.0.0.1:40000", remaining=None):
        self.written, self.aborted = [], None
        self._peer, self._remaining, self._callbacks = peer, remaining, []

    def peer(self):
        return self._peer

    def time_remaining(self):
        return self._remaining

    def code(self):
        return self.aborted[0]

    def add_done_callback(self, callback):
        self._callbacks.append(callback)

    def end(self):
        """Call what gRPC calls once the reply is sent or the caller has gone."""
        for callback in self._callbacks:
            callback(self)

    async def write(self, message):
        self.written.append(message)

    async def abort(self, code, text="", trailing=()):
        self.aborted = code, text, tuple(trailing)
        raise grpc.aio.AbortError
