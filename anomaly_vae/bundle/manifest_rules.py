"""What must hold between the parts of a manifest, beyond what the types of its records say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anomaly_vae.bundle.manifest import Estimator, Manifest, MemberRecord
from anomaly_vae.calibration import Calibration, rate_of_rank, sides
from anomaly_vae.columns.reading.records import LeftOut, NumberReading, Reading, TextReading, TimeReading
from anomaly_vae.columns.reading.times import PERIODS, is_zone_name
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import MOST_CELLS, ImageShape, SeriesShape, cell_names
from anomaly_vae.columns.tails import Tail
from anomaly_vae.columns.transforms import Transform, YeoJohnson

__all__ = ["rules"]

# Most growth of distances at the start of a tail. Chosen, not measured: far more than training gives.
_MOST_STRETCH = 1e12

# Rules are generated one after the other: later ones may rely on earlier ones.
_Rules = Iterator[tuple[bool, str]]


def rules(manifest: Manifest) -> _Rules:
    """Yield for each rule that types cannot express whether it holds, and its text."""
    schema = manifest.schema
    modelled = [schema.columns[d] for d in schema.modelled]
    yield from _rules_of_texts(manifest)
    yield from _rules_of_schema(schema)
    for member in manifest.members:
        yield from _rules_of_member(member, modelled)
    yield manifest.adjustment.fits(len(modelled)), "adjustment must fit the modelled columns"
    yield from _rules_of_estimator(manifest.estimator, len(manifest.members))
    yield from _rules_of_calibration(manifest.calibration)
    yield from _rules_of_contrast(manifest)
    statistics = manifest.statistics
    yield statistics is None or statistics.fits(schema), "statistics must fit schema.columns"


def _rules_of_texts(manifest: Manifest) -> _Rules:
    schema, gates = manifest.schema, manifest.training.gates
    settings = [candidate.settings for candidate in manifest.training.candidates]
    texts = [manifest.created_by, manifest.created_at, schema.label or "", *schema.column_names]
    texts += [schema.encoding or "", *schema.missing_values, *(each.name for each in schema.inputs)]
    if isinstance(schema.shape, SeriesShape):
        texts += [*schema.shape.channels, *(each.name for each in schema.shape.inputs)]
    for each in schema.inputs:
        if isinstance(each.reading, LeftOut):
            texts.append(each.reading.why)
        elif isinstance(each.reading, NumberReading):
            texts += each.reading.affixes
    texts += [text for gate in gates for text in (gate.name, gate.detail)]
    texts += [str(part) for each in settings for pair in each.items() for part in pair]
    yield all(text.isprintable() for text in texts), "names must be printable"
    yield all(set(each) == set(settings[0]) for each in settings), "training.candidates must have equal settings"
    curves = [each.curve for each in manifest.training.candidates if each.curve is not None]
    sizes = [{len(each.steps), len(each.training), len(each.held_out)} for each in curves]
    yield all(len(each) == 1 for each in sizes), "the parts of a curve in training.candidates must have one length"


def _rules_of_schema(schema: Schema) -> _Rules:
    columns = schema.columns
    yield from _rules_of_inputs(schema)
    yield from _rules_of_shape(schema)
    yield len(schema.modelled) > 0, "schema.columns must have a modelled column"
    yield (
        all((column.kind == "constant") == (column.value is not None) for column in columns),
        "schema.columns: exactly the constant columns have a value",
    )
    yield (
        all((column.kind == "categorical") == bool(column.categories) for column in columns),
        "schema.columns: exactly the categorical columns have categories",
    )
    yield (
        all((column.kind == "cyclic") == (column.period is not None) for column in columns),
        "schema.columns: exactly the cyclic columns have a period",
    )
    yield (
        all(len(set(found)) == len(found) for found in schema.categories.values()),
        "schema.columns: categories must be unique",
    )
    yield (
        all(list(column.rare) == sorted(set(column.rare)) for column in columns)
        and all(column.rare[-1] < len(column.categories or ()) for column in columns if column.rare),
        "schema.columns: rare must be increasing indices of categories",
    )
    yield (
        all(column.other_share is None or not _has_no_other(column) for column in columns),
        "schema.columns: only columns that can hold an unknown value have an other_share",
    )


def _rules_of_inputs(schema: Schema) -> _Rules:
    names, texts = [each.name for each in schema.all_inputs], schema.categories
    yield all(names) and schema.label not in names, "columns must have names, and not the label's"
    yield len(set(names)) == len(names), "schema.inputs must have unique names"
    yield (
        tuple(name for each in schema.used_inputs for name in each.columns) == schema.column_names,
        "schema.columns must be the columns of schema.inputs, in their order",
    )
    yield len(set(schema.column_names)) == len(schema.columns), "schema.columns must have unique names"
    yield (
        {each.name for each in schema.used_inputs if isinstance(each.reading, TextReading)} == set(texts),
        "schema.inputs: exactly the categorical columns are read as texts",
    )
    yield (
        all(_is_readable(each.reading) for each in schema.used_inputs),
        "schema.inputs: numbers and times must have a possible format",
    )
    periods = {
        f"{each.name}.{part}": PERIODS.get(part)
        for each in schema.used_inputs
        if isinstance(each.reading, TimeReading)
        for part in each.reading.parts
    }
    yield (
        all(column.period in (None, periods.get(column.name, column.period)) for column in schema.columns),
        "schema.columns: a part of a time must have the period of the part",
    )


def _rules_of_shape(schema: Schema) -> _Rules:
    shape = schema.shape
    if shape is None:
        return
    yield shape.num_cells <= MOST_CELLS, f"schema.shape must have at most {MOST_CELLS} cells"
    yield cell_names(shape) == schema.column_names, "schema.columns must be the cells of schema.shape, in their order"
    yield not schema.inputs, "schema.inputs must be empty for windows and images"
    if isinstance(shape, SeriesShape):
        names = [each.name for each in shape.inputs]
        yield len(set(names)) == len(names), "schema.shape.inputs must have unique names"
        yield len(set(shape.channels)) == len(shape.channels), "schema.shape.channels must be unique"
        used = [*shape.channels, *filter(None, (shape.timestamp, shape.series))]
        yield not names or set(used) <= set(names), "schema.shape must name columns of its inputs"
        readings = [each.reading for each in shape.inputs if each.name != shape.timestamp]
        yield all(map(_is_readable, readings)), "schema.shape.inputs: numbers and times must have a possible format"
        zones = [each.reading.zone for each in shape.inputs if isinstance(each.reading, TimeReading)]
        yield all(zone is None or is_zone_name(zone) for zone in zones), "schema.shape.inputs: a zone is not known"
    else:
        yield shape.low < shape.high, "schema.shape.low must be below high"


def _is_readable(reading: Reading) -> bool:
    """Return whether a number has two different marks, and a time has parts and a possible time zone."""
    match reading:
        case NumberReading(decimal=decimal, thousands=thousands):
            return decimal != thousands
        case TimeReading(order="clock", zone=zone, parts=parts):
            return parts == ("time_of_day",) and zone is None
        case TimeReading(zone=zone, parts=parts):
            return len(parts) > 0 and (zone is None or is_zone_name(zone))
    return True


def _has_no_other(column: Column) -> bool:
    """Return whether the head gives every value a density, so that no value is outside those of the column."""
    return not column.can_be_novel or column.has_other_level


def _rules_of_member(member: MemberRecord, modelled: Sequence[Column]) -> _Rules:
    yield member.prior.fits(member.architecture.latent_dim), "members: a prior must fit the latent dimensions"
    yield len(member.columns) == len(modelled), "members must have one entry in columns for each modelled column"
    for column, model in zip(modelled, member.columns, strict=True):
        yield (
            model.head.num_categories == column.num_levels,
            "members: exactly the categorical columns have a categorical head, of their size",
        )
        yield model.head.cycle == column.period, "members: exactly the cyclic columns have a head with their period"
        has_transform = model.transform is not None
        yield has_transform == model.head.takes_transform, "members: exactly the heads of numbers have a transform"
        yield model.transform is None or _is_invertible(model.transform), "members: a transform cannot be inverted"
        yield (
            model.tails is None or (has_transform and model.tails.low.end <= model.tails.high.end),
            "members: tails need a transform, and the low end of the range below the high end",
        )
        yield (
            model.tails is None or all(_is_moderate(side) for side in (model.tails.low, model.tails.high)),
            f"members: the size of a tail must be its length at least, and at most {_MOST_STRETCH:g} times as much",
        )


def _is_moderate(tail: Tail) -> bool:
    return tail.length <= tail.size <= _MOST_STRETCH * tail.length


def _rules_of_estimator(estimator: Estimator, num_members: int) -> _Rules:
    ratio, rest = divmod(estimator.num_samples, estimator.scramblings * num_members)
    yield (
        rest == 0 and ratio & (ratio - 1) == 0 and num_members & (num_members - 1) == 0,
        "estimator.num_samples must be a multiple of 16 and scramblings times members times a power of two",
    )


def _rules_of_calibration(calibration: Calibration) -> _Rules:
    yield (
        calibration.num_novel < calibration.rank,
        "calibration.num_novel must be below rank: older releases wrote such models, which flag nothing; train again",
    )
    both = calibration.tail == "both"
    yield (
        sides(calibration.tail) * calibration.rank <= calibration.num_rows,
        f"calibration.rank must be at most {'half of ' if both else ''}num_rows",
    )
    n, k, of_contrast = calibration.num_rows, calibration.rank, calibration.contrast_rank
    has_two = both or of_contrast is not None
    yield (
        calibration.effective_fpr == rate_of_rank(n, k, calibration.tail, of_contrast),
        "calibration.effective_fpr must be "
        f"{'2 ' if has_two else ''}{'' if of_contrast is None else 'contrast_'}rank / (num_rows + 1)",
    )
    yield (
        both == (calibration.upper_threshold is not None),
        "calibration: exactly the tail 'both' has an upper_threshold",
    )


def _rules_of_contrast(manifest: Manifest) -> _Rules:
    contrast, calibration = manifest.contrast, manifest.calibration
    k = calibration.contrast_rank
    parts = (k is None, calibration.contrast_threshold is None, contrast is None)
    yield len(set(parts)) == 1, "contrast, calibration.contrast_rank and contrast_threshold must go together"
    if contrast is None or k is None:
        return
    yield isinstance(manifest.schema.shape, ImageShape), "contrast is for images only"
    yield all(text.isprintable() for text in contrast.against), "contrast.against must be printable"
    yield k <= calibration.num_rows, "calibration.contrast_rank must be at most num_rows"
    yield (
        k // sides(calibration.tail) == calibration.rank,
        "calibration.contrast_rank must be rank, or with the tail 'both' twice as much or one more",
    )


def _is_invertible(transform: Transform) -> bool:
    """Return whether the transform is strictly increasing on all real numbers."""
    if isinstance(transform, YeoJohnson):
        return transform.scale > 0.0 and transform.unit > 0.0 and 0.0 <= transform.power <= 2.0
    return transform.scale > 0.0
