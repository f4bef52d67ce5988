"""The tables with planted errors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.benchmarks.errors_tables import KINDS, make_case


def test_each_planted_row_differs_from_a_clean_row_in_the_cells_of_its_error():
    """Two cells are swapped in columns_swapped; every other kind changes one cell."""
    rng = np.random.default_rng(0)
    numbers = {name: rng.normal(10.0, 1.0, 300) for name in ("width", "height")}
    frame = pd.DataFrame(numbers | {"colour": rng.choice(["red", "green", "blue"], 300)})
    case = make_case(frame, seed=0)

    assert set(case.errors) == set(KINDS)
    clean = case.test.astype(object).to_numpy()
    for kind, rows in case.errors.items():
        for row in rows.astype(object).to_numpy():
            changed = int((clean != row).sum(axis=1).min())
            assert changed == (2 if kind == "columns_swapped" else 1)
