"""Certificates and private keys in PEM, checked before gRPC gets them.

gRPC reports a certificate that it cannot use as a port that it cannot open. These checks name the file and the reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from anomaly_vae.errors import StartupError

__all__ = ["KeyPair", "read_authorities", "read_key_pair"]

# At the start of a line only: gRPC ignores an indented block.
_CERTIFICATE = re.compile(rb"^-----BEGIN CERTIFICATE-----", re.MULTILINE)
_PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY-----", re.MULTILINE)

# What gRPC's TLS library, BoringSSL, accepts as a server's key. With P-521 and Ed25519 it serves, but gRPC's own
# clients cannot connect; clients that use OpenSSL can.
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_KEY_KINDS = "RSA with at least 2048 bits, or EC on P-256 or P-384"
# OpenSSL's security level 2 (112 bits), https://docs.openssl.org/3.0/man3/SSL_CTX_set_security_level/: clients that
# have it refuse smaller keys and these digests.
_MIN_BITS = ((rsa.RSAPublicKey, 2048), (dsa.DSAPublicKey, 2048), (ec.EllipticCurvePublicKey, 224))
_WEAK_DIGESTS = ("md5", "sha1")


class KeyPair(NamedTuple):
    """A checked chain of certificates and its private key.

    Attributes:
        chain: The certificates, PEM, the server's own first.
        key: The private key of the first certificate, PEM.
        valid_from, valid_until: When the whole chain is valid, in seconds since 1970.
    """

    chain: bytes
    key: bytes
    valid_from: float
    valid_until: float


def read_key_pair(chain: bytes, key: bytes, chain_path: Path, key_path: Path) -> KeyPair:
    """Check a server's certificate and key. Paths are for messages only: the files may have changed since.

    Raises:
        StartupError: A file holds no certificate or key, one that cannot be read or used, or the key does not belong to
            the first certificate. The text holds nothing of the contents.
    """
    certificates = _certificates(chain, chain_path)
    private_key = _private_key(key, key_path)
    for certificate in certificates:
        _check_strength(certificate, chain_path)
    _check_kind(private_key, key_path)
    _check_usage(certificates[0], chain_path)
    if certificates[0].public_key() != private_key.public_key():
        raise StartupError(
            f"{key_path} is not the private key of the first certificate in {chain_path}; put the server's own "
            "certificate first, and use the key that it was made for"
        )
    return KeyPair(
        _pem(certificates),
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        max(certificate.not_valid_before_utc for certificate in certificates).timestamp(),
        min(certificate.not_valid_after_utc for certificate in certificates).timestamp(),
    )


def read_authorities(data: bytes, path: Path) -> bytes:
    """Check the certificates of the authorities that may sign clients' certificates. Return them in PEM.

    Raises:
        StartupError: The file holds no certificate, or one that cannot be read.
    """
    return _pem(_certificates(data, path))


def _certificates(data: bytes, path: Path) -> list[x509.Certificate]:
    blocks = len(_CERTIFICATE.findall(data))
    if not blocks:
        raise StartupError(f"{path} holds no certificate; expected PEM, with a line -----BEGIN CERTIFICATE-----")
    try:
        certificates = x509.load_pem_x509_certificates(data)
        for certificate in certificates:
            certificate.public_key()  # raises if the key cannot be read
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StartupError(f"{path} holds a certificate that cannot be read; copy the file again") from error
    if len(certificates) != blocks:  # the library skips a block without an end
        raise StartupError(
            f"{path} holds {blocks} certificates, {len(certificates)} of them complete; copy the file again"
        )
    return certificates


def _private_key(data: bytes, path: Path) -> PrivateKeyTypes:
    if not _PRIVATE_KEY.search(data):
        raise StartupError(f"{path} holds no private key; expected PEM, with a line -----BEGIN PRIVATE KEY-----")
    if b"ENCRYPTED" in data:
        raise StartupError(
            f"{path} is protected by a password; write it without one: openssl pkey -in {path} -out FILE"
        )
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StartupError(f"{path} holds a private key that cannot be read; copy the file again") from error


def _check_kind(key: PrivateKeyTypes, path: Path) -> None:
    """Raise StartupError if gRPC cannot serve with keys of this kind."""
    if isinstance(key, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        return
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return
    kind = f"EC on {key.curve.name}" if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__.strip("_")
    raise StartupError(f"{path} holds a key of a kind that gRPC cannot use, {kind}; use {_KEY_KINDS}")


def _check_usage(certificate: x509.Certificate, path: Path) -> None:
    """Raise StartupError if an EC certificate is not for signatures, which TLS makes with it."""
    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        return
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension) as error:
        raise StartupError(f"{path} holds a certificate with extensions that cannot be read") from error
    if not usage.digital_signature:
        raise StartupError(
            f"{path} holds a certificate whose key usage does not allow digital signatures, which TLS needs; have it "
            "issued with digitalSignature"
        )


def _check_strength(certificate: x509.Certificate, path: Path) -> None:
    """Raise StartupError if clients may refuse a certificate because its key or its signature is too weak."""
    key = certificate.public_key()
    for kind, min_bits in _MIN_BITS:
        if isinstance(key, kind) and key.key_size < min_bits:
            raise StartupError(
                f"{path} holds a certificate with a key of {key.key_size} bits, which clients may refuse; "
                f"use {_KEY_KINDS}"
            )
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise StartupError(
            f"{path} holds a certificate with an unknown signature; have it signed with sha256"
        ) from error
    is_signed_by_itself = certificate.issuer == certificate.subject  # clients do not check the signature of a root
    if digest is not None and digest.name in _WEAK_DIGESTS and not is_signed_by_itself:
        raise StartupError(
            f"{path} holds a certificate signed with {digest.name}, which clients may refuse; sign it with sha256"
        )


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
