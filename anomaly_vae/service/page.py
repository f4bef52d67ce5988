"""The page of metrics, built at most once a second, however many ask for it."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.openmetrics import exposition as openmetrics

from anomaly_vae.service.http_exchange import Reply, Request, text_reply
from anomaly_vae.service.logs import event

__all__ = ["Page"]

_LOG = logging.getLogger("anomaly_vae.service")

_SECONDS_BETWEEN_BUILDS = 1.0

# The replicas of a Prometheus may scrape within one second and never wait. Scrapers in closed loops wait for the next
# build, so each of their connections gets one page a second.
_COPIES_PER_ADDRESS = 8


class Page:
    """What a registry holds, in the text format and in OpenMetrics. All calls come from one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Build nothing yet."""
        turn = asyncio.Lock()
        self._text = _Format(partial(generate_latest, registry), turn)
        self._openmetrics = _Format(partial(openmetrics.generate_latest, registry), turn)

    async def reply(self, request: Request, address: str) -> Reply:
        """The page in the format that a request accepts, at most a second old."""
        content_type = _content_type(request.accept)
        form = self._openmetrics if content_type.startswith("application/openmetrics-text") else self._text
        copy = await form.copy_for(address)
        if copy is None:
            return text_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "the metrics cannot be read; the server's log says why")
        headers = ("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")
        if gzip_accepted(request.accept_encoding):
            return Reply(HTTPStatus.OK, (*headers, ("Content-Encoding", "gzip")), copy.compressed)
        return Reply(HTTPStatus.OK, headers, copy.plain)


@dataclass(frozen=True)
class _Build:
    plain: bytes
    compressed: bytes
    copies: Counter[str] = field(default_factory=Counter)  # by address


class _Format:
    """The page in one format."""

    def __init__(self, render: Callable[[], bytes], turn: asyncio.Lock) -> None:
        self._render = render
        self._turn = turn  # shared by the formats, so that one thread at a time builds
        self._latest: _Build | None = None
        self._stale_at = 0.0
        self._coming: asyncio.Task[_Build | None] | None = None

    async def copy_for(self, address: str) -> _Build | None:
        """A build to send to an address; None if the registry cannot be read."""
        build = self._latest
        if build is None or build.copies[address] >= _COPIES_PER_ADDRESS or self._is_stale():
            if self._coming is None or self._coming.done():
                self._coming = asyncio.create_task(self._build())
            build = await asyncio.shield(self._coming)  # several requests wait for the same build
        if build is not None:
            build.copies[address] += 1
        return build

    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() >= self._stale_at

    async def _build(self) -> _Build | None:
        """Build the page once the latest one is stale.

        In a thread, because probes must not wait for it. The thread is no nicer than the event loops: while it holds
        Python's lock, they wait for it.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._stale_at - loop.time())
        try:
            async with self._turn:
                self._latest = await asyncio.to_thread(_rendered, self._render)
        except Exception as error:  # noqa: BLE001 (a fault of ours, whatever it is)
            self._latest = None
            _LOG.error("/metrics failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))
        self._stale_at = loop.time() + _SECONDS_BETWEEN_BUILDS
        return self._latest


def _rendered(render: Callable[[], bytes]) -> _Build:
    plain = render()
    return _Build(plain, gzip.compress(plain))


def _content_type(accept: str) -> str:
    """The format to answer in; the text format if the library knows none of those accepted, or fails on a version."""
    try:
        _, content_type = choose_encoder(accept)
    except (ValueError, TypeError, IndexError):
        content_type = ""
    if content_type.startswith(("text/plain; version=", "application/openmetrics-text; version=1.0.0;")):
        return content_type
    return choose_encoder("")[1]
