"""Everything that a report shows, gathered from a model and an input; the page is written at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.cli.report_card import card_of, unit_of
from anomaly_vae.cli.report_rows import Found, find_rows
from anomaly_vae.cli.report_why import Reasons, reasons_of
from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from anomaly_vae.pages.records import InputFacts, MapFacts, Report, Tile, WorstRow
from anomaly_vae.pages.texts import counted, number, share
from anomaly_vae.plot.projection import project

if TYPE_CHECKING:
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.scorer import Scorer

__all__ = ["report_of", "write_report"]

# Share of the range of synthetic rows that the map adds at either end. Chosen, not measured: far outliers would leave
# all other points in one spot.
_ROOM = 0.5

# Synthetic rows of the map. Chosen, not measured: scoring them takes about a second.
_SAMPLES = 600


def report_of(scorer: Scorer, title: str, given: ModelInput | None, count: int, *, quiet: bool) -> Report:
    """Gather a report.

    Args:
        scorer: The model.
        title: Its name.
        given: The input; None without one.
        count: Worst rows that are shown, at most.
        quiet: Show no progress.

    Raises:
        InvalidInput: The input does not fit the model.
    """
    found = None if given is None else find_rows(scorer, given, count, quiet=quiet)
    return Report(
        title=title,
        unit=unit_of(scorer.schema),
        card=card_of(scorer),
        latent=_map(scorer, found),
        input=None if given is None or found is None else _input(scorer, given.path, found, quiet=quiet),
        notes=_notes(scorer, found, count),
    )


def write_report(report: Report, path: Path, *, overwrite: bool) -> None:
    """Write the page; the file appears under its name only when it is complete.

    Raises:
        ConfigError: The file exists or cannot be written.
    """
    from anomaly_vae.pages.report import report_page
    from anomaly_vae.storage import atomic_file

    page = report_page(report)
    with atomic_file(path, overwrite=overwrite) as part:
        part.write_text(page, encoding="utf-8")


def _map(scorer: Scorer, found: Found | None) -> MapFacts:
    """Return rows of the input, or synthetic ones, in the plane that shows most of the synthetic ones."""
    drawn = scorer.sample(_SAMPLES)
    means = scorer.encode_rows(drawn)
    unit = unit_of(scorer.schema)
    if found is None or not len(found.sample):
        scores = scorer.score_rows(drawn)
        points, axes = project(means)
        text = (
            f"Each point is a synthetic {unit}, drawn from the model. Its place is where the encoder puts it, its "
            f"colour is its score. On the axes: {axes}."
        )
        flags = np.zeros(len(points), dtype=bool)
        limits = _limits(points)
        return MapFacts(points=points, score=scores.score, is_anomaly=flags, background=None, limits=limits, text=text)
    shown = found.sample
    points, axes = project(np.concatenate([shown.rows, means]), among=means)
    behind = points[len(shown) :]
    flagged = shown.scores.is_anomaly
    text = (
        f"Each point is {'a' if len(shown) == found.num_scored else 'one of a random sample of'} {unit}"
        f"{'' if len(shown) == found.num_scored else 's'} of the input, and flagged ones have a ring. Grey dots are "
        f"synthetic {unit}s, drawn from the model: where they are dense is what it has learned as normal. On the axes: "
        f"{axes}; what is far outside lies on the edge."
    )
    return MapFacts(
        points=points[: len(shown)],
        score=shown.scores.score,
        is_anomaly=np.zeros(len(shown), dtype=bool) if flagged is None else np.asarray(flagged),
        background=behind,
        limits=_limits(behind),
        text=text,
    )


def _limits(points: FloatArray) -> FloatArray:
    """Return the range of the map, from where synthetic rows lie: half of their range is added at either end."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.stack([low - _ROOM * (high - low), high + _ROOM * (high - low)])


def _input(scorer: Scorer, path: str, found: Found, *, quiet: bool) -> InputFacts:
    unit, shape = unit_of(scorer.schema), scorer.schema.shape
    reasons = reasons_of(scorer, found.worst.rows, found.texts, quiet=quiet) if len(found.worst) else None
    note = ""
    if isinstance(shape, SeriesShape):
        note = (
            f"Each window of {shape.length} steps is one result. Windows that overlap share steps, so their p-values "
            "rise and fall together; the worst windows below share no step."
        )
    return InputFacts(
        path=path,
        tiles=_tiles(scorer, found, unit),
        p_counts=found.p_counts.tolist() if found.num_scored else None,
        note=note,
        errors=_known(found.sample.scores.std_error),
        reliability=_reliability(found, unit),
        worst=[] if reasons is None else _worst(scorer, found, reasons),
        columns=scorer.schema.column_names,
        excess=None if reasons is None or shape is not None else reasons.excess,
        channels=shape.channels if isinstance(shape, SeriesShape) else (),
        pixel_range=(shape.low, shape.high) if isinstance(shape, ImageShape) else (0.0, 255.0),
    )


def _tiles(scorer: Scorer, found: Found, unit: str) -> list[Tile]:
    flagged, promised = found.summary.anomalies or 0, scorer.bundle.manifest.calibration.effective_fpr
    rate = flagged / found.num_scored if found.num_scored else None
    unscored = found.summary.unscored
    tiles = [
        Tile(f"{found.num_scored:,}", f"{unit}s scored"),
        Tile(f"{flagged:,}", "flagged", "bad" if flagged else ""),
        Tile(share(rate), f"flagged; of normal {unit}s at most {share(promised)} would be"),
    ]
    if unscored:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(unscored.items()))
        tiles.append(Tile(f"{unscored.total():,}", f"not scored: {kinds}", "bad"))
    return tiles


def _reliability(found: Found, unit: str) -> list[tuple[str, str]]:
    known = _known(found.sample.scores.std_error)
    middle, high = np.quantile(known, [0.5, 0.99]).tolist() if len(known) else (None, None)
    part = found.num_reliable / found.num_scored if found.num_scored else None
    return [
        ("reliable", f"{share(part, 4)} of the {unit}s: {found.num_reliable:,} of {found.num_scored:,}"),
        ("standard error", f"half of the {unit}s at most {number(middle, 2)} nats"),
        ("nearly all", f"99 % at most {number(high, 2)} nats"),
    ]


def _known(values: FloatArray) -> FloatArray:
    return np.asarray(values[~np.isnan(values)])


def _worst(scorer: Scorer, found: Found, reasons: Reasons) -> list[WorstRow]:
    worst, shape = found.worst, scorer.schema.shape
    shaped = None if shape is None else worst.rows.reshape(len(worst), *shape.sizes)
    images = shaped if isinstance(shape, ImageShape) else None
    windows = shaped if isinstance(shape, SeriesShape) else None
    again = None if images is None else scorer.reconstruct(worst.rows)
    rows = list[WorstRow]()
    for i, (name, score) in enumerate(zip(found.names, worst.scores, strict=True)):
        rows.append(
            WorstRow(
                name=name,
                p_value=score.p_value,
                score=score.score,
                std_error=score.std_error,
                is_anomaly=bool(score.is_anomaly),
                reason=score.reason or "",
                blame=reasons.blame[i],
                window=_at(windows, i),
                image=_at(images, i),
                reconstruction=_at(again, i),
                excess=None if shape is None else reasons.excess[i],
            )
        )
    return rows


def _at(arrays: FloatArray | None, i: int) -> FloatArray | None:
    return None if arrays is None else arrays[i]


def _notes(scorer: Scorer, found: Found | None, count: int) -> list[str]:
    """Return what the page leaves out, and why."""
    unit = unit_of(scorer.schema)
    if found is None:
        return [
            "There are no p-values and no anomalous rows, because no INPUT was given: anomaly-vae report MODEL INPUT",
            f"The training {unit}s are not shown: a model holds none of them.",
        ]
    notes = [f"The training {unit}s are not shown: a model holds none of them."]
    if found.num_scored > len(found.worst):
        notes.append(f"Of {counted(found.num_scored, unit)} the {min(count, len(found.worst))} worst are shown.")
    if found.num_scored > len(found.sample):
        notes.append(f"The map and the standard errors are of {len(found.sample):,} {unit}s, drawn at random.")
    notes += [f"Not scored, {kind}: {example}" for kind, example in found.summary.examples.items()]
    return notes
