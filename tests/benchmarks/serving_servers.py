"""The servers of the serving benchmark: how each is started, asked and stopped."""

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

# A message whose field 1 is 1: what both of these reply when all is well.
_YES = b"\x08\x01"

_START_SECONDS, _STOP_SECONDS = 90.0, 20.0


class ServerFailed(RuntimeError):
    """A server did not start, or its environment cannot be made."""


class Graph(NamedTuple):
    """A graph for the peers.

    Attributes:
        name: The model's, to clients.
        path: The ONNX file.
        columns: Of x.
        tile_rows: Rows a peer hands to onnxruntime at a time.
    """

    name: str
    path: Path
    columns: int
    tile_rows: int


class Ports(NamedTuple):
    """Free ones."""

    grpc: int
    http: int
    metrics: int


class Spec(NamedTuple):
    """A server that can be started.

    Attributes:
        name: In tables.
        launch: Command and environment variables, given ports.
        ready: Method and messages that are all answered with yes once it is ready.
    """

    name: str
    launch: Callable[[Ports], tuple[list[str], dict[str, str]]]
    ready: tuple[str, list[bytes]]


def ours(model: Path) -> Spec:
    """``anomaly-vae serve`` with one compute thread."""

    def launch(ports: Ports) -> tuple[list[str], dict[str, str]]:
        listen = ["--port", str(ports.grpc), "--metrics-port", str(ports.metrics)]
        return [sys.executable, "-m", "anomaly_vae", "serve", str(model), "--threads", "1", *listen], {}

    return Spec("ours", launch, (_HEALTH, [b""]))


def mlserver(
    python: Path, graphs: Sequence[Graph], folder: Path, *, batch: int, seconds: float, in_thread: bool
) -> Spec:
    """MLServer without worker processes, with a custom runtime; batches of at most so many requests, 0 for none."""
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
        # Not "mlserver": its first line cannot be longer than a kernel's limit, which deep folders exceed.
        command = [str(python), "-c", "from mlserver.cli import main; main()", "start", str(folder)]
        return command, variables | {"PYTHONPATH": str(_PEERS)}

    name = f"MLServer batch {batch}" if batch else "MLServer"
    return Spec(name, launch, (_READY, _ready_requests(graphs)))


def triton(python: Path, graphs: Sequence[Graph], *, batch_rows: int, delay_microseconds: int) -> Spec:
    """Triton with its dynamic batcher in front of its Python backend."""
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
    """A server in a process of its own from ``with`` to its end; what it prints goes to a file."""

    def __init__(self, spec: Spec, log: Path) -> None:
        """Start nothing yet."""
        self.spec, self._log = spec, log
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            ServerFailed: It ended, or took too long.
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
                    raise ServerFailed(f"{self.spec.name} did not start; it said: {last[0]} (all in {self._log})")
                time.sleep(0.01)
            self.seconds_to_ready = time.perf_counter() - start
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, message: bytes, timeout: float = 60.0) -> bytes:
        """The reply to a unary call, or grpc.RpcError."""
        # A channel that shares nothing with an earlier one, whose server may have had the same port.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports.grpc}", options) as channel:
            return channel.unary_unary(method)(message, timeout=timeout)

    @contextmanager
    def awake(self) -> Iterator[Self]:
        """Let it run; before and after it is frozen, so that servers can take turns without starting anew."""
        processes = self._processes()
        for process in reversed(processes):
            process.resume()
        try:
            yield self
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Stop all its processes until they are woken."""
        for process in self._processes():
            process.suspend()

    def megabytes(self) -> dict[str, float]:
        """Resident memory of the process and its children: whole (rss), and with shared pages divided (pss)."""
        memory = [process.memory_full_info() for process in self._processes()]
        return {"rss": sum(m.rss for m in memory) / 1e6, "pss": sum(m.pss for m in memory) / 1e6}

    def _is_ready(self) -> bool:
        method, messages = self.spec.ready
        try:
            with socket.create_connection(("127.0.0.1", self.ports.grpc), timeout=1.0):
                pass
            return all(self.call(method, message, timeout=2.0) == _YES for message in messages)
        except (OSError, grpc.RpcError):
            return False

    def _processes(self) -> list[psutil.Process]:
        """Its processes, parents before children."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _stop(self) -> None:
        """Ask it to end, and end whatever of it does not."""
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
    """Ours without what would set a server's options from outside."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ANOMALY_VAE_", "MLSERVER_"))}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environment(name: str, module: str, interpreter: str, folder: Path) -> Path:
    """The interpreter of a virtual environment with a peer, made unless it is there.

    Raises:
        ServerFailed: It cannot be made.
    """
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
        return python
    # The new environment needs no pip: Debian keeps it in another package. Ours can install there.
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
            raise ServerFailed(f"its environment {folder} cannot be made: {reason}")
    (folder / ".gitignore").write_text("*\n")
    return python
