"""A bundle from wherever it is, into memory."""

from __future__ import annotations

from pathlib import Path

from anomaly_vae.bundle.files import Bundle, read_bundle
from anomaly_vae.remote.address import is_url, local_path

__all__ = ["open_bundle"]


def open_bundle(model: str | Path, *, verify_key: Path | None = None) -> tuple[Bundle, Path | None]:
    """Read and check the bundle in a folder or at a URL.

    Args:
        model: The folder or the URL.
        verify_key: A public key: its signature must be there and valid. None if any bundle will do.

    Returns:
        The bundle, and the absolute path of its folder; None for one at a URL, whose copy may go.

    Raises:
        BundleError: The bundle is damaged, unsafe or not signed as it must be.
        ConfigError: The URL or the key cannot be used.
        RemoteError: The remote storage fails.
    """
    where = local_path(str(model))
    if is_url(where):
        from anomaly_vae.remote.sources import fetched_folder

        with fetched_folder(where, verify_key=verify_key) as folder:
            return _read(folder, verify_key), None
    return _read(Path(where), verify_key), Path(where).absolute()


def _read(folder: Path, verify_key: Path | None) -> Bundle:
    if verify_key is None:
        return read_bundle(folder)
    from anomaly_vae.remote.signatures import verify

    return read_bundle(folder, digest=verify(folder, verify_key))
