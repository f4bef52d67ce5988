"""Bundles to and from remote storage, or another folder on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.bundle.contents import EVERY_NAME, MANIFEST_LIMIT, SIGNATURE
from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.bundle.files import BundleFiles, parse_files, read_files, refuse_output
from anomaly_vae.errors import BundleError, ConfigError
from anomaly_vae.remote.address import is_url, local_path, parse_address
from anomaly_vae.remote.fetch import OnBytes, check_sealed, fetch_bundle, fetch_sealed
from anomaly_vae.remote.keys import read_public_key
from anomaly_vae.remote.layout import only_bundle
from anomaly_vae.remote.signatures import read_signature, verify, verify_contents
from anomaly_vae.remote.store import NotThere, Store
from anomaly_vae.remote.stores import open_store
from anomaly_vae.storage import STRAY_NAMES, atomic_file, write_directory, writing

__all__ = ["Moved", "pull", "push"]


class Moved(NamedTuple):
    """A bundle that was pushed or pulled.

    Attributes:
        digest: Of the bundle.
        num_bytes: Bytes of its files.
        was_there: Whether the destination had it already.
    """

    digest: str
    num_bytes: int
    was_there: bool = False


def push(model: Path, url: str, *, overwrite: bool = False, on_bytes: OnBytes | None = None) -> Moved:
    """Copy a bundle to a URL or a folder, with its signature. Readers never see a part of it.

    Object stores have no folders to rename, so the manifest is written last: a bundle is there when its manifest is.

    Args:
        model: The bundle.
        url: Its folder there, such as ``s3://models/fraud/4`` or ``models/fraud/4``.
        overwrite: Whether another bundle there may be replaced.
        on_bytes: Is told of the progress.

    Raises:
        BundleError: The bundle is damaged.
        ConfigError: The URL cannot be used, or has another bundle or other files.
        RemoteError: The storage fails.
    """
    files = _read_local(model)
    parse_files(files, str(model))
    contents = files.contents
    moved = Moved(files.digest, sum(map(len, contents.values())))
    path = local_path(url)
    if is_url(path):
        was_there = _upload(open_store(parse_address(path)), contents, moved, overwrite=overwrite, on_bytes=on_bytes)
    else:
        was_there = _copy(Path(path), contents, moved, overwrite=overwrite)
    return moved._replace(was_there=was_there)


def pull(
    url: str,
    folder: Path,
    *,
    verify_key: Path | None = None,
    overwrite: bool = False,
    on_bytes: OnBytes | None = None,
) -> Moved:
    """Copy the one bundle at a URL, or in a folder, to a folder, which appears when it is complete and checked.

    Args:
        url: The bundle.
        folder: Where to write it.
        verify_key: A public key: its signature must be there and valid.
        overwrite: Whether another bundle in the folder may be replaced.
        on_bytes: Is told of the progress.

    Raises:
        BundleError: There is no bundle, or more than one, or it is damaged or not signed as it must be.
        ConfigError: The URL, the key or the folder cannot be used.
        RemoteError: The storage fails.
    """
    key = None if verify_key is None else read_public_key(verify_key)
    refuse_output(folder, overwrite=overwrite)
    path = local_path(url)
    if is_url(path):
        store = open_store(parse_address(path))
        inside = only_bundle(store)
        sealed = fetch_sealed(store, inside)
        check_sealed(sealed, key, path)
        files = fetch_bundle(store, inside, sealed, on_bytes)
    else:
        files = _read_local(Path(path), verify_key)
    if key is not None:
        verify_contents(files.contents, key, path)
    parse_files(files, path)
    write_directory(folder, files.contents, replaceable=EVERY_NAME, overwrite=overwrite)
    return Moved(files.digest, sum(map(len, files.contents.values())))


def _read_local(model: Path, verify_key: Path | None = None) -> BundleFiles:
    """Read the files of a bundle in a folder, with its signature if there is one."""
    files = read_files(model, digest=None if verify_key is None else verify(model, verify_key))
    signature = read_signature(model)
    return files if signature is None else files._replace(contents={**files.contents, SIGNATURE: signature})


def _upload(
    store: Store, contents: Mapping[str, bytes], moved: Moved, *, overwrite: bool, on_bytes: OnBytes | None
) -> bool:
    """Write to remote storage; return whether the bundle was there already."""
    names = {each.path for each in store.files() or ()} - STRAY_NAMES
    foreign = sorted(names - {*EVERY_NAME})
    if foreign:
        raise ConfigError(
            f"{store.address} holds {foreign[0]!r}, which is not part of a bundle; give a folder of its own, such as "
            f"{store.address}/1"
        )
    there = _digest_there(store) if MANIFEST in names else None
    if there == moved.digest:
        _upload_signature(store, contents.get(SIGNATURE))
        return True
    _refuse_other(str(store.address), there, moved.digest, overwrite=overwrite)
    for name in sorted(contents, key=lambda name: name == MANIFEST):  # the manifest last
        store.write(name, contents[name])
        if on_bytes is not None:
            on_bytes(len(contents[name]), moved.num_bytes)
    for name in sorted(names - {*contents}):
        store.delete(name)
    return False


def _digest_there(store: Store) -> str:
    return hashlib.sha256(store.read(MANIFEST, MANIFEST_LIMIT)).hexdigest()


def _upload_signature(store: Store, signature: bytes | None) -> None:
    """Write a signature beside the bundle that it signs, if it is another one."""
    if signature is None:
        return
    try:
        there = store.read(SIGNATURE, len(signature))
    except (NotThere, BundleError):
        there = None
    if there != signature:
        store.write(SIGNATURE, signature)


def _copy(folder: Path, contents: Mapping[str, bytes], moved: Moved, *, overwrite: bool) -> bool:
    """Write to a folder of this machine; return whether the bundle was there already."""
    there = _digest_in(folder)
    if there == moved.digest:
        if SIGNATURE in contents and read_signature(folder) != contents[SIGNATURE]:
            with atomic_file(folder / SIGNATURE, overwrite=True, outside=True) as part:
                part.write_bytes(contents[SIGNATURE])
        return True
    _refuse_other(str(folder), there, moved.digest, overwrite=overwrite)
    with writing(folder):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    write_directory(folder, contents, replaceable=EVERY_NAME, overwrite=overwrite)
    return False


def _digest_in(folder: Path) -> str | None:
    """Return the digest of the bundle in a folder; None if there is no intact one."""
    try:
        return read_files(folder).digest
    except BundleError:
        return None


def _refuse_other(where: str, there: str | None, digest: str, *, overwrite: bool) -> None:
    if there is not None and not overwrite:
        raise ConfigError(
            f"{where}: another bundle is there, with the digest {there[:12]}; this one has {digest[:12]}. Push it as a "
            "new version, or pass --overwrite"
        )
