"""Which jobs can go on after they were stopped, and what must not change meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from anomaly_vae.batch.explaining import Explaining
from anomaly_vae.batch.journal import job_folder, read_state
from anomaly_vae.batch.keyed import lowest_rows
from anomaly_vae.batch.scored import OutputOf
from anomaly_vae.batch.selection import Selection
from anomaly_vae.batch.stored_targets import StoredTarget, local_place
from anomaly_vae.batch.targets import DataSetTarget, FileTarget, Target, is_data_set
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.address import is_url
from anomaly_vae.table import Table
from anomaly_vae.version import __version__

__all__ = ["identity_of", "is_complete", "reducing", "refuse_to_keep", "target_of"]


class _Calibrated(Protocol):
    def p_value_grid(self) -> PValueGrid: ...


def _digest_of(scorer: _Calibrated) -> str | None:
    """Return the digest of a model; the p-values of one in this process do not name it, those of a service do."""
    bundle = getattr(scorer, "bundle", None)
    return scorer.p_value_grid().bundle_digest if bundle is None else bundle.digest


def target_of(output: str, table: Table, *, overwrite: bool) -> Target | None:
    """Return where the results go, or None for a pipe.

    Raises:
        ConfigError: The name of a file has an ending that is not known.
    """
    if output == "-":
        return None
    name = output.partition("?")[0] if is_url(output) else output
    is_folder = is_data_set(name, has_many_files=len(table.fragments) > 1)
    if not table.fragments and (is_folder or is_url(output)):
        what = "a folder mirrors the files of the input, and a pipe has none" if is_folder else "the input is a pipe"
        raise ConfigError(f"{output}: {what}; name a file on this computer")
    place = str(local_place(output)) if is_url(output) else output
    target: Target
    if is_folder:
        target = DataSetTarget(place, table.fragments, overwrite=overwrite)
    else:
        target = FileTarget(place, overwrite=overwrite)
    return StoredTarget(output, target) if is_url(output) else target


def refuse_to_keep(
    target: Target | None, table: Table, selection: Selection, explaining: Explaining | None
) -> str | None:
    """Return why a job cannot go on after it was stopped; None if it can.

    Raises:
        ConfigError: The output is a folder, and the job is one of those.
    """
    if target is None:
        return "what was written to standard output is not kept; give -o the name of a file"
    if target.by_fragment and selection.is_ordered:
        raise ConfigError("--top writes one table; give -o the name of a file, such as top.csv")
    if selection.is_ordered and explaining is not None:
        if isinstance(target, StoredTarget):
            raise ConfigError(
                f"{target.where}: --top with --explain writes to files on this computer; copy the file then"
            )
        return "--top with --explain holds all cells of rows in memory; leave out one of the three"
    return None if table.fragments else "a pipe cannot be read again; give the name of a file as INPUT"


def is_complete(target: Target, table: Table) -> bool:
    """Return whether there is an output, and no unfinished job.

    Raises:
        ConfigError: The output is older than the input, so it is probably not that of this job.
    """
    written_ns = target.written_ns()
    if written_ns is None or read_state(job_folder(target.path)) is not None:
        return False
    newest = max(table.fragments, key=lambda each: each.modified_ns)
    if newest.modified_ns > written_ns:
        raise ConfigError(
            f"{target.where} exists already, and is older than {newest.where}; there is no job to go on with. Choose "
            "another name, or pass --overwrite (Python: overwrite=True)"
        )
    return True


def reducing(selection: Selection, output: OutputOf) -> Callable[[pa.Table], pa.Table] | None:
    """Return what leaves out rows that cannot be among the most anomalous ones; None if all rows are needed."""
    if selection.most is None or output.discovery is not None:
        return None
    return partial(lowest_rows, num_rows=selection.most)


def identity_of(scorer: _Calibrated, table: Table, asked: object, schema: pa.Schema) -> dict[str, Any]:
    """Return what must not change between a job that was stopped and one that goes on, by its name in messages.

    Args:
        scorer: The model.
        table: The input: its files, with their sizes and times, and how it is read.
        asked: The options that decide what is written.
        schema: The columns of the output.
    """
    files = [[each.name, each.size, each.modified_ns] for each in table.fragments]
    return {
        "the version of anomaly-vae": __version__,
        "the model": _digest_of(scorer),
        "the input": _digest(files),
        "how the input is read": _digest(table.settings),
        "the options of scoring": _digest(repr(asked)),
        "the columns of the output": _digest(str(schema)),
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
