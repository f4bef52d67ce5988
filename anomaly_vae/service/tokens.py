"""Who may call: the bearer tokens of a file, of which it holds digests only."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path

from anomaly_vae.errors import ConfigError, StartupError
from anomaly_vae.service.logs import event
from anomaly_vae.service.token_file import parse_tokens
from anomaly_vae.service.watched import Watched

__all__ = ["Tokens"]

_LOG = logging.getLogger("anomaly_vae.service")

_LONGEST_VALUE = 512


class Tokens:
    """The tokens that a file allows, read again when it changes.

    A line is ``NAME sha256:HEX``, the digest of the token; blank lines and those that begin with # are skipped.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            StartupError: It cannot be read, has a wrong line, or no token.
        """
        self._path = path
        self._digests = Watched([path], self._load, f"the token file {path}")
        if not self._digests.get():
            raise StartupError(f"{path} holds no token; make one: anomaly-vae token NAME --file {path}")

    def name_of(self, metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
        """The name of the token in a call's metadata; None unless ``authorization: Bearer TOKEN``, once, holds one."""
        values = [value for key, value in metadata if key == "authorization"]
        digest = _digest(values[0]) if len(values) == 1 else None
        if digest is None:
            return None
        found = None
        for name, known in self._digests.get():  # every one, so that the time tells nothing
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _load(self, contents: list[bytes]) -> tuple[tuple[str, bytes], ...]:
        try:
            digests = tuple((name, bytes.fromhex(digest)) for name, digest in parse_tokens(contents[0], self._path))
        except ConfigError as error:
            raise StartupError(str(error)) from error
        if not digests:
            _LOG.warning("%s holds no token: every call is refused", self._path, extra=event("no_token"))
        return digests


def _digest(value: str | bytes) -> bytes | None:
    """The digest of the token that the value of ``authorization`` holds."""
    if len(value) > _LONGEST_VALUE or not value.isascii():
        return None
    text = value if isinstance(value, str) else value.decode()
    scheme, _, token = text.partition(" ")
    return hashlib.sha256(token.strip(" ").encode()).digest() if scheme.lower() == "bearer" else None
