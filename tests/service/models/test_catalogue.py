"""Which model answers a request."""

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.models.catalogue import Catalogue, Versions
from anomaly_vae.service.models.shares import Share
from tests.support.queues import Echo


def versions(name, *numbers, **shares):
    loaded = {number: Echo(name=name, version=number) for number in numbers}
    return Versions(loaded, loaded[numbers[0]], **shares)


ONE = Catalogue({"fraud": versions("fraud", "5", "3")})
TWO = Catalogue({"fraud": versions("fraud", "5"), "other": versions("other", "1")})


@pytest.mark.parametrize(
    ("catalogue", "asked", "expected"),
    [
        (ONE, ("", ""), ("fraud", "5")),
        (ONE, ("fraud", ""), ("fraud", "5")),
        (ONE, ("", "3"), ("fraud", "3")),
        (TWO, ("other", ""), ("other", "1")),
        (TWO, ("fraud", "5"), ("fraud", "5")),
    ],
)
def test_names_and_versions_may_be_left_out_where_they_are_clear(catalogue, asked, expected):
    assert catalogue.pick(*asked, key="").key == expected
    assert [served.key for served in catalogue.find(*expected)] == [expected]


@pytest.mark.parametrize(
    ("catalogue", "asked", "field", "text"),
    [
        (ONE, ("x" * 9_000, ""), "model_name", "is not served here, 'fraud' is; send that"),
        (ONE, ("fraud", "4"), "model_version", "'4' is not served here, '5', '3' of 'fraud' is; send that, or none"),
        (TWO, ("", ""), "model_name", "is empty, and several models are served here, 'fraud', 'other'; send one of"),
        (Catalogue(), ("", ""), "model_name", "is not served"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(catalogue, asked, field, text):
    with pytest.raises(CallError) as error:
        catalogue.pick(*asked, key="")
    assert (error.value.code, error.value.field) == (grpc.StatusCode.NOT_FOUND, field)
    assert text in error.value.text or not catalogue
    assert len(error.value.text) < 250


def test_empty_names_find_all_versions_and_wrong_ones_none():
    assert [served.key for served in ONE.find("", "")] == [("fraud", "5"), ("fraud", "3")]
    assert [served.key for served in ONE.find("fraud", "")] == [("fraud", "5"), ("fraud", "3")]
    with pytest.raises(CallError):
        list(TWO.find("missing", ""))


def test_a_canary_answers_its_share_of_the_requests_without_a_version_and_always_the_same_keys():
    catalogue = Catalogue({"fraud": versions("fraud", "5", "6", canary=Share("6", 0.25))})
    picked = {str(i): catalogue.pick("fraud", "", str(i)).version for i in range(2_000)}
    share = list(picked.values()).count("6") / 2_000
    assert 0.2 < share < 0.3  # standard deviation 0.01
    assert all(catalogue.pick("", "", key).version == version for key, version in picked.items())
    assert {catalogue.pick("fraud", "5", str(i)).version for i in range(100)} == {"5"}


def test_a_shadow_scores_a_share_of_the_rows_of_others_and_never_its_own():
    of = versions("fraud", "5", "6", shadow=Share("6", 0.5))
    found = [of.shadow_of(of.loaded["5"], str(i)) for i in range(400)]
    assert {None if one is None else one.version for one in found} == {None, "6"}
    assert all(of.shadow_of(of.loaded["6"], str(i)) is None for i in range(100))
    assert versions("fraud", "5").shadow_of(of.loaded["5"], "1") is None
