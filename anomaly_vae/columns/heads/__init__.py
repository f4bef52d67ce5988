"""Likelihood heads: p(x_d | z) of one column. One module per head holds its record and its density in numpy.

The contribution of a column to log p(x) is in data units. For values on a grid (``step``) the head gives the
probability of a grid point, which is at most 1, so that an exactly predicted column cannot send log p(x) to infinity.
Otherwise it gives a density.
"""

from __future__ import annotations

from typing import get_args

from anomaly_vae.columns.heads.base import LOGIT_LIMIT, RAW_LIMIT, HeadRecord, Likelihood
from anomaly_vae.columns.heads.bernoulli import BernoulliHead
from anomaly_vae.columns.heads.categorical import CategoricalHead
from anomaly_vae.columns.heads.conditional import ConditionalHead
from anomaly_vae.columns.heads.count import CountHead
from anomaly_vae.columns.heads.gaussian import GaussianHead
from anomaly_vae.columns.heads.logistic import LogisticHead
from anomaly_vae.columns.heads.pixel import PixelHead
from anomaly_vae.columns.heads.student_t import StudentTHead
from anomaly_vae.columns.heads.von_mises import VonMisesHead
from anomaly_vae.columns.tails import Tails
from anomaly_vae.columns.transforms import Transform
from anomaly_vae.record import Record

__all__ = [
    "HEADS",
    "LOGIT_LIMIT",
    "RAW_LIMIT",
    "BernoulliHead",
    "CategoricalHead",
    "ColumnModel",
    "ConditionalHead",
    "CountHead",
    "GaussianHead",
    "Head",
    "HeadRecord",
    "Likelihood",
    "LogisticHead",
    "PixelHead",
    "StudentTHead",
    "VonMisesHead",
]

# The registry of heads. Columns are laid out in this order, and so are the graphs of existing bundles: add a head
# anywhere, but keep the order of the others.
Head = (
    GaussianHead
    | ConditionalHead
    | StudentTHead
    | LogisticHead
    | BernoulliHead
    | CountHead
    | CategoricalHead
    | VonMisesHead
    | PixelHead
)

HEADS: dict[str, type[HeadRecord]] = {head.kind(): head for head in get_args(Head)}


class ColumnModel(Record):
    """How one modelled column enters the model.

    Attributes:
        head: Its likelihood.
        transform: From data units to model units; None for heads that take the values as they are (bernoulli, count,
            categorical, von_mises).
        tails: Outside the range of the training values; None if the transform holds there too.
    """

    head: Head
    transform: Transform | None = None
    tails: Tails | None = None
