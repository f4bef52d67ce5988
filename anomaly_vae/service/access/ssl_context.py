"""TLS of Python's ``ssl``, which serves HTTP, from the files that gRPC has."""

from __future__ import annotations

import os
import ssl

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.certificates import KeyPair

__all__ = ["server_context"]


def server_context(pair: KeyPair, authorities: bytes | None) -> ssl.SSLContext:
    """Return a context for a server.

    Args:
        pair: Its certificate and key, checked.
        authorities: Certificates, PEM: clients must show one that one of them signed. None: clients need none.

    Raises:
        StartupError: OpenSSL cannot use them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load(context, pair.key + pair.chain)
        if authorities is not None:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "unknown"
        raise StartupError(
            f"OpenSSL cannot use the TLS certificate or its key for HTTP ({reason}); use RSA with at least 2048 bits, "
            "or EC on P-256 or P-384"
        ) from error
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a key and its chain. ``ssl`` reads only files: this one is in memory, so that the key stays off the disk.

    The files that were checked may have changed since, so they are not read again.
    """
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
