"""Clients of all kinds that score without a pause, of a service whose versions change; every reply must be right.

A reply is right if it has the bits of the bundle whose digest it names, and if that bundle was in the folder under the
version that it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter

import grpc
import numpy as np

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.rest import infer, tensor_json
from tests.support.running import ARRAYS, tensor

__all__ = ["KINDS", "VersionLoops", "asking"]

KINDS = ("blocking", "asyncio", "many_blocking", "many_asyncio", "stream", "http")
_FEW = 8  # rows of a small request at most
_STREAMED = 12  # requests of a stream at most


class VersionLoops:
    """Clients with default options, by kind; "many" sends more rows than fit a call.

    Attributes:
        answered: Number of right replies, by kind.
        wrong: What was wrong, a text each.
        errors: Exceptions that the clients raised.
        seconds: Of each small call that was answered, since the last :meth:`take_seconds`.
        versions: The versions that replies named.
    """

    def __init__(self, target, rows, scorers, *, http_port=None, model="model", kinds=KINDS, many=200, pause=0.0):
        """Start nothing yet.

        Args:
            target: The address of gRPC.
            rows: What is scored, (N, D).
            scorers: Of all bundles that may be served.
            http_port: The port of HTTP; None to ask only over gRPC.
            model: The name of the model.
            kinds: Which clients.
            many: Rows of a large request.
            pause: Seconds between two requests of a client: more leave more of the machine to others.
        """
        self.answered, self.wrong, self.errors, self.versions = Counter(), [], [], set()
        self.seconds, self.longest = [], 0.0
        self._target, self._rows, self._many = target, rows, many
        self._http_port, self._model, self._pause = http_port, model, pause
        self._expected = {scorer.bundle.digest: scorer.score(rows) for scorer in scorers}
        self._known = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._kinds = [kind for kind in kinds if kind != "http" or http_port is not None]
        in_threads = {"blocking": self._block, "many_blocking": self._block_many, "http": self._ask_http}
        self._threads = [
            threading.Thread(target=in_threads[kind], args=(seed,)) for seed, kind in self._numbered(in_threads)
        ]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._run_asyncio())))

    def know(self, version, digest):
        """Say, before it happens, that a version may answer with this bundle."""
        with self._lock:
            self._known.setdefault(str(version), set()).add(digest)

    def start(self):
        """Start the clients."""
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stop when the calls in progress are answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def take_seconds(self):
        """Return the seconds of the small calls since the last use."""
        with self._lock:
            taken, self.seconds = self.seconds, []
        return np.array(taken)

    def wait_until_all_are_answered(self, times=1, seconds=120):
        """Wait until each kind of client has ``times`` more right replies."""
        before, until = Counter(self.answered), time.monotonic() + seconds
        while any(self.answered[kind] < before[kind] + times for kind in self._kinds):
            assert time.monotonic() < until, (
                f"in {seconds} s, some clients got no reply: {before}, {self.answered}, {self.errors[:3]}"
            )
            time.sleep(0.01)

    def wait_until_version(self, version, seconds=60):
        """Wait until a reply names this version."""
        until = time.monotonic() + seconds
        while str(version) not in self.versions:
            assert time.monotonic() < until, f"version {version} never answered; {sorted(self.versions, key=int)[-3:]}"
            time.sleep(0.005)

    def _numbered(self, kinds):
        """Two clients of each of these kinds, with different numbers."""
        return [(2 * KINDS.index(kind) + one, kind) for kind in self._kinds if kind in kinds for one in range(2)]

    def _block(self, seed):
        rng = np.random.default_rng(seed)
        with Client(self._target) as client:
            while not self._stop.is_set():
                with self._noted("blocking", *self._some(rng)) as (start, stop, got):
                    got.append(client.score(self._rows[start:stop]))
                self._stop.wait(self._pause)

    def _block_many(self, seed):
        rng = np.random.default_rng(seed)
        with Client(self._target) as client:
            while not self._stop.is_set():
                with self._noted("many_blocking", *self._some(rng, self._many)) as (start, stop, got):
                    got.append(client.score(self._rows[start:stop]))
                self._stop.wait(0.1 + self._pause)

    def _ask_http(self, seed):
        rng = np.random.default_rng(seed)
        while not self._stop.is_set():
            with self._noted("http", *self._some(rng)) as (start, stop, got):
                status, _, reply = infer(self._http_port, tensor_json(self._rows[start:stop]), self._model)
                if status != 200:
                    raise AssertionError(f"HTTP {status}: {reply}")
                got.append(_HttpReply(reply))
            self._stop.wait(self._pause)

    async def _run_asyncio(self):
        runs = {"asyncio": self._await, "many_asyncio": self._await_many, "stream": self._stream}
        await asyncio.gather(*(runs[kind](seed) for seed, kind in self._numbered(runs)))

    async def _await(self, seed):
        rng = np.random.default_rng(seed)
        async with AsyncClient(self._target) as client:
            while not self._stop.is_set():
                with self._noted("asyncio", *self._some(rng)) as (start, stop, got):
                    got.append(await client.score(self._rows[start:stop]))
                await asyncio.sleep(self._pause)

    async def _await_many(self, seed):
        rng = np.random.default_rng(seed)
        async with AsyncClient(self._target) as client:
            while not self._stop.is_set():
                with self._noted("many_asyncio", *self._some(rng, self._many)) as (start, stop, got):
                    got.append(await client.score(self._rows[start:stop]))
                await asyncio.sleep(0.1 + self._pause)

    async def _stream(self, seed):
        """Send streams of requests as any gRPC client does: without retries."""
        rng, options = np.random.default_rng(seed), [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._target, options) as channel:
            while not self._stop.is_set():
                parts = [self._some(rng) for _ in range(int(rng.integers(1, _STREAMED + 1)))]
                await self._stream_once(ScoringServiceStub(channel), parts)
                await asyncio.sleep(self._pause)

    async def _stream_once(self, stub, parts):
        async def requests():
            for number, (start, stop) in enumerate(parts):
                yield pb.ScoreRequest(tensor=tensor(self._rows[start:stop]), request_id=str(number))

        with self._failing("stream"):
            number = 0
            async for reply in stub.ScoreStream(requests(), timeout=60):
                assert reply.request_id == str(number), (reply.request_id, number)
                self._check("stream", *parts[number], reply)
                number += 1
            assert number == len(parts), f"{number} of {len(parts)} replies of a stream"

    def _some(self, rng, num_rows=None):
        num_rows = num_rows or int(rng.integers(1, _FEW + 1))
        start = int(rng.integers(len(self._rows) - num_rows + 1))
        return start, start + num_rows

    @contextlib.contextmanager
    def _noted(self, kind, start, stop):
        began, got = time.monotonic(), []
        with self._failing(kind):
            yield start, stop, got
        took = time.monotonic() - began
        with self._lock:
            self.longest = max(self.longest, took)
        if got:
            self._check(kind, start, stop, got[0])
            if kind in ("blocking", "asyncio"):
                with self._lock:
                    self.seconds.append(took)

    @contextlib.contextmanager
    def _failing(self, kind):
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # noqa: BLE001 (the test looks at all of them)
            error.add_note(f"{kind}, after {time.monotonic() - began:.1f} s")
            with self._lock:
                self.errors.append(error)
            self._stop.wait(0.1)

    def _check(self, kind, start, stop, reply):
        version, digest = reply.model_version, getattr(reply, "bundle_digest", None)
        with self._lock:
            known = set(self._known.get(version, ()))
        named = known if digest is None else known & {digest}
        right = any(self._has_bits_of(one, reply, start, stop) for one in named)
        with self._lock:
            self.versions.add(version)
            self.answered[kind] += right
            if not right:
                self.wrong.append(f"{kind}: version {version}, bundle {digest}, known {sorted(known)}")

    def _has_bits_of(self, digest, reply, start, stop):
        expected = self._expected[digest]
        for name in getattr(reply, "names", ARRAYS):
            values = getattr(expected, name)[start:stop]
            if np.asarray(getattr(reply, name), dtype=values.dtype).tobytes() != values.tobytes():
                return False
        return True


class _HttpReply:
    """A reply of the Open Inference Protocol in JSON, with fields of a ScoreResponse; it does not say the digest."""

    def __init__(self, reply):
        self.model_version = reply["model_version"]
        outputs = {output["name"]: output["data"] for output in reply["outputs"]}
        self.names = [name for name in ARRAYS if name in outputs]
        for name in self.names:
            setattr(self, name, [np.nan if value is None else value for value in outputs[name]])


@contextlib.contextmanager
def asking(target, rows, scorers, known, **options):
    """Run :class:`VersionLoops` during the block; ``known`` has the versions and digests at its beginning."""
    loops = VersionLoops(target, rows, scorers, **options)
    for version, digest in known:
        loops.know(version, digest)
    loops.start()
    try:
        yield loops
    finally:
        loops.stop()
