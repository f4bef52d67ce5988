"""The arguments of a client are checked before anything is sent."""

import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.client.connection import connection_settings
from anomaly_vae.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


@KINDS
@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"retries": -1}], ids=str
)
def test_impossible_settings_are_refused(kind, options):
    with pytest.raises(ConfigError, match=rf"{next(iter(options))} must be"):
        kind("localhost:1", **options)


@pytest.mark.parametrize(
    ("target", "version", "expected"),
    [("localhost:1", 2, "2"), ("localhost:1/fraud/3", "", "3"), ("a:1/b/3", "4", "4")],
)
def test_a_version_is_a_number_or_a_text_and_wins_over_that_of_the_address(target, version, expected):
    options = {"model_name": "", "timeout": 1.0, "retries": None, "tls": None, "token": None}
    assert connection_settings(target, model_version=version, **options).model_version == expected


def test_a_concurrency_of_zero_is_refused():
    with pytest.raises(ConfigError, match="concurrency must be 1 or more"):
        AsyncClient("localhost:1", concurrency=0)
