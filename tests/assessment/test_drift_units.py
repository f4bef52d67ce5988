"""Changes of units are recognised from quantiles; other changes are not called so."""

import numpy as np
import pytest

from anomaly_vae.assessment.drift_units import unit_change
from anomaly_vae.columns.statistics import QUANTILES

CHANGES = {
    "x 1000": lambda x: 1000.0 * x,
    "/ 1000": lambda x: x / 1000.0,
    "x 1.8 + 32, as from degrees Celsius to Fahrenheit": lambda x: 1.8 * x + 32.0,
    "(x - 32) / 1.8, as from degrees Fahrenheit to Celsius": lambda x: (x - 32.0) / 1.8,
    "+ 273.15, as from degrees Celsius to kelvins": lambda x: x + 273.15,
    "x 0.3048, as from feet to metres": lambda x: 0.3048 * x,
    "/ 0.3048, as back from feet to metres": lambda x: x / 0.3048,
    "x -1, the sign has changed": lambda x: -x,
}


def quantiles(values):
    return np.quantile(values, QUANTILES)


def draw(seed, kind):
    rng = np.random.default_rng(seed)
    return rng.normal(20.0, 8.0, size=600) if kind == "normal" else rng.lognormal(1.0, 1.0, size=600)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_units_is_named(name, kind):
    assert unit_change(quantiles(draw(1, kind)), quantiles(CHANGES[name](draw(2, kind)))) == name


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x + 5.0, lambda x: 1.3 * x, lambda x: 6.0 * x, np.sqrt])
def test_other_changes_are_none(change):
    assert unit_change(quantiles(draw(1, "skewed")), quantiles(change(draw(2, "skewed")))) is None


def test_a_column_with_one_value_has_no_units():
    assert unit_change(np.full(15, 2.0), np.full(15, 2000.0)) is None


def test_numbers_near_the_largest_one_look_like_no_change_of_units():
    """Without a warning, which tests take as an error: hostile tables have such numbers."""
    largest = np.repeat([-1.7e308, 1.7e308], [7, 8])
    assert unit_change(largest, np.linspace(0.0, 1.0, 15)) is None
    assert unit_change(np.linspace(0.0, 1.0, 15), largest) is None
