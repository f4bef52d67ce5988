"""Both clients and the command line with a service that requires TLS and tokens, set up as a user would."""

import numpy as np
import pytest

from anomaly_vae.client import AsyncClient, Client, Tls
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.access.token_file import add_token, make_token
from tests.support.certificates import Authority
from tests.support.data import NAMES
from tests.support.running import assert_same_bits, running
from tests.support.scripted import ask


@pytest.fixture(scope="module")
def secured(model_path, tmp_path_factory):
    """A service with a certificate and a token file, and the files that a client needs."""
    folder, authority = tmp_path_factory.mktemp("secured"), Authority()
    key, certificate = authority.issue()
    for name, data in (("tls.key", key), ("tls.crt", certificate), ("ca.pem", authority.pem)):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    token = make_token()
    add_token(folder / "tokens", "test", token)
    options = ("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key", "--token-file", folder / "tokens")
    with running(model_path, *options) as service:
        service.ca, service.token = folder / "ca.pem", token
        yield service


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_scores_of_a_secured_service_have_the_same_bits(kind, secured, scorer, new_rows):
    found = ask(
        kind,
        f"grpcs://{secured.target}",
        lambda client: client.score(new_rows),
        tls=Tls(ca=secured.ca),
        token=secured.token,
    )
    assert_same_bits(found, scorer.score(new_rows))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("token", ["", "avae_wrong"])
def test_a_missing_or_wrong_token_is_explained(kind, token, secured):
    with pytest.raises(ServiceError, match="token") as error:
        ask(
            kind,
            f"grpcs://{secured.target}",
            lambda client: client.score(np.zeros((1, 5))),
            tls=Tls(ca=secured.ca),
            token=token,
        )
    assert error.value.code == "UNAUTHENTICATED"
    assert "avae_wrong" not in str(error.value)


def test_the_command_line_scores_by_it(secured, new_rows, tmp_path, run_cli, model_path, monkeypatch):
    np.savetxt(tmp_path / "rows.csv", new_rows, delimiter=",", header=",".join(NAMES), comments="")
    monkeypatch.setenv("ANOMALY_VAE_TOKEN", secured.token)
    run_cli("score", f"grpcs://{secured.target}", "rows.csv", "-o", "by_service.csv", "--tls-ca", secured.ca)
    run_cli("score", model_path, "rows.csv", "-o", "by_model.csv")
    assert (tmp_path / "by_service.csv").read_bytes() == (tmp_path / "by_model.csv").read_bytes()
    monkeypatch.delenv("ANOMALY_VAE_TOKEN")
    done = run_cli("score", f"grpcs://{secured.target}", "rows.csv", "-o", "no.csv", "--tls-ca", secured.ca, code=1)
    assert "ANOMALY_VAE_TOKEN" in done.stderr.decode()
    assert not (tmp_path / "no.csv").exists()
