"""The labelled rows of ``anomaly-vae evaluate``: a table with a label column, or normal and anomalous images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomaly_vae.cli.assessed_images import labelled_images
from anomaly_vae.cli.assessed_rows import RowsOfTable, read_rows
from anomaly_vae.cli.labelled_rows import required_label
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.scorer import Scorer

__all__ = ["labelled_rows"]


def labelled_rows(
    scorer: Scorer,
    given: ModelInput,
    anomalies: ModelInput | None,
    *,
    label: str | None,
    by: Sequence[str],
    quiet: bool,
) -> tuple[RowsOfTable, str | None]:
    """Read rows with labels as the model needs them.

    Args:
        scorer: The model.
        given: The input.
        anomalies: Anomalous images; None if there are none.
        label: The label column that the user chose; None for that of the model.
        by: Columns of a table whose values are returned too.
        quiet: Show no progress bar.

    Returns:
        The rows, and the label column; None for images.

    Raises:
        InvalidInput: The input does not fit the model, or the labels cannot be used.
        ConfigError: An option is for another kind of model.
    """
    schema = scorer.schema
    if schema.kind == "image":
        _refuse_options_of_tables(label, by)
        if anomalies is None:
            raise ConfigError(
                "images have no label column: put the anomalous ones elsewhere, and give --anomalies IMAGES"
            )
        return labelled_images(given.images(schema), anomalies.images(schema), quiet=quiet), None
    if anomalies is not None:
        raise ConfigError(
            "--anomalies is for a model of images; mark anomalous rows by a column of 1, and give --label"
        )
    table = given.table(schema)
    label = required_label(table, schema.label, label)
    return read_rows(table, scorer, label=label, by=by, quiet=quiet), label


def _refuse_options_of_tables(label: str | None, by: Sequence[str]) -> None:
    for name, is_given in (("--label", label is not None), ("--by", bool(by))):
        if is_given:
            raise ConfigError(f"{name} is for tables, and MODEL takes images; leave it out")
