"""The certificate and the tokens that the settings name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.logs import event

if TYPE_CHECKING:
    from anomaly_vae.service.access.tls import ServerCertificate

__all__ = ["certificate_of", "tokens_of"]

_LOG = logging.getLogger("anomaly_vae.service")


def certificate_of(config: ServeConfig) -> ServerCertificate | None:
    """Return the server's certificate; None for plaintext.

    Raises:
        StartupError: It cannot be used.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    from anomaly_vae.service.access.tls import ServerCertificate  # imports cryptography, which plaintext does not need

    return ServerCertificate(config.tls_cert, config.tls_key, config.tls_client_ca)


def tokens_of(config: ServeConfig) -> Tokens | None:
    """Return the tokens of callers; None to let everybody in.

    Raises:
        StartupError: The token file cannot be used.
    """
    if config.token_file is None:
        return None
    if config.plaintext_hosts:
        text = (
            "tokens travel in plaintext on %s: others on the network can read and use them; pass --tls-cert, --tls-key"
        )
        _LOG.warning(text, config.plaintext_hosts[0], extra=event("tokens_in_plaintext"))
    return Tokens(config.token_file)
