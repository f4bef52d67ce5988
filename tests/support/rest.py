"""Requests over HTTP, as any client might send them, and a listener without a model."""

from __future__ import annotations

import asyncio
import contextlib
import email
import http.client
import json
import socket
import threading

__all__ = ["Wire", "ask", "infer", "loop_in_thread", "tensor_json"]


def ask(port, method, path, body=None, headers=None, timeout=30):
    """Return status, headers and JSON (or bytes) of the reply to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        data = reply.read()
        is_json = reply.headers.get("Content-Type") == "application/json"
        return reply.status, reply.headers, json.loads(data) if is_json and data else data


def tensor_json(rows, datatype="FP64", nested=True):
    """The input x in JSON; NaN becomes null."""
    values = [[None if value != value else value for value in row] for row in rows.tolist()]
    data = values if nested else [value for row in values for value in row]
    return {"name": "x", "datatype": datatype, "shape": list(rows.shape), "data": data}


def infer(port, inputs, model="model", headers=None, **more):
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return ask(port, "POST", f"/v2/models/{model}/infer", {"inputs": inputs} | more, headers)


class Wire:
    """A connection for raw bytes."""

    def __init__(self, port, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self._file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        """Return status, headers and body of the next reply."""
        lines = []
        while (line := self._file.readline()) != b"\r\n":
            assert line, lines
            lines.append(line)
        headers = email.message_from_bytes(b"".join(lines[1:]))
        return int(lines[0].split()[1]), headers, self._file.read(int(headers["Content-Length"]))

    def is_closed(self):
        """Wait for the end of the connection; return whether it came without further bytes."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


@contextlib.contextmanager
def loop_in_thread(make):
    """Run ``make()`` on an event loop in a thread; give what it returns and the loop. ``close`` of it ends the run."""
    started, stop = threading.Event(), None
    found = {}

    async def main():
        nonlocal stop
        stop = asyncio.Event()
        found["it"], found["loop"] = make(), asyncio.get_running_loop()
        started.set()
        await stop.wait()
        found["it"].close()
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(30)
    try:
        yield found["it"], found["loop"]
    finally:
        found["loop"].call_soon_threadsafe(stop.set)
        thread.join(30)
