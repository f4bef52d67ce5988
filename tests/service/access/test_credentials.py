"""The certificate and the tokens of the settings; tests of both are beside this file."""

import logging
from pathlib import Path

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.credentials import certificate_of, tokens_of
from anomaly_vae.service.access.token_file import add_token
from anomaly_vae.service.settings import ServeConfig

MODEL = Path("model")


def test_without_files_there_are_none():
    assert (certificate_of(ServeConfig(model=MODEL)), tokens_of(ServeConfig(model=MODEL))) == (None, None)


def test_a_certificate_that_cannot_be_read_fails_the_start(tmp_path):
    with pytest.raises(StartupError, match=r"cert\.pem cannot be read"):
        certificate_of(ServeConfig(model=MODEL, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_tokens_that_others_on_the_network_can_read_are_warned_of(tmp_path, caplog, host, warns):
    add_token(tmp_path / "tokens", "billing", "secret")
    config = ServeConfig(model=MODEL, host=host, insecure_listen=warns, token_file=tmp_path / "tokens")
    with caplog.at_level(logging.WARNING):
        assert [caller.name for caller in tokens_of(config).callers()] == ["billing"]
    assert ("tokens travel in plaintext on 0.0.0.0" in caplog.text) is warns
