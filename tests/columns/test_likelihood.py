"""The likelihood of a whole table: the sum over its blocks of columns."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.likelihood import TableLikelihood
from tests.support.models import ALL, COLUMNS, features_of, rows_of


@pytest.mark.parametrize("name", ALL)
def test_a_masked_column_adds_nothing(name):
    features = features_of("gaussian", name) if name != "gaussian" else features_of("gaussian", "student_t")
    alone = features_of("gaussian")
    rows = rows_of(10, "gaussian", name if name != "gaussian" else "student_t")
    rows[:, 1] = np.nan
    inputs, only = features.encode(rows), alone.encode(rows[:, :1])
    likelihood = TableLikelihood(features.layout)
    params = np.random.default_rng(0).normal(size=(10, features.layout.num_params))
    block = next(block for block in features.layout.blocks if block.kind == "gaussian")
    own = params[:, block.params][:, : 1 if block.columns[0] == 0 else None]
    wanted = TableLikelihood(alone.layout).log_prob(only.x, only.mask, own[:, :1]) + only.base
    np.testing.assert_allclose(likelihood.log_prob(inputs.x, inputs.mask, params) + inputs.base, wanted, rtol=1e-12)
    gone = [p for b in features.layout.blocks for p in range(b.params.start, b.params.stop) if b is not block]
    assert np.all(likelihood.slope(inputs.x, inputs.mask, params)[:, gone] == 0.0)
    assert np.all(likelihood.information(inputs.x, inputs.mask, params)[:, gone] == 0.0)


def one_by_one(names, rows):
    """Yield the place of each column in the whole layout, its own likelihood, inputs and parameters."""
    whole = features_of(*names)
    params = np.random.default_rng(0).normal(size=(len(rows), whole.layout.num_params))
    for block in whole.layout.blocks:
        starts = np.cumsum([0, *block.sizes])
        for g, d in enumerate(block.columns):
            features = starts[g] + np.arange(block.sizes[g])
            # The parameters of a block are one array (..., G features) after the other, such as all means, all raws.
            own = [block.params.start + k * starts[-1] + features for k in range(block.num_params // starts[-1])]
            alone = features_of(names[d])
            yield np.concatenate(own), TableLikelihood(alone.layout), alone.encode(rows[:, [d]]), params


def test_the_table_is_the_sum_of_its_columns():
    """Given z the columns are independent: log p adds up, slopes and curvatures are those of each column alone."""
    rows = rows_of(20, *ALL)
    inputs, table = features_of(*ALL).encode(rows), TableLikelihood(features_of(*ALL).layout)
    total = np.zeros(20)
    for own, likelihood, alone, params in one_by_one(ALL, rows):
        arguments = alone.x, alone.mask, params[:, own]
        total += likelihood.log_prob(*arguments) + alone.base
        for method in ("slope", "information"):
            found = getattr(table, method)(inputs.x, inputs.mask, params)[:, own]
            np.testing.assert_allclose(found, getattr(likelihood, method)(*arguments), rtol=1e-12, err_msg=method)
    np.testing.assert_allclose(table.log_prob(inputs.x, inputs.mask, params) + inputs.base, total, rtol=1e-12)


def test_rows_and_samples_broadcast():
    """Rows (N, 1, F) and parameters (N, S, P) give (N, S): one value per row and sample."""
    names = ("gaussian", "categorical", "count")
    features = features_of(*names)
    inputs, likelihood = features.encode(rows_of(4, *names)), TableLikelihood(features.layout)
    params = np.random.default_rng(1).normal(size=(4, 7, features.layout.num_params))
    got = likelihood.log_prob(inputs.x[:, None], inputs.mask[:, None], params)
    expected = [likelihood.log_prob(inputs.x, inputs.mask, params[:, s]) for s in range(7)]
    np.testing.assert_allclose(got, np.stack(expected, axis=1), rtol=1e-13)


def test_draws_are_in_the_order_of_the_layout():
    """One value per column: means far apart show which column a value belongs to."""
    names = ("categorical", "student_t", "gaussian")
    features = features_of(*names)
    params = np.zeros((50, features.layout.num_params))
    params[:, :2] = [100.0, -100.0]  # gaussian, student_t
    params[:, 2:] = [-20.0, -20.0, 20.0]  # the third category
    drawn = TableLikelihood(features.layout).draw(params, np.random.default_rng(0))
    assert [COLUMNS[names[d]][0].name for d in features.layout.order] == ["pressure", "delay", "colour"]
    assert np.all(drawn[:, 0] > 50.0)
    assert np.all(drawn[:, 1] < -50.0)
    assert set(drawn[:, 2]) == {2.0}
