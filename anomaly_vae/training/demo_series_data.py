"""The series of the demo: monthly temperatures of the Pacific off Peru, with El Niño events as anomalies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file

__all__ = ["EVENTS", "write_series"]

# The two strongest El Niño events from 1950 to 2010: the first and the last month at which the Oceanic Niño Index of
# NOAA counts as one, https://origin.cpc.ncep.noaa.gov/products/analysis_monitoring/ensostuff/ONI_v5.php.
EVENTS = (("1982-04", "1983-06"), ("1997-05", "1998-05"))

# Training sees neither event: not the years 1982 and 1983, and nothing from 1995 on.
_HELD_OUT_YEARS = (1982, 1983)
_HELD_OUT_FROM = 1995


def write_series(train: Path, held_out: Path) -> None:
    """Write two CSV files of months and mean temperatures, degrees Celsius.

    The second file has a column ``el_nino``, 1 in the months of the two events.

    Raises:
        ConfigError: statsmodels is not installed.
    """
    months, temperature = _temperatures()
    years = months.astype("datetime64[Y]").astype(np.int64) + 1970
    is_held_out = np.isin(years, _HELD_OUT_YEARS) | (years >= _HELD_OUT_FROM)
    el_nino = np.zeros(len(months), dtype=np.int64)
    for first, last in EVENTS:
        el_nino[(months >= np.datetime64(first)) & (months <= np.datetime64(last))] = 1
    columns = {"month": months.astype("datetime64[D]"), "temperature": temperature}
    _write(train, columns, ~is_held_out)
    _write(held_out, columns | {"el_nino": el_nino}, is_held_out)


def _temperatures() -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    try:
        from statsmodels.datasets import elnino
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demo of series needs statsmodels, which has the temperatures: pip install statsmodels ({error})"
        ) from error
    table = np.asarray(elnino.load_pandas().data, dtype=np.float64)  # a year and its 12 months in each row
    first = np.datetime64(f"{int(table[0, 0])}-01")
    temperature = table[:, 1:].ravel()
    return first + np.arange(len(temperature)), temperature


def _write(path: Path, columns: dict[str, NDArray[np.generic]], chosen: NDArray[np.bool_]) -> None:
    with atomic_file(path, overwrite=True) as part:
        pyarrow.csv.write_csv(pa.table({name: values[chosen] for name, values in columns.items()}), part)
