"""The posterior graph against torch's automatic differentiation, for every head and depth of the decoder."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from anomaly_vae.arrays import standard_normal_log_prob
from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.density.network import Posterior
from anomaly_vae.training.posterior_graph import posterior_graph
from anomaly_vae.training.vae import VAE
from tests.support.models import ALL, COLUMNS, features_of, rows_of, vae_of

L = 3
EXAMPLES = {model.head.kind(): name for name, (_, model) in COLUMNS.items()}

# Heads whose log p has no mixed derivatives in the parameters of a column: their curvature is the exact one.
WITHOUT_MIXED = sorted(HEADS.keys() - {"categorical", "conditional", "pixel", "von_mises"})

DEPTHS = pytest.mark.parametrize("hidden", [(), (16,), (12, 16), (8, 9, 10)], ids=lambda hidden: f"depth{len(hidden)}")


class Case:
    """A model with random weights, rows with missing cells, and one z for each row."""

    def __init__(self, names, hidden=(12, 16), n=12, seed=0, components=0):
        self.vae = vae_of(*names, latent_dim=L, hidden=hidden, seed=seed, components=components)
        self.double = VAE.in_float64(self.vae)
        self.features = features_of(*names, vae=self.vae)
        rows = rows_of(n, *names)
        rows[::4, 0] = np.nan
        inputs = self.features.encode(rows)
        self.x, self.mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
        self.z = np.random.default_rng(seed).normal(size=(n, L)).astype(np.float32)

    def run(self, **changed):
        session = onnxruntime.InferenceSession(posterior_graph(self.vae), providers=["CPUExecutionProvider"])
        feed = {"x": self.x, "mask": self.mask, "z": self.z} | changed
        return Posterior(*session.run(list(Posterior._fields), feed))

    def tensors(self, row):
        return (torch.as_tensor(values[row], dtype=torch.float64) for values in (self.x, self.mask, self.z))

    def log_joint(self, row):
        """Return z and log p(x, z) of one row as a function of z."""
        x, mask, z = self.tensors(row)

        def function(at):
            head = self.double.head
            log_prior = self.double.prior.log_prob(at)
            return head.log_prob(x, self.double.decoder(at), mask) - head.base(x, mask) + log_prior

        return z, function

    def each(self, function):
        return np.array([function(*reversed(self.log_joint(row))).detach().numpy() for row in range(len(self.x))])

    def decoder_derivatives(self, row):
        """Return the decoder's output (P,), its Jacobian (P, L) and its second derivatives (P, L, L)."""
        z = torch.as_tensor(self.z[row], dtype=torch.float64)
        params = self.double.decoder(z).detach()
        jacobian = torch.autograd.functional.jacobian(self.double.decoder, z)
        second = [
            torch.autograd.functional.hessian(lambda at, p=p: self.double.decoder(at)[p], z) for p in range(len(params))
        ]
        return params, jacobian.numpy(), torch.stack(second).numpy()


def assert_near(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-5 * max(1.0, np.abs(expected).max()))


@DEPTHS
@pytest.mark.parametrize("names", [*((EXAMPLES[kind],) * 2 for kind in sorted(HEADS)), ALL], ids="-".join)
def test_value_and_gradient_are_those_of_torch(names, hidden):
    case = Case(names, hidden)
    got = case.run()
    assert got.log_joint.shape == (12, 1)
    assert_near(got.log_joint[:, 0], case.each(lambda function, z: function(z)))
    assert_near(got.gradient, case.each(torch.autograd.functional.jacobian))


@DEPTHS
@pytest.mark.parametrize("kind", WITHOUT_MIXED)
def test_the_curvature_is_minus_the_second_derivative(kind, hidden):
    case = Case((EXAMPLES[kind],) * 3, hidden)
    assert_near(case.run().curvature, -case.each(torch.autograd.functional.hessian))


@pytest.mark.parametrize("hidden", [(), (12, 16)], ids=str)
def test_a_mixture_prior_is_part_of_value_and_derivatives(hidden):
    case = Case(("gaussian", "student_t"), hidden, components=4)
    got = case.run()
    assert_near(got.log_joint[:, 0], case.each(lambda function, z: function(z)))
    assert_near(got.gradient, case.each(torch.autograd.functional.jacobian))
    assert_near(got.curvature, -case.each(torch.autograd.functional.hessian))
    assert np.linalg.eigvalsh(got.information.astype(np.float64)).min() > 0.1


def test_a_large_z_has_the_same_curvature_and_no_large_constants(monkeypatch):
    """The graph of a small z holds products of the first layer's weights, whose number grows with L squared."""
    case = Case(("gaussian", "student_t", "logistic"))
    paired = case.run().curvature
    monkeypatch.setattr("anomaly_vae.training.bends._MOST_PAIRED", L - 1)
    assert_near(case.run().curvature, paired)
    monkeypatch.undo()
    assert len(posterior_graph(vae_of("gaussian", latent_dim=128, hidden=(64,)))) < 2**20


@DEPTHS
@pytest.mark.parametrize(
    "names", [*((EXAMPLES[kind],) * 2 for kind in sorted(HEADS.keys() - WITHOUT_MIXED)), ALL], ids="-".join
)
def test_mixed_derivatives_in_the_parameters_of_a_column_are_left_out(names, hidden):
    """I + J' D J - sum_p slope_p H_p with the diagonal D of minus the second derivatives of log p(x|z)."""
    case, expected = Case(names, hidden), []
    for row in range(len(case.x)):
        x, mask, _ = case.tensors(row)
        params, jacobian, second = case.decoder_derivatives(row)

        def log_prob(at, x=x, mask=mask):
            return case.double.head.log_prob(x, at, mask)

        slope = torch.autograd.functional.jacobian(log_prob, params).detach().numpy()
        diagonal = -torch.autograd.functional.hessian(log_prob, params).detach().diagonal().numpy()
        expected.append(np.eye(L) + jacobian.T @ (diagonal[:, None] * jacobian) - np.tensordot(slope, second, 1))
    assert_near(case.run().curvature, np.array(expected))


@DEPTHS
@pytest.mark.parametrize("names", [*((EXAMPLES[kind],) * 2 for kind in sorted(HEADS)), ALL], ids="-".join)
def test_the_information_is_that_of_the_likelihood_through_the_decoder(names, hidden):
    """I + J' F J with F of the numpy likelihood, which has tests of its own; it is positive definite."""
    case, expected = Case(names, hidden), []
    likelihood = TableLikelihood(case.features.layout)
    for row in range(len(case.x)):
        params, jacobian, _ = case.decoder_derivatives(row)
        weights = likelihood.information(
            case.x[row].astype(np.float64), case.mask[row].astype(np.float64), params.numpy()
        )
        expected.append(np.eye(L) + jacobian.T @ (weights[:, None] * jacobian))
    got = case.run().information
    assert_near(got, np.array(expected))
    assert np.linalg.eigvalsh(got.astype(np.float64)).min() > 0.99


@pytest.mark.parametrize("far", [{"z": 30.0}, {"z": 1e6}, {"x": 1e10}, {"x": 1e18}], ids=str)
def test_far_out_the_information_stays_positive_definite(far):
    """A search may step far away, and rows may be far out. The heads are those with a value far out."""
    case = Case(("student_t", "logistic", "gaussian", "bernoulli"))
    ((name, size),) = far.items()
    got = case.run(**{name: (getattr(case, name) * size).astype(np.float32)})
    assert np.isfinite(got.gradient).all()
    assert np.isfinite(got.information).all()
    symmetric = got.information.astype(np.float64)
    assert np.linalg.eigvalsh(0.5 * (symmetric + np.swapaxes(symmetric, 1, 2))).min() > 0.5


def test_without_cells_the_posterior_is_the_prior():
    case = Case(ALL)
    got = case.run(mask=np.zeros_like(case.mask))
    np.testing.assert_allclose(got.log_joint[:, 0], standard_normal_log_prob(case.z.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(got.gradient, -case.z, atol=1e-6)
    for curvature in (got.curvature, got.information):
        np.testing.assert_allclose(curvature, np.tile(np.eye(L), (12, 1, 1)), atol=1e-6)


def test_the_same_networks_give_the_same_bytes_that_the_reader_of_bundles_accepts():
    first, second = (posterior_graph(vae_of(*ALL, latent_dim=L)) for _ in range(2))
    assert first == second
    check_graph(first, "posterior.onnx")
