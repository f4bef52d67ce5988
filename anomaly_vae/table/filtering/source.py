"""A source whose rows are those of another one that pass a filter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from anomaly_vae.arrow.buffers import from_strings, to_float64
from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import BATCH_ROWS
from anomaly_vae.table.filtering.binding import bind
from anomaly_vae.table.filtering.evaluation import truth_of
from anomaly_vae.table.filtering.pruning import may_pass, outcomes_of
from anomaly_vae.table.filtering.statistics import bounds_of_group
from anomaly_vae.table.filtering.tree import Check, Node, checks_of
from anomaly_vae.table.raw import Fragment, RawBatch

__all__ = ["FilteredSource", "may_hold_rows"]


class FilteredSource:
    """The rows of a source that pass a filter, numbered without the others. See :class:`~anomaly_vae.table.raw.Source`.

    Row groups of Parquet that can hold no such row are not read.

    Attributes:
        nested: As in JSON lines; empty for other formats.
    """

    def __init__(self, source: Any, node: Node, text: str, skipped: tuple[int, int] = (0, 0)) -> None:
        """Wrap a source.

        Args:
            source: All rows.
            node: The filter.
            text: The filter as the user wrote it.
            skipped: Files that were left out by their partition keys, and all files.

        Raises:
            InvalidInput: The filter does not fit the columns.
        """
        self._source, self._text, self._skipped, self._is_whole = source, text, skipped, True
        self.where, self.names, self.is_text = source.where, source.names, source.is_text
        self.decimal, self.certain_decimals, self.encoding = source.decimal, source.certain_decimals, source.encoding
        self.nested: Mapping[str, str] = getattr(source, "nested", {})
        keys: Sequence[str] = getattr(source, "key_names", ())
        self._untyped = frozenset(source.names if source.is_text else keys)
        types = {name: source.type_of(name) for name in reversed(source.names)}
        types = {name: types[name] for name in source.names}
        try:
            self._node = bind(node, types, self._untyped, source.where)
        except InvalidInput:
            source.close()
            raise
        self._needed = list(dict.fromkeys(test.name for test in checks_of(node)))
        self.key_names = tuple(keys)
        self._keys, self._types = frozenset(keys), types
        self._read, self._kept, self._faulty, self._groups = 0, 0, 0, [0, 0]
        if hasattr(source, "choose_groups"):
            self._choose_groups(source)
        elif hasattr(source, "on_open"):
            source.on_open = self._choose_groups
        parts = f": {found}" if (found := self._said_skipped()) else ""
        self.notes: tuple[str, ...] = (*source.notes, f"{source.where}: only rows with {text}{parts}")

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return self._source.type_of(name)

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """See :class:`~anomaly_vae.table.raw.Source`; files that hold no such row may be missing."""
        found: tuple[Fragment, ...] = self._source.fragments
        return found

    @fragments.setter
    def fragments(self, found: tuple[Fragment, ...]) -> None:
        self._source.fragments = found

    @property
    def skipped(self) -> Mapping[int, str]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        found: Mapping[int, str] = self._source.skipped
        return found

    def skip_to(self, fragment: int) -> None:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        self._is_whole = False
        self._source.skip_to(fragment)

    def progress(self) -> tuple[float, float | None]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        found: tuple[float, float | None] = self._source.progress()
        return found

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`. Chosen rows are gathered, so that batches are not tiny.

        A warning says if no row passes.
        """
        waiting: list[RawBatch] = []
        for raw in self._source.batches(list(dict.fromkeys([*names, *self._needed]))):
            chosen = self._chosen(raw, names)
            if not chosen.faults:
                continue
            is_full = sum(len(each.faults) for each in waiting) + len(chosen.faults) > BATCH_ROWS
            if waiting and (is_full or waiting[-1][2:] != chosen[2:]):
                yield _joined(waiting)
                waiting = []
            waiting.append(chosen)
        if waiting:
            yield _joined(waiting)
        if self._is_whole and not self._kept:
            warn_caller(f"{self.where}: no row passes the filter {self._text}; {self.said()}")

    def facts(self) -> dict[str, Any]:
        """Return what was read and kept so far, for programs."""
        return {
            "expression": self._text,
            "rows_read": self._read,
            "rows_kept": self._kept,
            "unreadable_rows_left_out": self._faulty,
            "files_skipped": self._skipped[0],
            "files": self._skipped[1],
            "row_groups_skipped": self._groups[0],
            "row_groups": self._groups[1],
        }

    def said(self) -> str:
        """Return what was read and kept so far as a part of a sentence."""
        skipped = self._said_skipped()
        faulty = f", {self._faulty:,} that cannot be read were left out" if self._faulty else ""
        return f"kept {self._kept:,} of {self._read:,} rows read{faulty}" + (f"; {skipped}" if skipped else "")

    def _said_skipped(self) -> str:
        parts = [("files", *self._skipped), ("row groups", *self._groups)]
        return ", ".join(f"{few:,} of {all_:,} {what} not read" for what, few, all_ in parts if few)

    def _chosen(self, raw: RawBatch, names: Sequence[str]) -> RawBatch:
        found = raw.columns.schema.names
        cells = {name: raw.columns.column(found.index(name)) for name in self._needed}
        truth = truth_of(self._node, cells, self._untyped, self.decimal or ".").fill_null(False)
        kept = to_float64(truth).astype(bool)
        faults = [fault for fault, is_kept in zip(raw.faults, kept, strict=True) if is_kept]
        self._read += len(raw.faults)
        self._kept += len(faults)
        self._faulty += sum(fault is not None for fault in raw.faults) - sum(fault is not None for fault in faults)
        columns = pa.RecordBatch.from_arrays(
            [raw.columns.column(found.index(name)) for name in names], names=list(names)
        )
        return raw._replace(columns=columns.filter(truth), faults=faults)

    def _choose_groups(self, source: Any) -> None:
        """Let a Parquet file read only row groups that may hold rows of the filter."""
        if not hasattr(source, "choose_groups"):
            return

        def may_hold(group: Any) -> bool:
            bounds = {
                name: bounds_of_group(group, name, source.type_of(name), self._types[name])
                for name in self._needed
                if name not in self._keys and source.names.count(name) == 1
            }
            return may_pass(self._node, lambda test: outcomes_of(test, bounds.get(test.name)))

        skipped, total = source.choose_groups(may_hold)
        self._groups[0] += skipped
        self._groups[1] += total


def _joined(batches: list[RawBatch]) -> RawBatch:
    if len(batches) == 1:
        return batches[0]
    columns = pa.Table.from_batches([each.columns for each in batches]).combine_chunks().to_batches()[0]
    return batches[0]._replace(columns=columns, faults=[fault for each in batches for fault in each.faults])


def may_hold_rows(node: Node, keys: Mapping[str, str | None], columns: Sequence[str]) -> bool:
    """Return whether a file below folders with these keys can hold rows of a filter.

    Args:
        node: The filter.
        keys: The partition keys and their values.
        columns: The columns of the files: a key of the same name is none.
    """
    known = {name: value for name, value in keys.items() if name not in columns}

    def outcomes(test: Check) -> frozenset[bool | None]:
        if test.name not in known:
            return outcomes_of(test, None)
        cells = {test.name: from_strings([known[test.name]])}
        return frozenset(truth_of(test, cells, frozenset(known)).to_pylist())

    return may_pass(node, outcomes)
