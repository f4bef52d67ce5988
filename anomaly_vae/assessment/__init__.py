"""Numbers about a model on rows: how good it is, where two models differ, and whether rows have changed.

Pure functions of scores, p-values and labels. They need numpy only, and read no files.
"""

from anomaly_vae.assessment.comparison import Comparison, compare
from anomaly_vae.assessment.evaluation import Evaluation, evaluate
from anomaly_vae.assessment.promise import Promise
from anomaly_vae.assessment.ranking import Judged, detection_quality

__all__ = ["Comparison", "Evaluation", "Judged", "Promise", "compare", "detection_quality", "evaluate"]
