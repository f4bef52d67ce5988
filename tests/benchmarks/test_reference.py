"""The references of log p(x), on densities with known integrals, and how coverage counts them."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from tests.benchmarks.default_path_figures import coverage
from tests.benchmarks.reference import References, of_members
from tests.benchmarks.reference_modes import Expansion, mode_components
from tests.benchmarks.reference_sampling import importance_log_prob
from tests.benchmarks.reference_tempered import tempered_components
from tests.support.exact_models import estimator_of, factor_analysis, gaussian_vae, log_var_of


class TwoModes:
    """exp(log_joint) is a mixture of two Gaussians of known weights, so it integrates to their sum."""

    def __init__(self, latent_dim: int) -> None:
        self.loc = np.stack([np.full(latent_dim, 1.5), np.full(latent_dim, -1.0)])
        self.std, self.log_weight = 0.3, np.array([-20.0, -21.0])

    def log_joint(self, z):
        return logsumexp(self._terms(z), axis=-1)

    def expand(self, z):
        share = np.exp(self._terms(z) - self.log_joint(z)[:, None])
        gradient = (share[:, :, None] * (self.loc - z[:, None, :])).sum(axis=1) / self.std**2
        hessian = np.broadcast_to(np.eye(z.shape[1]) / self.std**2, (len(z), z.shape[1], z.shape[1]))
        return Expansion(self.log_joint(z), gradient, hessian)

    def _terms(self, z):
        squares = np.square((z[:, None, :] - self.loc) / self.std).sum(axis=-1)
        return self.log_weight - 0.5 * squares - z.shape[1] * np.log(self.std * np.sqrt(2.0 * np.pi))


@pytest.mark.parametrize("latent_dim", [1, 4])
@pytest.mark.parametrize("method", ["modes", "tempered"])
def test_a_reference_finds_both_modes(method, latent_dim):
    """Gaussian modes are fitted well, so few samples give the known integral within some standard errors."""
    target, rng = TwoModes(latent_dim), np.random.default_rng(3)
    if method == "modes":
        points = rng.normal(size=(4096, latent_dim))
        components = mode_components(target, points, target.log_joint(points), rng)
    else:
        components = tempered_components(target.log_joint, latent_dim, rng)
    log_px, error = importance_log_prob(target.log_joint, components, rng)
    assert error <= 0.01
    assert abs(log_px - logsumexp(target.log_weight)) <= 5.0 * error


def test_both_references_agree_with_the_closed_form_of_a_mixture_prior():
    """A linear decoder makes p(x) a mixture of Gaussians; the third component is far from N(0, I)."""
    fitted, _, transform, rows = factor_analysis()
    vae = gaussian_vae(transform, (), 3, np.log(fitted.noise_variance_), components=3)
    vae.prior.loc.data[2] += 4.0
    record = vae.prior.record()
    weight, bias = (value.detach().double().numpy() for value in vae.decoder[0].parameters())
    noise, y = np.diag(np.exp(log_var_of(vae))), transform.forward(rows[:6])
    terms = [
        log_weight
        + multivariate_normal(
            weight @ np.array(loc) + bias, weight @ np.diag(np.exp(2.0 * np.array(log_scale))) @ weight.T + noise
        ).logpdf(y)
        for log_weight, loc, log_scale in zip(record.log_weights, record.loc, record.log_scale, strict=True)
    ]
    found = of_members(estimator_of(vae).members, rows[:6])
    wanted = logsumexp(terms, axis=0) + transform.log_abs_det
    assert np.all(np.abs(found.log_px - wanted) <= 5.0 * found.std_error + 1e-3)


def test_coverage_leaves_out_rows_without_a_reference_and_counts_a_missing_error_as_outside():
    references = References(np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]), np.full((2, 4), 0.001))
    found = {
        "log_px": np.array([0.01, 0.5, 0.0, 0.0]),
        "std_error": np.array([0.01, 0.01, np.nan, 0.01]),
        "reliable": np.array([True, True, False, True]),
        "has_reason": np.zeros(4, dtype=bool),
    }
    figures = coverage(found, references)
    assert figures["without_reference"] == 1
    assert figures["inside"] == pytest.approx(1 / 3)
    assert figures["inside_reliable"] == pytest.approx(1 / 2)
    assert figures["no_error"] == pytest.approx(1 / 3)
