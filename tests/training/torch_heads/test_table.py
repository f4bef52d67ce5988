"""The heads of a whole table in torch against the densities in numpy, for one column of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.training.torch_heads import STD_FLOOR
from anomaly_vae.training.torch_heads.table import TableHead, column_std_floor
from tests.support.models import ALL, columns_of, features_of, rows_of, schema_of


@pytest.fixture(scope="module")
def head():
    return TableHead(columns_of(*ALL)).double()


def encoded(head, n=12, missing=0.0):
    """x and the mask of rows, with some missing cells."""
    rows = rows_of(n, *ALL)
    rows[np.random.default_rng(1).random(rows.shape) < missing] = np.nan
    inputs = Features(schema_of(*ALL), head.column_models()).encode(rows)
    return inputs, torch.as_tensor(inputs.x), torch.as_tensor(inputs.mask)


def test_log_prob_is_the_sum_over_the_blocks_as_in_numpy(head):
    """The decoder's outputs and the features are taken from the right places, with missing cells."""
    inputs, x, mask = encoded(head, missing=0.2)
    params = np.random.default_rng(0).normal(size=(12, head.layout.num_params))
    likelihood = TableLikelihood(Features(schema_of(*ALL), head.column_models()).layout)
    with torch.no_grad():
        got, base = head.log_prob(x, torch.as_tensor(params), mask), head.base(x, mask)
    np.testing.assert_allclose(got - base, likelihood.log_prob(inputs.x, inputs.mask, params), rtol=1e-9)


def test_the_base_is_that_of_the_counts_alone(head):
    """log Gamma(x + r) / (Gamma(r) x!): what is left of the density at logit 0, where the rest is 2^-(x + r)."""
    _, x, mask = encoded(head)
    counts, r = rows_of(12, *ALL)[:, ALL.index("count")], np.exp(0.5)
    wanted = stats.nbinom(r, 0.5).logpmf(counts) + (counts + r) * np.log(2.0)
    np.testing.assert_allclose(head.base(x, mask).detach(), wanted, rtol=1e-6)
    assert torch.equal(head.base(x, torch.zeros_like(mask)).detach(), torch.zeros(12, dtype=torch.float64))


def test_training_starts_at_the_marginals_of_the_rows_with_a_value(head):
    """Missing cells are 0 in x: if they counted, every share would be too small."""
    inputs, x, mask = encoded(head, n=400, missing=0.3)
    start = head.start(x, mask)
    assert start.shape == (head.layout.num_params,)
    blocks = {block.kind: (start[block.params], block.features) for block in head.layout.blocks}
    logit, place = blocks["bernoulli"]
    seen = inputs.x[:, place][inputs.mask[:, place] == 1.0]
    assert float(torch.sigmoid(logit)) == pytest.approx(seen.mean(), rel=1e-9)
    logits, place = blocks["categorical"]
    shares = inputs.x[:, place][inputs.mask[:, place.start] == 1.0].mean(axis=0)
    np.testing.assert_allclose(torch.softmax(logits, 0), shares, rtol=1e-9)
    assert torch.equal(blocks["gaussian"][0], torch.zeros(3, dtype=torch.float64))


def test_columns_come_back_in_their_own_order_with_the_learned_values():
    """The blocks have another order than the columns: the examples begin with a category, the blocks with numbers."""
    head = TableHead(columns_of(*ALL)).double()
    assert [model.head.kind() for model in head.column_models()] == [each.head.kind() for each in columns_of(*ALL)]
    assert [model.transform for model in head.column_models()] == [each.transform for each in columns_of(*ALL)]
    (count,) = (part for block, part in head.pairs() if block.kind == "count")
    with torch.no_grad():
        count.raw_log_dispersion.fill_(2.5)
    changed = dict(zip(ALL, head.column_models(), strict=True))
    assert changed["count"].head.log_dispersion == 2.5
    assert changed["gaussian"] == columns_of("gaussian")[0]  # its variance is fixed


def test_the_floor_of_a_column_depends_on_its_own_grid():
    """A step of 0.1 in units of a standard deviation of 0.25 is a cell of 0.4."""
    (plain,), (grid,) = columns_of("gaussian"), columns_of("grid")
    assert column_std_floor(plain) == STD_FLOOR
    assert column_std_floor(grid) == pytest.approx(0.2)
    head = TableHead([plain, grid])
    assert head.parts[0].floor.tolist() == pytest.approx([STD_FLOOR, 0.2])


def test_no_mask_no_density(head):
    _, x, mask = encoded(head)
    params = torch.ones(12, head.layout.num_params, dtype=torch.float64)
    assert torch.all(head.log_prob(x, params, torch.zeros_like(mask)) == 0.0)
    assert features_of(*ALL).layout.num_features == x.shape[1]
