"""``anomaly-vae serve``: what it prints, and how it reports wrong usage. tests/service has the service itself."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from anomaly_vae.cli import cli, serve


@pytest.mark.parametrize(
    ("host", "metrics_host", "http", "line"),
    [
        ("127.0.0.1", "localhost", {}, "serving m version 3 on 127.0.0.1:5, metrics on http://localhost:6/metrics\n"),
        ("::1", "::", {}, "serving m version 3 on [::1]:5, metrics on http://[::]:6/metrics\n"),
        (
            "::1",
            "::1",
            {"http_host": "::1", "tls_cert": None},
            "serving m version 3 on [::1]:5, HTTP on http://[::1]:7/v2, metrics on http://[::1]:6/metrics\n",
        ),
        (
            "::1",
            "::1",
            {"http_host": "localhost", "tls_cert": "tls.crt"},
            "serving m version 3 on [::1]:5, HTTP on https://localhost:7/v2, metrics on http://[::1]:6/metrics\n",
        ),
    ],
)
def test_the_line_of_a_start_has_addresses_that_can_be_called(host, metrics_host, http, line, capsys):
    """The brackets around an IPv6 address separate it from the port (RFC 3986)."""
    config = SimpleNamespace(host=host, metrics_host=metrics_host, log_format="text", **http)
    server = SimpleNamespace(config=config, port=5, metrics_port=6, http_port=7 if http else None, served=[("m", "3")])
    serve._announce(server)
    assert capsys.readouterr() == (line, "")
    config.log_format = "json"
    serve._announce(server)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["--no-such-option"], [], ["model", "--port", "many"]])
@pytest.mark.parametrize(
    ("options", "variable", "is_json"),
    [
        ([], None, False),
        (["--log-format", "json"], None, True),
        ([], "json", True),
        (["--log-format=text"], "json", False),
        (["--log-format", "text", "--log-format", "json"], None, True),
    ],
)
def test_wrong_usage_has_the_format_of_the_log(arguments, options, variable, is_json, monkeypatch):
    """The reader of a JSON log must get nothing else. An option wins over the variable, and the last option wins."""
    if variable:
        monkeypatch.setenv("ANOMALY_VAE_LOG_FORMAT", variable)
    reported = []
    monkeypatch.setattr(serve, "_log_error", lambda error, details: reported.append((str(error), details)) or 2)
    done = CliRunner().invoke(cli, ["serve", *arguments, *options])
    assert done.exit_code == 2
    assert (len(reported), "Usage:" in done.stderr) == (is_json, not is_json)


def test_an_unexpected_error_is_logged_with_its_place_and_a_refusal_without():
    """In a process of its own: the log of a whole process is changed."""
    code = (
        "from anomaly_vae.cli.serve import _log_error\n"
        "from anomaly_vae.errors import StartupError\n"
        "for error in (StartupError('port 5 is in use'), KeyError('x')):\n"
        "    try:\n"
        "        raise error\n"
        "    except Exception as raised:\n"
        "        print(_log_error(raised, details=False))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["4", "1"]
    refused, fault = map(json.loads, done.stderr.splitlines())
    assert (refused["event"], refused["exit_code"], refused["message"]) == ("refused", 4, "port 5 is in use")
    assert (fault["event"], fault["exit_code"]) == ("fault", 1)
    assert fault["frames"]
    assert "frames" not in refused


def test_the_help_shows_every_option_once_in_its_group():
    text = CliRunner().invoke(cli, ["serve", "--help"]).output
    groups = {part.split(":\n")[0]: part for part in text.split("\n\n")[-len(serve._GROUPS) :]}
    assert list(groups) == list(serve._GROUPS.values())
    options = [name for parameter in serve.command.params for name in parameter.opts if name.startswith("--")]
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert [name for name in shown if name != "--help"] == [name for name in options if name != "--verbose"]
    assert "--verbose" in groups["Other options"]
    assert "--canary" in groups["Models"]
    assert "--grace" in groups["Connections, streams and the end"]
