"""The file systems of object stores, and what their failures become."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import ConfigError, RemoteError
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.systems import failures, file_system


def test_azure_needs_an_account(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(ConfigError, match="AZURE_STORAGE_ACCOUNT"):
        file_system(parse_address("az://box/a"))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("gs://anonymous@box/a?endpoint_override=127.0.0.1:1&scheme=http", "GcsFileSystem"),
        ("az://account@box/a?endpoint_override=127.0.0.1:1&scheme=http", "AzureFileSystem"),
    ],
)
def test_other_clouds_get_their_own_file_system(url, kind):
    """There is no server here that behaves like theirs; this checks that pyarrow takes the options."""
    assert type(file_system(parse_address(url))).__name__ == kind


def test_a_failure_is_one_line_that_names_the_place():
    with pytest.raises(RemoteError, match=r"^s3://box: no\. way$"), failures("s3://box"):
        raise OSError("no.\n  way")
    with pytest.raises(FileNotFoundError), failures("s3://box"):
        raise FileNotFoundError
