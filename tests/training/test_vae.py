"""The ELBO, its gradient and log p(x, z) against reference densities."""

from __future__ import annotations

import math

import numpy as np
import torch

from anomaly_vae.training.objective import negative_elbo
from anomaly_vae.training.vae import ElboTerms
from tests.support.reference import gaussian_kl, gaussian_log_prob
from tests.support.training import gaussian_part, inputs, small_vae


def test_elbo_terms_are_the_reference_densities():
    """The KL has the right direction, the encoder's second output is a log-variance, and sums run over dimensions."""
    vae = small_vae()
    x, mask, noise = inputs(vae)
    terms = vae.elbo_terms(x, mask, noise)
    loc, log_var = (t.detach().numpy() for t in vae.encoder(x, mask))
    z = torch.as_tensor(loc + np.exp(0.5 * log_var) * noise.numpy())
    head = gaussian_part(vae).log_var.detach().numpy()
    expected = gaussian_log_prob(x.numpy(), vae.decoder(z).detach().numpy(), head)
    np.testing.assert_allclose(terms.log_likelihood.detach(), expected, rtol=1e-10)
    np.testing.assert_allclose(terms.kl.detach(), gaussian_kl(loc, log_var), rtol=1e-10)
    by_dim = [gaussian_kl(loc[:, d : d + 1], log_var[:, d : d + 1]) for d in range(vae.latent_dim)]
    np.testing.assert_allclose(terms.kl_by_dim.detach(), np.stack(by_dim, axis=1), rtol=1e-10)


def test_the_gradient_is_the_derivative():
    """With reparametrised samples, the gradient of the encoder is exact too."""
    vae = small_vae()
    x, mask, noise = inputs(vae)
    parameters = tuple(p.detach().requires_grad_() for p in vae.parameters())
    names = [name for name, _ in vae.named_parameters()]

    def loss(*values):
        terms = torch.func.functional_call(
            _Terms(vae), dict(zip([f"vae.{n}" for n in names], values, strict=True)), (x, mask, noise)
        )
        return negative_elbo(ElboTerms(*terms), 0.7)

    assert torch.autograd.gradcheck(loss, parameters, fast_mode=True)


class _Terms(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, x, mask, noise):
        return self.vae.elbo_terms(x, mask, noise)


def test_the_kl_has_a_gradient():
    """A clamp of the KL, as in some other code, can remove its gradient."""
    vae = small_vae()
    vae.elbo_terms(*inputs(vae)).kl.sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in vae.encoder.parameters())


def test_the_mean_elbo_is_below_log_p():
    vae = small_vae()
    x, mask, _ = inputs(vae)
    noise = torch.randn(4096, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms = [vae.elbo_terms(x, mask, e.expand(8, 2)) for e in noise]
    elbo = torch.stack([t.log_likelihood - t.kl for t in terms]).mean(0)
    loc, log_var = vae.encoder(x, mask)
    points = noise[:, 0]
    scale = torch.exp(0.5 * log_var)
    log_q = -0.5 * (math.log(2 * math.pi) + points**2).sum(-1) - log_var.sum(-1, keepdim=True) / 2
    log_px = torch.logsumexp(vae.log_joint(x, mask, loc, scale, points) - log_q, -1) - math.log(4096)
    assert torch.all(elbo < log_px)


def test_log_joint_masks_columns():
    vae = small_vae()
    x, mask, noise = inputs(vae)
    loc, log_var = vae.encoder(x, mask)
    all_columns = vae.log_joint(x, mask, loc, log_var.exp(), noise)
    none = vae.log_joint(x, mask * 0, loc, log_var.exp(), noise)
    z = loc[:, None] + log_var.exp()[:, None] * noise
    log_prior = -0.5 * (math.log(2 * math.pi) + z**2).sum(-1)
    torch.testing.assert_close(none, log_prior)
    assert not torch.allclose(all_columns, none)
