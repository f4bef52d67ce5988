"""Run a real service in its own process, and call it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
from google.rpc.error_details_pb2 import BadRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from prometheus_client.parser import text_string_to_metric_families

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from tests.support.forked import Forked, without_page_cache

INVALID = grpc.StatusCode.INVALID_ARGUMENT
SERVING = health_pb2.HealthCheckResponse.SERVING
ARRAYS = (
    "log_px",
    "score",
    "elbo",
    "std_error",
    "ess_ratio",
    "pareto_k",
    "reliable",
    "p_value",
    "is_anomaly",
    "num_samples",
)


class Service:
    def __init__(self, process, port, metrics_port):
        self.process = process
        self.port = port
        self.metrics_port = metrics_port
        self.target = f"127.0.0.1:{port}"
        self.log_so_far = ""
        self.http_port = None

    def stop(self, number=signal.SIGTERM, timeout=30):
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        self.process.wait(timeout)
        return self.process.returncode

    def log(self):
        """Return all of standard error after the process has ended."""
        return self.log_so_far + self.process.stderr.read()

    def get(self, path, method="GET", **headers):
        """Return status and text of an HTTP request to the metrics port."""
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers, method=method), timeout=10
            ) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name, **labels):
        """Return the sum of a sample's values over all series with these labels."""
        values = self._values(name, labels)
        assert values, f"no sample {name} {labels}"
        return sum(values)

    def has_metric(self, name, **labels):
        """Return whether there is a series with these labels."""
        return bool(self._values(name, labels))

    def _values(self, name, labels):
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def health(self, service=""):
        with self.channel() as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status

    def channel(self):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        return grpc.insecure_channel(self.target, options)


AS_INSTALLED = (sys.executable, "-m", "anomaly_vae")


@contextlib.contextmanager
def running(model, *options, env=None, command=None):
    """Run ``anomaly-vae serve`` on free ports. Stop it at the end if the test has not.

    Without a command it is forked, and its page of metrics is as new as its reading, not up to a second old.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    own |= {"ANOMALY_VAE_PORT": "0", "ANOMALY_VAE_METRICS_PORT": "0"} | (env or {})
    arguments = ["serve", str(model), *map(str, options)]
    if command is None:
        process = Forked(arguments, environment=own, prepare=without_page_cache)
    else:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*map(str, command), *arguments], env=own, **pipes)
    try:
        if "json" in options or "json" in (env or {}).values():
            service = described_in_json(process)
        else:
            service = described_in_text(process)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def described_in_text(process):
    """Return the service, with the ports from its line on standard output."""
    line = process.stdout.readline()
    assert line.startswith("serving "), line + process.stderr.read()
    grpc_part, http_part = line.split(", metrics on ")
    grpc_part, _, rest_part = grpc_part.partition(", HTTP on ")
    service = Service(process, int(grpc_part.rsplit(":", 1)[1]), int(http_part.rsplit(":", 1)[1].split("/")[0]))
    service.line = line
    if rest_part:
        service.http_port = int(rest_part.rsplit(":", 1)[1].split("/")[0])
    return service


def described_in_json(process):
    """Return the service, with the ports from its JSON log."""
    log, http_port = "", None
    while line := process.stderr.readline():
        log += line
        record = json.loads(line)
        if record["event"] == "http_listening":
            http_port = record["http_port"]
        if record["event"] == "serving":
            service = Service(process, record["port"], record["metrics_port"])
            service.log_so_far, service.http_port = log, http_port
            return service
    raise AssertionError(log)


def tensor(rows, dtype="FP64"):
    rows = np.asarray(rows)
    data = rows.astype("<f8" if dtype == "FP64" else "<f4").tobytes()
    return pb.Tensor(data=data, dtype=dtype, shape=rows.shape)


def columns(rows, names):
    return pb.Columns(
        column=[pb.Column(name=name, fp64=rows[:, d].astype("<f8").tobytes()) for d, name in enumerate(names)]
    )


def score(channel, request=None, timeout=60, **fields):
    return ScoringServiceStub(channel).Score(request or pb.ScoreRequest(**fields), timeout=timeout)


def send_bytes(channel, data, method=f"/{SERVICE}/Score", timeout=60):
    """Send a message as raw bytes, without a stub."""
    return channel.unary_unary(method)(data, timeout=timeout)


def fault_of(call, *arguments, **options):
    """Return code, text and BadRequest fields of a call that must fail."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        fields = []
        for detail in status.details if status else ():
            bad = BadRequest()
            if detail.Unpack(bad):
                fields += [violation.field for violation in bad.field_violations]
        return error.code(), error.details(), fields
    raise AssertionError("the call did not fail")


def assert_same_bits(reply, scores):
    """Check that a reply, or Scores, has exactly the same bits as Scores."""
    for name in ARRAYS:
        expected = getattr(scores, name)
        actual = np.asarray(getattr(reply, name), dtype=expected.dtype)
        assert actual.tobytes() == expected.tobytes(), name
    assert [reason or None for reason in reply.reason] == scores.reason


def eventually(condition, seconds=60.0):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.02)
