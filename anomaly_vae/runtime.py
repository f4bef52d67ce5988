"""The three networks of a model behind a small protocol, and onnxruntime sessions that implement it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.errors import BundleError

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":  # this package sets it: too late where onnxruntime came first
    onnxruntime.disable_telemetry_events()

__all__ = ["Network", "OnnxNetwork", "Slots", "go_first", "takes_any_tile"]

Float32Array = NDArray[np.float32]

_PROBE_ROWS = 128
_LONGEST_TEXT = 300


class Network(Protocol):
    """What scoring needs of a model; axes: N rows, S samples, L latents, F features, P parameters of p(x|z).

    Attributes:
        any_tile: Whether encoder and log_joint give a row the same bits in tiles of any even number of rows, and
            log_joint with its samples in one call or in several of a multiple of 16.
    """

    any_tile: bool

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


_THIS_THREAD = threading.local()


def go_first() -> None:
    """Let the calls of networks that the calling thread makes go before those of other threads that wait."""
    _THIS_THREAD.goes_first = True


class Slots:
    """Lets a number of calls of networks run at a time, whoever makes them: a context manager."""

    def __init__(self, number: int) -> None:
        """All are free."""
        self._free = number
        self._lock = threading.Lock()
        self._first: deque[threading.Lock] = deque()  # what each waiting thread waits for
        self._others: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        """Wait for a free one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            (self._first if getattr(_THIS_THREAD, "goes_first", False) else self._others).append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        """Hand it on, or free it."""
        with self._lock:
            waiting = self._first or self._others
            if waiting:
                waiting.popleft().release()
            else:
                self._free += 1


class OnnxNetwork:
    """A :class:`Network` of onnxruntime sessions; one compute thread a call, calls may run side by side."""

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        *,
        latent_dim: int,
        num_features: int,
        num_params: int,
        suffix: str = "",
        slots: Slots | None = None,
    ) -> None:
        """Load the graphs and check their names, types and shapes.

        Args:
            graphs: ONNX bytes by file name.
            latent_dim, num_features, num_params: The shapes they must have.
            suffix: What tells a mixture's members apart in the names.
            slots: Bounds the calls that run side by side; shared with other networks.

        Raises:
            BundleError: onnxruntime cannot load a graph, or its inputs and outputs are not as expected.
        """
        self._slots = slots or nullcontext()
        self._latent_dim, self._num_params = latent_dim, num_params
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
        try:
            self.any_tile = takes_any_tile(self, num_features, latent_dim)
        except BundleError:
            raise
        except Exception as error:  # onnxruntime's exceptions share no root but Exception
            name = f"log_joint{suffix}.onnx"
            raise BundleError(f"{name}, or its encoder, cannot be run: {str(error).splitlines()[0]}") from error

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """See :class:`Network`."""
        with self._slots:
            loc, log_var = self._encoder.run(["loc", "log_var"], {"x": x, "mask": mask})
        wanted = (len(x), self._latent_dim)
        return _of_shape(loc, wanted, "encoder"), _of_shape(log_var, wanted, "encoder")

    def decode(self, z: Float32Array) -> Float32Array:
        """See :class:`Network`."""
        with self._slots:
            (params,) = self._decoder.run(["params"], {"z": z})
        return _of_shape(params, (len(z), self._num_params), "decoder")

    def log_joint(
        self, x: Float32Array, mask: Float32Array, loc: Float32Array, scale: Float32Array, noise: Float32Array
    ) -> Float32Array:
        """See :class:`Network`."""
        feed = {"x": x, "mask": mask, "loc": loc, "scale": scale, "noise": noise}
        with self._slots:
            (log_joint,) = self._log_joint.run(["log_joint"], feed)
        return _of_shape(log_joint, (len(x), len(noise)), "log_joint")


def takes_any_tile(network: Network, num_features: int, latent_dim: int) -> bool:
    """Try it on this machine: the tiles of rows and samples that scoring uses, against the largest."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Float32Array:
        return rng.standard_normal(shape, dtype=np.float32)

    x, loc, noise = draw(_PROBE_ROWS, num_features), draw(_PROBE_ROWS, latent_dim), draw(64, latent_dim)
    mask, scale = (draw(*x.shape) < 1.3).astype(np.float32), np.exp(0.5 * loc)
    x *= mask

    def joint(rows: int, first: int, last: int) -> Float32Array:
        return network.log_joint(x[:rows], mask[:rows], loc[:rows], scale[:rows], noise[first:last])

    def same(part: Float32Array, whole: Float32Array) -> bool:
        return np.array_equal(part, whole[: len(part)], equal_nan=True)

    many, few, moments = joint(_PROBE_ROWS, 0, 16), joint(_PROBE_ROWS // 4, 0, 64), network.encode(x, mask)
    tiles = (*range(2, 18, 2), 24, 30, 32, 62)
    return (
        same(np.ascontiguousarray(few[:, :16]), many)
        and all(same(joint(rows, 0, 16), many) for rows in tiles)
        and all(same(joint(rows, first, 64), few[:, first:]) for rows in tiles if rows <= len(few) for first in (0, 16))
        and all(
            same(part, whole)
            for rows in tiles
            for part, whole in zip(network.encode(x[:rows], mask[:rows]), moments, strict=True)
        )
    )


Shapes = dict[str, tuple[int | None, ...]]


def _of_shape(values: Float32Array, shape: tuple[int, int], name: str) -> Float32Array:
    """The values, if what a graph says of its outputs is true: onnxruntime only warns where it is not."""
    if values.shape != shape:
        raise BundleError(f"{name}.onnx: its output has shape {values.shape}, expected {shape}; train the model again")
    return values


def _session(graphs: Mapping[str, bytes], name: str, inputs: Shapes, outputs: Shapes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # or the bytes would choose their parser
    try:
        session = onnxruntime.InferenceSession(
            graphs[name], options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions share no root but Exception
        text = str(error).partition("\n")[0][:_LONGEST_TEXT]
        raise BundleError(f"{name}: onnxruntime cannot load it: {text}") from error
    for expected, found in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        actual = {
            node.name: (node.type, tuple(dim if isinstance(dim, int) else None for dim in node.shape)) for node in found
        }
        wanted = {key: ("tensor(float)", shape) for key, shape in expected.items()}
        if actual != wanted:
            found_text = str(actual)[:_LONGEST_TEXT]
            raise BundleError(f"{name}: has inputs or outputs {found_text}, the manifest implies {wanted}")
    return session
