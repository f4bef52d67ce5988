"""Mistakes that fail nothing are named, with what is there and what to do."""

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.models.catalogue import Versions
from anomaly_vae.service.models.policy import parse_policy
from anomaly_vae.service.models.remarks import check_name, misplaced, nothing_there, share_remarks, version_remarks
from anomaly_vae.service.models.shares import parse_shares
from anomaly_vae.service.settings import ServeConfig
from tests.support.queues import Echo

FOUND = {"fraud": ["1", "2"], "returns": ["7"]}


def versions_of(name, *numbers, **shares):
    loaded = {number: Echo(name=name, version=number) for number in numbers}
    return Versions(loaded, loaded[numbers[0]], **shares)


def bundle(folder):
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()


def test_bundles_beside_the_layout_are_found_with_where_they_belong(tmp_path):
    for place in ("flat", "fraud/1", "fraud/v2", ".part", "fraud/.3", "texts/notes/deep"):
        bundle(tmp_path / place)
    flat, named = misplaced(tmp_path)
    assert flat == f"{tmp_path}/flat is a bundle without a version, which is not served; move it to {tmp_path}/flat/1"
    assert named.startswith(f"{tmp_path}/fraud/v2 is a bundle, but 'v2' is no version")
    assert misplaced(tmp_path / "flat") == []  # a bundle itself


def test_a_place_without_a_model_says_what_was_expected_or_what_is_in_the_way():
    assert nothing_there("models", FOUND, []) == (
        "models: --versions allows none of the versions there: fraud 1, fraud 2, returns 7"
    )
    assert nothing_there("models", {}, ["one", "two"]) == "one; two"
    assert "expected a bundle, a folder of versions or a folder of models" in nothing_there("models", {}, [])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "foo"}, "name is 'foo', but models holds models with names of their own, fraud, returns; leave"),
        (
            {"version": 2},
            "model_version is 2, but models holds versions .* use --versions NAME=2",
        ),
    ],
)
def test_a_name_or_version_that_would_change_nothing_is_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        check_name(ServeConfig(model="models", **settings), FOUND)


def test_a_name_and_version_of_one_bundle_are_taken():
    check_name(ServeConfig(model="models", name="foo", version=3), {"foo": ["3"]})
    check_name(ServeConfig(model="models", name="foo"), {})
    check_name(ServeConfig(model="models"), FOUND)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest:1", []),
        ("fraud=2", []),
        ("fraud=7,9", ["versions fraud=7,9: not there, 1, 2 are; fraud is not served"]),
        ("frau=1", ["versions: there is no model 'frau', fraud, returns are there"]),
    ],
)
def test_rules_for_what_is_not_there_are_named(policy, expected):
    served = {"returns"} if "7,9" in policy else {"fraud", "returns"}
    assert list(version_remarks(parse_policy([policy]), FOUND, served)) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("nosuch=1:0.5", "canary nosuch=1: there is no model 'nosuch', fraud, returns are there"),
        ("fraud=9:0.5", "canary fraud=9: there is no such version, 1, 2 are there"),
        ("fraud=2:0.5", "canary fraud=2: it answers all requests, since there is no other version to serve"),
        ("fraud=1:0.5", "canary fraud=1: this version cannot be used; the line about its refusal says why"),
    ],
)
def test_a_canary_that_gets_nothing_is_named(share, expected):
    served = {"fraud": versions_of("fraud", "2")}
    assert list(share_remarks("canary", parse_shares([share], "canary"), FOUND, served)) == [expected]


def test_a_canary_that_answers_needs_no_remark():
    shares = parse_shares(["fraud=2:0.5"], "canary")
    served = {"fraud": versions_of("fraud", "1", "2", canary=shares["fraud"])}
    assert list(share_remarks("canary", shares, FOUND, served)) == []
    assert list(share_remarks("canary", shares, FOUND, {})) == []  # unloaded by a call
