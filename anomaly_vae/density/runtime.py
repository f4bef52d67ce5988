"""The networks of a model as onnxruntime sessions, and slots that limit how many calls of networks run at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import onnxruntime

from anomaly_vae.density.network import CallSizes, Float32Array, Posterior, is_batch_invariant, same_contrast_in_tiles
from anomaly_vae.errors import BundleError

# anomaly_vae sets the variable, but onnxruntime reads it when it is imported, which may have been earlier.
if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    onnxruntime.disable_telemetry_events()

__all__ = ["OnnxContrast", "OnnxNetwork", "Slots", "go_first"]

# Characters of an error's or a graph's text that go into a message.
_MAX_TEXT = 300

_Shapes = dict[str, tuple[int | None, ...]]

_THIS_THREAD = threading.local()


def go_first() -> None:
    """Give the calling thread priority: :class:`Slots` serves it before other waiting threads."""
    _THIS_THREAD.goes_first = True


class Slots:
    """Limits how many calls of networks run at a time, over all threads and models: a context manager.

    Threads wait in order of arrival; those that called :func:`go_first` have a queue of their own, which is served
    first.
    """

    def __init__(self, number: int) -> None:
        """Create this number of free slots."""
        self._free = number
        self._lock = threading.Lock()
        # One locked lock for each waiting thread: releasing it wakes the thread.
        self._first: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        """Take a slot; wait until one is free."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            (self._first if getattr(_THIS_THREAD, "goes_first", False) else self._others).append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        """Give the slot to the next waiting thread, or free it."""
        with self._lock:
            waiting = self._first or self._others
            if waiting:
                waiting.popleft().release()
            else:
                self._free += 1


class OnnxNetwork:
    """A :class:`~anomaly_vae.density.network.Network` of onnxruntime sessions.

    A call uses one compute thread. Calls from several threads run in parallel.
    """

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        *,
        latent_dim: int,
        num_features: int,
        num_params: int,
        suffix: str = "",
        slots: Slots | None = None,
        call_sizes: CallSizes | None = None,
    ) -> None:
        """Load the graphs and check their names, types and shapes.

        Args:
            graphs: ONNX bytes by file name.
            latent_dim, num_features, num_params: Expected sizes of the graphs' inputs and outputs.
            suffix: End of the file names of this member of an ensemble.
            slots: Limits how many calls run at a time, together with those of other networks. None: no limit.
            call_sizes: Sizes of calls; None for those of multilayer perceptrons.

        Raises:
            BundleError: onnxruntime cannot load a graph, or its inputs and outputs are not as expected.
        """
        self._slots = slots or nullcontext()
        self.call_sizes = call_sizes or CallSizes()
        self._latent_dim, self._num_params = latent_dim, num_params
        row, latent, params = (None, num_features), (None, latent_dim), (None, num_params)
        inputs: _Shapes = {"x": row, "mask": row}
        moments: _Shapes = {"loc": latent, "log_var": latent}
        self._encoder = _session(graphs, f"encoder{suffix}.onnx", inputs, moments)
        self._decoder = _session(graphs, f"decoder{suffix}.onnx", {"z": latent}, {"params": params})
        self._log_joint = _session(
            graphs,
            f"log_joint{suffix}.onnx",
            {"x": row, "mask": row, "loc": latent, "scale": latent, "noise": (None, None, latent_dim)},
            {"log_joint": (None, None)},
        )
        square = (None, latent_dim, latent_dim)
        self._posterior = _session(
            graphs,
            f"posterior{suffix}.onnx",
            {"x": row, "mask": row, "z": latent},
            {"log_joint": (None, 1), "gradient": latent, "curvature": square, "information": square},
        )
        self._likelihood = _session(
            graphs,
            f"likelihood{suffix}.onnx",
            {"x": row, "mask": row, "params": params},
            {"log_likelihood": (None, None)},
        )
        try:
            self.batch_invariant = is_batch_invariant(self, num_features, latent_dim)
        except BundleError:
            raise
        except Exception as error:  # onnxruntime's exceptions have no narrower base class
            name = f"log_joint{suffix}.onnx"
            raise BundleError(f"{name} or another graph cannot be run: {str(error).splitlines()[0]}") from error

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """See :class:`~anomaly_vae.density.network.Network`."""
        with self._slots:
            loc, log_var = self._encoder.run(["loc", "log_var"], {"x": x, "mask": mask})
        shape = (len(x), self._latent_dim)
        return _checked(loc, shape, "encoder"), _checked(log_var, shape, "encoder")

    def decode(self, z: Float32Array) -> Float32Array:
        """See :class:`~anomaly_vae.density.network.Network`."""
        with self._slots:
            (params,) = self._decoder.run(["params"], {"z": z})
        return _checked(params, (len(z), self._num_params), "decoder")

    def log_joint(self, x: Float32Array, mask: Float32Array, z: Float32Array) -> Float32Array:
        """See :class:`~anomaly_vae.density.network.Network`."""
        loc = np.zeros((len(x), self._latent_dim), dtype=np.float32)
        feed = {"x": x, "mask": mask, "loc": loc, "scale": np.ones_like(loc), "noise": z}
        with self._slots:
            (log_joint,) = self._log_joint.run(["log_joint"], feed)
        return _checked(log_joint, z.shape[:2], "log_joint")

    def posterior(self, x: Float32Array, mask: Float32Array, z: Float32Array) -> Posterior:
        """See :class:`~anomaly_vae.density.network.Network`."""
        with self._slots:
            found = self._posterior.run(list(Posterior._fields), {"x": x, "mask": mask, "z": z})
        rows, latent = len(x), self._latent_dim
        shapes = ((rows, 1), (rows, latent), (rows, latent, latent), (rows, latent, latent))
        return Posterior(*(_checked(values, shape, "posterior") for values, shape in zip(found, shapes, strict=True)))

    def likelihood(self, x: Float32Array, mask: Float32Array, params: Float32Array) -> Float32Array:
        """See :class:`~anomaly_vae.density.network.Network`."""
        with self._slots:
            (found,) = self._likelihood.run(["log_likelihood"], {"x": x, "mask": mask, "params": params})
        return _checked(found, (len(x), len(params)), "likelihood")


class OnnxContrast:
    """A :class:`~anomaly_vae.density.network.ContrastNetwork` of an onnxruntime session."""

    def __init__(
        self, graphs: Mapping[str, bytes], *, num_features: int, name: str = "contrast.onnx", slots: Slots | None = None
    ) -> None:
        """Load the graph and check its names, types and shapes.

        Args:
            graphs: ONNX bytes by file name.
            num_features: Expected size of the inputs.
            name: The file name of the graph.
            slots: As for :class:`OnnxNetwork`.

        Raises:
            BundleError: onnxruntime cannot load or run the graph, or its inputs and outputs are not as expected.
        """
        self._slots = slots or nullcontext()
        row = (None, num_features)
        self._session = _session(graphs, name, {"x": row, "mask": row}, {"contrast": (None, 1)})
        try:
            self.batch_invariant = same_contrast_in_tiles(self, num_features)
        except BundleError:
            raise
        except Exception as error:  # onnxruntime's exceptions have no narrower base class
            raise BundleError(f"{name} cannot be run: {str(error).splitlines()[0][:_MAX_TEXT]}") from error

    def contrast(self, x: Float32Array, mask: Float32Array) -> Float32Array:
        """See :class:`~anomaly_vae.density.network.ContrastNetwork`."""
        with self._slots:
            (found,) = self._session.run(["contrast"], {"x": x, "mask": mask})
        return _checked(found, (len(x), 1), "contrast")


def _checked(values: Float32Array, shape: tuple[int, ...], name: str) -> Float32Array:
    """Raise BundleError if values have another shape: onnxruntime only warns where a graph declares a wrong one."""
    if values.shape != shape:
        raise BundleError(f"{name}.onnx: its output has shape {values.shape}, expected {shape}; train the model again")
    return values


def _session(graphs: Mapping[str, bytes], name: str, inputs: _Shapes, outputs: _Shapes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # otherwise the bytes choose the parser
    try:
        session = onnxruntime.InferenceSession(
            graphs[name], options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions have no narrower base class
        text = str(error).partition("\n")[0][:_MAX_TEXT]
        raise BundleError(f"{name}: onnxruntime cannot load it: {text}") from error
    _check_nodes(name, session.get_inputs(), inputs)
    _check_nodes(name, session.get_outputs(), outputs)
    return session


def _check_nodes(name: str, nodes: Iterable[Any], shapes: _Shapes) -> None:
    """Raise BundleError if inputs or outputs of a graph have other names, types or shapes than expected."""
    actual = {
        node.name: (node.type, tuple(dim if isinstance(dim, int) else None for dim in node.shape)) for node in nodes
    }
    expected = {key: ("tensor(float)", shape) for key, shape in shapes.items()}
    if actual != expected:
        found = str(actual)[:_MAX_TEXT]
        raise BundleError(f"{name}: has inputs or outputs {found}, expected from the manifest {expected}")
