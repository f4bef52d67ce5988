"""The prior p(z) in torch, and the nodes that compute it in the graphs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.arrays import LOG_2PI
from anomaly_vae.density.prior import MAX_LOG_SCALE, MIN_LOG_SCALE, NORMAL, MixturePrior, NormalPrior
from anomaly_vae.training.graph import Graph, to_numpy

__all__ = ["Mixture", "Normal", "PriorDerivatives", "TorchPrior"]


class PriorDerivatives(NamedTuple):
    """Names of values in the posterior graph.

    Attributes:
        log_prob: log p(z), shape (N, 1).
        gradient: Its gradient, shape (N, L).
        curvature: Minus its second derivative, which may be indefinite, shape (N or 1, L, L).
        information: A positive definite curvature, shape (N or 1, L, L).
    """

    log_prob: str
    gradient: str
    curvature: str
    information: str


class TorchPrior(nn.Module):
    """p(z); the networks of a model share it."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, nats, (..., L) -> (...,)."""
        raise NotImplementedError

    def kl(self, loc: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        r"""Return KL(q(z|x) || p(z)) by latent dimension (N, L), or its estimate from one draw, (N, 1), nats.

        Args:
            loc, log_var: q(z|x), shape (N, L).
            noise: The draw is :math:`z = \mu + \sigma \odot e`; shape (N, L).
        """
        raise NotImplementedError

    def kept(self, dims: Tensor) -> TorchPrior:
        """Return the marginal distribution of some dimensions."""
        raise NotImplementedError

    def mean(self) -> Tensor:
        """Return the mean, shape (L,)."""
        raise NotImplementedError

    def record(self) -> NormalPrior | MixturePrior:
        """Return the record of the manifest."""
        raise NotImplementedError

    def add_log_prob(self, graph: Graph, z: str) -> str:
        """Add the log-density of samples, (N, L, S) -> (N, S).

        onnxruntime's sums over short rows change their bits with the row's address in memory; those of a product do
        not.
        """
        raise NotImplementedError

    def add_derivatives(self, graph: Graph, z: str) -> PriorDerivatives:
        """Add the log-density and its derivatives at one z for each row, (N, L)."""
        raise NotImplementedError


class Normal(TorchPrior):
    """N(0, I)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """See :class:`TorchPrior`."""
        return -0.5 * (LOG_2PI + z**2).sum(dim=-1)

    def kl(self, loc: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:  # noqa: ARG002
        r"""Return the closed form.

        .. math:: \mathrm{KL} = \tfrac12 \sum_l [\mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2]
        """
        return 0.5 * (loc**2 + torch.expm1(log_var) - log_var)

    def kept(self, dims: Tensor) -> Normal:
        """See :class:`TorchPrior`."""
        return Normal(len(dims))

    def mean(self) -> Tensor:
        """See :class:`TorchPrior`."""
        return torch.zeros(self.latent_dim)

    def record(self) -> NormalPrior:
        """See :class:`TorchPrior`."""
        return NORMAL

    def add_log_prob(self, graph: Graph, z: str) -> str:
        """See :class:`TorchPrior`."""
        product = graph.add("MatMul", graph.weight(np.full((1, self.latent_dim), -0.5)), graph.add("Mul", z, z))
        by_row = graph.add("Squeeze", product, graph.integers([1]))
        return graph.add("Add", by_row, graph.scalar(-0.5 * self.latent_dim * LOG_2PI))

    def add_derivatives(self, graph: Graph, z: str) -> PriorDerivatives:
        """See :class:`TorchPrior`."""
        squares = graph.add("MatMul", graph.add("Mul", z, z), graph.weight(np.full((self.latent_dim, 1), -0.5)))
        log_prob = graph.add("Add", squares, graph.scalar(-0.5 * self.latent_dim * LOG_2PI))
        identity = graph.weight(np.eye(self.latent_dim)[None])
        return PriorDerivatives(log_prob, graph.add("Mul", z, graph.scalar(-1.0)), identity, identity)


class Mixture(TorchPrior):
    """A mixture of C Gaussians with diagonal covariances, all learned."""

    def __init__(self, latent_dim: int, num_components: int, num_levels: int = 0) -> None:
        """Start with means drawn from N(0, I), standard deviations of 1 and equal shares.

        In the first ``num_levels`` dimensions, components stay N(0, 1), and one is wide; see
        :mod:`anomaly_vae.training.levels`.
        """
        super().__init__(latent_dim)
        loc, log_scale = torch.randn(num_components, latent_dim), torch.zeros(num_components, latent_dim)
        loc[:, :num_levels] = 0.0
        log_scale[0, :num_levels] = MAX_LOG_SCALE
        self.loc, self.raw_log_scale = nn.Parameter(loc), nn.Parameter(log_scale)
        self.logits = nn.Parameter(torch.zeros(num_components))
        if num_levels:
            learned = torch.ones(num_components, latent_dim)
            learned[:, :num_levels] = 0.0
            for parameter in (self.loc, self.raw_log_scale):
                # mypy: torch declares no types of hooks
                parameter.register_hook(lambda slope: slope * learned.to(slope.device))  # type: ignore[no-untyped-call]

    @property
    def log_scale(self) -> Tensor:
        """Logarithms of the standard deviations, shape (C, L)."""
        return self.raw_log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)

    def log_prob(self, z: Tensor) -> Tensor:
        """See :class:`TorchPrior`; the squared distances are linear in z^2 and z, so they are one product."""
        log_scale = self.log_scale
        precision = torch.exp(-2.0 * log_scale)
        pull = precision * self.loc
        constant = torch.log_softmax(self.logits, 0) - log_scale.sum(-1) - 0.5 * (pull * self.loc).sum(-1)
        weights = torch.cat([-0.5 * precision, pull], dim=1)
        terms = nn.functional.linear(torch.cat([z * z, z], dim=-1), weights, constant)
        return torch.logsumexp(terms, dim=-1) - 0.5 * self.latent_dim * LOG_2PI

    def kl(self, loc: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        """Return log q(z|x) - log p(z) at the draw."""
        log_q = -0.5 * (LOG_2PI + log_var + noise**2).sum(dim=-1)
        return (log_q - self.log_prob(loc + torch.exp(0.5 * log_var) * noise))[:, None]

    def kept(self, dims: Tensor) -> Mixture:
        """See :class:`TorchPrior`."""
        with torch.random.fork_rng(devices=[]):
            found = Mixture(len(dims), len(self.logits))
        with torch.no_grad():
            found.loc.copy_(self.loc[:, dims])
            found.raw_log_scale.copy_(self.raw_log_scale[:, dims])
            found.logits.copy_(self.logits)
        return found.to(self.loc.device)

    def mean(self) -> Tensor:
        """See :class:`TorchPrior`."""
        return torch.softmax(self.logits, 0) @ self.loc

    def record(self) -> MixturePrior:
        """See :class:`TorchPrior`."""
        log_weights = torch.log_softmax(self.logits.detach().double(), 0).clamp(min=-100.0, max=0.0)
        loc, log_scale = (values.detach().double().cpu().tolist() for values in (self.loc, self.log_scale))
        return MixturePrior(
            log_weights=tuple(log_weights.cpu().tolist()),
            loc=tuple(map(tuple, loc)),
            log_scale=tuple(tuple(min(max(v, MIN_LOG_SCALE), MAX_LOG_SCALE) for v in row) for row in log_scale),
        )

    def add_log_prob(self, graph: Graph, z: str) -> str:
        """See :class:`TorchPrior`; the squared distances are linear in z^2 and z."""
        weights, constant = self._quadratic()
        powers = graph.add("Concat", graph.add("Mul", z, z), z, axis=1)
        terms = graph.add("Add", graph.add("MatMul", graph.weight(weights), powers), graph.weight(constant[:, None]))
        top = graph.add("ReduceMax", terms, graph.integers([1]), keepdims=1)
        shares = graph.add("Exp", graph.add("Sub", terms, top))
        total = graph.add("MatMul", graph.weight(np.ones((1, len(constant)))), shares)
        return graph.add("Squeeze", graph.add("Add", graph.add("Log", total), top), graph.integers([1]))

    def add_derivatives(self, graph: Graph, z: str) -> PriorDerivatives:
        r"""See :class:`TorchPrior`.

        With the shares :math:`r_c` of the components in p(z), their precisions :math:`\tau_c` and
        :math:`d_c = \tau_c (\mu_c - z)`:

        .. math:: g = \sum_c r_c d_c, \qquad
                  -\nabla^2 \log p(z) = \mathrm{diag} \sum_c r_c \tau_c - \sum_c r_c (d_c - g) (d_c - g)^\top
        """
        weights, constant = self._quadratic()
        precision = np.exp(-2.0 * to_numpy(self.log_scale))
        pull = precision * to_numpy(self.loc)
        powers = graph.add("Concat", graph.add("Mul", z, z), z, axis=1)
        terms = graph.add("Add", graph.add("MatMul", powers, graph.weight(weights.T)), graph.weight(constant))
        top = graph.add("ReduceMax", terms, graph.integers([1]), keepdims=1)
        parts = graph.add("Exp", graph.add("Sub", terms, top))
        total = graph.add("MatMul", parts, graph.weight(np.ones((len(constant), 1))))
        shares = graph.add("Div", parts, total)
        own_precision = graph.add("MatMul", shares, graph.weight(precision))
        drift = graph.add("MatMul", shares, graph.weight(pull))
        gradient = graph.add("Sub", drift, graph.add("Mul", z, own_precision))
        one, two = graph.integers([1]), graph.integers([2])
        information = graph.add(
            "Mul", graph.add("Unsqueeze", own_precision, two), graph.weight(np.eye(self.latent_dim))
        )
        steps = graph.add(
            "Sub",
            graph.weight(pull[None]),
            graph.add("Mul", graph.add("Unsqueeze", z, one), graph.weight(precision[None])),
        )
        # Around their mean, the gradient: far out, the squares of the steps would cancel to nothing in float32.
        centred = graph.add("Sub", steps, graph.add("Unsqueeze", gradient, one))
        weighted = graph.add("Mul", centred, graph.add("Unsqueeze", shares, two))
        scatter = graph.add("MatMul", graph.add("Transpose", weighted, perm=[0, 2, 1]), centred)
        curvature = graph.add("Sub", information, scatter)
        return PriorDerivatives(graph.add("Add", graph.add("Log", total), top), gradient, curvature, information)

    def _quadratic(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (C, 2 L) and constants (C,) of the components' log-densities in (z^2, z)."""
        loc, log_scale = to_numpy(self.loc), to_numpy(self.log_scale)
        precision = np.exp(-2.0 * log_scale)
        log_weights = to_numpy(torch.log_softmax(self.logits.double(), 0))
        constant = log_weights - log_scale.sum(-1) - 0.5 * (self.latent_dim * LOG_2PI + (precision * loc**2).sum(-1))
        return np.concatenate([-0.5 * precision, precision * loc], axis=1), constant
