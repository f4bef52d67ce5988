"""Synthetic rows from a model: z from the prior, x from p(x|z)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae import tiles
from anomaly_vae.densities import FloatArray
from anomaly_vae.layout import Block
from anomaly_vae.likelihood import LOGIT_LIMIT, RAW_LIMIT
from anomaly_vae.member import Member
from anomaly_vae.special import sigmoid

__all__ = ["sample_rows"]


def sample_rows(members: Sequence[Member], n: int, seed: int) -> FloatArray:
    """Draw n rows of numbers in data units from a mixture, shape (n, D); constant columns hold their value."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(members), size=n)
    rows = np.empty((n, len(members[0].features.schema.columns)))
    for m, member in enumerate(members):
        chosen = np.flatnonzero(which == m)
        if len(chosen):
            rows[chosen] = _from_member(member, len(chosen), rng)
    return rows


def _from_member(member: Member, n: int, rng: np.random.Generator) -> FloatArray:
    params = tiles.decode(member.network, rng.standard_normal((n, member.latent_dim)))
    blocks = member.features.layout.blocks
    values = [_DRAW[block.kind](block, params[:, block.params], rng) for block in blocks]
    return member.features.decode(np.concatenate(values, axis=1))


def _of(block: Block, name: str) -> FloatArray:
    return np.array([getattr(head, name) for head in block.heads], dtype=np.float64)


def _gaussian(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(params + np.exp(0.5 * _of(block, "log_var")) * rng.standard_normal(params.shape))


def _conditional(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    loc, raw = np.split(params, 2, axis=1)
    variance = np.square(_of(block, "floor")) + np.exp(np.clip(raw, -RAW_LIMIT, RAW_LIMIT))
    return np.asarray(loc + np.sqrt(variance) * rng.standard_normal(loc.shape))


def _student_t(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(params + np.exp(_of(block, "log_scale")) * rng.standard_t(_of(block, "freedom"), params.shape))


def _logistic(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(params + np.exp(_of(block, "log_scale")) * rng.logistic(size=params.shape))


def _bernoulli(_block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    return (rng.random(params.shape) < sigmoid(params)).astype(np.float64)


def _count(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    dispersion = np.exp(_of(block, "log_dispersion"))
    rate = rng.gamma(dispersion, np.exp(np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)))
    return rng.poisson(np.minimum(rate, 1e15)).astype(np.float64)


def _categorical(block: Block, params: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The largest of logits with Gumbel noise is distributed as softmax says."""
    noisy: NDArray[np.float64] = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT) + rng.gumbel(size=params.shape)
    ends = np.cumsum(block.sizes)
    found = [noisy[:, end - size : end].argmax(axis=1) for end, size in zip(ends, block.sizes, strict=True)]
    return np.stack(found, axis=1).astype(np.float64)


_DRAW = {
    "gaussian": _gaussian,
    "conditional": _conditional,
    "student_t": _student_t,
    "logistic": _logistic,
    "bernoulli": _bernoulli,
    "count": _count,
    "categorical": _categorical,
}
