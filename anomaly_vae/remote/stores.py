"""From an address to the store that reads it."""

from __future__ import annotations

from anomaly_vae.remote.address import Address
from anomaly_vae.remote.store import Store

__all__ = ["open_store"]


def open_store(address: Address) -> Store:
    """Return the store of an address. Nothing is contacted before its first use."""
    if address.scheme == "https":
        from anomaly_vae.remote.web import WebFolder

        return WebFolder(address)
    from anomaly_vae.remote.objects import ObjectFolder

    return ObjectFolder(address)
