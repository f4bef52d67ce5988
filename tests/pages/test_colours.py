"""Values as colours."""

from __future__ import annotations

import numpy as np

from anomaly_vae.pages.colours import LEVELS, levels_of, scale_bar


def test_levels_are_even_and_end_at_the_limits():
    values = np.array([-100.0, 0.0, 0.5, 0.999, 1.0, 7.0, np.inf, -np.inf, np.nan])
    assert levels_of(values, 0.0, 1.0).tolist() == [0, 0, 4, 8, 8, 8, 8, 0, 0]


def test_values_without_a_range_have_the_last_colour():
    assert levels_of(np.ones(3), 1.0, 1.0).tolist() == [LEVELS - 1] * 3


def test_the_bar_shows_every_colour_and_both_ends():
    bar = scale_bar(-3.0, 4.0, "score", 10.0)
    assert [f'class="s{i}"' in bar for i in range(LEVELS)] == [True] * LEVELS
    assert "score -3<" in bar
    assert ">4<" in bar
