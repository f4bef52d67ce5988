"""The arguments of a client are checked before anything is sent."""

import pytest

from anomaly_vae.client import AsyncClient, Client
from anomaly_vae.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


@KINDS
@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"retries": -1}], ids=str
)
def test_impossible_settings_are_refused(kind, options):
    with pytest.raises(ConfigError, match=rf"{next(iter(options))} must be"):
        kind("localhost:1", **options)


def test_a_concurrency_of_zero_is_refused():
    with pytest.raises(ConfigError, match="concurrency must be 1 or more"):
        AsyncClient("localhost:1", concurrency=0)
