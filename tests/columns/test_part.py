"""p(x_d | z) of some columns: what the whole model says of them, with all other cells missing."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.columns.part import Part
from tests.support.models import ALL, features_of, vae_of


@pytest.fixture(scope="module")
def features():
    return features_of(*ALL, vae=vae_of(*ALL, wild=1.0))


@pytest.fixture(scope="module")
def params(features):
    return np.random.default_rng(0).normal(size=(40, features.layout.num_params))


def only(rows, columns):
    """The rows with all cells missing but those of some columns."""
    kept = np.full_like(rows, np.nan)
    kept[:, columns] = rows[:, columns]
    return kept


@pytest.mark.parametrize(
    "columns", [[d] for d in range(len(ALL))] + [list(range(0, len(ALL), 2)), list(range(len(ALL)))]
)
def test_a_part_has_the_density_of_the_model_with_the_other_cells_missing(columns, features, params):
    part, whole = Part(features, columns), TableLikelihood(features.layout)
    rows = features.decode(whole.draw(params, np.random.default_rng(1)))
    inputs = features.encode(only(rows, columns))
    expected = whole.log_prob(inputs.x[:, None], inputs.mask[:, None], params[None]) + inputs.base[:, None]
    found = part.log_prob(rows[:, columns], part.params(params))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("d", range(len(ALL)))
def test_draws_are_those_of_the_density(d, features, params):
    """The mean of exp(log p(x) - log q(x)) over draws of q is 1 for densities with the same support."""
    part = Part(features, [d])
    mine, other = part.params(params[:1]), part.params(params[1:2])
    drawn = part.draw(np.repeat(mine, 20_000, axis=0), np.random.default_rng(2))
    assert drawn.shape == (20_000, 1)
    middle = 0.5 * (np.exp(part.log_prob(drawn, mine)) + np.exp(part.log_prob(drawn, other)))[:, 0]
    assert np.mean(middle / np.exp(part.log_prob(drawn, mine)[:, 0])) == pytest.approx(1.0, abs=0.05)


def test_the_levels_of_a_text_have_the_density_of_their_categories(features, params):
    part = Part(features, [ALL.index("categorical")])
    taken = part.params(params)
    levels = part.log_levels(taken)
    np.testing.assert_allclose(levels, part.log_prob(np.array([[0.0], [1.0], [2.0]]), taken), rtol=1e-12)
    np.testing.assert_allclose(np.exp(levels).sum(axis=0), 1.0)
