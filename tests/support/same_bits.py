"""Check that a function gives a row the same bits whatever other rows are in the call."""

from __future__ import annotations

import numpy as np

__all__ = ["assert_rows_stand_alone"]


def assert_rows_stand_alone(function, num_rows, steps=(1, 3)):
    """Compare calls for some rows with one for all.

    Args:
        function: Takes indices of rows, and returns a result or several, each with one entry per row.
        num_rows: N.
        steps: Sizes of the parts in which the rows are given.
    """
    everyone = np.arange(num_rows)
    whole = _results(function(everyone))
    order = np.random.default_rng(0).permutation(num_rows)
    parts = [order, everyone[::-1]]
    parts += [everyone[start : start + step] for step in steps for start in range(0, num_rows, step)]
    for part in parts:
        for place, (got, expected) in enumerate(zip(_results(function(part)), whole, strict=True)):
            np.testing.assert_array_equal(got, expected[part], err_msg=f"result {place}, rows {part}")


def _results(found):
    return found if isinstance(found, tuple) else (found,)
