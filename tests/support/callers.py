"""Helpers for calling a service and for starting one that is refused."""

import os
import queue
import signal
import subprocess
import sys

import grpc

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.running import tensor

EVERYWHERE = "0.0.0.0"  # noqa: S104

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"  # a traceparent, as in the W3C standard


def stopped_log(service):
    """Stop the service and return its standard error."""
    service.process.send_signal(signal.SIGTERM)
    return service.process.communicate(timeout=30)[1]


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def call(channel, rows, *metadata):
    return ScoringServiceStub(channel).Score(pb.ScoreRequest(tensor=tensor(rows)), metadata=metadata, timeout=10)


def secure_channel(service, ca, pair=(None, None)):
    """A new connection that trusts an authority, with a client's key and certificate or none."""
    credentials = grpc.ssl_channel_credentials(ca, *pair)
    return grpc.secure_channel(service.target, credentials, [("grpc.use_local_subchannel_pool", 1)])


def refused_start(model, *options):
    """Return the exit code and the one line on standard error of a service that must not start."""
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model), *map(str, options)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    own |= {"ANOMALY_VAE_PORT": "0", "ANOMALY_VAE_METRICS_PORT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=own, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


class QueueOfRequests:
    """The requests of a stream, put one at a time. None ends the stream."""

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
