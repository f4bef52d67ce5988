r"""One ONNX graph from rows to log p(x), made of a bundle's networks; the peers of the serving benchmark serve it.

.. math:: \log \hat p(x) = \log \tfrac1K \sum_k \exp(
          \log p(x, z_k) + \log\sigma + \tfrac12 e_k^2 + \tfrac L2 \log 2\pi), \qquad z_k = \mu + \sigma e_k

with the bundle's points e_k as constants. Input and output are in model units, so the peers need not transform columns.
All values are float32, and every cell is present.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.bundle.members import open_members
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.network import Float32Array
from anomaly_vae.scorer import Scorer

__all__ = ["Plain"]


class Plain:
    """The single model of a bundle, with all samples from the encoder's proposal."""

    def __init__(self, scorer: Scorer) -> None:
        """Take the model of a scorer; raise ValueError if it is an ensemble of several."""
        bundle = scorer.bundle
        members = open_members(scorer.schema, bundle.manifest.members, bundle.files)
        if len(members) != 1:
            raise ValueError(f"expected a bundle of one model, got an ensemble of {len(members)}")
        self._latent_dim, self._features = members[0].latent_dim, members[0].features
        self._files = bundle.files
        self._estimator = DensityEstimator(members, bundle.noise, threads=1, adaptive=False)

    def log_px(self, rows: FloatArray, num_samples: int) -> FloatArray:
        """Return the expected result of graph and :meth:`inputs`, nats in data units, (N, D) -> (N,)."""
        return self._estimator.estimate_fixed(rows, num_samples).log_px

    def inputs(self, rows: FloatArray) -> tuple[Float32Array, FloatArray]:
        """Return the graph's input for rows (N, D), shape (N, F), and the nats to add for data units, shape (N,)."""
        encoded = self._features.encode(rows)
        return encoded.x.astype(np.float32), encoded.base

    def graph(self, num_samples: int) -> bytes:
        """Return the bytes of the ONNX graph: x (N, F) -> log_px (N,)."""
        columns = self._features.layout.num_features
        points = self._estimator.points(num_samples, 0).astype(np.float64)
        constant = 0.5 * (self._latent_dim * LOG_2PI + (points**2).sum(axis=-1)) - math.log(num_samples)
        encoder, log_joint = (
            compose.add_prefix(onnx.load_from_string(self._files[f"{name}.onnx"]), f"{name}/")
            for name in ("encoder", "log_joint")
        )
        constants = {
            "log_joint/noise": points[None].astype(np.float32),
            "constant": constant[None].astype(np.float32),
            "half": np.float32(0.5),
            "last": np.array([1], dtype=np.int64),
        }
        nodes = [*_before(), *encoder.graph.node, *_between(), *log_joint.graph.node, *_after()]
        graph = helper.make_graph(
            nodes,
            "log_px",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
            [helper.make_tensor_value_info("log_px", TensorProto.FLOAT, [None])],
            [
                *encoder.graph.initializer,
                *log_joint.graph.initializer,
                *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()),
            ],
        )
        model = helper.make_model(graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def _before() -> list[onnx.NodeProto]:
    """Return the nodes that make x and a mask of ones, for both networks."""
    one = numpy_helper.from_array(np.ones(1, dtype=np.float32))
    return [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["mask"], value=one),
        *(helper.make_node("Identity", [name], [f"{net}/{name}"]) for net in _NETS for name in ("x", "mask")),
    ]


def _between() -> list[onnx.NodeProto]:
    """Return the nodes from the encoder's moments to the proposal."""
    return [
        helper.make_node("Identity", ["encoder/loc"], ["log_joint/loc"]),
        helper.make_node("Mul", ["encoder/log_var", "half"], ["log_scale"]),
        helper.make_node("Exp", ["log_scale"], ["log_joint/scale"]),
    ]


def _after() -> list[onnx.NodeProto]:
    """Return the nodes from log p(x, z) to the log of the mean weight."""
    return [
        helper.make_node("ReduceSum", ["log_scale", "last"], ["log_det"], keepdims=1),
        helper.make_node("Add", ["log_joint/log_joint", "log_det"], ["without_constant"]),
        helper.make_node("Add", ["without_constant", "constant"], ["log_weights"]),
        helper.make_node("ReduceLogSumExp", ["log_weights", "last"], ["log_px"], keepdims=0),
    ]


_NETS = ("encoder", "log_joint")
