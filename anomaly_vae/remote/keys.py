"""Pairs of keys for signatures: made, and read from PEM files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

__all__ = ["make_keys", "read_private_key", "read_public_key"]

# The largest key file, bytes. Chosen, not measured: a key has a few hundred.
_MOST_BYTES = 2**16
# The curves of the format for signatures of models.
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

_HOW = "expected an EC key on P-256, P-384 or P-521, as `anomaly-vae sign --new-key NAME` makes"


def make_keys(private: Path, public: Path) -> None:
    """Write a new pair of keys on P-256; only the user may read the private one.

    Raises:
        ConfigError: A file exists already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with atomic_file(private, overwrite=False) as part, atomic_file(public, overwrite=False) as public_part:
        part.chmod(0o600)
        part.write_bytes(secret)
        public_part.write_bytes(_public_pem(key.public_key()))


def read_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a private key.

    Raises:
        ConfigError: It cannot be read, is encrypted, or is no such key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError as error:
        raise ConfigError(f"{path}: the key is encrypted; decrypt it with `openssl pkey`") from error
    except ValueError as error:
        what = "this is a public key, signing needs the private one" if b"PUBLIC KEY" in data else "no private key"
        raise ConfigError(f"{path}: {what}; {_HOW}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise ConfigError(f"{path}: a key of another kind; {_HOW}")
    return key


def read_public_key(path: Path) -> EllipticCurvePublicKey:
    """Read a public key.

    Raises:
        ConfigError: It cannot be read, or is no such key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    data = _read(path)
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError as error:
        what = "this is a private key, keep it where bundles are signed" if b"PRIVATE KEY" in data else "no public key"
        raise ConfigError(f"{path}: {what}; {_HOW}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ConfigError(f"{path}: a key of another kind; {_HOW}")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error


def _public_pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
