"""Requests of one kind to a server by h2load (nghttp2), and what came of them."""

from __future__ import annotations

import math
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Load", "load", "missing_h2load"]

# Where fewer requests than this fit in the time asked for, they are counted out, for up to so many times as long: the
# time of a few cannot be told from a fixed duration, whose end cuts some off.
_LEAST_REQUESTS, _MOST_TIMES = 48, 5.0


class Load(NamedTuple):
    """What came of a load.

    Attributes:
        requests: Done, not counting those to warm up.
        per_second: Of them.
        p50: Milliseconds.
        p99: Milliseconds.
    """

    requests: int
    per_second: float
    p50: float
    p99: float


def missing_h2load() -> str:
    """What to do if h2load is not there; empty if it is."""
    return "" if shutil.which("h2load") else "h2load is missing: install Debian's nghttp2-client"


def load(port: int, method: str, message: bytes, reply_bytes: int, clients: int, seconds: float) -> Load:
    """Clients with a connection each send a request, wait for the reply, send the next.

    Args:
        port: Of the server.
        method: Path of the gRPC method.
        message: The request.
        reply_bytes: Size of the right reply, without gRPC's prefix.
        clients: How many.
        seconds: How long, after a quarter of it to warm up; up to five times as long where requests are slow.

    Raises:
        RuntimeError: A request failed.
    """
    with tempfile.TemporaryDirectory() as name:
        body = Path(name) / "body"
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        log = Path(name) / "log"
        first = _run(port, method, body, reply_bytes, log, clients, ["-n", str(max(2 * clients, 4))])
        timing = ["-D", f"{1e3 * seconds:.0f}ms", "--warm-up-time", f"{250 * seconds:.0f}ms"]
        if first.per_second * seconds < _LEAST_REQUESTS:
            requests = min(_LEAST_REQUESTS, first.per_second * _MOST_TIMES * seconds)
            timing = ["-n", str(clients * math.ceil(requests / clients))]
        return _run(port, method, body, reply_bytes, log, clients, timing)


def _run(port: int, method: str, body: Path, reply_bytes: int, log: Path, clients: int, timing: list[str]) -> Load:
    command = ["h2load", "-t", "1", "-m", "1", "-c", str(clients), "-d", str(body), f"--log-file={log}", *timing]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    log.unlink(missing_ok=True)
    done = subprocess.run(
        [*command, *headers, f"http://127.0.0.1:{port}{method}"], capture_output=True, text=True, timeout=300
    )
    found = re.search(
        r"finished in .*, ([\d.]+) req/s.*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout.*?"
        r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx.*?\((\d+)\) data",
        done.stdout,
        re.DOTALL,
    )
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"h2load ended with code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    succeeded, *bad = (int(found[i]) for i in (2, 3, 4, 5, 7, 8, 9))
    # A gRPC error is HTTP 200 with no message: h2load calls it a success, its bytes tell.
    if any(bad) or not succeeded or int(found[10]) < succeeded * (reply_bytes + 5):
        raise RuntimeError(
            f"h2load, {clients} clients: {succeeded} succeeded with {found[10]} bytes, {reply_bytes + 5} wanted of "
            f"each; failed, errored, timeout, 3xx, 4xx, 5xx: {', '.join(map(str, bad))}"
        )
    milliseconds = np.loadtxt(log, ndmin=2)[:, 2] / 1e3
    return Load(succeeded, float(found[1]), *(float(np.quantile(milliseconds, q)) for q in (0.5, 0.99)))
