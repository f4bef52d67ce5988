"""Shares of the requests: for a canary, which answers them, and for a shadow, which scores their rows as well."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from anomaly_vae.errors import ConfigError

__all__ = ["Share", "parse_shares", "position"]

_SHARE = re.compile(r"(?P<name>.+)=(?P<version>[1-9][0-9]{0,17}):(?P<part>[0-9.eE+-]+)")


@dataclass(frozen=True)
class Share:
    """A version that takes part in some of its model's requests.

    Attributes:
        version: The version.
        part: Its part of the requests, above 0 and at most 1.
    """

    version: str
    part: float

    def takes(self, name: str, key: str) -> bool:
        """Return whether a request with this key is among its part: always the same for the same key."""
        return position(name, self.version, key) < self.part


def position(name: str, version: str, key: str) -> float:
    """Return the place of a key in [0, 1): uniform over keys, and independent between versions."""
    digest = hashlib.blake2b(f"{name}\0{version}\0{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2.0**53


def parse_shares(texts: Iterable[str], option: str) -> dict[str, Share]:
    """Return the shares of an option, ``canary`` or ``shadow``, by the name of the model.

    Raises:
        ConfigError: A text is not NAME=VERSION:SHARE, the share is not possible, or a model has two.
    """
    shares: dict[str, Share] = {}
    for text in texts:
        match = _SHARE.fullmatch(text)
        part = _number(match["part"]) if match else math.nan
        if match is None or not 0.0 < part <= 1.0:
            raise ConfigError(
                f"{option}: {text!r} is not possible; expected NAME=VERSION:SHARE with a share above 0 and at most 1, "
                "such as fraud=4:0.05"
            )
        if match["name"] in shares:
            raise ConfigError(f"{option}: {text!r} is the second version for {match['name']!r}; give one")
        shares[match["name"]] = Share(match["version"], part)
    return shares


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
