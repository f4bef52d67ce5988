"""The file of bearer tokens: one name, one digest and what the caller may do per line."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.callers import Caller, Priority
from anomaly_vae.service.option import MAX_INT32
from anomaly_vae.storage import atomic_file

__all__ = ["add_token", "make_token", "parse_tokens", "token_line"]

_PREFIX = "avae_"  # lets secret scanners find tokens that were committed or logged by mistake
_TOKEN_BYTES = 32  # 256 bits, the length of the SHA-256 digest in the file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern})[ \t]+sha256:([0-9a-f]{{64}})((?:[ \t]+\S+)*)")
_LIMIT = re.compile(r"(rows_per_second|outstanding_rows)=([1-9][0-9]{0,9})")
_PRIORITY = re.compile(f"priority=({'|'.join(Priority)})")
_WORDS = "priority=online, priority=batch, rows_per_second=N, outstanding_rows=N and admin, each at most once"


def make_token() -> str:
    """Return a new token of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def token_line(caller: Caller | str, token: str) -> str:
    """Return the line of a token file for a caller's token. A name stands for a caller without limits.

    Raises:
        ConfigError: The name is not allowed, or a limit is out of range.
    """
    caller = Caller(caller) if isinstance(caller, str) else caller
    if not _NAME.fullmatch(caller.name):
        raise ConfigError(
            f"a token's name must have 1 to 64 letters, digits and . _ @ -, and begin with a letter or a digit, "
            f"got {caller.name!r}"
        )
    words = [caller.name, f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"]
    if caller.priority is not Priority.ONLINE:
        words.append(f"priority={caller.priority}")
    limits = {"rows_per_second": caller.rows_per_second, "outstanding_rows": caller.outstanding_rows}
    for word, limit in limits.items():
        if limit is not None:
            if not 1 <= limit <= MAX_INT32:
                raise ConfigError(f"{word} must lie between 1 and {MAX_INT32}, got {limit}")
            words.append(f"{word}={limit}")
    if caller.admin:
        words.append("admin")
    return " ".join(words)


def add_token(path: Path, caller: Caller | str, token: str) -> None:
    """Add a caller's token to a token file: see :func:`token_line`. Create the file if it does not exist.

    Raises:
        ConfigError: The name is not allowed or already in the file, a limit is out of range, or the file has a wrong
            line.
    """
    line = token_line(caller, token)
    name = line.split()[0]
    path = path.resolve()  # replace the target of a link, not the link
    with _locked(path.parent), contextlib.ExitStack() as stack:
        before = path.read_bytes() if path.is_file() else b""
        if name in (known.name for known, _ in parse_tokens(before, path)):
            raise ConfigError(f"{path} has a token named {name!r} already; choose another name, or delete its line")
        part = stack.enter_context(atomic_file(path, overwrite=True))
        _protect(part, path)
        separator = b"" if not before or before.endswith(b"\n") else b"\n"
        part.write_bytes(before + separator + line.encode() + b"\n")


def parse_tokens(data: bytes, path: Path) -> Iterator[tuple[Caller, str]]:
    """Yield the callers of a token file and the digests of their tokens.

    Messages never repeat the contents of the file: someone may have put a token there by mistake.

    Raises:
        ConfigError: A line is wrong, or a name appears twice.
    """
    names = set()
    for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if not match:
            raise ConfigError(
                f"{path}, line {number}: expected NAME sha256:HEX, with 64 digits from 0 to f, then optional words; "
                "`anomaly-vae token NAME` makes such a line"
            )
        if match[1] in names:
            raise ConfigError(f"{path}, line {number}: the name appears twice in the file; rename or delete one")
        names.add(match[1])
        yield Caller(match[1], **_allowed(match[3].split(), f"{path}, line {number}")), match[2]


def _allowed(words: list[str], where: str) -> dict[str, Any]:
    """Return the fields of Caller that the words after the digest set."""
    found: dict[str, Any] = {}
    value: Any
    for word in words:
        if match := _PRIORITY.fullmatch(word):
            name, value = "priority", Priority(match[1])
        elif (match := _LIMIT.fullmatch(word)) and int(match[2]) <= MAX_INT32:
            name, value = match[1], int(match[2])
        elif word == "admin":
            name, value = word, True
        else:
            raise ConfigError(f"{where}: a word after the digest is unknown; the words are {_WORDS}")
        if name in found:
            raise ConfigError(f"{where}: a word appears twice; the words are {_WORDS}")
        found[name] = value
    return found


def _protect(part: Path, path: Path) -> None:
    """Set the permissions of the new file: owner only, or those of the file that it replaces.

    A service that runs as another user must still be able to read it.
    """
    if not path.exists():
        part.chmod(0o600)
        return
    found = path.stat()
    with contextlib.suppress(PermissionError):
        os.chown(part, found.st_uid, found.st_gid)
    part.chmod(found.st_mode & 0o640)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that two commands that add tokens at the same time do not lose one of them."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; create the folder first") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
