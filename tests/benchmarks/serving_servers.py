"""The servers of the serving benchmark: start, call and stop them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

import grpc
import psutil

__all__ = ["Graph", "Running", "ServerFailed", "Spec", "environment", "mlserver", "ours", "triton"]

_PEERS = Path(__file__).with_name("serving_peers")
_READY = "/inference.GRPCInferenceService/ModelReady"
_HEALTH = "/grpc.health.v1.Health/Check"

# A message whose field 1 is 1: the reply of both methods when the server is ready.
_READY_REPLY = b"\x08\x01"

# Seconds that a server may take to start and to stop. Chosen, not measured: Triton and MLServer load slowly.
_START_SECONDS, _STOP_SECONDS = 90.0, 20.0

# Seconds between two checks whether a server is ready.
_POLL_SECONDS = 0.01


class ServerFailed(RuntimeError):
    """A server did not start, or its environment cannot be created."""


class Graph(NamedTuple):
    """A graph for the peers.

    Attributes:
        name: Name of the model in requests.
        path: The ONNX file.
        columns: Columns of x.
        tile_rows: Rows that a peer gives to onnxruntime in one call.
    """

    name: str
    path: Path
    columns: int
    tile_rows: int


class Ports(NamedTuple):
    """Free ports for one server."""

    grpc: int
    http: int
    metrics: int


class Spec(NamedTuple):
    """A server that can be started.

    Attributes:
        name: Name in tables.
        launch: Returns command and environment variables for given ports.
        ready: A method, and messages that all get the ready reply once the server is ready.
    """

    name: str
    launch: Callable[[Ports], tuple[list[str], dict[str, str]]]
    ready: tuple[str, list[bytes]]


def ours(model: Path, workers: int = 1) -> Spec:
    """Return ``anomaly-vae serve`` with one compute thread in each of its workers."""

    def launch(ports: Ports) -> tuple[list[str], dict[str, str]]:
        listen = ["--port", str(ports.grpc), "--metrics-port", str(ports.metrics), "--workers", str(workers)]
        return [sys.executable, "-m", "anomaly_vae", "serve", str(model), "--threads", "1", *listen], {}

    return Spec("ours" if workers == 1 else f"ours, {workers} workers", launch, (_HEALTH, [b""]))


def mlserver(
    python: Path, graphs: Sequence[Graph], folder: Path, *, batch: int, seconds: float, in_thread: bool
) -> Spec:
    """Return MLServer without worker processes, with a custom runtime.

    Args:
        python: Interpreter of its environment.
        graphs: The graphs to serve.
        folder: Receives the settings.
        batch: Most requests in a batch; 0 for no batching.
        seconds: Longest wait for a batch.
        in_thread: Whether onnxruntime runs in a thread instead of on the event loop.
    """
    for graph in graphs:
        settings = {
            "name": graph.name,
            "implementation": "mlserver_runtime.FusedGraph",
            "max_batch_size": batch,
            "max_batch_time": seconds,
            "parameters": {
                "uri": str(graph.path.resolve()),
                "extra": {"tile_rows": graph.tile_rows, "in_thread": in_thread},
            },
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, graph.columns]}],
            "outputs": [{"name": "log_px", "datatype": "FP32", "shape": [-1]}],
        }
        (folder / graph.name).mkdir(parents=True, exist_ok=True)
        (folder / graph.name / "model-settings.json").write_text(json.dumps(settings))

    def launch(ports: Ports) -> tuple[list[str], dict[str, str]]:
        settings = {
            "HOST": "127.0.0.1",
            "GRPC_PORT": ports.grpc,
            "HTTP_PORT": ports.http,
            "METRICS_PORT": ports.metrics,
            "PARALLEL_WORKERS": 0,
            "DEBUG": "false",
            "METRICS_DIR": folder,
        }
        variables = {f"MLSERVER_{name}": str(value) for name, value in settings.items()}
        # The script "mlserver" would not start from deep folders: the kernel limits the length of its first line.
        command = [str(python), "-c", "from mlserver.cli import main; main()", "start", str(folder)]
        return command, variables | {"PYTHONPATH": str(_PEERS)}

    name = f"MLServer batch {batch}" if batch else "MLServer"
    return Spec(name, launch, (_READY, _ready_requests(graphs)))


def triton(python: Path, graphs: Sequence[Graph], *, batch_rows: int, delay_microseconds: int) -> Spec:
    """Return Triton with its dynamic batcher in front of its Python backend."""
    models = [
        {
            "name": graph.name,
            "graph": str(graph.path.resolve()),
            "columns": graph.columns,
            "tile_rows": graph.tile_rows,
        }
        for graph in graphs
    ]
    settings = {"max_batch_rows": batch_rows, "delay_microseconds": delay_microseconds, "models": models}

    def launch(ports: Ports) -> tuple[list[str], dict[str, str]]:
        script = str(_PEERS / "triton_server.py")
        return [str(python), script, str(ports.grpc), str(ports.http), json.dumps(settings)], {"PYTHONPATH": ""}

    return Spec("Triton", launch, (_READY, _ready_requests(graphs)))


def _ready_requests(graphs: Sequence[Graph]) -> list[bytes]:
    return [b"\x0a" + bytes([len(graph.name)]) + graph.name.encode() for graph in graphs]


class Running:
    """A server in a separate process for the time of a ``with`` block; its output goes to a file."""

    def __init__(self, spec: Spec, log: Path) -> None:
        """Keep the settings; the server starts on entry."""
        self.spec, self._log = spec, log
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            ServerFailed: The server ended, or took too long.
        """
        with ExitStack() as stack:
            self.ports = Ports(*_free_ports(3))
            command, variables = self.spec.launch(self.ports)
            output = stack.enter_context(self._log.open("wb"))
            start = time.perf_counter()
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=_environment() | variables, start_new_session=True
            )
            stack.callback(self._stop)
            while not self._is_ready():
                if self._process.poll() is not None or time.perf_counter() - start > _START_SECONDS:
                    lines = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
                    last = [line for line in lines if "rror" in line][-1:] or lines[-1:]
                    raise ServerFailed(
                        f"{self.spec.name} did not start; its last message: {last[0]} (all in {self._log})"
                    )
                time.sleep(_POLL_SECONDS)
            self.seconds_to_ready = time.perf_counter() - start
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, message: bytes, timeout: float = 60.0) -> bytes:
        """Return the reply to a unary call; raise grpc.RpcError if it fails."""
        # A separate connection: an earlier one may belong to another server at the same port.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports.grpc}", options) as channel:
            return channel.unary_unary(method)(message, timeout=timeout)

    @contextmanager
    def awake(self) -> Iterator[Self]:
        """Resume the server and suspend it at the end, so that servers take turns without a new start."""
        processes = self._processes()
        for process in reversed(processes):
            process.resume()
        try:
            yield self
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Suspend all its processes."""
        for process in self._processes():
            process.suspend()

    def megabytes(self) -> dict[str, float]:
        """Return resident memory of the process and its children: whole (rss), and with shared pages divided (pss)."""
        memory = [process.memory_full_info() for process in self._processes()]
        return {"rss": sum(m.rss for m in memory) / 1e6, "pss": sum(m.pss for m in memory) / 1e6}

    def _is_ready(self) -> bool:
        method, messages = self.spec.ready
        try:
            with socket.create_connection(("127.0.0.1", self.ports.grpc), timeout=1.0):
                pass
            return all(self.call(method, message, timeout=2.0) == _READY_REPLY for message in messages)
        except (OSError, grpc.RpcError):
            return False

    def _processes(self) -> list[psutil.Process]:
        """Return its processes, parents before children."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _stop(self) -> None:
        """Terminate the server; kill its processes if they do not end in time."""
        with suppress(psutil.NoSuchProcess):
            for process in reversed(self._processes()):
                process.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{self.spec.name} did not end within {_STOP_SECONDS:g} s of SIGTERM and is killed", file=sys.stderr)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _environment() -> dict[str, str]:
    """Return our environment variables without those that set options of a server."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ANOMALY_VAE_", "MLSERVER_"))}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environment(name: str, module: str, interpreter: str, folder: Path) -> Path:
    """Return the interpreter of a virtual environment with a peer; create it if needed.

    Raises:
        ServerFailed: It cannot be created.
    """
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
        return python
    # The new environment gets no pip, which Debian has in another package. Our pip installs into it.
    install = [sys.executable, "-m", "pip", "--python", python, "install"]
    steps = (
        [interpreter, "-m", "venv", "--clear", "--without-pip", folder],
        [*install, "--quiet", "--retries", "1", "--timeout", "60", "-r", _PEERS / f"{name}.txt"],
    )
    print(f"installing {name} into {folder}", flush=True)
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            raise ServerFailed(f"its environment {folder} cannot be created: {reason}")
    (folder / ".gitignore").write_text("*\n")
    return python
