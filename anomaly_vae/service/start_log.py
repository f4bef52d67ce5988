"""The first line of a service's log that says what it serves."""

from __future__ import annotations

import logging

from anomaly_vae.density.blocks import default_threads
from anomaly_vae.service.models.catalogue import Catalogue
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.logs import event

__all__ = ["log_start"]

_LOG = logging.getLogger("anomaly_vae.service")


def log_start(models: Catalogue, config: ServeConfig, port: int, metrics_port: int, http_port: int | None) -> None:
    """Log the models, the addresses and the limits, as one sentence and as separate fields.

    ``http_port`` is None if the Open Inference Protocol is served over gRPC only.
    """
    facts: dict[str, str | int] = {
        "host": config.host,
        "port": port,
        "metrics_host": config.metrics_host,
        "metrics_port": metrics_port,
        "threads": config.threads or default_threads(),
        "max_rows": config.max_rows,
        "max_queue_rows": config.max_queue_rows,
    }
    text = "gRPC on %(host)s port %(port)d, "
    if http_port is not None:
        facts |= {"http_host": config.http_host, "http_port": http_port}
        text += "HTTP on %(http_host)s port %(http_port)d, "
    text += (
        "metrics on %(metrics_host)s port %(metrics_port)d, %(threads)d threads, "
        "at most %(max_rows)d rows a request and %(max_queue_rows)d in the queue"
    )
    for served in models:
        model = {
            "model_name": served.name,
            "model_version": served.version,
            "bundle_digest": served.digest,
            "threshold": served.scorer.threshold,
        }
        if served.scorer.upper_threshold is not None:
            model["upper_threshold"] = served.scorer.upper_threshold
        sentence = (
            "serving %(model_name)s version %(model_version)s, bundle %(bundle_digest).12s, threshold %(threshold).6g "
            "nats: "
        )
        _LOG.info(sentence + text, model | facts, extra=event("serving", **model, **facts))
