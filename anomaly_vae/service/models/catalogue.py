"""The loaded models, and which of them answers a request. A catalogue never changes: a new one takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import grpc

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.models.shares import Share
from anomaly_vae.service.served import Served

__all__ = ["Catalogue", "Versions"]

# Names or versions that an error lists. Chosen, not measured: they fit a line.
_MOST_LISTED = 8


@dataclass(frozen=True)
class Versions:
    """The loaded versions of one model.

    Attributes:
        loaded: By version, the newest first.
        default: Answers requests that name no version.
        canary: Answers a part of these; None without one.
        shadow: Scores a part of the rows as well; None without one.
    """

    loaded: Mapping[str, Served]
    default: Served
    canary: Share | None = None
    shadow: Share | None = None

    def pick(self, key: str) -> Served:
        """Return the version for a request that names none."""
        canary = self.canary
        if canary is not None and canary.takes(self.default.name, key):
            return self.loaded[canary.version]
        return self.default

    def shadow_of(self, served: Served, key: str) -> Served | None:
        """Return the version that scores the rows of a request as well, after this one has answered it."""
        shadow = self.shadow
        if shadow is None or shadow.version == served.version or not shadow.takes(served.name, key):
            return None
        return self.loaded[shadow.version]


@dataclass(frozen=True)
class Catalogue:
    """All loaded models.

    Attributes:
        models: By name.
    """

    models: Mapping[str, Versions] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.models)

    def __iter__(self) -> Iterator[Served]:
        """Yield every loaded version."""
        return (served for versions in self.models.values() for served in versions.loaded.values())

    @property
    def only(self) -> Versions | None:
        """The only model; None if there are several, or none."""
        return next(iter(self.models.values())) if len(self.models) == 1 else None

    def find(self, name: str, version: str) -> Iterator[Served]:
        """Yield the loaded versions with this name and version; an empty one stands for all.

        Raises:
            CallError: NOT_FOUND if there is none.
        """
        if name or version:
            self.pick(name, version, "", "")  # raises the reason
        for served in self:
            if name in ("", served.name) and version in ("", served.version):
                yield served

    def pick(self, name: str, version: str, key: str, prefix: str = "model_") -> Served:
        """Return the model that answers a request.

        Args:
            name: The model; empty for the only one.
            version: The version; empty for the default one, or the canary.
            key: Decides between these two.
            prefix: Of the request's fields "name" and "version".

        Raises:
            CallError: NOT_FOUND naming the field, and what is served.
        """
        versions = self.models.get(name) if name else self.only
        if versions is None:
            raise self._unknown_name(name, prefix)
        if not version:
            return versions.pick(key)
        served = versions.loaded.get(version)
        if served is None:
            here = _listed(versions.loaded)
            text = f"{version[:100]!r} is not served here, {here} of {versions.default.name!r} is; send that, or none"
            raise CallError(grpc.StatusCode.NOT_FOUND, text, field=f"{prefix}version")
        return served

    def _unknown_name(self, name: str, prefix: str) -> CallError:
        here = _listed(self.models)
        if not name:
            text = f"is empty, and several models are served here, {here}; send one of them"
        else:
            text = f"{name[:100]!r} is not served here, {here} is; send that"
        return CallError(grpc.StatusCode.NOT_FOUND, text, field=f"{prefix}name")


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:_MOST_LISTED])
    return shown if len(names) <= _MOST_LISTED else f"{shown}, ..."
