"""MODEL as a directory, the URL of one, or the address of a service, and what is said about it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_vae.cli.reporting import require_serving
from anomaly_vae.errors import ConfigError
from anomaly_vae.remote.address import is_bundle_url

if TYPE_CHECKING:
    from anomaly_vae.client import Client
    from anomaly_vae.record import Tail
    from anomaly_vae.scorer import Scorer

__all__ = ["ServiceOptions", "opened_scorer"]

# Seconds to wait for the first answer of a service. A service starts in about 0.5 s; if nothing answers for longer than
# this, the address is probably wrong.
_SECONDS_TO_START = 3.0
# Seconds; the default of the client as well.
_DEFAULT_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """How a service is called; see the options of `anomaly-vae score`."""

    timeout: float | None
    ca: Path | None
    cert: Path | None
    key: Path | None


@contextlib.contextmanager
def opened_scorer(
    model: str,
    service: ServiceOptions,
    *,
    threads: int | None,
    target_fpr: float | None,
    tail: Tail | None,
    verify_key: Path | None = None,
    quiet: bool,
) -> Iterator[tuple[Scorer | Client, dict[str, Any]]]:
    """Yield what scores, and what its flags come from, for the summary as JSON.

    Raises:
        ConfigError: An option does not fit a service or a directory.
    """
    if model.startswith(("grpc://", "grpcs://")):
        given = {"--threads": threads, "--target-fpr": target_fpr, "--tail": tail, "--verify-key": verify_key}
        _refuse(given, "set by the service; give a directory as MODEL")
        with _connected(model, service, quiet=quiet) as client:
            yield client, _facts_of_service(client)
        return
    only_for_services = {
        "--timeout": service.timeout,
        "--tls-ca": service.ca,
        "--tls-cert": service.cert,
        "--tls-key": service.key,
    }
    _refuse(only_for_services, "only for a service; give grpcs://HOST:PORT as MODEL")
    scorer = _loaded(model, threads, verify_key)
    yield scorer, _facts_of_model(scorer, target_fpr, tail)


def _facts_of_model(scorer: Scorer, target_fpr: float | None, tail: Tail | None) -> dict[str, Any]:
    calibration, (low, high) = scorer.bundle.manifest.calibration, scorer.thresholds(target_fpr=target_fpr, tail=tail)
    return {
        "threshold": low,
        "upper_threshold": high,
        "target_fpr": target_fpr or calibration.target_fpr,
        "bundle_digest": scorer.bundle.digest,
    }


def _facts_of_service(client: Client) -> dict[str, Any]:
    model = client.model
    return {
        "threshold": client.threshold,
        "upper_threshold": client.upper_threshold,
        "target_fpr": model.calibration.target_fpr,
        "bundle_digest": model.bundle_digest,
    }


def _loaded(model: str, threads: int | None, verify_key: Path | None) -> Scorer:
    is_other_url = "://" in model and not is_bundle_url(model)
    if is_other_url or (re.fullmatch(r"[^/]+:\d+", model) and not Path(model).exists()):
        raise ConfigError(
            f"{model}: this is not a model; for a service use grpc://HOST:PORT, or grpcs://HOST:PORT with TLS"
        )
    from anomaly_vae.scorer import load

    return load(model, threads=threads, verify_key=verify_key)


@contextlib.contextmanager
def _connected(model: str, service: ServiceOptions, *, quiet: bool) -> Iterator[Client]:
    require_serving()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise gRPC's core prints lines of its own
    from anomaly_vae.cli.console import shown_log
    from anomaly_vae.client import Client, Tls

    ca, cert, key = service.ca, service.cert, service.key
    tls = Tls(ca=ca, cert=cert, key=key) if ca or cert or key else None
    seconds = _DEFAULT_TIMEOUT if service.timeout is None else service.timeout
    with shown_log("anomaly_vae.client", quiet=quiet), Client(model, timeout=seconds, tls=tls) as client:
        client.wait_until_ready(seconds, first_answer=_SECONDS_TO_START)
        yield client


def _refuse(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} is {why}, or leave it out")
