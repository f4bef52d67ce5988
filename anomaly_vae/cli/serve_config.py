"""The configuration file of ``anomaly-vae serve``: TOML, with the names of ServeConfig's fields."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.settings import ServeConfig, Setting, settings

__all__ = ["as_toml", "log_format_of", "read_config"]

_MODEL = "model"
_EXPECTED: dict[type, str] = {
    str: "a text",
    Path: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list of texts",
}


def read_config(path: Path) -> dict[str, Any]:
    """Return the values of a configuration file by field. Paths are relative to the file's folder.

    Raises:
        ConfigError: The file cannot be read, or has an unknown key or a value of another type.
    """
    values = _parsed(path)
    types = {_MODEL: Path} | {setting.field: setting.type for setting in settings()}
    for key, value in values.items():
        if key not in types:
            close = difflib.get_close_matches(key.replace("-", "_"), types, n=1)
            hint = f"did you mean {close[0]}?" if close else "the keys are the options of serve, with _ in place of -"
            raise ConfigError(f"{path}: {key} is unknown; {hint}")
        if not _is_of(types[key], value):
            raise ConfigError(f"{path}: {key} must be {_EXPECTED[types[key]]}, got {json.dumps(value, default=str)}")
    return {key: _usable(types[key], value, path.parent) for key, value in values.items()}


def log_format_of(path: Path) -> str | None:
    """Return the format of the log that a file sets; None if it sets none or cannot be read."""
    try:
        found = _parsed(path).get("log_format")
    except ConfigError:
        return None
    return found if isinstance(found, str) else None


def as_toml(config: ServeConfig) -> str:
    """Return the settings as a configuration file, with absolute paths. A setting without a value is a comment."""
    lines = [f"{_MODEL} = {_text(config.model)}"] + [_line(setting, config) for setting in settings()]
    return "\n".join(lines) + "\n"


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _is_of(kind: type, value: Any) -> bool:
    if kind is tuple:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (str if kind is Path else kind)  # a bool is an int, too


def _usable(kind: type, value: Any, folder: Path) -> Any:
    if kind is not Path or "://" in value:
        return value
    return str(folder / value)


def _line(setting: Setting, config: ServeConfig) -> str:
    value = getattr(config, setting.field)
    if value is None:
        return f"# {setting.field} ="
    if isinstance(value, tuple):
        return f"{setting.field} = [{', '.join(map(_text, value))}]"
    return f"{setting.field} = {_text(value)}"


def _text(value: Any) -> str:
    """Return a value as TOML, whose texts are written as in JSON."""
    if isinstance(value, Path):
        value = str(value if ":/" in str(value) else value.absolute())
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
