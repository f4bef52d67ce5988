"""The unit and the example of a configuration in deploy/systemd."""

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from anomaly_vae.service.settings import ServeConfig, settings
from tests.support.documents import ROOT, text_of
from tests.support.running import eventually, running

SYSTEMD = ROOT / "deploy" / "systemd"
UNIT = text_of(SYSTEMD / "anomaly-vae.service")


def analyze(folder, *arguments):
    """Run systemd-analyze on the unit, with a program that exists."""
    if shutil.which("systemd-analyze") is None:
        message = "systemd-analyze is not installed (Debian: apt-get install systemd)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    path = folder / "anomaly-vae.service"
    path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.MULTILINE))
    command = ["systemd-analyze", *arguments, "--no-pager", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_accepts_every_line_of_the_unit(tmp_path):
    done = analyze(tmp_path, "verify", "--man=no")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_systemd_finds_the_service_well_shut_in(tmp_path):
    """Its measure goes from 0 to 10, which is a service without any protection. It was 1.6."""
    done = analyze(tmp_path, "security", "--offline=true", "--threshold=20")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_has_options_of_serve_and_the_signals_are_the_services():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string(UNIT)
    command = unit["Service"]["ExecStart"].split()
    assert [Path(command[0]).name, command[1]] == ["anomaly-vae", "serve"]
    known = {f"--{setting.option.flag or setting.field.replace('_', '-')}" for setting in settings()}
    assert {word for word in command if word.startswith("--")} <= known | {"--config"}  # which names a file of settings
    assert unit["Service"]["ExecReload"].split() == ["/bin/kill", "-HUP", "$MAINPID"]
    grace = next(setting.default for setting in settings() if setting.field == "grace")
    assert float(unit["Service"]["TimeoutStopSec"]) >= grace + 10


def test_the_example_has_options_of_serve_with_values_that_it_accepts():
    values = tomllib.loads(text_of(SYSTEMD / "serve.toml"))
    config = ServeConfig(
        **{name: Path(value) if name == "model" else _as_setting(value) for name, value in values.items()}
    )
    assert config.model_name == "models"


def test_the_command_serves_the_models_of_its_configuration_and_reload_takes_a_new_version(model_path, tmp_path):
    """With workers, whose supervisor gets the signal."""
    version = shutil.copytree(model_path, tmp_path / "models" / "fraud" / "1")
    text = text_of(SYSTEMD / "serve.toml").replace("/srv/models", str(tmp_path / "models"))
    config = tmp_path / "serve.toml"
    config.write_text(text.replace("poll_seconds = 10.0", "poll_seconds = 3600.0"))
    with running("--config", config, "--workers", 2, "--log-format", "json") as service:
        assert service.metric("anomaly_vae_model_info", model_name="fraud", model_version="1") == 1
        shutil.copytree(version, tmp_path / "new")
        (tmp_path / "new").rename(version.with_name("2"))
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: "fraud version 2" in served_by(service))
        eventually(lambda: "fraud version 1" not in served_by(service))
        assert service.stop() == 0


def served_by(service):
    page = service.get("/metrics")[1]
    found = re.findall(r'^anomaly_vae_model_info{.*model_name="(.+?)",model_version="(.+?)"', page, re.MULTILINE)
    return {f"{name} version {version}" for name, version in found}


def _as_setting(value):
    return tuple(value) if isinstance(value, list) else value
