"""Density-scoring anomaly detection: log p(x) with an error bar and a calibrated threshold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# From the moment it is imported, onnxruntime reports its use to its maker, and keeps the reports below HOME. It reads
# this once, as it is loaded; a value that the user gave stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer, Scores, load
    from anomaly_vae.training.detector import VAEDetector

__version__ = "0.1.0"

__all__ = ["Scorer", "Scores", "VAEDetector", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that scoring does not import torch and errors do not import onnxruntime."""
    if name == "VAEDetector":
        from anomaly_vae.training.detector import VAEDetector

        return VAEDetector
    if name in ("Scorer", "Scores", "load"):
        from anomaly_vae import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
