"""Flags for a given share of false alarms among them: the p-values of all rows of a job decide together.

So the results of all rows are written to a spool first, then to the output with the flags of the decision.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import scatter, to_float64
from anomaly_vae.batch.explaining import Explaining
from anomaly_vae.batch.keyed import KEY_FIELDS, with_keys, without_keys
from anomaly_vae.batch.selection import Part
from anomaly_vae.batch.spool import open_spool
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.calibration import PValueGrid, benjamini_hochberg
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.score_options import ScoreOptions, check_rate
from anomaly_vae.scores import Flags, Scores

__all__ = ["FalseDiscovery", "refuse_with_fdr"]

_EXPLAIN = (
    "--explain needs the flags while rows are read, and --fdr decides when all are read; score with --fdr "
    "--only-flagged first and --keep the columns of the model, then explain that file with --explain K --explain-all"
)
_OTHER_MODEL = (
    "--fdr compares all rows with one calibration, but the service has answered with more than one model; name a "
    "version, grpc://HOST:PORT/NAME/VERSION, and score again"
)


def refuse_with_fdr(rate: float, options: ScoreOptions, explaining: Explaining | None) -> None:
    """Raise ConfigError if the rate is wrong, or if another option does not go with it.

    Args:
        rate: The largest share of false alarms among the flagged rows, on average.
        options: What is computed.
        explaining: Which rows are explained, if any.
    """
    check_rate("fdr", rate)
    if options.flag_only:
        raise ConfigError("--fdr needs p-values, and flag_only gives none; leave out one of the two")
    for name, value in (("num_samples", options.num_samples), ("max_std_error", options.max_std_error)):
        if value is not None:
            raise ConfigError(f"--fdr needs p-values, and {name} gives none; leave out one of the two")
    if options.target_fpr is not None:
        raise ConfigError("--fdr and target_fpr are two different rules for flags; leave out one of the two")
    if explaining is not None:
        raise ConfigError(_EXPLAIN)


@dataclass(frozen=True, kw_only=True)
class FalseDiscovery:
    """Decides for all rows of a job at once.

    Attributes:
        rate: The largest share of false alarms among the flagged rows, on average.
        grid: The values of the p-values.
        is_ordered: Whether the order of rows is needed after the decision.
    """

    rate: float
    grid: PValueGrid
    is_ordered: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError if no p-value is small enough: a job of one row is the easiest case."""
        easiest = benjamini_hochberg({self.grid.smallest: 1}, self.rate, self.grid)
        if not easiest.num_flagged:
            raise ConfigError(
                f"--fdr {self.rate:g} can flag nothing: with {self.grid.num_rows} calibration rows the smallest "
                f"p-value is {self.grid.smallest_p_value:.3g}; calibrate with at least {easiest.rows_needed} rows, or "
                "use a higher --fdr"
            )

    def check(self, scores: Scores | Flags) -> None:
        """Raise ServiceError if a service has scored rows with another model than the one whose calibration we know."""
        if len(scores) and scores.bundle_digest != self.grid.bundle_digest:
            raise ServiceError(_OTHER_MODEL, code="FAILED_PRECONDITION")

    @contextlib.contextmanager
    def decided(
        self,
        parts: Iterable[Part],
        path: str,
        schema: pa.Schema,
        summary: ScoreSummary,
        on_batch: Callable[[ScoreSummary], None] | None,
    ) -> Iterator[Iterator[Part]]:
        """Take all parts, decide, and yield them again with the flags of the decision.

        Args:
            parts: The results, in input order.
            path: Where they go in the end; the spool lies in the same folder.
            schema: Their columns, with ``p_value`` and ``is_anomaly``.
            summary: Gets the decision.
            on_batch: Called with the counts after each part that was written.
        """
        with open_spool(path, self.held_schema(schema)) as spool:
            for part in parts:
                spool.write(self.held(part))
            self.decide(spool.batches(), summary)
            yield (self.flagged(records, summary, on_batch) for records in spool.batches())

    def held_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns that are held until the decision."""
        return pa.schema([*schema, *KEY_FIELDS]) if self.is_ordered else schema

    def held(self, part: Part) -> pa.RecordBatch:
        """Return what is held of a part until the decision."""
        return with_keys(part) if self.is_ordered else part.records

    def decide(self, batches: Iterable[pa.RecordBatch], summary: ScoreSummary) -> None:
        """Decide over all rows that are held, and note the decision."""
        counts = Counter[int]()
        for records in batches:
            p_values = to_float64(records.column("p_value"))
            multiples = self.grid.multiples(p_values[~np.isnan(p_values)])
            values, numbers = np.unique(multiples, return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        found = benjamini_hochberg(counts, self.rate, self.grid)
        summary.discoveries, summary.anomalies, summary.decided = found, found.num_flagged, 0

    def flagged(
        self, records: pa.RecordBatch, summary: ScoreSummary, on_batch: Callable[[ScoreSummary], None] | None = None
    ) -> Part:
        """Return rows that were held with the flags of the decision."""
        if summary.discoveries is None:
            raise ValueError("there is no decision yet")
        p_values = to_float64(records.column("p_value"))
        usable = ~np.isnan(p_values)
        flags = self.grid.multiples(p_values[usable]) <= summary.discoveries.cut_off
        place = records.schema.get_field_index("is_anomaly")
        records = records.set_column(place, records.schema.field(place), scatter(flags, usable))
        keys = None
        if self.is_ordered:
            records, _, _, keys, _ = without_keys(records)
        summary.decided = (summary.decided or 0) + len(usable)
        if on_batch:
            on_batch(summary)
        return Part(records, usable, flags, keys)
