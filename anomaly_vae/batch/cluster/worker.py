"""What a worker does with the parts of a table: it loads the model once, reads, scores, and sends what it found."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from anomaly_vae.batch.blocks import blocks
from anomaly_vae.batch.cluster.messages import Message, packed
from anomaly_vae.batch.engine import Job
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.errors import AnomalyVaeError, BundleError
from anomaly_vae.scorer import Scorer, load
from anomaly_vae.table import Table
from anomaly_vae.table.parts import TablePart

__all__ = ["ModelFile", "PartScorer", "Work", "work_of"]


class ModelFile(NamedTuple):
    """Where workers find the model.

    Attributes:
        path: The directory, or a URL.
        digest: The digest that it must have.
        verify_key: The key that must have signed it; None if no signature is asked for.
    """

    path: str
    digest: str
    verify_key: Path | None = None


class Work(NamedTuple):
    """What all workers need to know. It can be pickled.

    Attributes:
        model: The model.
        job: How rows are scored; its scorer is missing, and the size of its blocks is fixed, so that a part that is
            scored a second time gives the same messages.
        reader: How cells are read.
        schema: The columns of scored rows.
    """

    model: ModelFile
    job: Job
    reader: CellReader
    schema: pa.Schema


def work_of(model: ModelFile, job: Job, table: Table) -> Work:
    """Return what workers need to score a table; its first rows decide how its cells are read.

    Raises:
        InvalidInput: The table does not fit the model.
    """
    reader = table.reader_for(job.scorer.schema.reader(), job.needed)
    schema = pa.schema([*table.schema_of(job.keep), *job.results])
    sent = job._replace(scorer=None, size=job.size.fixed())  # type: ignore[arg-type]
    return Work(model, sent, reader, schema)


class PartScorer:
    """Scores parts of a table."""

    def __init__(self, work: Work) -> None:
        """Take the work; the model is loaded for the first part."""
        self._work, self._job = work, work.job

    def messages(self, part: TablePart) -> Iterator[bytes]:
        """Yield the rows of a part and its end as messages. An error of ours is a message; others are raised."""
        try:
            job = self._loaded()
            read = part.batches(self._work.reader, job.needed)
            for batch in blocks(read, job.size):
                start = time.monotonic()
                scored = job.scored(batch)
                seconds = time.monotonic() - start
                yield packed(Message(part.fragment, scored, seconds=seconds), self._work.schema)
        except AnomalyVaeError as error:
            yield packed(Message(part.fragment, error=error), self._work.schema)
        else:
            yield packed(Message(part.fragment, left_out=part.left_out), self._work.schema)

    def _loaded(self) -> Job:
        if self._job.scorer is None:
            self._job = self._job._replace(scorer=_load(self._work.model))
        return self._job


def _load(model: ModelFile) -> Scorer:
    try:
        scorer = load(model.path, threads=1, verify_key=model.verify_key)
    except AnomalyVaeError as error:
        error.add_note(f"this was on the node {socket.gethostname()}; the model must have the same path on every node")
        raise
    if (found := scorer.bundle.digest) != model.digest:
        raise BundleError(
            f"{model.path}: on the node {socket.gethostname()} the digest of the model starts {found[:12]}, expected "
            f"{model.digest[:12]}; copy the same model to every node"
        )
    return scorer
