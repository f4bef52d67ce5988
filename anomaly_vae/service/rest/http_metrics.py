"""The Prometheus metrics of requests over HTTP. A route is the template of a path, never the path itself."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter

from anomaly_vae.service.rest.routes import OTHER, ROUTES, Route
from anomaly_vae.service.telemetry.histogram import Histogram, Series

__all__ = ["CLIENT_GONE", "HttpMetrics"]

CLIENT_GONE = 499  # nginx's code for a client that closed the connection before its reply

# Upper bounds of the buckets, as for RPCs.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# Series that start at zero for requests for scores, since a rate needs a first value. All others begin when they are
# counted: fewer series.
_FROM_ZERO = (
    HTTPStatus.OK,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class HttpMetrics:
    """Counts requests and their seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics."""
        self._requests = Counter(
            "anomaly_vae_http_requests_total",
            "Requests over HTTP by the template of their path and the status of their reply; 499 for none.",
            ("method", "route", "code"),
            registry=registry,
        )
        self._histogram = Histogram(
            "anomaly_vae_http_request_seconds",
            "Time from the head of a request over HTTP to its reply, before it is sent.",
            registry,
            ("route",),
        )
        self._seconds: dict[str, Series] = {}
        for route in ROUTES:
            if route.rpc == "ModelInfer":
                self._series(route)
                for status in _FROM_ZERO:
                    self._requests.labels(route.method, route.template, str(int(status)))

    def count(self, route: Route, code: int, seconds: float) -> None:
        """Count a request that was answered, or whose client has gone (499)."""
        self._requests.labels(route.method, route.template, str(code)).inc()
        self._series(route).observe_one(seconds)

    def count_malformed(self, code: int) -> None:
        """Count a reply to something that is no request."""
        self._requests.labels(OTHER.method, OTHER.template, str(code)).inc()

    def _series(self, route: Route) -> Series:
        if route.template not in self._seconds:
            self._seconds[route.template] = self._histogram.add_series(_SECONDS, (route.template,))
        return self._seconds[route.template]
