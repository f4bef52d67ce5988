"""Does a column look like the same values in other units?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.statistics import QUANTILES

__all__ = ["unit_change"]

# Quantiles must agree within this share of their spread (root mean square), and at least so many times better than
# without a change of units. Chosen, not measured: quantiles of 200 rows have an error of about 4 % of the spread.
_TOLERANCE, _LEAST_GAIN = 0.06, 4.0

# The quantiles that are compared: those from 5 % to 95 %, since further ones of few rows are too uncertain.
_COMPARED = slice(QUANTILES.index(0.05), QUANTILES.index(0.95) + 1)


class _Change(NamedTuple):
    """New value = factor * old value + offset."""

    factor: float
    offset: float
    text: str


# Factors that tables are converted by, and their inverses.
_FACTORS = {
    10.0: "10",
    100.0: "100",
    1000.0: "1000",
    1e6: "1000000",
    1e9: "1e9",
    60.0: "60, as from minutes to seconds",
    3600.0: "3600, as from hours to seconds",
    24.0: "24, as from days to hours",
    86400.0: "86400, as from days to seconds",
    3.6: "3.6, as from m/s to km/h",
    0.3048: "0.3048, as from feet to metres",
    25.4: "25.4, as from inches to millimetres",
    2.54: "2.54, as from inches to centimetres",
    1.609344: "1.609344, as from miles to kilometres",
    0.45359237: "0.45359237, as from pounds to kilograms",
    180.0 / np.pi: "57.2958, as from radians to degrees",
}
_OTHERS = (
    _Change(1.8, 32.0, "x 1.8 + 32, as from degrees Celsius to Fahrenheit"),
    _Change(1 / 1.8, -32.0 / 1.8, "(x - 32) / 1.8, as from degrees Fahrenheit to Celsius"),
    _Change(1.0, 273.15, "+ 273.15, as from degrees Celsius to kelvins"),
    _Change(1.0, -273.15, "- 273.15, as from kelvins to degrees Celsius"),
    _Change(-1.0, 0.0, "x -1, the sign has changed"),
)
_KNOWN = (
    *(_Change(factor, 0.0, f"x {text}") for factor, text in _FACTORS.items()),
    *(_Change(1.0 / factor, 0.0, f"/ {text.replace(' from ', ' back from ')}") for factor, text in _FACTORS.items()),
    *_OTHERS,
)


def unit_change(before: FloatArray, now: FloatArray) -> str | None:
    """Return the change of units that a column looks like, such as "x 1000"; None if it looks like none.

    Args:
        before: Quantiles of the calibration rows, data units, at the shares of ``QUANTILES``.
        now: Those of the new rows.
    """
    old, new = before[_COMPARED], now[_COMPARED]
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest one: no error is below the tolerance
        return _likeliest(old, new) if np.ptp(old) > 0.0 and np.ptp(new) > 0.0 else None


def _likeliest(old: FloatArray, new: FloatArray) -> str | None:
    errors = [_error(change, old, new) for change in _KNOWN]
    best = int(np.argmin(errors))
    same = _error(_Change(1.0, 0.0, ""), old, new)
    return _KNOWN[best].text if errors[best] <= min(_TOLERANCE, same / _LEAST_GAIN) else None


def _error(change: _Change, old: FloatArray, new: FloatArray) -> float:
    """Return the distance between quantiles (root mean square), as a share of their spread, once the change is undone.

    If all are positive then, the spread of logarithms counts as well: quantiles of skewed columns agree if their ratios
    do.
    """
    undone = np.sort((new - change.offset) / change.factor)
    error = _distance(undone, old)
    if old[0] > 0.0 and undone[0] > 0.0:
        error = min(error, _distance(np.log(undone), np.log(old)))
    return error


def _distance(undone: FloatArray, old: FloatArray) -> float:
    return float(np.sqrt(np.mean((undone - old) ** 2)) / np.ptp(old))
