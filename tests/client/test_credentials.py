"""TLS, client certificates and tokens, against a real service behind a TLS server."""

import grpc
import numpy as np
import pytest

from anomaly_vae.client import AsyncClient, Client, Tls
from anomaly_vae.errors import ConfigError, ServiceError
from tests.support.certificates import Authority
from tests.support.running import assert_same_bits
from tests.support.scripted import Failure, ask, scripted

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])
TOKEN = "avae_0123456789"  # noqa: S105


@pytest.fixture(scope="module")
def authority():
    return Authority("ours")


@pytest.fixture(scope="module")
def stranger():
    return Authority("another")


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("service", hosts=("127.0.0.1", "scores.example"))


@pytest.fixture(scope="module")
def service(small_calls, certificate):
    with scripted(small_calls.target, grpc.ssl_server_credentials([certificate])) as service:
        yield service


@pytest.fixture(scope="module")
def strict(small_calls, certificate, authority):
    """A service that requires client certificates."""
    credentials = grpc.ssl_server_credentials([certificate], authority.pem, require_client_auth=True)
    with scripted(small_calls.target, credentials) as service:
        yield service


@pytest.fixture
def files(tmp_path, authority):
    """The authority's certificate, a client's and its key, as files."""
    key, cert = authority.issue("client")
    contents = {"ca.pem": authority.pem, "cert.pem": cert, "key.pem": key}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name.removesuffix(".pem"): tmp_path / name for name in contents}


def fault(kind, target, **options):
    with pytest.raises(ServiceError) as error:
        ask(kind, target, lambda client: client.score(np.zeros((1, 5))), retries=0, **options)
    return f"{error.value.code} {error.value}"


@KINDS
def test_scores_by_tls_have_the_same_bits(kind, service, scorer, new_rows, authority, files):
    expected = scorer.score(new_rows)
    for target, tls in (
        (f"grpcs://{service.target}", Tls(ca=authority.pem)),
        (service.target, Tls(ca=files["ca"])),
        (service.target, Tls(ca=str(files["ca"]), server_name="scores.example")),
    ):
        assert_same_bits(ask(kind, target, lambda client: client.score(new_rows), tls=tls), expected)


@KINDS
def test_a_service_that_requires_a_certificate_gets_it(kind, strict, scorer, new_rows, authority, stranger, files):
    key, cert = authority.issue("client")
    for tls in (Tls(ca=authority.pem, cert=cert, key=key), Tls(**files)):
        scores = ask(kind, strict.target, lambda client: client.score(new_rows), tls=tls)
        assert_same_bits(scores, scorer.score(new_rows))
    foreign_key, foreign_cert = stranger.issue("client")
    for tls in (Tls(ca=authority.pem), Tls(ca=authority.pem, cert=foreign_cert, key=foreign_key)):
        assert "it may want a client certificate" in fault(kind, strict.target, tls=tls)
    mixed = Tls(ca=authority.pem, cert=cert, key=foreign_key)
    assert "do not go together" in fault(kind, strict.target, tls=mixed)


@KINDS
def test_a_service_that_is_not_trusted_is_sent_nothing(kind, service, authority, stranger):
    before = len(service.remaining)
    for tls in (Tls(ca=stranger.pem), Tls()):
        found = fault(kind, service.target, tls=tls, token=TOKEN)
        assert "certificate is not trusted (unable to get local issuer certificate); give" in found
    found = fault(kind, service.target, tls=Tls(ca=authority.pem, server_name="elsewhere.example"))
    assert "certificate is for another name" in found
    assert len(service.remaining) == before


@KINDS
def test_tls_on_one_side_only_is_explained(kind, service, small_calls, authority):
    assert "it may speak TLS, grpcs://HOST:PORT" in fault(kind, service.target)
    assert "does not speak TLS" in fault(kind, f"grpcs://{small_calls.target}", tls=Tls(ca=authority.pem))


@KINDS
def test_a_token_goes_with_every_call(kind, service, authority, new_rows, monkeypatch):
    def sent(**options):
        service.metadata.clear()
        ask(kind, service.target, lambda client: client.score(new_rows), tls=Tls(ca=authority.pem), **options)
        return {metadata.get("authorization") for metadata in service.metadata}

    assert sent() == {None}
    assert sent(token=TOKEN) == {f"Bearer {TOKEN}"}
    monkeypatch.setenv("ANOMALY_VAE_TOKEN", "of-the-environment")
    assert sent() == {"Bearer of-the-environment"}
    assert sent(token=TOKEN) == {f"Bearer {TOKEN}"}
    assert sent(token="") == {None}


@KINDS
def test_a_refused_token_is_explained_and_not_shown(kind, service, authority):
    tls = Tls(ca=authority.pem)
    for options, advice in (({}, "set ANOMALY_VAE_TOKEN, or pass token"), ({"token": TOKEN}, "is the token the right")):
        service.script.append(Failure(grpc.StatusCode.UNAUTHENTICATED))
        found = fault(kind, service.target, tls=tls, **options)
        assert found.startswith("UNAUTHENTICATED")
        assert advice in found
        assert TOKEN not in found


@KINDS
@pytest.mark.parametrize(
    "target",
    ["grpc://scores.example:50051", "10.0.0.1:50051", "127.0.0.1.example.com:50051", "[::ffff:1.2.3.4]:1", "0.0.0.0:5"],
)
def test_a_token_is_not_sent_in_plaintext(kind, target, monkeypatch):
    with pytest.raises(ConfigError, match=r"token: .* is plaintext") as error:
        kind(target, token=TOKEN)
    assert TOKEN not in str(error.value)
    monkeypatch.setenv("ANOMALY_VAE_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=r"ANOMALY_VAE_TOKEN: .* is plaintext"):
        kind(target)


def test_a_token_may_be_sent_in_plaintext_within_this_machine(small_calls, new_rows):
    with scripted(small_calls.target) as service:
        ask(Client, service.target, lambda client: client.score(new_rows[:5]), token=TOKEN)
        assert service.metadata[0]["authorization"] == f"Bearer {TOKEN}"
    for target in ("localhost:1", "[::1]:1", "127.8.8.8:1"):
        Client(target, token=TOKEN).close()


@KINDS
@pytest.mark.parametrize("token", ["with blank", "line\n", "ümlaut", "\x00", "a\x7f"])
def test_a_malformed_token_is_refused_and_not_shown(kind, token):
    with pytest.raises(ConfigError, match="printable ASCII characters only") as error:
        kind("localhost:1", token=token)
    assert token not in str(error.value)


@KINDS
def test_a_client_does_not_show_its_secrets(kind, authority):
    key, cert = authority.issue("client")
    tls = Tls(ca=authority.pem, cert=cert, key=key)
    client = kind("grpcs://localhost:1/", token=TOKEN, tls=tls)
    assert repr(client) == f"{kind.__name__}('grpcs://localhost:1')"
    for shown in (repr(client), str(client), repr(client._settings), repr(tls)):
        assert TOKEN not in shown
        assert "PRIVATE KEY" not in shown


def test_files_that_cannot_be_used_are_named(tmp_path, files, stranger):
    (tmp_path / "junk.pem").write_bytes(b"no certificate \xff")
    (tmp_path / "other.pem").write_bytes(stranger.issue("x")[0])
    cases = [
        (Tls(ca=tmp_path / "none.pem"), r"ca .*none.pem cannot be read: No such file"),
        (Tls(ca=tmp_path), "cannot be read: Is a directory"),
        (Tls(ca=tmp_path / "junk.pem"), r"ca .*junk.pem holds no certificate in PEM"),
        (Tls(ca=b"junk"), "TLS: ca holds no certificate in PEM"),
        (Tls(ca=files["key"]), "holds no certificate in PEM"),
        (Tls(cert=files["cert"], key=files["cert"]), r"key .*cert.pem holds no private key"),
        (Tls(cert=files["key"], key=files["key"]), r"cert .*key.pem holds no certificate"),
        (Tls(cert=files["cert"], key=tmp_path / "other.pem"), "other.pem is not the private key of"),
    ]
    for tls, text in cases:
        with pytest.raises(ConfigError, match=text):
            Client("localhost:1", tls=tls)
    with pytest.raises(ConfigError, match="cert is given without key"):
        Tls(cert=files["cert"])
    with pytest.raises(ConfigError, match="key is given without cert"):
        Tls(key=files["key"])


def test_an_encrypted_key_is_refused_without_a_prompt(tmp_path, files):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files["key"].read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    with pytest.raises(ConfigError, match="or it is encrypted"):
        Client("localhost:1", tls=Tls(cert=files["cert"], key=tmp_path / "locked.pem"))
