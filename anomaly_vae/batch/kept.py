"""Input columns that are copied to the output."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.table import Table, refuse_type

__all__ = ["check_keep", "refuse_names"]


def check_keep(table: Table, keep: Sequence[str], output: str, columns: pa.Schema) -> None:
    """Refuse columns that cannot be copied to the output.

    Args:
        table: The input.
        keep: Names of the columns to copy.
        output: Path of the output, or "-".
        columns: The other columns of the output.

    Raises:
        InvalidInput: The input lacks a column, has it twice, or has a type that the output cannot hold.
        ConfigError: The output has another column of that name.
    """
    refuse_names(keep, columns)
    for name in keep:
        if name not in table.names:
            raise InvalidInput(f"--keep {name}: the input has no such column", field=name)
        if table.names.count(name) > 1 or list(keep).count(name) > 1:
            raise InvalidInput(f"--keep {name}: the column appears more than once", field=name)
        kind = table.schema_of([name]).field(0).type
        if (problem := refuse_type(output, kind)) is not None:
            raise InvalidInput(f"--keep {name}: {problem}", field=name)


def refuse_names(keep: Sequence[str], columns: pa.Schema) -> None:
    """Raise ConfigError if the output has another column with the name of one to copy."""
    for name in keep:
        if name in columns.names:
            raise ConfigError(f"--keep {name}: the output has a column of that name; rename the column in the input")
