"""Pairs of keys for signatures: made, and read from PEM files."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.keys import make_keys, read_private_key, read_public_key
from tests.support.certificates import pem_of


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_made_keys_belong_together_and_the_private_one_is_for_its_user_only(keys):
    private, public = keys
    assert read_private_key(private).public_key() == read_public_key(public)
    assert private.stat().st_mode & 0o777 == 0o600


def test_keys_are_never_replaced(keys, tmp_path):
    """A lost private key cannot be made again."""
    for paths in (keys, (keys[0], tmp_path / "new.pem"), (tmp_path / "new.pem", keys[1])):
        with pytest.raises(ConfigError, match="exists already"):
            make_keys(*paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release.pem", "release.pub.pem"]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_curves_of_the_format_are_read(tmp_path, curve):
    key = ec.generate_private_key(curve)
    (tmp_path / "private").write_bytes(pem_of(key))
    (tmp_path / "public").write_bytes(public_pem(key))
    assert read_private_key(tmp_path / "private").private_numbers() == key.private_numbers()
    assert read_public_key(tmp_path / "public") == key.public_key()


def encrypted(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )


EC, OTHER, ED = (
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP256K1()),
    ed25519.Ed25519PrivateKey.generate(),
)
UNFIT = {
    "public for private": (read_private_key, public_pem(EC), "this is a public key"),
    "private for public": (read_public_key, pem_of(EC), "this is a private key, keep it where"),
    "encrypted": (read_private_key, encrypted(EC), "the key is encrypted"),
    "another curve, private": (read_private_key, pem_of(OTHER), "a key of another kind; expected an EC key on P-256"),
    "another curve, public": (read_public_key, public_pem(OTHER), "a key of another kind"),
    "another kind, private": (read_private_key, pem_of(ED), "a key of another kind"),
    "another kind, public": (read_public_key, public_pem(ED), "a key of another kind"),
    "no key, private": (read_private_key, b"text", "no private key"),
    "no key, public": (read_public_key, b"", "no public key"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_wrong_with_a_key_is_said(tmp_path, case):
    read, data, text = UNFIT[case]
    (tmp_path / "key.pem").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"key\.pem: {text}"):
        read(tmp_path / "key.pem")


@pytest.mark.parametrize("read", [read_private_key, read_public_key])
def test_a_key_that_cannot_be_read_is_a_usage_error(tmp_path, read):
    with pytest.raises(ConfigError, match="none: the key cannot be read: No such file"):
        read(tmp_path / "none")
