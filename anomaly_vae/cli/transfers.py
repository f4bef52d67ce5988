"""How far a push or a pull is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["transfer_progress"]


def transfer_progress(title: str, *, quiet: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """Return what takes the bytes just done and of all, and shows them.

    With ``quiet`` nothing is shown, and rich is not imported: the service's image does not have it.
    """
    if quiet:
        return nullcontext()
    from anomaly_vae.cli.console import bytes_progress

    return bytes_progress(title, quiet=False)
