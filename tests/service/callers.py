"""What callers of a service do, and what those see who start one."""

import os
import queue
import signal
import subprocess
import sys

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.service.running import tensor

EVERYWHERE = "0.0.0.0"  # noqa: S104


def stopped_log(service):
    """Standard error after the end of the service."""
    service.process.send_signal(signal.SIGTERM)
    return service.process.communicate(timeout=30)[1]


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def call(channel, rows, *metadata):
    return ScoringServiceStub(channel).Score(pb.ScoreRequest(tensor=tensor(rows)), metadata=metadata, timeout=10)


def refused_start(model, *options):
    """Exit code and the one line on standard error of a service that must not start."""
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model), *map(str, options)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    own |= {"ANOMALY_VAE_PORT": "0", "ANOMALY_VAE_METRICS_PORT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=own, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


class QueueOfRequests:
    """Requests of a stream, given one by one; None ends it."""

    def __init__(self):
        self._queue = queue.Queue()
        self.put = self._queue.put

    def __iter__(self):
        return self

    def __next__(self):
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request
