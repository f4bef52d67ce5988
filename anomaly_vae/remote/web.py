"""Bundles on a web server. It lists no folders, so a URL names one bundle."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from functools import cached_property
from typing import IO, Any, NoReturn

from anomaly_vae.errors import BundleError, ConfigError, RemoteError
from anomaly_vae.remote.address import Address
from anomaly_vae.remote.store import NotThere
from anomaly_vae.version import __version__

__all__ = ["WebFolder"]

# Seconds without a byte; seconds of a file in any case, and the slowest speed beyond that, bytes a second; redirects of
# a file. Chosen, not measured: servers that drip must not keep a poll waiting for hours.
_SILENCE_S = 15.0
_LEAST_S, _SLOWEST = 30.0, 100_000
_MOST_REDIRECTS = 3

_CHUNK = 2**18  # bytes that are read at a time

# What servers say of a file that is not there; object stores with a web address say 403 to those who may not list.
_ABSENT = (403, 404, 410)


class WebFolder:
    """A folder with one bundle on a web server, over https, through the proxies that the environment names."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def files(self) -> None:
        """Return None: web servers list no folders."""

    def read(self, path: str, limit: int) -> bytes:
        """Return the bytes of a file."""
        url = f"{self.address}/{path}"
        request = urllib.request.Request(url, headers={"User-Agent": f"anomaly-vae/{__version__}"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=_SILENCE_S) as reply:
                return _body(reply, limit, url)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _ABSENT:
                raise NotThere(f"{url}: the server answers {error.code} {error.reason}") from error
            raise RemoteError(f"{url}: the server answers {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise RemoteError(f"{url}: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"{url}: {error or type(error).__name__}") from error

    def write(self, path: str, data: bytes) -> NoReturn:  # noqa: ARG002 (the signature of Store)
        """Refuse: web servers take no files."""
        raise ConfigError(f"{self.address}: nothing can be written to https://; use s3://, gs://, az:// or a folder")

    def delete(self, path: str) -> NoReturn:
        """Refuse, as :meth:`write` does."""
        self.write(path, b"")

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """What opens https and nothing else: the usual opener also reads file:// and ftp://."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
            _HttpsRedirects(),
        ):
            opener.add_handler(handler)
        return opener


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follow only https."""
        if not newurl.lower().startswith("https://"):
            to = newurl.partition("?")[0].rpartition("@")[2][:200]  # without signatures and passwords
            raise RemoteError(f"{req.full_url.partition('?')[0]}: the server redirects to {to!r}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _body(reply: Any, limit: int, url: str) -> bytes:
    """Read a reply of at most ``limit`` bytes, and not slower than allowed."""
    parts, size, start = [], 0, time.monotonic()
    while chunk := reply.read1(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise BundleError(f"{url}: over {limit} bytes, expected at most that")
        if time.monotonic() - start > _LEAST_S + size / _SLOWEST:
            raise RemoteError(f"{url}: the server sends less than {_SLOWEST // 1000} kB a second; stopped")
        parts.append(chunk)
    expected = reply.headers.get("Content-Length")
    if expected is not None and expected.isdecimal() and int(expected) != size:
        raise RemoteError(f"{url}: {size} bytes arrived of {expected}; the connection broke")
    return b"".join(parts)
