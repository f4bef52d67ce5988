r"""What a model expects in some cells of a row, given its other cells.

.. math:: p(x_d \mid x_{rest}) = \int p(x_d \mid z)\, p(z \mid x_{rest})\, dz
          \approx \sum_k \tilde w_k\, p(x_d \mid z_k)

with samples of p(z | x_rest) and their normalised weights, over all members of an ensemble. A conditional is exact for
the model: no value is imputed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.part import Part
from anomaly_vae.density import tiles
from anomaly_vae.density.member import Member
from anomaly_vae.density.samples import Samples

__all__ = ["Conditional", "Posterior"]

# Numbers in one array of densities of candidates given samples: 2 MiB. Chosen, not measured: it bounds the memory.
_MOST_NUMBERS = 2**18


class Conditional:
    """p(x_d | x_rest) of C columns of one row, as a mixture over samples z_k of all members."""

    def __init__(self, parts: Sequence[Part], params: Sequence[FloatArray], log_weights: FloatArray) -> None:
        """Take what the samples say of the columns.

        Args:
            parts: The columns under each of M members.
            params: The decoder's output for them, M arrays (S, p).
            log_weights: Normalised: their exponentials add up to 1, shape (M, S).
        """
        self._parts, self._params, self._log_weights = parts, params, log_weights

    def log_prob(self, values: FloatArray) -> FloatArray:
        """Return log p(values | x_rest), nats in data units, (G, C) -> (G,)."""
        widest = max(params.size for params in self._params)
        step = max(_MOST_NUMBERS // widest, 1)
        return np.concatenate([self._log_prob(values[i : i + step]) for i in range(0, len(values), step)])

    def _log_prob(self, values: FloatArray) -> FloatArray:
        terms = [
            part.log_prob(values, params) + log_weights
            for part, params, log_weights in zip(self._parts, self._params, self._log_weights, strict=True)
        ]
        return _log_sum(terms[0] if len(terms) == 1 else np.concatenate(terms, axis=1))

    def log_levels(self) -> FloatArray:
        """Return log p(level | x_rest) of every level of a column of text, nats, in the order of its head, (G,)."""
        terms = [
            part.log_levels(params) + log_weights
            for part, params, log_weights in zip(self._parts, self._params, self._log_weights, strict=True)
        ]
        return _log_sum(terms[0] if len(terms) == 1 else np.concatenate(terms, axis=1))

    def draw(self, count: int, seed: int) -> FloatArray:
        """Draw values evenly by the weights (systematic resampling), data units, (count, C).

        References:
            Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space models (1996)
        """
        rng = np.random.default_rng(seed)
        ends = np.cumsum(np.exp(self._log_weights).ravel())
        places = np.searchsorted(ends / ends[-1], (np.arange(count) + 0.5) / count)
        per_member = self._log_weights.shape[1]
        found = []
        for m, (part, params) in enumerate(zip(self._parts, self._params, strict=True)):
            chosen = places[places // per_member == m] % per_member
            if len(chosen):
                found.append(part.draw(params[chosen], rng))
        return np.concatenate(found)

    def usual_surprise(self, count: int, seed: int) -> float:
        """Return the mean of -log p(x_d | x_rest) over values of the model, nats in data units: the entropy.

        Args:
            count: Values that are drawn for it.
            seed: Of the draws.
        """
        return -float(self.log_prob(self.draw(count, seed)).sum()) / count


class Posterior:
    """p(z | x_rest) of one row, as weighted samples under each member, and what the decoders make of them."""

    def __init__(self, members: Sequence[Member], samples: Sequence[Samples], row: int) -> None:
        """Decode the samples of one of the rows."""
        log_weights = np.stack([each.log_weights[row] for each in samples])
        self._log_weights = log_weights - _log_sum(log_weights.ravel())
        pairs = zip(members, samples, strict=True)
        self._params = [tiles.decode(member.network, each.z[row]) for member, each in pairs]

    def of(self, parts: Sequence[Part]) -> Conditional:
        """Return p(x_d | x_rest) of the columns of these parts, one for each member."""
        pairs = zip(parts, self._params, strict=True)
        return Conditional(parts, [part.params(params) for part, params in pairs], self._log_weights)


def _log_sum(terms: FloatArray) -> FloatArray:
    """Return the logarithm of the sum of exponentials over the last axis."""
    top = terms.max(axis=-1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(terms - top[..., None]).sum(axis=-1)))
