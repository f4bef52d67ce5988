"""The reasons of a row as attributes, as a mapping and as a sentence."""

from __future__ import annotations

import pytest

from anomaly_vae.explained import Why


def why(**fields):
    return Why(**{"column": "amount", "value": 12000.0, "nats": 47.0, "std_error": 0.1, "excess": 41.2} | fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"low": 80.0, "middle": 110.0, "high": 140.0}, "amount 12000: expected 80 to 140 given the rest (41.2 nats)"),
        (
            {"low": 80.1234, "middle": 90.0, "high": 91.05},
            "amount 12000: expected 80 to 91 given the rest (41.2 nats)",
        ),
        (
            {"value": 0.123456, "low": 0.001, "high": 0.0042},
            "amount 0.1235: expected 0.0010 to 0.0042 given the rest (41.2 nats)",
        ),
        (
            {"value": -2.5e20, "low": -1e19, "high": 1e19},
            "amount -2.5e+20: expected -1e+19 to 1e+19 given the rest (41.2 nats)",
        ),
        (
            {"value": 77213438412.06, "low": 5242045735.4, "high": 39097705909.9},
            "amount 77213438412: expected 5200000000 to 39100000000 given the rest (41.2 nats)",
        ),
        (
            {"value": 4.43573e-08, "low": -6.06714e-08, "high": 7.109e-08},
            "amount 4.43573e-08: expected -6.07e-08 to 7.11e-08 given the rest (41.2 nats)",
        ),
        (
            {"value": -0.04, "low": -0.02, "high": 1.4},
            "amount 0.0: expected 0.0 to 1.4 given the rest (41.2 nats)",
        ),
        (
            {"column": "start.time_of_day", "value": 3 + 17 / 60, "low": 22.75, "high": 23.999},
            "start.time_of_day 03:17: expected 22:45 to 00:00 given the rest (41.2 nats)",
        ),
        ({"low": 7.0, "high": 7.0}, "amount 12000: expected 7 given the rest (41.2 nats)"),
        (
            {"value": "red", "levels": (("blue", 0.93), ("green", 0.05), ("red", 0.01))},
            "amount 'red': expected 'blue' (93%) or 'green' (5%) given the rest (41.2 nats)",
        ),
        (
            {"value": None, "is_novel": True, "levels": (("blue", 1.0),)},
            "amount has a value that training never had: expected 'blue' (100%) given the rest (41.2 nats)",
        ),
        (
            {"value": 8.0, "is_novel": True, "low": 7.0, "high": 7.0, "excess": 1234.5},
            "amount 8 (never in training): expected 7 given the rest (1234 nats)",
        ),
        (
            {"low": 80.0, "high": 140.0, "together": ("limit", "rate")},
            "amount 12000: expected 80 to 140 given the rest (41.2 nats, together with limit, rate)",
        ),
        (
            {"low": 80.0, "high": 140.0, "together": tuple("abcde")},
            "amount 12000: expected 80 to 140 given the rest (41.2 nats, together with a, b, c and 2 more)",
        ),
        (
            {"column": "flow[-7..0]", "cell": "flow[-3]", "low": 80.0, "high": 140.0},
            "flow[-7..0], at flow[-3] 12000: expected 80 to 140 given the rest (41.2 nats)",
        ),
    ],
)
def test_the_sentence(fields, text):
    assert why(**fields).text == text


def test_fields_are_attributes_and_keys():
    item = why(low=80.0)
    assert item["nats"] == item.nats == 47.0
    assert dict(item) == {name: getattr(item, name) for name in item.keys()}  # noqa: SIM118 (what is promised)
    assert set(item) >= {"column", "nats", "std_error", "low", "middle", "high", "levels", "p_value_without"}
    with pytest.raises(KeyError, match="price"):
        item["price"]
    with pytest.raises(AttributeError):
        item.nats = 1.0


def test_equal_reasons_are_equal():
    assert why(levels=(("a", 0.5),)) == why(levels=(("a", 0.5),))
    assert why() != why(std_error=0.2)
