"""Which of the usable versions are served, and how."""

import pytest

from anomaly_vae.service.models.held import choose
from anomaly_vae.service.models.policy import Rule
from anomaly_vae.service.models.shares import Share
from tests.support.queues import Echo

LATEST, ALL = Rule(latest=1), Rule()


def chosen(numbers, rule=LATEST, canary=None, shadow=None):
    found = choose({number: Echo(version=number) for number in numbers}, rule, canary, shadow)
    if found is None:
        return None
    return list(found.loaded), found.default.version, found.canary is not None, found.shadow is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((["2", "10", "9"],), (["10"], "10", False, False)),
        ((["2", "10", "9"], Rule(latest=2)), (["10", "9"], "10", False, False)),
        ((["2", "10", "9"], ALL), (["10", "9", "2"], "10", False, False)),
        ((["2", "10"], Rule(pinned=frozenset({2, 3}))), (["2"], "2", False, False)),
        ((["3", "4"], LATEST, Share("4", 0.1)), (["4", "3"], "3", True, False)),
        ((["3", "4", "5"], LATEST, Share("4", 0.1), Share("5", 0.1)), (["5", "4", "3"], "3", True, True)),
        ((["3", "4"], LATEST, Share("2", 0.1)), (["4"], "4", False, False)),  # the canary is not there
        ((["4"], LATEST, Share("4", 0.1)), (["4"], "4", False, False)),  # nothing else is there
        ((["3", "4"], Rule(pinned=frozenset({3})), Share("4", 0.1)), (["4", "3"], "3", True, False)),
        (([],), None),
        ((["4"], Rule(pinned=frozenset({3}))), None),
    ],
)
def test_versions_are_chosen_by_the_rule_beside_the_canary_and_the_shadow(arguments, expected):
    assert chosen(*arguments) == expected
