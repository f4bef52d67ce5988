"""Likelihood heads in torch: what training learns, where it starts, and the ONNX graph. One module per head."""

from __future__ import annotations

from anomaly_vae.training.torch_heads.base import STD_FLOOR, ColumnData, TorchHead, cell_width, std_floor
from anomaly_vae.training.torch_heads.bernoulli import Bernoulli
from anomaly_vae.training.torch_heads.categorical import Categorical
from anomaly_vae.training.torch_heads.conditional import Conditional
from anomaly_vae.training.torch_heads.count import Count
from anomaly_vae.training.torch_heads.gaussian import Gaussian
from anomaly_vae.training.torch_heads.logistic import Logistic
from anomaly_vae.training.torch_heads.pixel import Pixel
from anomaly_vae.training.torch_heads.student_t import StudentT
from anomaly_vae.training.torch_heads.von_mises import VonMises

__all__ = ["STD_FLOOR", "TORCH_HEADS", "ColumnData", "TorchHead", "cell_width", "std_floor"]

# The registry, by the name of the head in manifest.json.
TORCH_HEADS: dict[str, type[TorchHead]] = {
    "gaussian": Gaussian,
    "conditional": Conditional,
    "student_t": StudentT,
    "logistic": Logistic,
    "bernoulli": Bernoulli,
    "count": Count,
    "categorical": Categorical,
    "von_mises": VonMises,
    "pixel": Pixel,
}
