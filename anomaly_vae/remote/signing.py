"""Signatures of bundles by OpenSSF Model Signing, with a private key."""

from __future__ import annotations

from pathlib import Path

from anomaly_vae.bundle.contents import SIGNATURE
from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.bundle.files import read_bundle
from anomaly_vae.errors import BundleError
from anomaly_vae.remote.envelope import signed_digests
from anomaly_vae.remote.keys import read_private_key
from anomaly_vae.storage import STRAY_NAMES, atomic_file

__all__ = ["sign"]


def sign(folder: Path, private_key: Path) -> str:
    """Sign a bundle: write ``model.sig`` into its folder, in place of one that is there.

    Args:
        folder: The bundle.
        private_key: The key, PEM, not encrypted.

    Returns:
        The digest of the bundle that was signed.

    Raises:
        BundleError: The bundle is damaged, or was changed meanwhile.
        ConfigError: The key cannot be used, or the folder cannot be written.
        ModuleNotFoundError: The [sign] extra is not installed.
    """
    from model_signing import hashing, signing

    key = read_private_key(private_key)
    digest = read_bundle(folder).digest
    # Readers ignore these files, so the official tool must ignore them too.
    hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE, *sorted(STRAY_NAMES)], ignore_git_paths=False)
    signer = signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(hashed)
    with atomic_file(folder / SIGNATURE, overwrite=True, outside=True) as part:
        signer.sign(folder, part)
        if signed_digests(part.read_bytes(), key.public_key(), f"{folder}/{SIGNATURE}").get(MANIFEST) != digest:
            raise BundleError(f"{folder}: the bundle was changed while it was signed; sign it again")
    return digest
