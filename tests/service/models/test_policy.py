"""Which versions of a model are served."""

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.models.policy import Rule, parse_policy


def test_a_rule_for_all_models_and_rules_for_some():
    policy = parse_policy(["latest:2", "fraud=3,5", "a=b=all"])
    assert policy.rule("any") == Rule(latest=2)
    assert policy.rule("fraud") == Rule(pinned=frozenset({3, 5}))
    assert policy.rule("a=b") == Rule()  # a name may hold an equals sign
    assert parse_policy(["fraud=latest:3"]).rule("other") == Rule(latest=1)  # the default


def test_candidates_come_newest_first_by_number_and_pinned_ones_only():
    assert Rule(latest=1).candidates([2, 10, 9]) == [10, 9, 2]
    assert Rule(pinned=frozenset({2, 7})).candidates([2, 10, 9]) == [2]


@pytest.mark.parametrize(
    "text", ["", "latest", "latest:0", "latest:-1", "latest:1.5", "3,5", "fraud=", "fraud=0", "fraud=3,", "=3", "ALL"]
)
def test_a_wrong_policy_is_refused_with_the_forms_that_are_possible(text):
    with pytest.raises(ConfigError, match="is no policy; expected latest:N, all, NAME=latest:N, NAME=all or NAME=3,5"):
        parse_policy([text])


@pytest.mark.parametrize("texts", [["all", "latest:1"], ["fraud=1", "fraud=all"]])
def test_two_rules_for_the_same_models_are_refused(texts):
    with pytest.raises(ConfigError, match="is the second rule for"):
        parse_policy(texts)
