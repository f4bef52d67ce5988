"""Checks of addresses."""

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.addresses import check_endpoint, is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("192.0.2.1", False)],  # noqa: S104 (nothing listens)
)
def test_only_hosts_whose_addresses_all_stay_here_are_loopback(host, expected):
    assert is_loopback(host) is expected


def test_a_host_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="is no address of this machine"):
        is_loopback("no host")


def test_an_endpoint_is_a_url_without_a_path():
    check_endpoint("http://127.0.0.1:4317")
    check_endpoint("https://collector:4317/")
    for wrong in ("collector:4317", "http://x:0", "http://x/v1/traces"):
        with pytest.raises(ConfigError, match="must be the URL of a collector"):
            check_endpoint(wrong)
