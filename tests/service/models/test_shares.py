"""Shares of the requests."""

import numpy as np
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.models.shares import Share, parse_shares, position


def test_a_share_names_a_model_a_version_and_a_part():
    assert parse_shares(["fraud=4:0.05", "a=b=12:1"], "canary") == {"fraud": Share("4", 0.05), "a=b": Share("12", 1.0)}


@pytest.mark.parametrize("text", ["fraud", "fraud=4", "fraud=4:0", "fraud=4:1.1", "fraud=4:-1", "=4:0.1", "fraud=04:1",
                                  "fraud=4:nan", "fraud=4:1e", "fraud=x:0.1"])  # fmt: skip
def test_a_wrong_share_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"canary: .* is not possible; expected NAME=VERSION:SHARE .* fraud=4:0\.05"):
        parse_shares([text], "canary")


def test_two_versions_of_a_model_are_refused():
    with pytest.raises(ConfigError, match="the second version for 'fraud'; give one"):
        parse_shares(["fraud=4:0.1", "fraud=5:0.1"], "shadow")


def test_keys_are_spread_evenly_and_a_key_keeps_its_place():
    """The distance from the uniform distribution is below 1.36/sqrt(20,000), about 0.01, in 95 % of all samples."""
    places = np.sort([position("fraud", "4", f"client-{i}") for i in range(20_000)])
    assert np.abs(places - np.arange(20_000) / 20_000).max() < 0.02
    assert position("fraud", "4", "a") == position("fraud", "4", "a")
    assert len({position(*names, "a") for names in (("fraud", "4"), ("fraud", "5"), ("frau", "d4"))}) == 3


def test_a_larger_share_keeps_the_keys_of_a_smaller_one():
    keys = [str(i) for i in range(2_000)]
    small, large = ({key for key in keys if Share("4", part).takes("fraud", key)} for part in (0.05, 0.2))
    assert small < large
    assert 60 < len(small) < 140  # 100 expected, standard deviation 10
    assert all(Share("4", 1.0).takes("fraud", key) for key in keys)
