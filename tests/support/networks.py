"""Networks in numpy: one of a few sums, and one of any decoder and likelihood."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import standard_normal_log_prob
from anomaly_vae.density.network import CallSizes, Posterior

__all__ = ["FunctionNetwork", "Network"]

# Steps of the central differences. In float64, first derivatives are exact to about 1e-9, second ones to 1e-7.
_FIRST, _SECOND = 1e-5, 1e-4


class Network:
    """A model of a few sums; its bits can be made to depend on the shape of a call."""

    call_sizes = CallSizes()

    def __init__(
        self,
        encoder=lambda rows: 0.0,
        joint=lambda rows, samples: 0.0,
        posterior=lambda rows: 0.0,
        likelihood=lambda rows: 0.0,
    ):
        self.encoder, self.joint, self.of_posterior, self.of_likelihood = encoder, joint, posterior, likelihood

    def encode(self, x, mask):
        loc = x[:, :2] * mask[:, :2] + np.float32(self.encoder(len(x)))
        return loc, loc

    def decode(self, z):
        return z.astype(np.float32)

    def log_joint(self, x, mask, z):
        shift = np.float32(self.joint(*z.shape[:2]))
        return z.sum(axis=-1, dtype=np.float32) + (x * mask)[:, :1] + shift

    def posterior(self, x, mask, z):
        value = z[:, :1] + (x * mask)[:, :1] + np.float32(self.of_posterior(len(x)))
        square = np.tile(np.eye(z.shape[1], dtype=np.float32), (len(x), 1, 1)) + value[:, :, None]
        return Posterior(value, -z, square, square)

    def likelihood(self, x, mask, params):
        return (x * mask)[:, :1] + params[:, 0] + np.float32(self.of_likelihood(len(x)))


class FunctionNetwork:
    """A model with any decoder, (..., L) -> (..., P), and any likelihood, both in numpy.

    The derivatives of log p(x, z) are central differences.
    """

    batch_invariant = False
    call_sizes = CallSizes()

    def __init__(self, decoder, likelihood, encoder=None):
        self.decoder, self.of_params, self.encoder = decoder, likelihood, encoder

    def encode(self, x, mask):
        return tuple(values.astype(np.float32) for values in self.encoder(x.astype(np.float64), mask))

    def decode(self, z):
        return self.decoder(z.astype(np.float64)).astype(np.float32)

    def log_joint(self, x, mask, z):
        return self.exact(x[:, None], mask[:, None], z.astype(np.float64)).astype(np.float32)

    def likelihood(self, x, mask, params):
        return self.of_params.log_prob(x[:, None].astype(np.float64), mask[:, None], params).astype(np.float32)

    def posterior(self, x, mask, z):
        x, mask, z = (values.astype(np.float64) for values in (x, mask, z))
        axes = np.eye(z.shape[1])

        def at(offset):
            return self.exact(x, mask, z + offset)

        gradient = [(at(_FIRST * axis) - at(-_FIRST * axis)) / (2 * _FIRST) for axis in axes]
        second = [
            [
                (at(h := _SECOND * (a + b)) - at(_SECOND * (a - b)) - at(_SECOND * (b - a)) + at(-h)) / (4 * _SECOND**2)
                for b in axes
            ]
            for a in axes
        ]
        jacobian = [(self.decoder(z + _FIRST * axis) - self.decoder(z - _FIRST * axis)) / (2 * _FIRST) for axis in axes]
        tangent = np.stack(jacobian, axis=1)
        weights = self.of_params.information(x, mask, self.decoder(z))
        found = Posterior(
            log_joint=at(0.0)[:, None],
            gradient=np.stack(gradient, axis=1),
            curvature=-np.moveaxis(np.array(second), 2, 0),
            information=np.eye(z.shape[1]) + (tangent * weights[:, None]) @ np.swapaxes(tangent, 1, 2),
        )
        return Posterior(*(values.astype(np.float32) for values in found))

    def exact(self, x, mask, z):
        """Return log p(x, z) in float64, shape (...,)."""
        return self.of_params.log_prob(x, mask, self.decoder(z)) + standard_normal_log_prob(z)
