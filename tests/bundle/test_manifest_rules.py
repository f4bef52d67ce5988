"""Rules of a manifest that types cannot express."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.bundle.files import make_bundle
from anomaly_vae.bundle.manifest_json import decode_manifest, encode_manifest
from anomaly_vae.bundle.manifest_rules import _rules_of_shape
from anomaly_vae.columns.reading.records import PARTS, Input, NumberReading, TimeReading
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.errors import BundleError, InvalidInput
from anomaly_vae.scorer import Scorer, load
from tests.support.attacks import edit
from tests.support.windows import window_schema


def first(manifest):
    """Return the record of the first modelled column."""
    return manifest["members"][0]["columns"][0]


# What older bundles lack in a column.
ADDED = ("rare", "other_share", "novelty", "period")

WINDOW = {"kind": "series", "length": 2, "channels": ["a", "b"]}

# Of the 120 calibration rows.
BOTH = {"tail": "both", "effective_fpr": 12 / 121}

POWER = {"kind": "yeo-johnson", "power": 1.0, "origin": 0.0, "unit": 1.0, "center": 0.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=2), "format version 2, this release reads 7"),
        (lambda m: m.update(pickle="x"), "unknown field `pickle`"),
        (lambda m: m.pop("members"), "missing required field `members`"),
        (lambda m: m.update(members=[]), r"length >= 1.*members"),
        (lambda m: m["members"].append(m["members"][0]), "must list exactly"),
        (lambda m: first(m)["transform"].update(scale=0.0), "a transform cannot be inverted"),
        (lambda m: first(m).update(transform=POWER | {"power": 2.5}), "a transform cannot be inverted"),
        (lambda m: first(m).update(transform=POWER | {"unit": -1.0}), "a transform cannot be inverted"),
        (lambda m: first(m)["tails"]["low"].update(end=1e9), "tails need a transform, and the low end"),
        (lambda m: first(m)["tails"]["low"].update(length=0.0), "length"),
        (lambda m: first(m).pop("transform"), "exactly the heads of numbers have a transform"),
        (lambda m: first(m).update(head={"kind": "bernoulli"}), "exactly the heads of numbers have a transform"),
        (lambda m: first(m).update(head={"kind": "categorical", "size": 2}), "exactly the categorical columns have a"),
        (lambda m: m["members"][0]["columns"].pop(), "one entry in columns for each modelled column"),
        (lambda m: m["adjustment"]["parts"].pop(), "adjustment must fit"),
        (lambda m: m["adjustment"]["levels"][0]["masked"].reverse(), "adjustment must fit"),
        (lambda m: m["adjustment"]["levels"].reverse(), "adjustment must fit"),
        (lambda m: m["calibration"].update(threshold="low"), "threshold"),
        (lambda m: m["calibration"].update(rank=10**6), "rank must be at most"),
        (lambda m: m["calibration"].update(num_rows=5), "rank must be at most"),
        (lambda m: m["calibration"].update(num_novel=1), "the manifest says 119"),
        (lambda m: m["calibration"].update(num_novel=6), "num_novel must be below rank"),
        (lambda m: m["calibration"].update(effective_fpr=0.001), "effective_fpr must be rank"),
        (lambda m: m["calibration"].update(threshold=1e300), "not the score of rank 6"),
        (lambda m: m["calibration"].update(tail="high"), "Invalid enum value 'high'"),
        (lambda m: m["calibration"].update(tail="both"), r"effective_fpr must be 2 rank / \(num_rows"),
        (lambda m: m["calibration"].update(tail="both", rank=61), "rank must be at most half of num_rows"),
        (lambda m: m["calibration"].update(upper_threshold=0.0), "exactly the tail 'both' has an upper_threshold"),
        (lambda m: m["calibration"].update(BOTH), "exactly the tail 'both' has an upper_threshold"),
        (lambda m: m["calibration"].update(BOTH, upper_threshold=1e300), "not the score of rank 6 from the highest"),
        (lambda m: first(m)["head"].update(log_var=1e6), "log_var"),
        (lambda m: m["schema"]["columns"][0].update(name="\x1b]0;pwn\x07"), "printable"),
        (lambda m: m["estimator"].update(num_samples=48), "scramblings times members times a power of two"),
        (lambda m: m["estimator"].update(num_samples=1000), "multiple of 16"),
        (lambda m: m["estimator"].update(num_samples=2**14), "noise.npy: holds 4096 points"),
        (lambda m: m["estimator"].update(target_error=0.0), r"> 0.0 - at `\$\.estimator\.target_error`"),
        (lambda m: m["estimator"].pop("target_error"), "missing required field `target_error`"),
        (lambda m: m["estimator"].update(careful_below="low"), "careful_below"),
        (lambda m: m["estimator"].update(extra_starts=-1), "extra_starts"),
        (lambda m: m["estimator"].update(extra_starts=10**6), "extra_starts"),
        (lambda m: m["estimator"].pop("careful_below"), "missing required field `careful_below`"),
        (lambda m: m["schema"]["columns"][0].update(kind="picture"), "Invalid enum value"),
        (lambda m: m["schema"]["columns"][0].update(kind="categorical"), "exactly the categorical columns have"),
        (lambda m: m["schema"]["columns"][0].update(categories=["a", "b"]), "exactly the categorical columns are read"),
        (lambda m: m["schema"]["columns"][0].update(name="flow"), "must be the columns of schema.inputs"),
        (lambda m: m["schema"]["columns"][0].update(value=1.0), "exactly the constant columns"),
        (lambda m: m["schema"]["columns"][0].update(period=24.0), "exactly the cyclic columns have a period"),
        (lambda m: m["schema"]["columns"][0].update(kind="cyclic"), "exactly the cyclic columns have a period"),
        (lambda m: m["schema"]["columns"][0].update(kind="cyclic", period=0.0), "Expected `float` > 0.0"),
        (lambda m: m["schema"]["columns"][0].update(kind="cyclic", period=24.0), "cyclic columns have a head with"),
        (
            lambda m: first(m).update(head={"kind": "von_mises", "period": 24.0, "limit": 100.0}),
            "exactly the cyclic columns have a head with their period",
        ),
        (
            lambda m: first(m).update(head={"kind": "von_mises", "period": 24.0, "limit": 1e300}),
            "Expected `float` <= 10000.0",
        ),
        (lambda m: m["schema"]["columns"][0].update(other_share=0.5), "only columns that can hold an unknown value"),
        (lambda m: m["schema"]["columns"][4].update(novelty="highest"), "Invalid enum value 'highest'"),
        (lambda m: m["schema"]["columns"][4].update(other_share=1.0), "< 1.0"),
        (lambda m: m["schema"]["columns"][4].update(rare=[0]), "increasing indices of categories"),
        (lambda m: m["schema"].update(shape={"kind": "window"}), "Invalid value 'window'"),
        (lambda m: m["schema"].update(shape=WINDOW), "columns must be the cells of schema.shape"),
        (lambda m: m["schema"].update(shape=WINDOW | {"length": 16384}), "at most 16384 cells"),
        (lambda m: m["schema"].update(shape=WINDOW | {"channels": ["a", "\x1b[2J"]}), "names must be printable"),
        (lambda m: m["schema"].update(shape={"kind": "image", "height": 0, "width": 2}), "height"),
        (lambda m: m["members"][0]["prior"]["log_weights"].__setitem__(0, -50.0), "a prior must fit"),
        (lambda m: m["members"][0]["prior"]["log_weights"].__setitem__(0, 1.0), "Expected `float` <= 0.0"),
        (lambda m: m["members"][0]["prior"]["loc"][0].append(0.0), "a prior must fit"),
        (lambda m: m["members"][0]["prior"]["loc"].pop(), "a prior must fit"),
        (lambda m: m["members"][0]["prior"]["loc"][0].__setitem__(0, 1e300), "Expected `float` <= 10000.0"),
        (lambda m: m["members"][0]["prior"]["log_scale"][0].__setitem__(0, -9.0), "Expected `float` >= -2.3"),
        (lambda m: m["members"][0]["columns"][0]["tails"]["low"].update(end=1e9), "the low end of the range below"),
        (
            lambda m: m["members"][0]["columns"][0]["tails"]["low"].update(size=1e300, length=1e-300),
            "the size of a tail",
        ),
        (lambda m: m["members"][0]["columns"][0]["tails"]["high"].update(size=0.0), "Expected `float` > 0.0"),
        (lambda m: m["members"][0]["architecture"].update(latent_dim=3), "a prior must fit the latent dimensions"),
        (
            lambda m: m["members"][0].update(
                prior={"kind": "normal"}, architecture={"kind": "mlp", "latent_dim": 3, "hidden": [128, 128]}
            ),
            r"noise\.npy: has shape",
        ),
        (lambda m: m["files"].update({"../evil": m["files"]["noise.npy"]}), "must list exactly"),
        (lambda m: m["files"].pop("noise.npy"), "must list exactly"),
        (lambda m: m["files"]["noise.npy"].update(sha256="0"), "sha256"),
        (lambda m: m["files"]["noise.npy"].update(size=10), "expected at most 10"),
        (lambda m: m["files"]["noise.npy"].update(size=-1), "size"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, change, message):
    edit(change)(copy)
    with pytest.raises(BundleError, match=message):
        load(copy)


def test_settings_of_candidates_must_be_the_same(bundle):
    text = json.loads(encode_manifest(bundle.manifest))
    (candidate,) = text["training"]["candidates"][:1]
    text["training"]["candidates"] = [candidate | {"settings": {"beta": 1}}, candidate | {"settings": {"gamma": 1}}]
    with pytest.raises(BundleError, match=r"training\.candidates must have equal settings; the file was changed"):
        decode_manifest(json.dumps(text).encode(), "manifest.json")


def test_the_parts_of_a_curve_have_one_length_and_older_bundles_have_none(bundle):
    text = json.loads(encode_manifest(bundle.manifest))
    (candidate,) = text["training"]["candidates"]
    candidate["curve"]["held_out"].pop()
    with pytest.raises(BundleError, match=r"parts of a curve in training\.candidates must have one length"):
        decode_manifest(json.dumps(text).encode(), "manifest.json")
    candidate["curve"] |= {name: [1] * 201 for name in ("steps", "training", "held_out")}
    with pytest.raises(BundleError, match="length <= 200"):
        decode_manifest(json.dumps(text).encode(), "manifest.json")
    del candidate["curve"]
    assert decode_manifest(json.dumps(text).encode(), "manifest.json").training.candidates[0].curve is None


def test_a_bundle_from_before_loads_and_its_new_values_rank_lowest(bundle, scorer, new_rows):
    """It has no rare categories, shares or novelty. A changed constant adds nothing to log p(x) there."""
    text = json.loads(encode_manifest(bundle.manifest))
    for column in text["schema"]["columns"]:
        for name in ADDED:
            column.pop(name)
    kept = math.log1p(-scorer.schema.columns[4].other_share)
    old = Scorer(
        make_bundle(
            decode_manifest(json.dumps(text).encode(), "manifest.json"),
            graphs={name: data for name, data in bundle.files.items() if name.endswith(".onnx")},
            noise=bundle.noise,
            calibration=bundle.calibration,
            golden_rows=bundle.golden_rows,
            golden_log_px=bundle.golden_log_px - kept,
        ),
        threads=1,
    )
    rows = new_rows.copy()
    rows[1:, 4] = 8.0
    s = old.score(rows)
    np.testing.assert_array_equal(s.is_anomaly[1:], True)
    np.testing.assert_array_equal(s.p_value[1:], 1 / (old.bundle.manifest.calibration.num_rows + 1))
    np.testing.assert_array_equal(old.flag(rows).is_anomaly, s.is_anomaly)
    assert s.log_px[0] == pytest.approx(scorer.score(rows[:1]).log_px[0] - kept, abs=1e-9)
    assert np.isfinite(s.log_px).all()


def changed(bundle, change):
    """Return the manifest after a change of its schema, as JSON."""
    text = json.loads(encode_manifest(bundle.manifest))
    change(text["schema"])
    return json.dumps(text).encode()


def read_as(**reading):
    """Return a change: the first input is read in another way."""
    return lambda schema: schema["inputs"][0].update(reading=reading)


def as_time(*parts, periods=(), **fields):
    """Return a change: the first input is a time, and its parts are the first columns."""

    def change(schema):
        schema["inputs"][0].update(reading={"kind": "time", "parts": parts, **fields})
        first = schema["columns"].pop(0)
        for part, period in zip(parts, periods, strict=True):
            schema["columns"].insert(0, first | {"name": f"pressure.{part}", "kind": "cyclic", "period": period})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (read_as(kind="number", decimal=",", thousands=","), "numbers and times must have a possible format"),
        (read_as(kind="number", decimal=".", thousands="."), "numbers and times must have a possible format"),
        (read_as(kind="number", affixes=["\x1b[2J"]), "names must be printable"),
        (read_as(kind="number", affixes=["x" * 9]), "length <= 8"),
        (read_as(kind="text"), "exactly the categorical columns are read as texts"),
        (read_as(kind="left out", why="no"), "must be the columns of schema.inputs, in their order"),
        (read_as(kind="picture"), "Invalid value 'picture'"),
        (as_time(), "must have a possible format"),
        (as_time("time_of_day", periods=[24.0], zone="../../etc/passwd"), "Expected `str` matching regex"),
        (as_time("time_of_day", periods=[24.0], zone="+99:00"), "must have a possible format"),
        (as_time("time_of_day", periods=[24.0], zone="+x"), "must have a possible format"),
        (as_time("time_of_day", periods=[24.0], order="clock", zone="UTC"), "must have a possible format"),
        (as_time("day_of_week", periods=[7.0], order="clock"), "must have a possible format"),
        (as_time("time_of_day", periods=[12.0]), "a part of a time must have the period of the part"),
        (as_time("trend", periods=[24.0]), "a part of a time must have the period of the part"),
        (as_time("trend", "trend", periods=[1.0, 1.0]), "unique names"),
        (as_time(*["trend"] * 10_000, periods=[1.0] * 10_000), "length <= 5"),
        (lambda schema: schema["inputs"][0].update(name="other"), "must be the columns of schema.inputs"),
        (lambda schema: schema["inputs"].reverse(), "must be the columns of schema.inputs"),
        (lambda schema: schema["inputs"].append(schema["inputs"][0]), "schema.inputs must have unique names"),
        (
            lambda schema: schema["inputs"].append({"name": "", "reading": {"kind": "left out", "why": "no"}}),
            "columns must have names",
        ),
        (
            lambda schema: schema["inputs"].append({"name": "broken", "reading": {"kind": "left out", "why": "no"}}),
            "and not the label's",
        ),
        (
            lambda schema: schema["inputs"].append({"name": "x\n", "reading": {"kind": "left out", "why": "no"}}),
            "names must be printable",
        ),
        (
            lambda schema: schema["inputs"].append({"name": "x", "reading": {"kind": "left out", "why": "\x07"}}),
            "names must be printable",
        ),
        (lambda schema: schema.update(missing_values=["\x1b"]), "names must be printable"),
        (lambda schema: schema.update(missing_values=[-999]), "Expected `str`, got `int`"),
        (lambda schema: schema.update(encoding="\x00"), "names must be printable"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused(bundle, change, message):
    with pytest.raises(BundleError, match=message):
        decode_manifest(changed(bundle, change), "manifest.json")


@pytest.mark.parametrize(
    "change",
    [
        read_as(kind="number", decimal=",", thousands=".", affixes=["€", "()"], truth=True),
        lambda schema: schema["inputs"].insert(1, {"name": "id", "reading": {"kind": "left out", "why": "an id"}}),
        lambda schema: schema.update(missing_values=["-999", "Ukjent"], encoding="latin-1"),
        lambda schema: schema.update(inputs=[]),
    ],
)
def test_inputs_are_decoded_as_they_were_encoded(bundle, change):
    manifest = decode_manifest(changed(bundle, change), "manifest.json")
    assert manifest != bundle.manifest
    assert decode_manifest(encode_manifest(manifest), "manifest.json") == manifest


def test_a_zone_that_no_machine_has_is_a_fault_of_the_input(bundle):
    """The package tzdata may be missing where a model is loaded; tables without offsets can be scored there."""
    schema = bundle.manifest.schema
    change = as_time("time_of_day", periods=[24.0], zone="Nowhere/City")
    decoded = json.loads(changed(bundle, change))["schema"]
    hostile = msgspec.convert(decoded, type(schema))
    frame = pd.DataFrame(
        {"pressure": ["2024-01-01 00:00Z"], "flow": 1.0, "valve": 1.0, "temperature": 1.0, "unit": 7.0}
    )
    with pytest.raises(InvalidInput, match="there is no time zone 'Nowhere/City' on this machine"):
        to_rows(frame, hostile)
    np.testing.assert_array_equal(to_rows(frame.assign(pressure="2024-01-01 06:00"), hostile)[0, 0], 6.0)


READINGS = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("number")},
        optional={
            "decimal": st.sampled_from([".", ","]),
            "thousands": st.sampled_from(["", ",", ".", " ", "'"]),
            "affixes": st.lists(st.text(max_size=9), max_size=3),
            "truth": st.booleans(),
        },
    ),
    st.just({"kind": "text"}),
    st.fixed_dictionaries(
        {"kind": st.just("time")},
        optional={
            "order": st.sampled_from(["ymd", "dmy", "mdy", "clock"]),
            "zone": st.none() | st.from_regex(r"[A-Za-z0-9_+\-/:]{1,9}", fullmatch=True) | st.text(max_size=9),
            "parts": st.lists(st.sampled_from(PARTS), max_size=6),
        },
    ),
    st.fixed_dictionaries({"kind": st.just("left out"), "why": st.text(max_size=5)}),
)


CELLS = st.text(max_size=8) | st.sampled_from(["1,5", "2024-01-01 00:00Z", "13:45", "0001-01-01"])


@settings(max_examples=200)
@given(
    reading=READINGS, cell=st.text(max_size=8) | st.sampled_from(["1,5", "2024-01-01 00:00Z", "13:45", "0001-01-01"])
)
def test_any_reading_is_refused_or_reads_any_cell_or_refuses_it(bundle, reading, cell):
    """Only BundleError at loading, and only InvalidInput at scoring."""

    def change(schema):
        schema["inputs"][0].update(reading=reading)
        if reading["kind"] in ("time", "left out"):
            first = schema["columns"].pop(0)
            parts = reading.get("parts", ())
            schema["columns"][:0] = [first | {"name": f"pressure.{part}"} for part in parts]

    try:
        schema = decode_manifest(changed(bundle, change), "manifest.json").schema
    except BundleError as error:
        if "members" not in str(error):
            return
        schema = msgspec.convert(json.loads(changed(bundle, change))["schema"], type(bundle.manifest.schema))
    frame = pd.DataFrame({name: ["1"] for name in ("pressure", "flow", "valve", "temperature", "unit")})
    try:
        rows = to_rows(frame.assign(pressure=cell), schema)
    except InvalidInput:
        return
    assert rows.shape == (1, len(schema.columns))


@pytest.mark.parametrize(
    ("name", "reading", "broken"),
    [
        ("when", TimeReading(zone="UTC"), []),  # the times of the steps are no columns, so they need no parts
        ("when", TimeReading(zone="+99:00"), ["schema.shape.inputs: a zone is not known"]),
        ("a", TimeReading(), ["schema.shape.inputs: numbers and times must have a possible format"]),
    ],
)
def test_the_times_of_the_steps_of_a_series_need_a_known_zone_only(name, reading, broken):
    readings = dict.fromkeys(("a", "b", "when"), NumberReading()) | {name: reading}
    inputs = tuple(Input(name=each, reading=of) for each, of in readings.items())
    schema = window_schema(2, ("a", "b"), timestamp="when", inputs=inputs)
    assert [text for holds, text in _rules_of_shape(schema) if not holds] == broken
