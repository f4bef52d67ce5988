"""Bets are fair: each is a density on [0, 1]."""

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.assessment.drift_bets import BETS, LOW_BETS, densities, table_of
from anomaly_vae.assessment.martingale import _LARGEST, BLOCK

MIDDLES = (np.arange(1_000_000) + 0.5) / 1_000_000


def test_every_bet_is_a_density():
    assert densities(table_of(BETS), MIDDLES).mean(axis=0) == pytest.approx(np.ones(len(BETS)), abs=1e-4)


def test_bets_are_those_of_known_distributions():
    """A share of 3 % below 0.01; the beta distribution."""
    found = densities(table_of(BETS), np.array([0.0021, 0.3, 0.95]))
    assert found[:, 0] == pytest.approx([0.97 + 3.0, 0.97, 0.97], rel=1e-9)
    assert found[:, 3] == pytest.approx(stats.beta(0.85, 1.0).pdf([0.0021, 0.3, 0.95]), rel=0.03)


def test_low_bets_fall_so_that_larger_p_values_never_win_more():
    assert np.diff(densities(table_of(LOW_BETS), MIDDLES[::100]), axis=0).max() <= 1e-9


def test_the_product_of_a_block_of_bets_is_finite():
    """Also for p-values of 0 and 1."""
    logs = np.log(densities(table_of(BETS), np.array([0.0, 1e-300, 1.0])))
    assert BLOCK * np.abs(logs).max() + np.log(_LARGEST) < np.log(np.finfo(float).max)
