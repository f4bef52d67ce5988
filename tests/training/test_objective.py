"""The KL weight, free bits and trimming."""

from __future__ import annotations

import pytest
import torch

from anomaly_vae.training.objective import kl_weight, negative_elbo, trim
from anomaly_vae.training.vae import ElboTerms


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (15, 0.75), (30, 1.5), (31, 1.5), (1000, 1.5)])
def test_the_kl_weight_rises_to_beta_and_stays(step, expected):
    assert kl_weight(step, 30, 1.5) == pytest.approx(expected)
    assert kl_weight(step, 0, 1.5) == 1.5


def terms_of(log_likelihood, kl_by_dim):
    kl_by_dim = torch.tensor(kl_by_dim)
    return ElboTerms(torch.tensor(log_likelihood), kl_by_dim.sum(-1), kl_by_dim)


def test_a_dimension_costs_at_least_its_free_bits():
    """A dimension with a mean KL below free_bits costs free_bits; above, it costs its KL."""
    terms = terms_of([-3.0, -5.0], [[0.1, 2.0], [0.3, 4.0]])
    assert float(negative_elbo(terms, 1.0)) == pytest.approx(4.0 + 3.2)
    assert float(negative_elbo(terms, 1.0, free_bits=0.5)) == pytest.approx(4.0 + 0.5 + 3.0)
    assert float(negative_elbo(terms, 0.5, free_bits=0.5)) == pytest.approx(4.0 + 0.25 + 1.5)


def test_trimming_drops_the_least_likely_rows():
    terms = trim(terms_of([-1.0, -9.0, -2.0, -3.0], [[0.0], [0.0], [0.0], [0.5]]), 0.25)
    assert sorted(terms.log_likelihood.tolist()) == [-3.0, -2.0, -1.0]
    assert len(terms.kl) == len(terms.kl_by_dim) == 3
    assert trim(terms, 0.0) is terms
