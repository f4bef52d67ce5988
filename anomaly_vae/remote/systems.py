"""File systems of object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

Credentials come from where the tools of the storage look: the environment, their files, the role of the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from anomaly_vae.errors import ConfigError, RemoteError
from anomaly_vae.remote.address import Address

__all__ = ["TRIES", "failures", "file_system", "line_of"]

# Seconds until a connection must stand, seconds without a byte, and how often a request is tried. Chosen: a scan that
# fails is repeated at the next poll, so a long wait helps nobody. Measured: 15 s and 3 tries took 54 s with a server
# that says nothing.
_CONNECT_S, _SILENCE_S, TRIES = 5.0, 10.0, 2


def file_system(address: Address, tries: int | None = None) -> Any:
    """Return the file system of ``pyarrow.fs`` for an address; the paths in it start with the bucket.

    Args:
        address: Where, with the options of its URL.
        tries: How often a request is tried; None for ``TRIES``.

    Raises:
        ConfigError: Something that is needed is not set, such as the account of Azure.
    """
    tries = TRIES if tries is None else tries
    return {"s3": _s3, "gs": _gs, "az": _az}[address.scheme](address, tries)


@contextlib.contextmanager
def failures(where: object) -> Iterator[None]:
    """Turn what pyarrow raises into RemoteError, which names ``where``; FileNotFoundError is left to the caller."""
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ArrowException) as error:
        raise RemoteError(f"{where}: {line_of(error)}") from error


def line_of(error: BaseException) -> str:
    """Return the text of an error as one line."""
    return " ".join(str(error).split())


def _s3(address: Address, tries: int) -> Any:
    from pyarrow import fs

    options = dict(address.options)
    scheme, endpoint = _s3_endpoint(options)
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        with failures(address):
            region = "us-east-1" if endpoint else fs.resolve_s3_region(address.place)
    return fs.S3FileSystem(
        region=region,
        scheme=scheme,
        endpoint_override=endpoint,
        anonymous=options.get("anonymous") == "true",
        connect_timeout=_CONNECT_S,
        request_timeout=_SILENCE_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=tries),
        background_writes=False,
    )


def _gs(address: Address, tries: int) -> Any:
    from pyarrow import fs

    options = address.options
    return fs.GcsFileSystem(
        anonymous=options.get("anonymous") == "true",
        scheme=options.get("scheme"),
        endpoint_override=options.get("endpoint_override"),
        retry_time_limit=timedelta(seconds=_SILENCE_S * max(tries - 1, 1)),
    )


def _az(address: Address, tries: int) -> Any:  # noqa: ARG001 (its client has no such option)
    from pyarrow import fs

    options = address.options
    account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise ConfigError(f"{address}: set AZURE_STORAGE_ACCOUNT, or write az://ACCOUNT@CONTAINER/PATH")
    endpoint, scheme = options.get("endpoint_override"), options.get("scheme")
    return fs.AzureFileSystem(
        account,
        account_key=os.environ.get("AZURE_STORAGE_KEY"),
        sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
        **({} if endpoint is None else {"blob_storage_authority": endpoint, "dfs_storage_authority": endpoint}),
        **({} if scheme is None else {"blob_storage_scheme": scheme, "dfs_storage_scheme": scheme}),
    )


def _s3_endpoint(options: dict[str, str]) -> tuple[str, str | None]:
    """Return scheme and HOST:PORT; None for Amazon's. The environment's endpoint is a URL, as in Amazon's tools."""
    scheme = options.get("scheme", "https")
    if "endpoint_override" in options:
        return scheme, options["endpoint_override"]
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return scheme, None
    found, _, rest = url.partition("://")
    return found, rest.rstrip("/")
