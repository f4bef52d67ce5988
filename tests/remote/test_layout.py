"""Which folders below a URL are bundles, and the name and version of each."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import BundleError, RemoteError
from anomaly_vae.remote.layout import bundles_among, bundles_in, is_version, key_of_bundle, only_bundle, refuse_choice
from tests.support.remote_stores import MemoryStore

CASES = {
    "one bundle": (["manifest.json", "encoder.onnx"], "b/fraud", {("fraud", "1"): ""}),
    "one version": (["manifest.json"], "b/fraud/04", {("fraud", "4"): ""}),
    "a bucket": (["manifest.json"], "b", {("b", "1"): ""}),
    "versions": (
        ["3/manifest.json", "4/manifest.json", "4/x.onnx", "README"],
        "b/fraud",
        {("fraud", "3"): "3", ("fraud", "4"): "4"},
    ),
    "models": (
        ["fraud/3/manifest.json", "fraud/12/manifest.json", "churn/manifest.json"],
        "b/models",
        {("fraud", "3"): "fraud/3", ("fraud", "12"): "fraud/12", ("churn", "1"): "churn"},
    ),
    "below a bundle": (["fraud/manifest.json", "fraud/3/manifest.json"], "b", {("fraud", "1"): "fraud"}),
    "not complete": (["fraud/3/encoder.onnx", "fraud/3/manifest.json.tmp", "fraud/3/my-manifest.json"], "b", {}),
    "bookkeeping": ([".fraud/3/manifest.json", "_old/manifest.json", "fraud/.3.1f.part/manifest.json"], "b", {}),
    "not a version": (["fraud/new/manifest.json", "fraud/1.5/manifest.json", "fraud/-1/manifest.json"], "b", {}),
    "too deep": (["a/fraud/3/manifest.json"], "b", {}),
    "hostile": (
        [
            "../manifest.json",
            "../../etc/manifest.json",
            "a/../manifest.json",
            "//manifest.json",
            "a\x1b[2J/1/manifest.json",
            "a\\b/1/manifest.json",
            f"{'a' * 129}/1/manifest.json",
            "a/9999999999999999999/manifest.json",
            "a/\u0661/manifest.json",
        ],
        "b",
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_bundles_among_files(case):
    paths, folder, expected = CASES[case]
    assert bundles_among(paths, folder) == expected


def test_two_spellings_of_a_version_are_one():
    assert bundles_among(["a/04/manifest.json", "a/4/manifest.json"], "b").keys() == {("a", "4")}


def test_too_many_bundles_are_not_those_of_one_service():
    with pytest.raises(RemoteError, match=r"1001 bundles, expected at most 1000"):
        bundles_among([f"a/{number}/manifest.json" for number in range(1001)], "b")


def test_a_store_that_lists_nothing_has_one_bundle():
    assert bundles_in(MemoryStore(url="https://host/fraud/4").address, None) == {("fraud", "4"): ""}
    assert bundles_in(MemoryStore(url="https://host/fraud").address, None) == {("fraud", "1"): ""}
    assert key_of_bundle("host") == ("host", "1")


def test_names_of_versions():
    assert [*map(is_version, ("0", "4", "004", "9" * 18))] == [True] * 4
    assert [*map(is_version, ("", "v4", "4.0", "-4", "9" * 19, "\u0664"))] == [False] * 6


def test_the_only_bundle_is_found_or_the_choices_are_named():
    assert only_bundle(MemoryStore({"fraud/4/manifest.json": b""})) == "fraud/4"
    with pytest.raises(BundleError, match=r"s3://bucket/models: no model bundle there"):
        only_bundle(MemoryStore({"fraud/4/encoder.onnx": b""}))
    with pytest.raises(BundleError, match=r"7 bundles are there; choose one of a/0, a/1, a/2, a/3, a/4 and 2 more"):
        refuse_choice([("a", str(number)) for number in range(7)], "s3://bucket")
