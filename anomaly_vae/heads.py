"""What a bundle says of p(x_d | z), column by column: the head, and the transform before it.

A column's part of log p is in data units. Where its values are points of a grid (``step``), the head gives the
probability of a point, which is at most 1: such a column cannot send log p to infinity, however exactly it is
predicted. Elsewhere it gives a density.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from anomaly_vae.transforms import Transform

__all__ = [
    "BernoulliHead",
    "CategoricalHead",
    "ColumnModel",
    "ConditionalHead",
    "CountHead",
    "GaussianHead",
    "Head",
    "LogisticHead",
    "StudentTHead",
]

LogNumber = Annotated[float, Meta(ge=-100.0, le=100.0)]
PositiveNumber = Annotated[float, Meta(gt=0.0)]


class GaussianHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gaussian", tag_field="kind"):
    """N(loc(z), exp(log_var)), model units.

    Attributes:
        variance: "learned", or "fixed" at that of the column itself.
        log_var: Its logarithm.
        step: Distance of the grid's points, data units, where the column has one: the probability of a point is
            step times the density, whose standard deviation is at least half a step. For all loc those probabilities
            add up to 1 within 1.5 % (Poisson's summation formula).
    """

    variance: Literal["learned", "fixed"]
    log_var: LogNumber
    step: PositiveNumber | None = None


class ConditionalHead(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="conditional", tag_field="kind"
):
    """N(loc(z), floor^2 + exp(raw(z))), model units: the variance depends on z as well.

    Attributes:
        floor: Smallest standard deviation.
        step: As for :class:`GaussianHead`.
    """

    floor: PositiveNumber
    step: PositiveNumber | None = None


class StudentTHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="student_t", tag_field="kind"):
    """Student's t around loc(z), model units: far values cost their logarithm, not their square.

    Attributes:
        log_scale: Logarithm of the scale.
        freedom: Degrees of freedom.
        step: As for :class:`GaussianHead`.
    """

    log_scale: LogNumber
    freedom: Annotated[float, Meta(gt=1.0, le=1e3)]
    step: PositiveNumber | None = None


class LogisticHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="logistic", tag_field="kind"):
    r"""A logistic distribution around loc(z), cut into cells of the grid: the probability of the cell around x.

    .. math:: P(x) = \sigma((x + h/2 - \mu) / s) - \sigma((x - h/2 - \mu) / s)

    Attributes:
        log_scale: log s, model units.
        step: h, data units.
        cell: h, model units.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    log_scale: LogNumber
    step: PositiveNumber
    cell: PositiveNumber


class BernoulliHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bernoulli", tag_field="kind"):
    """P(x = 1) = sigmoid(logit(z))."""


class CountHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="count", tag_field="kind"):
    r"""Negative binomial with mean r exp(u(z)) and variance mean (1 + mean / r).

    .. math:: P(x) = \frac{\Gamma(x + r)}{\Gamma(r) x!} \sigma(u)^x \sigma(-u)^r

    Attributes:
        log_dispersion: log r; the larger, the closer to Poisson.
        center, scale: What the encoder sees is (x - center) / scale.
    """

    log_dispersion: LogNumber
    center: float
    scale: PositiveNumber


class CategoricalHead(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="categorical", tag_field="kind"
):
    """softmax(logits(z)).

    Attributes:
        size: Number of categories.
    """

    size: Annotated[int, Meta(ge=2, le=4096)]


Head = GaussianHead | ConditionalHead | StudentTHead | LogisticHead | BernoulliHead | CountHead | CategoricalHead


class ColumnModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one modelled column enters the model.

    Attributes:
        head: Its likelihood.
        transform: Data units to model units; None where the head takes the value as it is (Bernoulli, counts,
            categories).
    """

    head: Head
    transform: Transform | None = None
