"""The versions of one model that were looked at: loaded, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.models.catalogue import Versions
from anomaly_vae.service.models.places import Stamp
from anomaly_vae.service.models.policy import Rule
from anomaly_vae.service.models.shares import Share
from anomaly_vae.service.served import Served

__all__ = ["Held", "choose", "text_of"]


@dataclass(frozen=True)
class Held:
    """A version that was looked at.

    Attributes:
        path, stamp: Where its bundle lay, and the state of its files then.
        served: The model in memory. It stays when a new bundle in its place is refused.
        error: Why the bundle at the path is refused; None if it is in use.
    """

    path: Path
    stamp: Stamp
    served: Served | None = None
    error: Exception | None = None


def choose(found: dict[str, Served], rule: Rule, canary: Share | None, shadow: Share | None) -> Versions | None:
    """Return which of the usable versions are served, and how; None if none is.

    The canary and the shadow are loaded beside the versions of the rule, and never answer by default, unless no other
    version can.
    """
    apart = [share.version for share in (canary, shadow) if share is not None]
    regular = [str(v) for v in rule.candidates(map(int, found)) if str(v) not in apart][: rule.latest]
    chosen = regular or [version for version in apart if version in found][:1]
    if not chosen:
        return None
    loaded = sorted({*chosen, *(version for version in apart if version in found)}, key=int, reverse=True)
    others = {version for version in loaded if version != chosen[0]}
    return Versions(
        {version: found[version] for version in loaded},
        found[chosen[0]],
        canary if canary is not None and canary.version in others else None,
        shadow if shadow is not None and shadow.version in others else None,
    )


def text_of(error: Exception) -> str:
    """Return why a bundle is refused. The text of an unexpected error may hold internals; the log has its place."""
    return str(error) if isinstance(error, AnomalyVaeError) else f"{type(error).__name__} while it was loaded"
