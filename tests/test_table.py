"""open_table: the ending decides about the format, and files that cannot be opened are explained."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import open_table


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_missing_or_damaged_file_is_explained(tmp_path, name):
    with pytest.raises(InvalidInput, match=rf"{name}: cannot be read"):
        open_table(str(tmp_path / name))


def test_a_file_that_is_not_parquet_is_explained(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInput, match=r"t\.parquet: damaged"):
        open_table(str(path))
    with pytest.raises(InvalidInput, match=r"ending in \.csv or \.parquet"):
        open_table(str(tmp_path / "t.xlsx"))
