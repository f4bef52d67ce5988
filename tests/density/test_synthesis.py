"""Synthetic rows: z from the prior, x from p(x|z)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.special import sigmoid
from anomaly_vae.density.synthesis import sample_rows
from tests.support.models import ALL, COLUMNS, columns_of, features_of, member_of, vae_of


def test_samples_have_the_moments_and_shares_of_the_model():
    """Each head draws from the distribution that it scores with: z from the prior, means from the decoder."""
    vae = vae_of(*ALL, wild=1.0)
    features = features_of(*ALL, vae=vae)
    member = member_of(vae, features)
    rows = sample_rows([member], 4000, seed=0)
    assert rows.shape == (4000, len(ALL))
    assert not features.schema.novel_cells(rows).any()
    by_name = dict(zip(ALL, rows.T, strict=True))
    np.testing.assert_allclose(by_name["grid"], np.round(by_name["grid"], 1), atol=1e-9)
    assert set(np.unique(by_name["categorical"])) == {0.0, 1.0, 2.0}
    with torch.no_grad():
        z = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0))
        params = vae.decoder(z).double().numpy()
    blocks = {block.kind: params[:, block.params] for block in features.layout.blocks}
    rate = sigmoid(blocks["bernoulli"]).mean()
    assert by_name["bernoulli"].mean() == pytest.approx(rate, abs=0.03)
    mean = (math.exp(0.5) * np.exp(blocks["count"])).mean()
    assert by_name["count"].mean() == pytest.approx(mean, rel=0.15)
    shares = np.exp(blocks["categorical"]) / np.exp(blocks["categorical"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.bincount(by_name["categorical"].astype(int)) / 4000, shares.mean(axis=0), atol=0.03)
    assert by_name["logistic"].mean() == pytest.approx(10.0 + 2.0 * blocks["logistic"].mean(), abs=0.15)


def test_one_seed_gives_one_table():
    vae = vae_of("gaussian", "count")
    members = [member_of(vae, features_of("gaussian", "count", vae=vae))]
    first, again, other = (sample_rows(members, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first[:, 0] == other[:, 0])
    assert sample_rows(members, 0, seed=0).shape == (0, 2)


def test_constant_columns_hold_their_value():
    vae, constant = vae_of("gaussian"), Column(name="unit", kind="constant", value=7.0)
    schema = Schema(columns=(constant, COLUMNS["gaussian"][0]))
    rows = sample_rows([member_of(vae, Features(schema, columns_of("gaussian")))], 50, seed=0)
    assert set(rows[:, 0]) == {7.0}
    assert np.unique(rows[:, 1]).size == 50


def test_an_ensemble_draws_equal_shares_from_its_members():
    """The decoders return two constants: a value shows which member drew it. 4 standard errors of 1,000 draws."""
    members = []
    for mean in (-1e3, 1e3):
        vae = vae_of("gaussian")
        with torch.no_grad():
            vae.decoder[-1].weight.zero_()
            vae.decoder[-1].bias.fill_(mean)
        members.append(member_of(vae, features_of("gaussian")))
    rows = sample_rows(members, 1000, seed=0)
    assert abs(np.mean(rows > 40.0) - 0.5) < 0.064
