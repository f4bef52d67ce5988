"""The paths of the Open Inference Protocol, and the RPC that does the same over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from anomaly_vae.service.rest.errors import HttpError

__all__ = ["OTHER", "ROUTES", "Found", "Route", "find"]

_MODEL = "/v2/models/{model}"
_VERSION = f"{_MODEL}/versions/{{version}}"
# Characters of a path. Chosen, not measured: two names of 128 characters, each of 4 bytes, percent-encoded.
_LONGEST_PATH = 4_096


@dataclass(frozen=True)
class Route:
    """A kind of request.

    Attributes:
        method: The HTTP method.
        template: The path, with the names of its variable parts in braces.
        rpc: The method of ``GRPCInferenceService``.
    """

    method: str
    template: str
    rpc: str


# What is counted for requests that have no route.
OTHER = Route("other", "other", "")

ROUTES = (
    Route("GET", "/v2", "ServerMetadata"),
    Route("GET", "/v2/health/live", "ServerLive"),
    Route("GET", "/v2/health/ready", "ServerReady"),
    Route("GET", "/v2/models/stats", "ModelStatistics"),
    *(
        Route(method, f"{model}{rest}", rpc)
        for model in (_MODEL, _VERSION)
        for method, rest, rpc in (
            ("GET", "", "ModelMetadata"),
            ("GET", "/ready", "ModelReady"),
            ("GET", "/config", "ModelConfig"),
            ("GET", "/stats", "ModelStatistics"),
            ("POST", "/infer", "ModelInfer"),
        )
    ),
    Route("POST", "/v2/repository/index", "RepositoryIndex"),
    Route("POST", "/v2/repository/models/{model}/load", "RepositoryModelLoad"),
    Route("POST", "/v2/repository/models/{model}/unload", "RepositoryModelUnload"),
)


# Their templates, split at the slashes, by the number of parts.
_BY_LENGTH: dict[int, list[tuple[Route, list[str]]]] = {}
for _route in ROUTES:
    _parts = _route.template.split("/")
    _BY_LENGTH.setdefault(len(_parts), []).append((_route, _parts))


@dataclass(frozen=True)
class Found:
    """The route of a request.

    Attributes:
        route: The route.
        names: The variable parts of its path.
    """

    route: Route
    names: Mapping[str, str]


def find(method: str, target: str) -> Found:
    """Return the route of a request; HEAD is as GET.

    Raises:
        HttpError: 404 for another path, 405 for a path with other methods, 400 for a path that is no text.
    """
    path = target.partition("?")[0]
    if len(path) > _LONGEST_PATH:
        raise HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, f"the path has more than {_LONGEST_PATH} characters")
    parts = path.removesuffix("/").split("/")
    candidates = _BY_LENGTH.get(len(parts), ())
    matching = [(route, names) for route, wanted in candidates if (names := _names(wanted, parts)) is not None]
    if not matching:
        raise HttpError(HTTPStatus.NOT_FOUND, "no such path here; GET /v2 says what this server is", field="path")
    wanted = "GET" if method == "HEAD" else method
    for route, names in matching:
        if route.method == wanted:
            return Found(route, {name: _text(value) for name, value in names.items()})
    allowed = matching[0][0].method
    raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", ("Allow", allowed))


def _names(template: list[str], parts: list[str]) -> dict[str, str] | None:
    """Return the variable parts of a path, percent-encoded as they are; None for the path of another template."""
    names = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            names[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return names if all(names.values()) else None


def _text(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the path is not UTF-8", field="path") from error
