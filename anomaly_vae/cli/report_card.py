"""The model card of a report: what the manifest says, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from anomaly_vae.cli.inputs import how_inputs_are_read
from anomaly_vae.cli.inspect_shapes import channel_rows, shape_facts
from anomaly_vae.cli.inspect_words import estimator_text, networks_text, new_values_text, range_text, values_text
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.reading.records import LeftOut
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.pages.records import CalibrationFacts, Card, GateFacts, Grid, GridRow, Tile, TrainingCurve
from anomaly_vae.pages.texts import counted, number, share

if TYPE_CHECKING:
    from anomaly_vae.bundle.manifest import Candidate, Manifest
    from anomaly_vae.columns.schema import Column, Schema
    from anomaly_vae.scorer import Scorer

__all__ = ["card_of", "unit_of"]

# What one row of the model is called.
_UNITS = {"table": "row", "series": "window", "image": "image"}

# Parameters of the training that a reader looks for; the manifest has all of them.
_SHOWN_PARAMETERS = ("search", "ensemble", "likelihood", "max_steps", "masking", "trim_fraction", "target_fpr")


def unit_of(schema: Schema) -> str:
    """Return what one row of the model is called."""
    return _UNITS[schema.kind]


def card_of(scorer: Scorer) -> Card:
    """Return the card of a model."""
    manifest, info = scorer.bundle.manifest, scorer.info
    schema, training = manifest.schema, manifest.training
    unit = unit_of(schema)
    return Card(
        purpose=_purpose(manifest, unit),
        tiles=_tiles(manifest, unit),
        data=_data(manifest, unit),
        columns=_columns(manifest) if schema.shape is None else _channels(schema, info),
        left_out=_left_out(schema),
        gates=[GateFacts(gate.name, gate.passed, gate.detail) for gate in training.gates],
        search=_search(training.candidates) if len(training.candidates) > 1 else None,
        curves=_curves(training.candidates),
        calibration=_calibration(scorer, unit),
        estimator=[("rule", estimator_text(info["estimator"])), ("checked", _onnx(training.onnx_error))],
        networks=[(f"member {i + 1}", networks_text(member)) for i, member in enumerate(info["members"])],
        origin=_origin(scorer),
    )


def _purpose(manifest: Manifest, unit: str) -> str:
    calibration, rows = manifest.calibration, manifest.training.num_rows
    sure = "" if calibration.confidence is None else f", with a confidence of {share(calibration.confidence)}"
    return (
        f"This model finds {unit}s that are unlike the {counted(rows, f'normal {unit}')} it was trained on. It gives "
        f"each {unit} its log-density, log p(x), and flags {unit}s with a score below a threshold: at most "
        f"{share(calibration.effective_fpr)} of normal {unit}s{sure}."
    )


def _tiles(manifest: Manifest, unit: str) -> list[Tile]:
    training, calibration = manifest.training, manifest.calibration
    applied = [gate for gate in training.gates if gate.passed is not None]
    passed = sum(gate.passed is True for gate in applied)
    return [
        Tile(f"{training.num_rows:,}", f"{unit}s trained on"),
        Tile(*_width(manifest.schema)),
        Tile(f"{calibration.num_rows:,}", f"calibration {unit}s"),
        Tile(share(calibration.effective_fpr), f"of normal {unit}s flagged, at most"),
        Tile(number(calibration.threshold), "nats: the threshold"),
        Tile(f"{passed} of {len(applied)}", "release gates passed", "good" if passed == len(applied) else "bad"),
    ]


def _width(schema: Schema) -> tuple[str, str]:
    if isinstance(schema.shape, SeriesShape):
        return f"{schema.shape.length} × {schema.shape.num_channels}", "steps by channels"
    if schema.shape is not None:
        return " × ".join(str(size) for size in schema.shape.sizes[:2]), "pixels"
    return f"{len(schema.columns):,}", "columns"


def _data(manifest: Manifest, unit: str) -> list[tuple[str, str]]:
    schema, training, calibration = manifest.schema, manifest.training, manifest.calibration
    facts = [
        ("trained on", counted(training.num_rows, unit)),
        ("held out", f"{counted(training.num_held_out, unit)}, which chose the best step"),
        ("calibrated with", f"{counted(calibration.num_rows, unit)} that the training never saw"),
        *shape_facts(schema).items(),
        ("label column", schema.label or "none"),
    ]
    if schema.missing_values:
        facts.append(("missing values", ", ".join(schema.missing_values)))
    if schema.encoding is not None:
        facts.append(("encoding", schema.encoding))
    read = how_inputs_are_read(schema)
    left = {name for name, _ in _left_out(schema)}
    return [*facts, *((f"column {name}", text) for name, text in read.items() if name not in left)]


def _left_out(schema: Schema) -> list[tuple[str, str]]:
    inputs = schema.shape.inputs if isinstance(schema.shape, SeriesShape) else schema.inputs
    return [(each.name, each.reading.why) for each in inputs if isinstance(each.reading, LeftOut)]


def _columns(manifest: Manifest) -> Grid:
    """Return the columns of a table with their heads, one for each member of the ensemble."""
    schema = manifest.schema
    modelled = iter(zip(*(member.columns for member in manifest.members), strict=True))
    rows = [_column(column, next(modelled) if column.is_modelled else ()) for column in schema.columns]
    return Grid(("column", "kind", "values", "range in training", "new values", "transform", "head"), rows)


def _column(column: Column, models: tuple[ColumnModel, ...]) -> GridRow:
    import msgspec

    facts = (column.name, column.kind, values_text(column))
    if not models:
        return GridRow((*facts, "", new_values_text(column), "", "no density"))
    heads = " | ".join(dict.fromkeys(model.head.summary for model in models))
    tails = msgspec.to_builtins(models[0].tails)
    return GridRow((*facts, range_text(tails), new_values_text(column), _transform(models[0]), heads))


def _transform(model: ColumnModel) -> str:
    found = model.transform
    if found is None:
        return ""
    if isinstance(found, Standardise):
        return f"(x - {number(found.center)}) / {number(found.scale)}"
    return f"Yeo-Johnson with power {number(found.power, 3)}"


def _channels(schema: Schema, info: dict[str, Any]) -> Grid:
    rows = [GridRow(row) for row in channel_rows(schema, info["members"])]
    return Grid(("channel", "cells", "range in training", "heads of the cells"), rows)


def _search(candidates: tuple[Candidate, ...]) -> Grid:
    varied = _varied(candidates)
    rows = [
        GridRow(
            (
                f"model {i + 1}",
                "chosen" if each.chosen else "",
                *(str(each.settings[name]) for name in varied),
                f"{each.held_out_elbo:.4f}",
                "" if each.criterion is None else f"{each.criterion:.4f}",
            )
        )
        for i, each in enumerate(candidates)
    ]
    names = [name.replace("_", " ") for name in varied]
    last = 2 + len(names)
    return Grid(("tried", "", *names, "held-out ELBO, nats", "criterion"), rows, (last, last + 1))


def _varied(candidates: tuple[Candidate, ...]) -> list[str]:
    return [name for name in candidates[0].settings if len({str(each.settings[name]) for each in candidates}) > 1]


def _curves(candidates: tuple[Candidate, ...]) -> list[TrainingCurve]:
    """Return how the trainings of the members went."""
    varied, found = _varied(candidates), list[TrainingCurve]()
    for i, each in enumerate(candidates):
        if each.curve is None or not each.chosen or not each.curve.steps:
            continue
        curve = each.curve
        best = max(range(len(curve.steps)), key=curve.held_out.__getitem__)
        settings = ", ".join(f"{name.replace('_', ' ')} {each.settings[name]}" for name in varied)
        name = f"model {i + 1}" + (f": {settings}" if settings else "")
        points = (curve.steps, curve.training, curve.held_out)
        found.append(TrainingCurve(name, *points, best_step=curve.steps[best], best=curve.held_out[best]))
    return found


def _calibration(scorer: Scorer, unit: str) -> CalibrationFacts:
    found, bundle = scorer.bundle.manifest.calibration, scorer.bundle
    novel = f", {found.num_novel:,} of them lowest because of new values" if found.num_novel else ""
    text = (
        f"The threshold is the score of rank {found.rank:,} of {found.num_rows:,} calibration {unit}s{novel}, counted "
        f"from the lowest. A normal {unit} falls below it with a probability of at most {share(found.effective_fpr)}; "
        f"requested were {share(found.target_fpr)}"
        + ("." if found.confidence is None else f" with a confidence of {share(found.confidence)}.")
    )
    if found.upper_threshold is not None:
        text += f" Scores above the upper threshold, of rank {found.rank:,} from the highest, are flagged too."
    return CalibrationFacts(
        scores=bundle.calibration,
        threshold=found.threshold,
        upper_threshold=found.upper_threshold,
        text=text,
        contrast=bundle.contrast,
        contrast_threshold=found.contrast_threshold,
    )


def _onnx(error: float) -> str:
    shown = "none" if error == 0.0 or math.isnan(error) else number(error, 2)
    return f"largest relative difference of log p(x) between the exported and the trained networks: {shown}"


def _origin(scorer: Scorer) -> list[tuple[str, str]]:
    manifest = scorer.bundle.manifest
    training = manifest.training
    folder = [] if scorer.path is None else [("folder", str(scorer.path))]
    parameters = ", ".join(f"{name} {training.config[name]}" for name in _SHOWN_PARAMETERS if name in training.config)
    return [
        ("made by", f"{manifest.created_by}, {manifest.created_at}"),
        *folder,
        ("digest", scorer.bundle.digest),
        ("format", str(manifest.format_version)),
        ("seed", str(training.config.get("random_state", "not known"))),
        ("parameters", parameters),
        ("steps", f"{training.steps:,}, best {training.best_step:,}" + (", interrupted" * training.interrupted)),
        ("versions", ", ".join(f"{name} {version}" for name, version in training.versions.items())),
    ]
