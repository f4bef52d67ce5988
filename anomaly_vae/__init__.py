"""Anomaly detection by density: log p(x) with a standard error, and a calibrated threshold."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from anomaly_vae.version import __version__

# onnxruntime sends usage reports to its maker as soon as it is imported, and stores them below HOME. It reads this
# variable once, at its import. A value that the user has set is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from anomaly_vae import plot
    from anomaly_vae.explained import Why
    from anomaly_vae.scorer import Flags, Scorer, Scores, load
    from anomaly_vae.series.live import SeriesScorer
    from anomaly_vae.training.detector import VAEDetector

__all__ = ["Flags", "Scorer", "Scores", "SeriesScorer", "VAEDetector", "Why", "__version__", "load", "plot"]


def __getattr__(name: str) -> Any:
    """Import on first use: scoring must not import torch, and ``anomaly_vae.errors`` must not import onnxruntime."""
    if name == "VAEDetector":
        try:
            from anomaly_vae.training.detector import VAEDetector
        except ModuleNotFoundError as error:
            text = f"VAEDetector needs torch and scikit-learn: pip install 'anomaly_vae[train]' ({error})"
            raise ModuleNotFoundError(text, name=error.name) from error
        return VAEDetector
    if name == "SeriesScorer":
        from anomaly_vae.series.live import SeriesScorer

        return SeriesScorer
    if name == "Why":
        from anomaly_vae.explained import Why

        return Why
    if name == "plot":
        return importlib.import_module("anomaly_vae.plot")
    if name in ("Flags", "Scorer", "Scores", "load"):
        from anomaly_vae import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
