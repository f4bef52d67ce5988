"""The parts of a manifest in words, for ``inspect`` and for reports."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_vae.columns.schema import Column

__all__ = ["estimator_text", "networks_text", "new_values_text", "range_text", "values_text"]

# Categories listed per column.
_SHOWN = 5


def estimator_text(estimator: dict[str, Any]) -> str:
    """Return how log p(x) is estimated."""
    low = estimator["careful_below"]
    return (
        f"standard error {estimator['target_error']:g} nats, at most {estimator['num_samples']:,} samples a row, "
        f"{estimator['scramblings']} scramblings" + ("" if low is None else f", thorough search below {low:.6g} nats")
    )


def networks_text(member: dict[str, Any]) -> str:
    """Return what a member of the ensemble consists of."""
    architecture = member["architecture"]
    heads = Counter(column["head"]["kind"] for column in member["columns"])
    prior = member["prior"]
    shown = "N(0, I)" if prior["kind"] == "normal" else f"a mixture of {len(prior['log_weights'])} Gaussians"
    return (
        f"{architecture['kind']}{', residual blocks' if architecture['residual'] else ''}, "
        f"hidden {architecture['hidden']}, latent dimensions {architecture['latent_dim']}, "
        f"prior {shown}, "
        f"heads {', '.join(f'{count} {kind}' for kind, count in heads.items())}"
    )


def range_text(tails: dict[str, Any] | None) -> str:
    """Return the range of the training values; empty if it is not kept."""
    return "" if tails is None else f"{tails['low']['end']:.6g} to {tails['high']['end']:.6g}"


def values_text(column: Column) -> str:
    """Return what values a column has."""
    if column.value is not None:
        return f"always {column.value:.6g}"
    if column.categories is not None:
        shown = ", ".join(text if text.isprintable() else repr(text) for text in column.categories[:_SHOWN])
        more = len(column.categories) - _SHOWN
        rare = f" ({len(column.rare)} rare)" if column.rare else ""
        return (shown if more <= 0 else f"{shown} and {more} more") + rare
    step = "" if column.step is None else f"steps of {column.step:.4g}"
    if column.period is None:
        return step
    return f"period {column.period:.6g}" + (step and f", {step}")


def new_values_text(column: Column) -> str:
    """Return what a value that training never had does here."""
    if not column.can_be_novel:
        return ""
    if column.novelty != "density":
        return "rank lowest"
    return "as rare ones" if column.has_other_level else "by probability"
