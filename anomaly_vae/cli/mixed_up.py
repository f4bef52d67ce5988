"""Arguments that are mixed up: a table where a model is expected, a model or images where a table is expected."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.errors import ConfigError

__all__ = ["refuse_images", "refuse_model_as_table", "refuse_swapped", "refuse_table_as_model"]

# The file that makes a directory a model, and the endings of tables. Both are only looked for to explain a mistake.
_MANIFEST = "manifest.json"
_TABLES = (".csv", ".parquet", ".arrow", ".feather", ".npy", ".jsonl", ".tsv", ".gz", ".zst")

# Files that may have columns of images beside others.
_TYPED = (".parquet", ".arrow", ".feather")


def refuse_swapped(model: str | Path, input_: str) -> None:
    """Raise ConfigError if MODEL and INPUT are swapped, or one of them is clearly the other; exit code 2.

    Call it in a command with the arguments MODEL and INPUT, before either is opened.
    """
    if _is_model(input_):
        if _is_model(model) or "://" in str(model):
            raise ConfigError(
                f"INPUT {input_} is a model; expected a table of rows, such as a .csv or .parquet file, or images"
            )
        raise ConfigError(
            f"MODEL and INPUT are swapped: {input_} is a model, {model} is none; run: {_command()} {input_} {model} ..."
        )
    refuse_table_as_model(model, _command_with_input(model, input_))


def refuse_table_as_model(model: str | Path, example: str | None = None) -> None:
    """Raise ConfigError if MODEL is a table; exit code 2.

    Args:
        model: The argument.
        example: The right command, if the default does not fit: the command with the word MODEL.
    """
    path = Path(model)
    if path.is_file() and path.suffix.lower() in _TABLES:
        raise ConfigError(
            f"MODEL {model} is a table; expected the directory made by `anomaly-vae train`: "
            f"{example or f'{_command()} MODEL'}"
        )


def refuse_model_as_table(input_: str) -> None:
    """Raise ConfigError if INPUT is a model, in a command that has no argument MODEL; exit code 2."""
    if _is_model(input_):
        raise ConfigError(
            f"INPUT {input_} is a model; expected a table of rows, such as a .csv or .parquet file. "
            f"To look at the model: anomaly-vae inspect {input_}"
        )


def refuse_images(input_: str) -> None:
    """Raise ConfigError if INPUT holds images and no table, in a command that looks at columns; exit code 2."""
    from anomaly_vae.images import is_image_input

    if input_ != "-" and Path(input_).suffix.lower() not in _TYPED and is_image_input(input_):
        raise ConfigError(
            f"INPUT {input_} holds images; {_command()} looks at the columns of a table. Images need no profile: "
            f"anomaly-vae train {input_} -o model"
        )


def _is_model(path: str | Path) -> bool:
    try:
        return (Path(path) / _MANIFEST).is_file()
    except (OSError, ValueError):  # not allowed to look, or a name that cannot exist
        return False


def _command_with_input(model: str | Path, input_: str) -> str:
    return f"{_command()} MODEL {model if input_ == '-' else input_} ..."


def _command() -> str:
    """Return the command that runs, such as "anomaly-vae score"."""
    context = click.get_current_context(silent=True)
    return context.command_path if context and context.parent else "anomaly-vae COMMAND"
