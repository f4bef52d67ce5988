"""Which columns make two models judge a row differently."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_vae.explained import Why
from anomaly_vae.record import Record

__all__ = ["ColumnDifference", "column_differences"]

# Columns that are named for a row. Chosen, not measured.
_SHOWN = 3


class ColumnDifference(Record):
    """A column of a row that surprises one model more than the other.

    Attributes:
        column: Its name.
        value: The value of the cell.
        excess_a, excess_b: Nats above the usual surprise of the cell given the rest. They and the next are None if the
            model has no such column.
        expected_a, expected_b: What each model expected there.
    """

    column: str
    value: float | str | None
    excess_a: float | None
    excess_b: float | None
    expected_a: str | None
    expected_b: str | None

    @property
    def difference(self) -> float:
        """How much more the cell surprises model A than model B, nats; a column that a model lacks counts as 0."""
        return (self.excess_a or 0.0) - (self.excess_b or 0.0)


def column_differences(of_a: Sequence[Why], of_b: Sequence[Why], shown: int = _SHOWN) -> tuple[ColumnDifference, ...]:
    """Return the columns of one row whose surprise differs most between two models, the largest difference first.

    Args:
        of_a, of_b: What each model says about every column of the row, as ``Scorer.explain`` does.
        shown: Most columns to return.
    """
    found_a, found_b = ({item.column: item for item in items} for items in (of_a, of_b))
    differences = [
        _difference(found_a.get(name), found_b.get(name), item) for name, item in (found_a | found_b).items()
    ]
    return tuple(sorted(differences, key=lambda each: -abs(each.difference))[:shown])


def _difference(a: Why | None, b: Why | None, either: Why) -> ColumnDifference:
    return ColumnDifference(
        column=either.column,
        value=either.value,
        excess_a=None if a is None else a.excess,
        excess_b=None if b is None else b.excess,
        expected_a=None if a is None else a.expected,
        expected_b=None if b is None else b.expected,
    )
