"""The requests of the serving benchmark, and checks of the replies."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

import anomaly_vae
from anomaly_vae.arrays import FloatArray
from anomaly_vae.service.pb import inference_pb2, scoring_pb2
from tests.benchmarks.serving_graph import Plain
from tests.benchmarks.serving_servers import Graph, Running
from tests.load.model import table

__all__ = ["WORKS", "OurQuestion", "PeerQuestion", "Question", "Rows", "Work", "assert_all_ok"]

_SCORE = "/anomaly_vae.v1.ScoringService/Score"
_INFER = "/inference.GRPCInferenceService/ModelInfer"

# Tolerance, relative and in nats: the peers' log-weights are float32, ours float64.
_RTOL = 1e-3

# Pairs of row and sample that a peer with tiles gives to onnxruntime in one call: the fastest size of those measured.
_TILE_PAIRS = 4096


class Work(NamedTuple):
    """A kind of work.

    Attributes:
        name: Name, also that of the peers' model.
        num_samples: Samples K in the graph that peers serve.
        title: Title in tables.
    """

    name: str
    num_samples: int
    title: str


WORKS = (
    Work("k64", 64, "log p(x) with K = 64, all servers the same"),
    Work("k1024", 1024, "flags with K = 1,024: ours by the cascade, theirs by log p(x) of every sample"),
)


class Rows:
    """Rows, a scorer and its results."""

    def __init__(self, model: Path, num_rows: int) -> None:
        """Draw rows of the training table with noise and score them."""
        self.scorer = anomaly_vae.load(model, threads=1)
        self.plain = Plain(self.scorer)
        self.values = table(num_rows, seed=1)
        self.x, self.base = self.plain.inputs(self.values)
        self.log_px = {work.name: self.plain.log_px(self.values, work.num_samples) for work in WORKS}
        self.scores = self.scorer.score_rows(self.values, num_samples=WORKS[0].num_samples)
        self.flags = self.scorer.flag_rows(self.values)

    def graphs(self, folder: Path, *, tiled: bool) -> list[Graph]:
        """Write the graphs of all works to a folder and return them, for whole batches or for tiles."""
        graphs = []
        for work in WORKS:
            path = folder / f"{work.name}.onnx"
            path.write_bytes(self.plain.graph(work.num_samples))
            rows = _TILE_PAIRS // work.num_samples if tiled else len(self.x) * 1_000
            graphs.append(Graph(work.name, path, self.x.shape[1], rows))
        return graphs

    def facts(self) -> dict[str, float]:
        """Return the cascade's samples a row, and how often its flags differ from a threshold on the peers' log p."""
        theirs = self.log_px[WORKS[1].name] < self.scorer.threshold
        return {
            "flagged": float(self.flags.is_anomaly.mean()),
            "samples_per_row": float(self.flags.num_samples.mean()),
            "flags_that_differ": float((self.flags.is_anomaly != theirs).mean()),
        }


class Question(Protocol):
    """A request of some work and rows, and its correct answer."""

    method: str
    message: bytes

    def check(self, reply: bytes) -> None:
        """Raise AssertionError if the reply is not correct."""
        ...


class OurQuestion:
    """A request to our service."""

    def __init__(self, rows: Rows, work: Work, num_rows: int) -> None:
        """Make a request of the first ``num_rows`` rows."""
        values = rows.values[:num_rows]
        options = {"num_samples": work.num_samples} if work is WORKS[0] else {"flag_only": True}
        tensor = scoring_pb2.Tensor(data=values.astype("<f8").tobytes(), dtype="FP64", shape=values.shape)
        self.method, self.message = _SCORE, scoring_pb2.ScoreRequest(tensor=tensor, **options).SerializeToString()
        self._rows, self._work, self._num_rows = rows, work, num_rows

    def check(self, reply: bytes) -> None:
        """See :class:`Question`."""
        response = scoring_pb2.ScoreResponse.FromString(reply)
        if self._work is WORKS[0]:
            _assert_close(np.asarray(response.log_px), self._rows.log_px[self._work.name][: self._num_rows])
        else:
            np.testing.assert_array_equal(response.is_anomaly, self._rows.flags.is_anomaly[: self._num_rows])


class PeerQuestion:
    """A request to a peer, in the Open Inference Protocol."""

    def __init__(self, rows: Rows, work: Work, num_rows: int) -> None:
        """Make a request of the first ``num_rows`` rows."""
        x = rows.x[:num_rows]
        tensor = inference_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=x.shape)
        request = inference_pb2.ModelInferRequest(
            model_name=work.name, inputs=[tensor], raw_input_contents=[x.astype("<f4").tobytes()]
        )
        self.method, self.message = _INFER, request.SerializeToString()
        self._base, self._expected = rows.base[:num_rows], rows.log_px[work.name][:num_rows]

    def check(self, reply: bytes) -> None:
        """See :class:`Question`."""
        (raw,) = inference_pb2.ModelInferResponse.FromString(reply).raw_output_contents
        _assert_close(np.frombuffer(raw, dtype="<f4") + self._base, self._expected)


def _assert_close(actual: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=_RTOL, atol=_RTOL)


def assert_all_ok(server: Running, at_least: int) -> None:
    """Raise RuntimeError if our service counted a failed call, or fewer than ``at_least`` successful ones.

    Cancelled calls are no failures: the end of a load cuts them off.
    """
    codes = dict(_handled(server))
    failed = {code: count for code, count in codes.items() if count and code not in ("OK", "Canceled")}
    if failed or codes.get("OK", 0) < at_least:
        raise RuntimeError(f"h2load counted {at_least} calls as OK, the service counted: {codes}")


def _handled(server: Running) -> Iterator[tuple[str, float]]:
    url = f"http://127.0.0.1:{server.ports.metrics}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        text = reply.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "grpc_server_handled_total" and sample.labels["grpc_method"] == "Score":
                yield sample.labels["grpc_code"], sample.value
