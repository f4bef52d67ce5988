"""What workers send back: scored rows as bytes, small, and without a loss."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from anomaly_vae.arrow.buffers import from_strings, scatter, to_float64
from anomaly_vae.batch.explaining import ToExplain
from anomaly_vae.batch.scored import ScoredBatch
from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault

__all__ = ["Message", "packed", "unpacked"]

# Columns after those of the output.
_MORE = (pa.field("fault", pa.string()), pa.field("ranks_lowest", pa.bool_()))


class Message(NamedTuple):
    """What a worker says about a part of the table: its rows in one or more messages, then its end.

    Attributes:
        fragment: The number of the file.
        rows: Scored rows; None at the end.
        error: At the end: why the job ends here; None if it does not.
        left_out: At the end: why the file is left out; None if it is not.
        seconds: What scoring them took.
    """

    fragment: int
    rows: ScoredBatch | None = None
    error: AnomalyVaeError | None = None
    left_out: str | None = None
    seconds: float = 0.0


class _Packed(NamedTuple):
    """A message whose arrays are one Arrow stream. Scores are in the columns of the output; these are not repeated.

    Attributes:
        stream: The columns of the output, the kind of fault of each row, and whether it ranks lowest.
        absent: Fields of the scores that are None.
        digest: The digest of the model.
        explained: The rows to explain.
        fragment, seconds: See :class:`Message`.
    """

    fragment: int
    stream: bytes
    absent: tuple[str, ...]
    digest: str | None
    explained: ToExplain | None
    seconds: float


def packed(message: Message, schema: pa.Schema) -> bytes:
    """Return a message as bytes; ``schema`` has the columns of its rows."""
    rows = message.rows
    if rows is None:
        return pickle.dumps(message)
    count = len(rows.usable)
    kinds = pa.nulls(count, pa.string())
    if not rows.usable.all():
        kinds = from_strings([None if fault is None else fault.kind for fault in rows.faults])
    columns = [*rows.columns, kinds, scatter(rows.ranks_lowest, rows.usable)]
    sink, all_fields = pa.BufferOutputStream(), pa.schema([*schema, *_MORE])
    with pa.ipc.new_stream(sink, all_fields) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=all_fields))
    absent = tuple(name for name, values in rows.scores.by_row().items() if values is None)
    data, digest = sink.getvalue().to_pybytes(), rows.scores.bundle_digest
    return pickle.dumps(_Packed(message.fragment, data, absent, digest, rows.explained, message.seconds))


def unpacked(data: bytes, results: Sequence[str]) -> Message:
    """Return the message of bytes that our own worker sent; ``results`` are the names of the columns of results."""
    found: Message | _Packed = pickle.loads(data)  # noqa: S301 (of our worker, which runs our code anyway)
    if isinstance(found, Message):
        return found
    with pa.ipc.open_stream(found.stream) as stream:
        records = stream.read_next_batch()
    columns, (kinds, lowest) = records.columns[: -len(_MORE)], records.columns[-len(_MORE) :]
    usable = np.ones(records.num_rows, dtype=bool)
    by_name = dict(zip(results, columns[len(columns) - len(results) :], strict=True))
    faults: list[Fault | None] = [None] * records.num_rows
    if kinds.null_count < len(kinds):
        texts = by_name["reason"].to_pylist()
        pairs = zip(kinds.to_pylist(), texts, strict=True)
        faults = [None if kind is None else Fault(kind, text) for kind, text in pairs]
        usable = np.array([fault is None for fault in faults], dtype=bool)
    values: dict[str, Any] = {
        name: None if name in found.absent else _field(column, usable) for name, column in by_name.items()
    }
    kind: type[Scores | Flags] = Scores if "log_px" in by_name else Flags
    scores = kind(**values, bundle_digest=found.digest)
    ranks_lowest = to_float64(lowest)[usable].astype(bool)
    rows = ScoredBatch(columns, faults, usable, scores, ranks_lowest, found.explained, found.fragment)
    return Message(found.fragment, rows, seconds=found.seconds)


def _field(column: pa.Array, usable: NDArray[np.bool_]) -> Any:
    """Return the entries of a column of results in rows with scores."""
    if pa.types.is_string(column.type):
        if column.null_count == len(column):
            return [None] * int(usable.sum())
        return [text for text, use in zip(column.to_pylist(), usable.tolist(), strict=True) if use]
    values = to_float64(column)[usable]
    return values if pa.types.is_floating(column.type) else values.astype(column.type.to_pandas_dtype())
