"""Per-column transforms fitted to the training rows, their inverses and log-determinants, in float64."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput

__all__ = ["FAR", "Standardise"]

# Training cuts values here, in standard deviations: a few stray ones would outweigh all others in the loss.
FAR = 20.0


class Standardise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="standardise", tag_field="kind"):
    """x -> (x - center) / scale, one center and scale per modelled column.

    Attributes:
        center: Means of the training rows, data units.
        scale: Standard deviations of the training rows, data units, positive.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, x: FloatArray, names: tuple[str, ...]) -> Standardise:
        """Fit to rows of shape (N, D), none of whose columns is constant.

        Values over 20 robust standard deviations (of the interquartile range) from the median count as that far, so
        that a stray value cannot flatten its column.

        Raises:
            InvalidInput: The values of a column are so large that their variance overflows.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            cut = _winsorised(x)
            center, scale = cut.mean(axis=0), cut.std(axis=0)
        for d, name in enumerate(names):
            if not (np.isfinite(center[d]) and np.isfinite(scale[d]) and np.isfinite(1.0 / scale[d])):
                raise InvalidInput(
                    f"column {name!r} spans {x[:, d].min():g} to {x[:, d].max():g}, beyond what float64 can "
                    "standardise; rescale it or take its logarithm",
                    field=name,
                )
        return cls(center=tuple(center.tolist()), scale=tuple(scale.tolist()))

    def forward(self, x: FloatArray) -> FloatArray:
        """Data units to model units, shape (N, D); a value too large for float64 becomes infinite."""
        with np.errstate(over="ignore"):
            return np.asarray((x - np.asarray(self.center)) / np.asarray(self.scale))

    def inverse(self, y: FloatArray) -> FloatArray:
        """Model units to data units, shape (N, D)."""
        return np.asarray(y * np.asarray(self.scale) + np.asarray(self.center))

    @property
    def log_abs_det(self) -> float:
        r""":math:`\log |\det J| = -\sum_d \log s_d`: adds to a log-density in model units to give data units."""
        return -float(np.log(np.asarray(self.scale)).sum())


def _winsorised(x: FloatArray) -> FloatArray:
    low, middle, high = np.percentile(x, [25, 50, 75], axis=0)
    reach = np.where(high > low, FAR * (high - low) / 1.349, np.inf)  # 1.349 standard deviations of a normal
    return np.asarray(np.clip(x, middle - reach, middle + reach))
