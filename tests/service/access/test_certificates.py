"""Accepted certificates and keys serve clients; the others are refused with a reason."""

import socket
import ssl
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.certificates import read_authorities, read_key_pair
from tests.support.certificates import DAY, NOW, Authority, pem_of

CHAIN_PATH, KEY_PATH = Path("tls.crt"), Path("tls.key")
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"  # of P-256
SHA256_WITH_RSA, SHA1_WITH_RSA = (bytes.fromhex(f"2a864886f70d0101{last}") for last in ("0b", "05"))  # RFC 8017
RUBBISH = b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
UNREADABLE = "tls.key holds a private key that cannot be read; copy the file again"
WEAK = "holds a certificate with a key of {} bits, which clients may refuse"
UNUSABLE = "tls.key holds a key of a kind that gRPC cannot use, {}; use RSA with at least 2048 bits, or EC on P-256"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue()


def read(key, chain):
    return read_key_pair(chain, key, CHAIN_PATH, KEY_PATH)


def traditional(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def rsa_key(bits):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class Service:
    """A gRPC server on loopback with a checked pair. Clients of two TLS libraries try to connect."""

    def __init__(self, pair, ca):
        self._server, self._ca = grpc.server(futures.ThreadPoolExecutor(1)), ca
        configuration = grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])
        credentials = grpc.dynamic_ssl_server_credentials(configuration, lambda: None)
        self._port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(None)

    def answers_grpc(self):
        with grpc.secure_channel(f"localhost:{self._port}", grpc.ssl_channel_credentials(self._ca)) as channel:
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary("/no/method")(b"", timeout=10)
            return error.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def answers_openssl(self):
        context = ssl.create_default_context(cadata=self._ca.decode())
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(
    ("key", "grpc_connects"),
    [
        (rsa_key(2048), True),
        (rsa_key(3072), True),
        (ec.generate_private_key(ec.SECP256R1()), True),
        (ec.generate_private_key(ec.SECP384R1()), True),
        (ec.generate_private_key(ec.SECP521R1()), False),
        (ed25519.Ed25519PrivateKey.generate(), False),
    ],
    ids=["RSA 2048", "RSA 3072", "P-256", "P-384", "P-521", "Ed25519"],
)
def test_an_accepted_key_serves(authority, key, grpc_connects):
    """Clients of gRPC do not offer P-521 and Ed25519; clients with OpenSSL do."""
    with Service(read(*authority.issue(key=key)), authority.pem) as service:
        assert service.answers_openssl()
        assert service.answers_grpc() is grpc_connects


@pytest.mark.parametrize(
    "edit",
    [
        lambda key, chain: (traditional(serialization.load_pem_private_key(key, None)), chain),
        lambda key, chain: (EC_PARAMETERS + traditional(serialization.load_pem_private_key(key, None)), chain),
        lambda key, chain: (chain + key, chain),
        lambda key, chain: (key, key + chain),
        lambda key, chain: (b"Some words\n" + key, b"subject: CN = server\n" + chain),
        lambda key, chain: (key.replace(b"\n", b"\r\n"), chain.replace(b"\n", b"\r\n")),
        lambda key, chain: ("Schlüssel\n".encode("latin-1") + key, "Schlüssel\n".encode("latin-1") + chain),
    ],
    ids=["EC key", "parameters", "chain first", "key in the chain", "text", "CRLF", "latin-1"],
)
def test_other_content_of_the_files_does_not_change_the_pair(authority, pair, edit):
    """gRPC gets the checked certificate and key in one fixed form, not the file, which it might read differently."""
    edited = read(*edit(*pair))
    assert edited == read(*pair)
    with Service(edited, authority.pem) as service:
        assert service.answers_grpc()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (rsa_key(1024), WEAK.format(1024)),
        (ec.generate_private_key(ec.SECP192R1()), WEAK.format(192)),
        (ec.generate_private_key(ec.SECP224R1()), UNUSABLE.format("EC on secp224r1")),
        (ec.generate_private_key(ec.SECP256K1()), UNUSABLE.format("EC on secp256k1")),
        (ec.generate_private_key(ec.BrainpoolP256R1()), UNUSABLE.format("EC on brainpoolP256r1")),
        (ed448.Ed448PrivateKey.generate(), UNUSABLE.format("Ed448PrivateKey")),
        (dsa.generate_private_key(2048), UNUSABLE.format("DSAPrivateKey")),
    ],
    ids=["RSA 1024", "P-192", "P-224", "secp256k1", "brainpool", "Ed448", "DSA"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_weak_key_or_one_that_grpc_cannot_use_is_refused(authority, key, text):
    with pytest.raises(StartupError, match=text):
        read(*authority.issue(key=key))


def for_usage(authority, key, **usages):
    """PEM of a key and of its certificate, whose key usage has only these."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    usage = x509.KeyUsage(**dict.fromkeys(names, False) | usages)
    return authority.issue(key=key, extensions=[usage])


def test_an_ec_certificate_must_be_for_signatures(authority):
    """gRPC does not open a port with another one. RSA keys can also encrypt, so they have no such limit."""
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(StartupError, match=r"tls.crt holds a certificate whose key usage does not allow digital sig"):
        read(*for_usage(authority, key, key_agreement=True))
    with Service(read(*for_usage(authority, key, digital_signature=True)), authority.pem) as service:
        assert service.answers_grpc()
    with Service(read(*for_usage(authority, rsa_key(2048), key_encipherment=True)), authority.pem) as service:
        assert service.answers_openssl()


def encrypted(form):
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"SECRET"))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"", "tls.key holds no private key; expected PEM, with a line -----BEGIN PRIVATE KEY-----"),
        (b"SECRET", "tls.key holds no private key"),
        (b"-----BEGIN PUBLIC KEY-----\nSECRET\n-----END PUBLIC KEY-----\n", "tls.key holds no private key"),
        (b"  -----BEGIN PRIVATE KEY-----\n", "tls.key holds no private key"),
        (
            b"-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n",
            "tls.key holds a private key that cannot",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nSECRET",
            "tls.key holds a private key that cannot be read; copy the file again",
        ),
        (encrypted(serialization.PrivateFormat.PKCS8), "tls.key is protected by a password; write it without one"),
        (encrypted(serialization.PrivateFormat.TraditionalOpenSSL), "tls.key is protected by a password"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "tls.key is not the private key of the first certificate in"),
        (pem_of(rsa_key(2048)), "tls.key is not the private key of the first certificate in tls.crt"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_and_not_repeated(pair, key, text):
    with pytest.raises(StartupError, match=text) as caught:
        read(key, pair[1])
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda chain: b"", "tls.crt holds no certificate; expected PEM, with a line -----BEGIN CERTIFICATE-----"),
        (lambda chain: b"  " + chain.replace(b"\n", b"\n  "), "tls.crt holds no certificate"),
        (lambda chain: chain.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "tls.crt holds no certificate"),
        (
            lambda chain: chain[: len(chain) // 2],
            "tls.crt holds a certificate that cannot be read; copy the file again",
        ),
        (lambda chain: chain + RUBBISH, "tls.crt holds a certificate that cannot be read"),
        (lambda chain: chain + chain[: len(chain) // 2], "tls.crt holds 2 certificates, 1 of them complete"),
        (
            lambda chain: Authority("other").issue()[1] + chain,
            "tls.key is not the private key of the first certificate",
        ),
    ],
    ids=["empty", "indented", "trusted", "half", "rubbish", "half of the second", "not the first"],
)
def test_a_chain_that_cannot_be_used_is_refused(pair, edit, text):
    with pytest.raises(StartupError, match=text):
        read(pair[0], edit(pair[1]))


def signed_with_sha1(key, issuer):
    """A certificate that claims a SHA-1 signature. The signature itself is never checked here."""
    builder = x509.CertificateBuilder().public_key(key.public_key()).serial_number(1)
    builder = builder.subject_name(name_of("server")).issuer_name(name_of(issuer))
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert der.count(SHA256_WITH_RSA) == 2
    return ssl.DER_cert_to_PEM_cert(der.replace(SHA256_WITH_RSA, SHA1_WITH_RSA)).encode()


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def test_a_signature_that_clients_refuse_is_refused():
    """The signature of a root certificate does not matter: clients have their own copy of it."""
    key = rsa_key(2048)
    with pytest.raises(StartupError, match=r"tls.crt holds a certificate signed with sha1, which clients may refuse"):
        read(pem_of(key), signed_with_sha1(key, "authority"))
    assert read(pem_of(key), signed_with_sha1(key, "server")).valid_until == (NOW + DAY).timestamp()


def test_a_chain_is_valid_while_all_its_certificates_are(authority):
    key, certificate = authority.issue(begins=NOW - 5 * DAY, ends=NOW + 20 * DAY)
    _, other = authority.issue(begins=NOW - 2 * DAY, ends=NOW + 3 * DAY)
    pair = read(key, certificate + other)
    assert (pair.valid_from, pair.valid_until) == ((NOW - 2 * DAY).timestamp(), (NOW + 3 * DAY).timestamp())


def test_authorities_are_all_kept(authority):
    both = authority.pem + Authority("other").pem
    assert read_authorities(b"words\n" + both, Path("ca.pem")) == both
    with pytest.raises(StartupError, match=r"ca.pem holds 2 certificates, 1 of them complete"):
        read_authorities(authority.pem + authority.pem[:100], Path("ca.pem"))
