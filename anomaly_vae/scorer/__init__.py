"""The definition of a score: the command line, the service and the estimator all call ``Scorer``."""

from anomaly_vae.scorer.scorer import Scorer, load
from anomaly_vae.scores import Flags, Scores

__all__ = ["Flags", "Scorer", "Scores", "load"]
