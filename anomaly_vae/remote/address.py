"""The URL of bundles in remote storage, taken apart and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from anomaly_vae.errors import ConfigError

__all__ = ["Address", "is_bundle_url", "is_url", "local_path", "parse_address"]

# What may stand behind the ? of a URL.
_OPTIONS = {
    "s3": ("endpoint_override", "scheme", "region", "anonymous"),
    "gs": ("endpoint_override", "scheme", "anonymous"),
    "az": ("account", "endpoint_override", "scheme"),
    "https": (),
}
# Other names of the same storage, as Arrow, Google and Azure write them.
_SAME = {"gcs": "gs", "abfs": "az", "abfss": "az"}

_STORES = "s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH"
_EXAMPLES = "s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH or https://HOST/PATH"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Address(NamedTuple):
    """A folder in remote storage.

    Attributes:
        scheme: s3, gs, az or https.
        place: The bucket, the container, or HOST:PORT.
        path: Names of folders, joined by slashes, none at the ends; empty for the top.
        options: What stood behind the ?, by name.
    """

    scheme: str
    place: str
    path: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        """Return the URL for messages, without its options."""
        return f"{self.scheme}://{self.place}" + (f"/{self.path}" if self.path else "")


def is_url(model: object) -> bool:
    """Return whether this is a URL, of bundles or of something else, rather than a path."""
    return _URL.match(str(model)) is not None


def is_bundle_url(model: str) -> bool:
    """Return whether this is a URL of bundles, as far as its scheme tells."""
    scheme = model.partition("://")[0].lower() if is_url(model) else ""
    return scheme == "file" or _SAME.get(scheme, scheme) in _OPTIONS


def local_path(url: str) -> str:
    """Return the path of ``file:///PATH``, and any text that is no URL as it is.

    Raises:
        ConfigError: The file is on another host.
    """
    if not url.lower().startswith("file://"):
        return url
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ConfigError(f"{url}: expected file:///PATH with three slashes, a folder on this machine")
    return unquote(parts.path)


def parse_address(url: str, what: str = "bundles") -> Address:
    """Take a URL apart.

    Args:
        url: The URL.
        what: What it names, for messages: bundles or tables. Tables are only in object stores.

    Raises:
        ConfigError: It is no URL of remote storage, has secrets in it, or an option that does not exist.
    """
    examples = _EXAMPLES if what == "bundles" else _STORES
    if not url.isprintable():
        raise ConfigError(f"{_without_secrets(url)!r}: a URL holds only printable characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{_without_secrets(url)}: this is no URL; expected {examples}") from error
    user, _, place = parts.netloc.rpartition("@")
    scheme = _SAME.get(parts.scheme, parts.scheme)
    shown = f"{parts.scheme}://{place}{parts.path}"
    if scheme not in _OPTIONS or (scheme == "https" and what != "bundles"):
        hint = "; plain http can be changed on its way, use https" if scheme == "http" and what == "bundles" else ""
        raise ConfigError(f"{shown}: {what} are not read from {scheme}://{hint}; expected {examples}")
    options = _options(scheme, parts.query, shown) | _options_of_user(scheme, user, shown)
    if not place:
        raise ConfigError(f"{shown}: there is no name after ://; expected {examples}")
    if parts.fragment:
        raise ConfigError(f"{shown}: a URL of {what} has no part after #")
    names = [name for name in parts.path.split("/") if name]
    if {".", ".."} & {unquote(name) for name in names}:
        raise ConfigError(f"{shown}: a URL of {what} has no . or .. among its folders")
    return Address(scheme, place, "/".join(names), options)


def _without_secrets(url: str) -> str:
    """Return a text that is no URL without what may be a password or a signature in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _options(scheme: str, query: str, shown: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS[scheme]))
    if unknown:
        known = ", ".join(_OPTIONS[scheme]) or "none"
        raise ConfigError(
            f"{shown}: {unknown[0]!r} is no option of {scheme}://; there are: {known} (options begin after ?)"
        )
    if options.get("anonymous", "true") not in ("true", "false"):
        raise ConfigError(f"{shown}: anonymous is true or false, got {options['anonymous']!r}")
    if options.get("scheme", "https") not in ("http", "https"):
        raise ConfigError(f"{shown}: scheme is http or https, got {options['scheme']!r}")
    return options


def _options_of_user(scheme: str, user: str, shown: str) -> dict[str, str]:
    """Return what stands before the @: anonymous, or an account of Azure; secrets are refused."""
    if not user:
        return {}
    if scheme in ("s3", "gs") and user == "anonymous":
        return {"anonymous": "true"}
    if scheme == "az" and ":" not in user:
        return {"account": user}
    raise ConfigError(
        f"{shown}: no user names and secrets in a URL, which logs and process lists show; put them where the tools of "
        "the storage look, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
    )
