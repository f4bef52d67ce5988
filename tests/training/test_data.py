"""Batches and hidden cells."""

from __future__ import annotations

import pytest
import torch

from anomaly_vae.training.data import Batches, Data, hide_cells


def test_every_pass_over_the_rows_visits_each_once():
    rows = torch.arange(700.0)[:, None]
    batches = Batches(Data(rows, -rows), torch.Generator().manual_seed(0))
    drawn = [batches.next() for _ in range(700)]
    assert all(torch.equal(batch.x, -batch.mask) for batch in drawn)  # x and mask are of the same rows
    seen = torch.cat([batch.x for batch in drawn])[:, 0]
    assert torch.equal(torch.bincount(seen.long()), torch.full((700,), 256))
    for start in (0, 700, 1400):
        assert len(seen[start : start + 700].unique()) == 700


def test_batches_visit_every_row_once_a_pass():
    data = Data(torch.arange(600.0)[:, None], torch.ones(600, 1))
    batches = Batches(data, torch.Generator().manual_seed(0))
    seen = torch.cat([batches.next().x[:, 0] for _ in range(75)])[: 600 * 32]
    assert all(torch.equal(part.sort().values, torch.arange(600.0)) for part in seen.split(600))


def test_hidden_cells_are_whole_columns_at_rates_from_none_to_most():
    """All features of a categorical column are hidden together; hidden values are 0, as those of missing cells.

    The mean share of visible cells is 1 - 0.8 / 2.
    """
    x, draws = torch.ones(20000, 4), torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
    hidden = hide_cells(Data(x, torch.ones_like(x)), torch.tensor([0, 1, 1, 1]), draws)
    assert torch.equal(hidden.x, hidden.mask)
    assert torch.equal(hidden.mask[:, 1], hidden.mask[:, 3])
    assert float(hidden.mask.mean()) == pytest.approx(0.6, abs=0.01)
