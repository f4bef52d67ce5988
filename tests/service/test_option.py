"""How a field of the settings is checked."""

import math

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.option import Option


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        (Option("", low=1, high=5), 0, "size must lie between 1 and 5, got 0"),
        (Option("", low=1.0, high=5.0), 5.5, "size must lie between 1 and 5 seconds, got 5.5"),
        (Option("", low=1.0, high=5.0), math.nan, "size must lie between 1 and 5 seconds, got nan"),
        (Option("", choices=("a", "b")), "c", "size must be one of a, b, got 'c'"),
    ],
)
def test_a_value_outside_the_limits_is_refused(option, value, text):
    with pytest.raises(ConfigError, match=f"^{text}$"):
        option.check("size", value)


def test_values_inside_and_options_without_limits_are_fine():
    for option, value in ((Option("", low=1, high=5), 5), (Option("", choices=("a",)), "a"), (Option(""), "anything")):
        option.check("size", value)
