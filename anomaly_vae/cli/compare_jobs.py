"""Two models on the rows of one table, for ``anomaly-vae compare``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.assessment import Comparison, compare
from anomaly_vae.cli.assessed_images import read_images
from anomaly_vae.cli.assessed_rows import RowsOfTable, judge, own_promise, read_rows
from anomaly_vae.cli.console import rows_progress
from anomaly_vae.cli.model_input import ModelInput
from anomaly_vae.cli.schema_differences import SchemaDifferences
from anomaly_vae.errors import InvalidInput
from anomaly_vae.explained import Why
from anomaly_vae.scorer import Scorer

__all__ = ["compare_models"]


def compare_models(
    scorers: tuple[Scorer, Scorer],
    inputs: tuple[ModelInput, ModelInput],
    differences: SchemaDifferences,
    *,
    shown: int,
    quiet: bool,
) -> Comparison:
    """Score the rows that both models can read, and compare the results.

    Args:
        scorers: Model A and model B.
        inputs: The same input, opened once for each: cells are read as each model was trained to.
        differences: Those of the columns.
        shown: Most rows with another decision that are listed.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: The input lacks a column of a model, or no row can be used by both.
    """
    given = [_read(scorer, each, name, quiet=quiet) for scorer, each, name in zip(scorers, inputs, "AB", strict=True)]
    numbers, of_a, of_b = np.intersect1d(given[0].numbers, given[1].numbers, assume_unique=True, return_indices=True)
    if not len(numbers):
        raise InvalidInput(f"{inputs[0].path}: no row can be used by both models")
    chosen = [_chosen(each, places) for each, places in zip(given, (of_a, of_b), strict=True)]
    judged = [
        judge(scorer, rows.rows, title=f"scoring with {name}", quiet=quiet)
        for scorer, rows, name in zip(scorers, chosen, "AB", strict=True)
    ]

    def explain(places: NDArray[np.intp]) -> tuple[list[list[Why]], list[list[Why]]]:
        with rows_progress("explaining", 2 * len(places), quiet=quiet) as on_rows:
            a, b = (
                scorer.explain_rows(rows.rows[places], top=len(scorer.schema.columns), on_rows=on_rows)
                for scorer, rows in zip(scorers, chosen, strict=True)
            )
        return a, b

    return compare(
        (judged[0], judged[1]),
        (own_promise(scorers[0]), own_promise(scorers[1])),
        numbers,
        no_fit="; ".join(differences.columns) or None,
        names=chosen[0].names,
        explain=explain if scorers[0].schema.kind == "table" else None,
        shown=shown,
    )


def _read(scorer: Scorer, given: ModelInput, name: str, *, quiet: bool) -> RowsOfTable:
    try:
        if scorer.schema.kind == "image":
            return read_images(given.images(scorer.schema), quiet=quiet)
        return read_rows(given.table(scorer.schema), scorer, quiet=quiet)
    except InvalidInput as error:
        raise InvalidInput(f"model {name}: {error}", field=error.field) from error


def _chosen(given: RowsOfTable, places: NDArray[np.intp]) -> RowsOfTable:
    names = None if given.names is None else tuple(given.names[i] for i in places.tolist())
    return given._replace(
        numbers=given.numbers[places], rows=given.rows[places], labels=given.labels[places], names=names
    )
