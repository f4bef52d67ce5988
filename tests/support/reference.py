r"""Log-densities and divergences in float64, written as in the papers: the reference that code is tested against.

All values are nats. Axes: N rows, K samples, L latent dimensions, D columns.
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import LOG_2PI, FloatArray

__all__ = ["gaussian_kl", "gaussian_log_prob", "proposal_log_prob"]


def gaussian_log_prob(x: FloatArray, loc: FloatArray, log_var: FloatArray) -> FloatArray:
    r"""Return the log-density of a Gaussian with diagonal covariance, summed over the last axis.

    .. math:: \log p = -\tfrac12 \sum_d \Bigl[ \log 2\pi + \log \sigma_d^2
              + \frac{(x_d - \mu_d)^2}{\sigma_d^2} \Bigr]

    Args:
        x: Values, shape (..., D).
        loc: Means, broadcastable to (..., D).
        log_var: Logarithms of the variances, broadcastable to (..., D).

    Returns:
        Nats, shape (...,).
    """
    terms = LOG_2PI + log_var + (x - loc) ** 2 * np.exp(-log_var)
    return np.asarray(-0.5 * terms.sum(axis=-1))


def gaussian_kl(loc: FloatArray, log_var: FloatArray) -> FloatArray:
    r"""Return the KL divergence from N(loc, diag exp(log_var)) to N(0, I), summed over the last axis.

    .. math:: \mathrm{KL}(q \,\|\, p) = \tfrac12 \sum_l
              \bigl[ \mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2 \bigr]

    Args:
        loc: Means, shape (..., L).
        log_var: Logarithms of the variances, shape (..., L).

    Returns:
        Nats, non-negative, shape (...,).

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), appendix B, https://arxiv.org/abs/1312.6114
    """
    return np.asarray(0.5 * (loc**2 + np.expm1(log_var) - log_var).sum(axis=-1))


def proposal_log_prob(noise: FloatArray, scale: FloatArray) -> FloatArray:
    r"""Return the log-density of q(z|x) at z = loc + scale * noise, from the noise alone.

    .. math:: \log q(z_k \mid x_n) = -\tfrac12 \sum_l \bigl[ \log 2\pi + e_{kl}^2 \bigr] - \sum_l \log \sigma_{nl}

    Args:
        noise: Standard normal points e, shape (K, L).
        scale: Standard deviations of the proposal, shape (N, L).

    Returns:
        Nats, shape (N, K).
    """
    at_noise = -0.5 * (LOG_2PI + noise**2).sum(axis=-1)
    return np.asarray(at_noise[None, :] - np.log(scale).sum(axis=-1)[:, None])
