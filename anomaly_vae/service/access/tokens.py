"""Bearer tokens: checks the token of a call against the digests in a file."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path

from anomaly_vae.errors import ConfigError, StartupError
from anomaly_vae.service.access.token_file import parse_tokens
from anomaly_vae.service.access.watched_files import WatchedFiles
from anomaly_vae.service.callers import Caller
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Tokens"]

_LOG = logging.getLogger("anomaly_vae.service")

# Characters of an "authorization" value that is looked at. Chosen, not measured: our tokens have 48, and hashing must
# stay cheap for anyone who sends more.
_MAX_VALUE_LENGTH = 512


class Tokens:
    """The tokens in a file, read again when it changes.

    A line is ``NAME sha256:HEX``, the digest of the token, then what its caller may do. Blank lines and lines that
    begin with # are skipped.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            StartupError: It cannot be read, has a wrong line, or holds no token.
        """
        self._path = path
        self._digests = WatchedFiles([path], self._load, f"the token file {path}")
        if not self._digests.get():
            raise StartupError(f"{path} holds no token; make one: anomaly-vae token NAME --file {path}")

    def caller_of(self, metadata: Sequence[tuple[str, str | bytes]]) -> Caller | None:
        """Return the owner of the token in a call's metadata.

        Return None if there is not exactly one ``authorization: Bearer TOKEN``, or if its token is not in the file.
        """
        values = [value for key, value in metadata if key == "authorization"]
        digest = _digest(values[0]) if len(values) == 1 else None
        if digest is None:
            return None
        found = None
        for caller, known in self._digests.get():  # no early exit: the time must not depend on the token
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def callers(self) -> tuple[Caller, ...]:
        """Return the callers of the file. Any thread may call it."""
        return tuple(caller for caller, _ in self._digests.get())

    def _load(self, contents: list[bytes]) -> tuple[tuple[Caller, bytes], ...]:
        try:
            digests = tuple((caller, bytes.fromhex(digest)) for caller, digest in parse_tokens(contents[0], self._path))
        except ConfigError as error:
            raise StartupError(str(error)) from error
        if not digests:
            _LOG.warning("%s holds no token: every call is refused", self._path, extra=event("no_token"))
        return digests


def _digest(value: str | bytes) -> bytes | None:
    """Return the digest of the token in an ``authorization`` value, or None if it is not a bearer token."""
    if len(value) > _MAX_VALUE_LENGTH or not value.isascii():
        return None
    text = value if isinstance(value, str) else value.decode()
    scheme, _, token = text.partition(" ")
    return hashlib.sha256(token.strip(" ").encode()).digest() if scheme.lower() == "bearer" else None
