"""The settings of the service: each is an option of ``serve``, and each is checked."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

from anomaly_vae.cli.serve import command
from anomaly_vae.errors import ConfigError
from anomaly_vae.service.settings import ServeConfig, settings

OPTIONS = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}
TYPES = {str: click.STRING, tuple: click.STRING, int: click.INT, float: click.FLOAT, bool: click.BOOL}


def test_every_field_but_the_model_is_an_option_in_the_same_order():
    others = {"config", "print_config", "verbose"}
    assert [field.name for field in fields(ServeConfig)] == ["model", *(name for name in OPTIONS if name not in others)]


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.field)
def test_an_option_has_the_help_the_type_the_default_and_the_variable_of_its_field(setting):
    option = OPTIONS[setting.field]
    flag = "--model-version" if setting.field == "version" else f"--{setting.field.replace('_', '-')}"
    assert option.opts == [flag]
    assert option.envvar == f"ANOMALY_VAE_{flag[2:].replace('-', '_').upper()}"
    assert option.show_envvar
    assert option.help.startswith(setting.option.help)
    assert setting.option.help.endswith(".")
    assert option.default == setting.default
    if setting.type is Path:
        assert (type(option.type), option.type.type) == (click.Path, Path)
    else:
        assert option.type is TYPES[setting.type]
        assert option.multiple is (setting.type is tuple)
    described = option.show_default or "[default: " in option.help or setting.type is bool
    assert described


def test_without_options_the_settings_are_the_defaults():
    with command.make_context("serve", ["models/fraud/3"]) as context:
        assert not context.params.pop("print_config")
        assert ServeConfig(**context.params) == ServeConfig(model=Path("models/fraud/3"))


def test_settings_import_no_command_line():
    code = "import sys, anomaly_vae.service.settings; sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("port", -1, "port must lie between 0 and 65535, got -1"),
        ("max_rows", 2**31, "max_rows must lie between 1 and 2147483647, got 2147483648"),
        ("grace", float("nan"), "grace must lie between 0 and 3600 seconds, got nan"),
        ("max_queue_seconds", 0.0, "max_queue_seconds must lie between 0.1 and 3600 seconds, got 0.0"),
        ("log_calls", "some", "log_calls must be one of none, failed, all, got 'some'"),
    ],
)
def test_an_invalid_value_is_refused_with_the_valid_ones(field, value, text):
    with pytest.raises(ConfigError, match=f"^{text}$"):
        ServeConfig(model=Path("models/fraud/3"), **{field: value})


def test_the_queue_has_room_for_the_largest_request_of_bytes():
    """A pixel takes one byte in a message and 8 as a double. Otherwise such a request could never be admitted."""
    assert ServeConfig(model=Path("m")).queue_bytes == 256 * 2**20
    assert ServeConfig(model=Path("m"), max_message_bytes=2**26).queue_bytes == 2**29
    with pytest.raises(ConfigError, match=f"max_queue_bytes must lie between {2**29} and"):
        ServeConfig(model=Path("m"), max_message_bytes=2**26, max_queue_bytes=2**29 - 1)


@pytest.mark.parametrize(
    "url",
    ["collector:4317", "127.0.0.1", "ftp://x:1", "http://:4317", "http://x:0", "http://x:y", "http://x/v1/traces"],
)
def test_a_wrong_endpoint_is_refused(url):
    with pytest.raises(ConfigError, match="otlp_endpoint must be the URL of a collector"):
        ServeConfig(model=Path("models/fraud/3"), otlp_endpoint=url)
