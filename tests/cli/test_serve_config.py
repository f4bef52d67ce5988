"""The configuration file of ``anomaly-vae serve``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomaly_vae.cli import cli, serve
from anomaly_vae.cli.serve_config import as_toml, log_format_of, read_config
from anomaly_vae.errors import ConfigError
from anomaly_vae.service.settings import ServeConfig
from tests.support.running import running

FILE = """\
model = "models"
port = 5
metrics_port = 6
versions = ["latest:2", "fraud=3,5"]
insecure_listen = true
grace = 3
name = "fraud"
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "serve.toml").write_text(FILE)
    return tmp_path / "serve.toml"


@pytest.fixture
def served(monkeypatch):
    """Run serve with these arguments; return the settings with which it would start."""
    monkeypatch.setattr(serve, "_serve", lambda values: found.append(ServeConfig(**values)) or 0)
    found: list[ServeConfig] = []

    def start(*arguments, **variables):
        done = CliRunner(env=variables).invoke(cli, ["serve", *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return found.pop()

    return start


def test_a_file_sets_options_and_the_model(path, served):
    config = served("--config", path)
    assert config.model == path.parent / "models"
    assert (config.port, config.metrics_port, config.grace, config.name) == (5, 6, 3.0, "fraud")
    assert config.versions == ("latest:2", "fraud=3,5")
    assert config.insecure_listen
    assert config == served(ANOMALY_VAE_CONFIG=str(path))


def test_options_win_over_variables_and_variables_over_the_file(path, served):
    variables = {"ANOMALY_VAE_PORT": "7", "ANOMALY_VAE_METRICS_PORT": "8", "ANOMALY_VAE_MODEL": "variable"}
    config = served("--config", path, "--port", 9, "--versions", "all", **variables)
    assert (config.port, config.metrics_port, config.grace) == (9, 8, 3.0)
    assert config.versions == ("all",)
    assert config.model == Path("variable")
    assert served("argument", "--config", path, **variables).model == Path("argument")


def test_paths_are_relative_to_the_folder_of_the_file_and_addresses_stay(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('model = "s3://bucket/models"\ntls_cert = "tls/cert.pem"\ntls_key = "/etc/key.pem"\n')
    found = read_config(file)
    assert found == {
        "model": "s3://bucket/models",
        "tls_cert": str(tmp_path / "tls" / "cert.pem"),
        "tls_key": "/etc/key.pem",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 5", "prot is unknown; did you mean port?"),
        ("metrics-port = 5", "metrics-port is unknown; did you mean metrics_port?"),
        ("qqq = 5", "qqq is unknown; the keys are the options of serve, with _ in place of -"),
        ("[port]\nx = 1", 'port must be a whole number, got {"x": 1}'),
        ("port = true", "port must be a whole number, got true"),
        ('port = "5"', 'port must be a whole number, got "5"'),
        ("grace = true", "grace must be a number, got true"),
        ("insecure_listen = 1", "insecure_listen must be true or false, got 1"),
        ("host = 1", "host must be a text, got 1"),
        ("tls_cert = 1", "tls_cert must be a text, got 1"),
        ('versions = "all"', 'versions must be a list of texts, got "all"'),
        ("versions = [1]", "versions must be a list of texts, got [1]"),
        ("model = 2020-01-01", 'model must be a text, got "2020-01-01"'),
        ("port = ", "is not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, message):
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path / "f.toml")
    assert str(error.value).startswith(f"{tmp_path / 'f.toml'}")
    assert str(error.value).endswith(message)


def test_a_file_that_is_missing_or_is_no_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "f.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"f\.toml is not valid TOML"):
        read_config(tmp_path / "f.toml")


def test_a_value_that_cannot_be_used_is_refused_as_on_the_command_line(path, run_cli):
    path.write_text(FILE + "max_rows = 0\n")
    done = run_cli("serve", "--config", path, code=2)
    assert b"max_rows must lie between 1 and" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("text", "is_json"), [('log_format = "json"\n', True), ("", False)])
@pytest.mark.parametrize("arguments", [["--port", "many"], []])
def test_the_format_of_the_log_in_a_file_holds_for_wrong_usage(path, text, is_json, arguments, run_cli):
    """The reader of a JSON log must get nothing else. Without other arguments, the file has an unknown key."""
    path.write_text(FILE + text + ("" if arguments else "prot = 1\n"))
    done = run_cli("serve", "--config", path, *arguments, code=2)
    if is_json:
        (line,) = done.stderr.splitlines()
        assert json.loads(line)["exit_code"] == 2
    else:
        assert b"many" in done.stderr or b"prot is unknown; did you mean port?" in done.stderr


def test_a_format_of_the_log_that_cannot_be_read_is_none(tmp_path):
    assert log_format_of(tmp_path / "none.toml") is None
    (tmp_path / "f.toml").write_text("log_format = 1")
    assert log_format_of(tmp_path / "f.toml") is None


def test_the_settings_are_printed_as_a_file_that_sets_them(path, served, tmp_path):
    config = served("--config", path, "--name", 'a "b"\\ ä')
    (tmp_path / "again.toml").write_text(as_toml(config), encoding="utf-8")
    assert served("--config", tmp_path / "again.toml") == config
    assert "tls_cert" not in tomllib.loads(as_toml(config))
    assert "# tls_cert =\n" in as_toml(config)


def test_the_command_prints_the_settings_and_does_not_serve(path, run_cli):
    done = run_cli("serve", "--config", path, "--port", 11, "--print-config")
    assert tomllib.loads(done.stdout.decode())["port"] == 11
    assert tomllib.loads(done.stdout.decode())["model"] == str(path.parent / "models")


def test_a_service_starts_from_a_file_alone(model_path, tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text(f'model = "{model_path}"\nname = "from-file"\n')
    with running("--config", path) as service:
        assert service.line.startswith("serving from-file version ")
