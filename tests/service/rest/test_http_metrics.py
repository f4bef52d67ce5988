"""The labels of requests over HTTP are few, whatever clients send."""

from prometheus_client import CollectorRegistry

from anomaly_vae.service.rest.http_metrics import HttpMetrics
from anomaly_vae.service.rest.routes import OTHER, ROUTES

INFER = next(route for route in ROUTES if route.template == "/v2/models/{model}/infer")
LABELS = {"method": "POST", "route": "/v2/models/{model}/infer"}


def test_requests_for_scores_start_at_zero_for_each_status_that_alerts_look_at():
    registry = CollectorRegistry()
    HttpMetrics(registry)
    for code in ("200", "500", "503"):
        assert registry.get_sample_value("anomaly_vae_http_requests_total", LABELS | {"code": code}) == 0
    assert registry.get_sample_value("anomaly_vae_http_request_seconds_count", {"route": LABELS["route"]}) == 0


def test_requests_are_counted_by_template_and_status():
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    metrics.count(INFER, 200, 0.003)
    metrics.count(INFER, 200, 0.003)
    metrics.count(OTHER, 404, 0.001)
    metrics.count_malformed(400)
    assert registry.get_sample_value("anomaly_vae_http_requests_total", LABELS | {"code": "200"}) == 2
    bucket = {"route": LABELS["route"], "le": "0.005"}
    assert registry.get_sample_value("anomaly_vae_http_request_seconds_bucket", bucket) == 2
    for code in ("404", "400"):
        labels = {"method": "other", "route": "other", "code": code}
        assert registry.get_sample_value("anomaly_vae_http_requests_total", labels) == 1
