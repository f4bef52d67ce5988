"""manifest.json: strict records, and rules that types cannot express."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from anomaly_vae.bundle.files import make_bundle
from anomaly_vae.bundle.manifest import (
    FORMAT_VERSION,
    decode_manifest,
    encode_manifest,
    graph_names,
    member_suffix,
    refuse_other_version,
)
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import Scorer, load
from tests.support.attacks import edit, put


def first(manifest):
    """Return the record of the first modelled column."""
    return manifest["members"][0]["columns"][0]


# What older bundles lack in a column.
ADDED = ("rare", "other_share", "novelty")

POWER = {"kind": "yeo-johnson", "power": 1.0, "origin": 0.0, "unit": 1.0, "center": 0.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=2), "format version 2, this release reads 5"),
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
        (lambda m: m["schema"]["columns"][0].update(categories=["a", "b"]), "exactly the categorical columns have"),
        (lambda m: m["schema"]["columns"][0].update(name="flow"), "unique names"),
        (lambda m: m["schema"]["columns"][0].update(value=1.0), "exactly the constant columns"),
        (lambda m: m["schema"]["columns"][0].update(other_share=0.5), "only columns that can hold an unknown value"),
        (lambda m: m["schema"]["columns"][4].update(novelty="highest"), "Invalid enum value 'highest'"),
        (lambda m: m["schema"]["columns"][4].update(other_share=1.0), "< 1.0"),
        (lambda m: m["schema"]["columns"][4].update(rare=[0]), "increasing indices of categories"),
        (lambda m: m["schema"].update(kind="window"), "Invalid enum value"),
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


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format_version": NaN}', '{"format_version": 1e999}', "[" * 100_000]
)
def test_a_malformed_manifest_is_refused(copy, text):
    put(text.encode())(copy)
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
        load(copy)


def test_a_malformed_number_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    threshold = json.loads(text)["calibration"]["threshold"]
    for odd in ("NaN", "Infinity", "1e999", "null"):
        put(text.replace(f'"threshold": {threshold}', f'"threshold": {odd}').encode())(copy)
        with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
            load(copy)


def test_what_is_encoded_is_what_is_decoded(bundle):
    """Indented JSON, which every parser reads; a float64 is written with all its digits."""
    data = encode_manifest(bundle.manifest)
    assert decode_manifest(data, "manifest.json") == bundle.manifest
    text = json.loads(data)
    assert text["format_version"] == FORMAT_VERSION
    assert text["calibration"]["threshold"] == bundle.manifest.calibration.threshold
    assert data.startswith(b'{\n  "format_version": ')
    assert data.endswith(b"}\n")


def test_an_error_names_the_file_and_the_field(bundle):
    text = json.loads(encode_manifest(bundle.manifest))
    text["training"]["steps"] = "many"
    with pytest.raises(
        BundleError, match=r"^model/manifest\.json: not a manifest .*\$\.training\.steps.*Copy the folder"
    ):
        decode_manifest(json.dumps(text).encode(), "model/manifest.json")


def test_settings_of_candidates_must_be_the_same(bundle):
    text = json.loads(encode_manifest(bundle.manifest))
    (candidate,) = text["training"]["candidates"][:1]
    text["training"]["candidates"] = [candidate | {"settings": {"beta": 1}}, candidate | {"settings": {"gamma": 1}}]
    with pytest.raises(BundleError, match=r"training\.candidates must have equal settings; the file was changed"):
        decode_manifest(json.dumps(text).encode(), "manifest.json")


def test_another_version_is_refused_before_the_fields_are_read():
    """A later format may have other fields: only its version is read."""
    with pytest.raises(BundleError, match="format version 99, this release reads 5; upgrade anomaly_vae or train"):
        refuse_other_version(b'{"format_version": 99, "new": {"a": [1]}}', "manifest.json")
    refuse_other_version(b'{"format_version": 5}', "manifest.json")


def test_the_graphs_of_further_members_are_numbered_from_2():
    assert [member_suffix(m) for m in range(3)] == ["", "-2", "-3"]
    assert graph_names(2) == (
        "encoder.onnx",
        "decoder.onnx",
        "log_joint.onnx",
        "posterior.onnx",
        "likelihood.onnx",
        "encoder-2.onnx",
        "decoder-2.onnx",
        "log_joint-2.onnx",
        "posterior-2.onnx",
        "likelihood-2.onnx",
    )


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
