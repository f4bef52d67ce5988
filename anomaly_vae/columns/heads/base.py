"""What every likelihood head provides: its record in manifest.json and its density in numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Protocol, Self

import numpy as np
from msgspec import Meta

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.transforms import Standardise, Transform
from anomaly_vae.record import Record

__all__ = ["LOGIT_LIMIT", "RAW_LIMIT", "HeadRecord", "Likelihood", "LogNumber", "NumberHead", "PositiveNumber"]

# Logits are clipped to +-30: probabilities down to exp(-30) = 1e-13, and exp(30) is far below the float32 limit.
LOGIT_LIMIT = 30.0

# Raw log-variances from the decoder are clipped to +-8, model units: standard deviations between 0.02 and 55.
# Chosen, not measured: a wider range lets one column dominate the gradient.
RAW_LIMIT = 8.0

LogNumber = Annotated[float, Meta(ge=-100.0, le=100.0)]
PositiveNumber = Annotated[float, Meta(gt=0.0)]


class Likelihood(Protocol):
    """p(x|z) as a function of the decoder's output, in model units.

    x and mask have the features in their last axis, (..., F). params is the decoder's output, (..., P). The leading
    axes broadcast. Terms that do not depend on z may be left out; see :meth:`HeadRecord.base`.
    """

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Return log p(x|z) in nats, summed over the columns with mask 1, shape (...,)."""
        ...

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Return the derivative of log p(x|z) by each parameter, shape (..., P)."""
        ...

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Return a non-negative curvature of -log p(x|z) in each parameter, shape (..., P).

        Heads with light tails return the Fisher information, which does not depend on x. Heads with heavy tails
        (student_t, logistic) return slope / residual, the curvature of the quadratic upper bound that touches
        -log p(x|z) at the residual. It is small for outliers, so that they hardly move z.
        """
        ...

    def center(self, params: FloatArray) -> FloatArray:
        """Return one value per column: the mean of numbers, or the most probable category as its index.

        In model units, (N, P) -> (N, G).
        """
        ...

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw one value per column from p(x|z), model units, (N, P) -> (N, G); a category is drawn as its index."""
        ...


class HeadRecord(Record, tag_field="kind"):
    """The likelihood of one column as stored in manifest.json; the base class of all heads.

    Attributes:
        takes_transform: Whether the column is standardised first; otherwise the head takes the values as they are.
        params_per_feature: Decoder outputs per feature.
        selectable: Whether the user can choose it with the option ``likelihood``.
        needs_grid: Whether it fits only values on a grid; other columns get a Gaussian head.
        has_base: Whether :meth:`base` is not 0.
    """

    takes_transform: ClassVar[bool] = False
    params_per_feature: ClassVar[int] = 1
    selectable: ClassVar[bool] = True
    needs_grid: ClassVar[bool] = False
    has_base: ClassVar[bool] = False

    @classmethod
    def kind(cls) -> str:
        """Return the name of the head in manifest.json."""
        return str(cls.__struct_config__.tag)

    @classmethod
    def likelihood(cls, heads: Sequence[Self]) -> Likelihood:
        """Return the density of several columns that all have this kind of head."""
        raise NotImplementedError

    @property
    def num_categories(self) -> int | None:
        """Number of categories; None if the values are numbers."""
        return None

    @property
    def num_features(self) -> int:
        """Features of the column in the networks' input: one per category, 2 for an angle, otherwise 1."""
        return self.num_categories or (1 if self.cycle is None else 2)

    @property
    def grid_step(self) -> float | None:
        """Distance of neighbouring grid points, data units; None if the values are not on a grid."""
        return None

    @property
    def cycle(self) -> float | None:
        """Period of the values, data units, if only their remainder counts; the features are cosine and sine."""
        return None

    @property
    def learned_std(self) -> float | None:
        """Spread given z, in standard deviations of the column, if training learned one number for all z."""
        return None

    @property
    def input_scaling(self) -> tuple[float, float]:
        """Center and scale: the encoder sees (x - center) / scale."""
        return 0.0, 1.0

    @property
    def summary(self) -> str:
        """The head in a few words, for `anomaly-vae inspect`."""
        return self.kind()

    def base(self, x: FloatArray) -> FloatArray:
        """Return the part of log p(x|z) that does not depend on z and that the likelihood leaves out, nats."""
        return np.zeros_like(x)

    def log_jacobian(self, transform: Transform | None) -> float:  # noqa: ARG002 (numbers need it)
        """Return the constant that turns log_prob into log p in data units, nats.

        On a grid, the result is the log-probability of the grid point. A non-linear transform adds its own slope.
        """
        return 0.0

    def unit_log_density(self, transform: Transform | None) -> float | None:  # noqa: ARG002 (numbers need it)
        """Return log p in data units where the density in standardised units is 1, nats; None without units."""
        return None


class NumberHead(HeadRecord):
    """A head of numbers that are standardised first."""

    takes_transform: ClassVar[bool] = True

    def log_jacobian(self, transform: Transform | None) -> float:
        """See :class:`HeadRecord`."""
        slope = -math.log(transform.scale) if isinstance(transform, Standardise) else 0.0
        return slope + (0.0 if self.grid_step is None else math.log(self.grid_step))

    def unit_log_density(self, transform: Transform | None) -> float | None:
        """See :class:`HeadRecord`."""
        return self.log_jacobian(transform)
