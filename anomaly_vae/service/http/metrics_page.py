"""The reply to /metrics, rendered at most once a second per format."""

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

from anomaly_vae.service.http.exchange import Reply, Request, text_reply
from anomaly_vae.service.telemetry.logs import event

__all__ = ["MetricsPage"]

_LOG = logging.getLogger("anomaly_vae.service")

# Rendering holds Python's lock. Unlimited rendering for 30 scrapers in closed loops made a score 45 times slower.
_MIN_SECONDS_BETWEEN_RENDERS = 1.0

# Copies of one render that one address may get. Chosen, not measured: several Prometheus replicas behind one address
# may scrape within one second without waiting. Beyond that, each further request waits for the next render.
_MAX_COPIES_PER_ADDRESS = 8


class MetricsPage:
    """Renders a registry in the Prometheus text format and in OpenMetrics. All calls must come from one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Render nothing yet."""
        lock = asyncio.Lock()
        self._text = _Format(partial(generate_latest, registry), lock)
        self._openmetrics = _Format(partial(openmetrics.generate_latest, registry), lock)

    async def reply(self, request: Request, address: str) -> Reply:
        """Return the page in the format that the request accepts, at most one second old."""
        content_type = _content_type(request.accept)
        page = self._openmetrics if content_type.startswith("application/openmetrics-text") else self._text
        rendered = await page.copy_for(address)
        if rendered is None:
            return text_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "the metrics cannot be read; the server's log says why")
        headers = ("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")
        if gzip_accepted(request.accept_encoding):
            return Reply(HTTPStatus.OK, (*headers, ("Content-Encoding", "gzip")), rendered.compressed)
        return Reply(HTTPStatus.OK, headers, rendered.plain)


@dataclass(frozen=True)
class _Rendered:
    plain: bytes
    compressed: bytes
    copies: Counter[str] = field(default_factory=Counter)  # by address


class _Format:
    """The page in one format."""

    def __init__(self, render: Callable[[], bytes], lock: asyncio.Lock) -> None:
        self._render = render
        self._lock = lock  # shared by both formats: only one thread renders at a time
        self._latest: _Rendered | None = None
        self._stale_at = 0.0
        self._pending: asyncio.Task[_Rendered | None] | None = None

    async def copy_for(self, address: str) -> _Rendered | None:
        """Return a rendered page to send to an address, or None if the registry cannot be read."""
        page = self._latest
        if page is None or page.copies[address] >= _MAX_COPIES_PER_ADDRESS or self._is_stale():
            if self._pending is None or self._pending.done():
                self._pending = asyncio.create_task(self._render_when_stale())
            page = await asyncio.shield(self._pending)  # other requests wait for the same task
        if page is not None:
            page.copies[address] += 1
        return page

    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() >= self._stale_at

    async def _render_when_stale(self) -> _Rendered | None:
        """Wait until the latest page is stale, then render a new one in a thread, so that probes do not wait.

        The thread has the priority of the event loops. With a lower one, the loops would wait longer for Python's
        lock while the thread holds it.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._stale_at - loop.time())
        try:
            async with self._lock:
                self._latest = await asyncio.to_thread(_rendered, self._render)
        except Exception as error:  # noqa: BLE001 (a collector may raise anything)
            self._latest = None
            _LOG.error("/metrics failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))
        self._stale_at = loop.time() + _MIN_SECONDS_BETWEEN_RENDERS
        return self._latest


def _rendered(render: Callable[[], bytes]) -> _Rendered:
    plain = render()
    return _Rendered(plain, gzip.compress(plain))


def _content_type(accept: str) -> str:
    """Return the content type to answer with.

    It is the Prometheus text format if prometheus_client supports none of the accepted types or cannot parse a version.
    """
    try:
        _, content_type = choose_encoder(accept)
    except (ValueError, TypeError, IndexError):
        content_type = ""
    if content_type.startswith(("text/plain; version=", "application/openmetrics-text; version=1.0.0;")):
        return content_type
    return choose_encoder("")[1]
