"""What is served, and what can be asked of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from anomaly_vae.densities import FloatArray
from anomaly_vae.estimator import default_threads
from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.logs import event

__all__ = ["Served", "Work", "log_start"]

_LOG = logging.getLogger("anomaly_vae.service")


@dataclass(frozen=True, eq=False)
class Served:
    """A loaded model under the name and version that clients know.

    Attributes:
        name, version: What clients call it.
        scorer: The model.
        budgets: What clients may ask for as the number of samples of a row.
    """

    name: str
    version: str
    scorer: Scorer
    budgets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be computed for rows. Rows of equal work, of whatever requests, are computed together.

    Attributes:
        served: The model.
        num_samples: The budget of a row.
        max_std_error: Nats at which to stop at a row, or None.
        flag_only: Whether decisions are enough.
    """

    served: Served
    num_samples: int
    max_std_error: float | None = None
    flag_only: bool = False

    @property
    def pace(self) -> tuple[bool, bool, int]:
        """Works with the same pace take about as long for a row."""
        return self.flag_only, self.max_std_error is not None, self.num_samples

    def run(self, rows: FloatArray) -> Scores | Flags:
        """Compute it for checked rows (N, D)."""
        if self.flag_only:
            return self.served.scorer.flag_rows(rows)
        return self.served.scorer.score_rows(rows, num_samples=self.num_samples, max_std_error=self.max_std_error)


def log_start(served: Served, config: ServeConfig, port: int, metrics_port: int) -> None:
    """Log what is served, where and within which limits: as a sentence, and each part as a field of its own."""
    facts = {
        "model_name": served.name,
        "model_version": served.version,
        "bundle_digest": served.scorer.bundle.digest,
        "threshold": served.scorer.threshold,
        "host": config.host,
        "port": port,
        "metrics_host": config.metrics_host,
        "metrics_port": metrics_port,
        "threads": config.threads or default_threads(),
        "max_rows": config.max_rows,
        "max_queue_rows": config.max_queue_rows,
    }
    text = (
        "serving %(model_name)s version %(model_version)s, bundle %(bundle_digest).12s, threshold %(threshold).6g "
        "nats: gRPC on %(host)s port %(port)d, HTTP on %(metrics_host)s port %(metrics_port)d, %(threads)d threads, "
        "at most %(max_rows)d rows a request and %(max_queue_rows)d in the queue"
    )
    _LOG.info(text, facts, extra=event("serving", **facts))
