"""From a URL to something that finds its bundles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from anomaly_vae.errors import BundleError
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.cache import DEFAULT_BYTES, Cache, default_cache_dir
from anomaly_vae.remote.fetch import OnBytes
from anomaly_vae.remote.layout import Key
from anomaly_vae.remote.mirror import Mirror
from anomaly_vae.remote.stores import open_store

__all__ = ["Source", "fetched_folder", "source_of"]


class Source(Protocol):
    """Where bundles come from.

    Attributes:
        refused: What is wrong with bundles that the last scan refused, by name and version.
    """

    refused: Mapping[Key, BundleError]

    def scan(self) -> Mapping[Key, Path]:
        """Return the folder of each bundle, by name and version.

        Raises:
            RemoteError: They cannot be looked for.
        """
        ...


def source_of(
    model: str | Path,
    *,
    verify_key: Path | None = None,
    cache_dir: Path | None = None,
    max_bytes: int = DEFAULT_BYTES,
    only: bool = False,
    on_bytes: OnBytes | None = None,
) -> Mirror:
    """Return the source of a URL. Nothing is contacted before its first scan.

    Args:
        model: The URL of one bundle, of a folder of versions, or of a folder of models.
        verify_key: A public key: bundles that it did not sign are refused. Who loads a bundle must check it again.
        cache_dir: Where bundles are copied to; None for the user's cache folder.
        max_bytes: The most bytes of all bundles in the cache.
        only: Whether there must be exactly one bundle; others fail the scan.
        on_bytes: Is told of the progress of fetching.

    Raises:
        ConfigError: The URL or the cache folder cannot be used.
    """
    store = open_store(parse_address(_restored(model)))
    cache = Cache(cache_dir or default_cache_dir(), max_bytes=max_bytes)
    return Mirror(store, cache, verify_key=verify_key, only=only, on_bytes=on_bytes)


@contextlib.contextmanager
def fetched_folder(
    url: str, *, verify_key: Path | None = None, cache_dir: Path | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Path]:
    """Yield the folder of the one bundle at a URL, in the cache, where it stays meanwhile.

    Raises:
        BundleError: There is none, there are several, or it is refused.
        ConfigError: The URL, the key or the cache folder cannot be used.
        RemoteError: The storage fails, and the cache does not have the bundle.
    """
    source = source_of(url, verify_key=verify_key, cache_dir=cache_dir, only=True, on_bytes=on_bytes)
    try:
        found = source.scan()
        for error in source.refused.values():
            raise error
        yield next(iter(found.values()))
    finally:
        source.close()


def _restored(model: str | Path) -> str:
    """Return a URL that was made a path, which has one slash for two."""
    text = str(model)
    scheme, slash, rest = text.partition(":/")
    return f"{scheme}://{rest.lstrip('/')}" if slash else text
