"""The settings of the service as JSON, for its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from anomaly_vae.remote.address import is_url
from anomaly_vae.service.settings import ServeConfig

__all__ = ["config_from_message", "config_message"]


def config_message(config: ServeConfig) -> dict[str, Any]:
    """Return the fields of the settings. They hold paths of secrets, no secrets."""
    message: dict[str, Any] = msgspec.to_builtins(config, enc_hook=str)
    return message


def config_from_message(message: dict[str, Any]) -> ServeConfig:
    """Return the settings of :func:`config_message`."""
    kinds = get_type_hints(ServeConfig) | {"model": str}
    values = {name: msgspec.convert(value, kinds[name], dec_hook=_path) for name, value in message.items()}
    model = values.pop("model")
    return ServeConfig(model=model if is_url(model) else Path(model), **values)


def _path(kind: type[Any], value: str) -> Path:
    if kind is not Path:
        raise NotImplementedError(f"no way to read a {kind} from JSON")
    return Path(value)
