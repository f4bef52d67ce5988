"""The columns of rows whose kinds are inferred one by one, as training plans them."""

from __future__ import annotations

from anomaly_vae.columns.kinds import check_modelled, infer_column
from anomaly_vae.columns.schema import Schema

__all__ = ["infer_schema"]


def infer_schema(rows, names, *, categories=None, kinds=None, label=None, cyclic=None):
    """Return the schema of rows (N, D); texts are indices into their categories."""
    categories, kinds, cyclic = categories or {}, kinds or {}, cyclic or {}
    columns = tuple(
        infer_column(name, rows[:, d], texts=categories.get(name), kind=kinds.get(name), period=cyclic.get(name))
        for d, name in enumerate(names)
    )
    check_modelled(columns, len(rows))
    return Schema(columns=columns, label=label)
