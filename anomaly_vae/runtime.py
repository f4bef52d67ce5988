"""The three networks of a model behind a small protocol, and onnxruntime sessions that implement it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.errors import BundleError

__all__ = ["Network", "OnnxNetwork"]

Float32Array = NDArray[np.float32]


class Network(Protocol):
    """What scoring needs of a model; axes: N rows, S samples, L latents, F features, P parameters of p(x|z)."""

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """x, mask (N, F) -> loc, log_var of q(z|x), (N, L)."""
        ...

    def decode(self, z: Float32Array) -> Float32Array:
        """z (N, L) -> parameters of p(x|z), (N, P)."""
        ...

    def log_joint(
        self, x: Float32Array, mask: Float32Array, loc: Float32Array, scale: Float32Array, noise: Float32Array
    ) -> Float32Array:
        """x, mask (N, F), loc, scale (N, L), noise (S, L) -> log p(x, z) at z = loc + scale * noise, (N, S)."""
        ...


class OnnxNetwork:
    """A :class:`Network` of onnxruntime sessions; one compute thread a call, calls may run side by side."""

    def __init__(
        self, graphs: Mapping[str, bytes], *, latent_dim: int, num_features: int, num_params: int, suffix: str = ""
    ) -> None:
        """Load the graphs and check their names, types and shapes; a suffix tells a mixture's members apart.

        Raises:
            BundleError: onnxruntime cannot load a graph, or its inputs and outputs are not as expected.
        """
        row, latent, params = (None, num_features), (None, latent_dim), (None, num_params)
        inputs: Shapes = {"x": row, "mask": row}
        moments: Shapes = {"loc": latent, "log_var": latent}
        self._encoder = _session(graphs, f"encoder{suffix}.onnx", inputs, moments)
        self._decoder = _session(graphs, f"decoder{suffix}.onnx", {"z": latent}, {"params": params})
        self._log_joint = _session(
            graphs,
            f"log_joint{suffix}.onnx",
            {"x": row, "mask": row, "loc": latent, "scale": latent, "noise": latent},
            {"log_joint": (None, None)},
        )

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """See :class:`Network`."""
        loc, log_var = self._encoder.run(["loc", "log_var"], {"x": x, "mask": mask})
        return loc, log_var

    def decode(self, z: Float32Array) -> Float32Array:
        """See :class:`Network`."""
        (params,) = self._decoder.run(["params"], {"z": z})
        return np.asarray(params)

    def log_joint(
        self, x: Float32Array, mask: Float32Array, loc: Float32Array, scale: Float32Array, noise: Float32Array
    ) -> Float32Array:
        """See :class:`Network`."""
        feed = {"x": x, "mask": mask, "loc": loc, "scale": scale, "noise": noise}
        (log_joint,) = self._log_joint.run(["log_joint"], feed)
        return np.asarray(log_joint)


Shapes = dict[str, tuple[int | None, ...]]


def _session(graphs: Mapping[str, bytes], name: str, inputs: Shapes, outputs: Shapes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            graphs[name], options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions share no root but Exception
        raise BundleError(f"{name}: onnxruntime cannot load it: {str(error).splitlines()[0]}") from error
    for expected, found in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        actual = {
            node.name: (node.type, tuple(dim if isinstance(dim, int) else None for dim in node.shape)) for node in found
        }
        wanted = {key: ("tensor(float)", shape) for key, shape in expected.items()}
        if actual != wanted:
            raise BundleError(f"{name}: has inputs or outputs {actual}, the manifest implies {wanted}")
    return session
