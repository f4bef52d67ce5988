"""Send requests of one kind to a server with h2load (nghttp2) and measure them."""

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

# If fewer requests than this fit into the given time, a fixed number of requests is sent instead, for at most this many
# times the duration. The end of a fixed duration cuts off requests, which would distort the rate of a few. Chosen, not
# measured: more requests give a steadier rate and take longer.
_MIN_REQUESTS, _MAX_DURATIONS = 48, 5.0

# Seconds after which a run of h2load counts as failed. Chosen, not measured: far above the time of any load.
_TIMEOUT_S = 300


class Load(NamedTuple):
    """The result of a load.

    Attributes:
        requests: Completed requests, without those of the warm-up.
        per_second: Requests per second.
        p50, p99: Quantiles of the latency, milliseconds.
    """

    requests: int
    per_second: float
    p50: float
    p99: float


def missing_h2load() -> str:
    """Return what to install if h2load is missing, else an empty text."""
    return "" if shutil.which("h2load") else "h2load is missing: install Debian's nghttp2-client"


def load(port: int, method: str, message: bytes, reply_bytes: int, clients: int, seconds: float) -> Load:
    """Let clients, each with its own connection, send requests one after the other.

    Args:
        port: Port of the server.
        method: Path of the gRPC method.
        message: The request.
        reply_bytes: Size of a correct reply, without gRPC's prefix.
        clients: Number of clients.
        seconds: Duration, after a warm-up of a quarter of it; up to five times as long if requests are slow.

    Raises:
        RuntimeError: A request failed.
    """
    with tempfile.TemporaryDirectory() as name:
        body = Path(name) / "body"
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        log = Path(name) / "log"
        first = _run(port, method, body, reply_bytes, log, clients, ["-n", str(max(2 * clients, 4))])
        timing = ["-D", f"{1e3 * seconds:.0f}ms", "--warm-up-time", f"{250 * seconds:.0f}ms"]
        if first.per_second * seconds < _MIN_REQUESTS:
            requests = min(_MIN_REQUESTS, first.per_second * _MAX_DURATIONS * seconds)
            timing = ["-n", str(clients * math.ceil(requests / clients))]
        return _run(port, method, body, reply_bytes, log, clients, timing)


def _run(port: int, method: str, body: Path, reply_bytes: int, log: Path, clients: int, timing: list[str]) -> Load:
    command = ["h2load", "-t", "1", "-m", "1", "-c", str(clients), "-d", str(body), f"--log-file={log}", *timing]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    log.unlink(missing_ok=True)
    done = subprocess.run(
        [*command, *headers, f"http://127.0.0.1:{port}{method}"], capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    match = re.search(
        r"finished in .*, ([\d.]+) req/s.*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout.*?"
        r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx.*?\((\d+)\) data",
        done.stdout,
        re.DOTALL,
    )
    if done.returncode != 0 or match is None:
        raise RuntimeError(f"h2load ended with code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    succeeded, *bad = (int(match[i]) for i in (2, 3, 4, 5, 7, 8, 9))
    # A gRPC error is HTTP 200 without a message. h2load counts it as a success; the number of bytes shows it.
    if any(bad) or not succeeded or int(match[10]) < succeeded * (reply_bytes + 5):
        raise RuntimeError(
            f"h2load, {clients} clients: {succeeded} succeeded with {match[10]} bytes, {reply_bytes + 5} expected of "
            f"each; failed, errored, timeout, 3xx, 4xx, 5xx: {', '.join(map(str, bad))}"
        )
    milliseconds = np.loadtxt(log, ndmin=2)[:, 2] / 1e3
    return Load(succeeded, float(match[1]), *(float(np.quantile(milliseconds, q)) for q in (0.5, 0.99)))
