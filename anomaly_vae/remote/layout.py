"""Which folders below a URL are bundles, and the name and version of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.errors import BundleError, RemoteError
from anomaly_vae.remote.address import Address
from anomaly_vae.remote.store import Found, Store

__all__ = ["Key", "bundles_among", "bundles_in", "is_version", "key_of_bundle", "only_bundle", "refuse_choice"]

# Name and version of a model.
Key = tuple[str, str]

# Bundles below one URL. Chosen, not measured: a folder with more is probably not one of models.
_MOST_BUNDLES = 1_000

# Bundles that a message names.
_SHOWN = 5

# Characters of a name or a version; names are labels of metrics and part of log lines.
_MOST_NAME, _MOST_VERSION = 128, 18


def bundles_among(paths: Iterable[str], folder: str) -> Mapping[Key, str]:
    """Return the folder of each bundle, relative to the URL's, by name and version.

    A folder with a manifest.json is a bundle, and nothing below it is. It may be the URL's own folder, a version
    (``4``) of the model that the URL's folder is named after, a version of a model below (``fraud/4``), or the only
    version of a model below (``fraud``).

    Args:
        paths: All files below the URL, relative to it. Other files, and names that no model can have, are passed over.
        folder: The URL's own path, for the name of its bundles.

    Raises:
        RemoteError: There are too many bundles.
    """
    parted = (path.rpartition("/") for path in paths if not path.startswith("/"))
    folders = {above for above, _, name in parted if name == MANIFEST}
    if "" in folders:
        return MappingProxyType({key_of_bundle(folder): ""})
    found: dict[Key, str] = {}
    for each in sorted(folders):
        key = _key(each.split("/"), folder, folders)
        if key is not None:
            found.setdefault(key, each)
    if len(found) > _MOST_BUNDLES:
        raise RemoteError(f"{folder}: {len(found)} bundles, expected at most {_MOST_BUNDLES}; give a folder below it")
    return MappingProxyType(found)


def bundles_in(address: Address, files: Iterable[Found] | None) -> Mapping[Key, str]:
    """Return :func:`bundles_among` the files of a store; one that cannot list them has one bundle."""
    folder = f"{address.place}/{address.path}".rstrip("/")
    if files is None:
        return MappingProxyType({key_of_bundle(folder): ""})
    return bundles_among((each.path for each in files), folder)


def only_bundle(store: Store) -> str:
    """Return the folder of the one bundle of a store, relative to it.

    Raises:
        BundleError: There is none, or there are several.
        RemoteError: The storage fails.
    """
    found = bundles_in(store.address, store.files())
    refuse_choice(found, str(store.address))
    return next(iter(found.values()))


def refuse_choice(keys: Iterable[Key], url: str) -> None:
    """Raise BundleError if there is no bundle, or more than one."""
    names = sorted("/".join(key) for key in keys)
    if not names:
        raise BundleError(f"{url}: no model bundle there; expected a folder that `anomaly-vae push` wrote")
    if len(names) > 1:
        more = "" if len(names) <= _SHOWN else f" and {len(names) - _SHOWN} more"
        raise BundleError(f"{url}: {len(names)} bundles are there; choose one of {', '.join(names[:_SHOWN])}{more}")


def key_of_bundle(folder: str) -> Key:
    """Return name and version of the bundle in ``NAME/VERSION`` or ``NAME``, whose version is 1."""
    *above, last = folder.split("/")
    return (above[-1], _plain(last)) if above and is_version(last) else (last, "1")


def is_version(name: str) -> bool:
    """Return whether a folder's name is a version: an integer."""
    return name.isascii() and name.isdecimal() and len(name) <= _MOST_VERSION


def _key(names: list[str], folder: str, bundles: set[str]) -> Key | None:
    """Return name and version of a bundle below the URL's folder; None if it is no model's."""
    if len(names) > 2 or not all(map(_is_name, names)):
        return None
    if len(names) == 1:
        return (folder.split("/")[-1], _plain(names[0])) if is_version(names[0]) else (names[0], "1")
    name, version = names
    return (name, _plain(version)) if is_version(version) and name not in bundles else None


def _is_name(name: str) -> bool:
    """Bookkeeping files and folders start with a dot or an underscore."""
    return 0 < len(name) <= _MOST_NAME and name.isprintable() and name[0] not in "._" and "\\" not in name


def _plain(version: str) -> str:
    return str(int(version))
