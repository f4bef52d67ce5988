"""What must hold between the parts of a manifest, beyond what the types of its records say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anomaly_vae.bundle.manifest import Estimator, Manifest, MemberRecord
from anomaly_vae.calibration import Calibration
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.reading.times import PERIODS, is_zone_name
from anomaly_vae.columns.schema import Column, Schema
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


def _rules_of_texts(manifest: Manifest) -> _Rules:
    schema, gates = manifest.schema, manifest.training.gates
    settings = [candidate.settings for candidate in manifest.training.candidates]
    texts = [manifest.created_by, manifest.created_at, schema.label or "", *schema.column_names]
    texts += [schema.encoding or "", *schema.missing_values, *(each.name for each in schema.inputs)]
    for each in schema.inputs:
        if isinstance(each.reading, LeftOut):
            texts.append(each.reading.why)
        elif isinstance(each.reading, NumberReading):
            texts += each.reading.affixes
    texts += [text for gate in gates for text in (gate.name, gate.detail)]
    texts += [str(part) for each in settings for pair in each.items() for part in pair]
    yield all(text.isprintable() for text in texts), "names must be printable"
    yield all(set(each) == set(settings[0]) for each in settings), "training.candidates must have equal settings"


def _rules_of_schema(schema: Schema) -> _Rules:
    columns = schema.columns
    yield from _rules_of_inputs(schema)
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
    yield all(map(_is_readable, schema.used_inputs)), "schema.inputs: numbers and times must have a possible format"
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


def _is_readable(each: Input) -> bool:
    """Return whether a number has two different marks, and a time has parts and a possible time zone."""
    match each.reading:
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
    yield calibration.rank <= calibration.num_rows, "calibration.rank must be at most num_rows"
    yield (
        calibration.effective_fpr == calibration.rank / (calibration.num_rows + 1),
        "calibration.effective_fpr must be rank / (num_rows + 1)",
    )


def _is_invertible(transform: Transform) -> bool:
    """Return whether the transform is strictly increasing on all real numbers."""
    if isinstance(transform, YeoJohnson):
        return transform.scale > 0.0 and transform.unit > 0.0 and 0.0 <= transform.power <= 2.0
    return transform.scale > 0.0
