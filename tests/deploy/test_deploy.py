"""The files we ship for running the service: they hold together, and their alerts fire."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service.running import running

ROOT = Path(__file__).parents[2]
ALERTS = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()


def promtool(*arguments):
    if shutil.which("promtool") is None:
        message = "promtool is not installed (Debian: apt-get install prometheus)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    done = subprocess.run(
        ["promtool", *arguments], cwd=ROOT / "deploy" / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration():
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")


def test_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", "alerts_test.yml", "alerts_slow_test.yml")


def test_every_alert_has_a_test_a_severity_and_a_chapter_of_the_runbook():
    tests = "".join(path.read_text() for path in (ROOT / "deploy" / "prometheus").glob("alerts*_test.yml"))
    runbook = (ROOT / "deploy" / "runbook.md").read_text()
    chapters = {"-".join(re.findall(r"\w+", title.lower())) for title in re.findall(r"^## (.+)$", runbook, re.M)}
    alerts = ALERTS.split("- alert: ")[1:]
    assert len(alerts) >= 10
    for alert in alerts:
        name = alert.split()[0]
        assert f"alertname: {name}" in tests
        assert name in runbook
        assert re.search(r"severity: (critical|warning)", alert)
        assert re.search(r"runbook: deploy/runbook\.md#(\S+)", alert)[1] in chapters


def test_every_metric_in_the_alerts_is_one_the_service_exposes(model_path):
    with running(model_path) as service:
        exposed = service.get("/metrics")[1]
    names = set(re.findall(r"\b((?:grpc_server|anomaly_vae)_\w+?)(?:\{|\[|\)| |$)", ALERTS, re.M))
    names = {
        name for name in names if not name.startswith(("anomaly_vae_errors", "anomaly_vae_service", "anomaly_vae_data"))
    }
    assert len(names) >= 7
    for name in names:
        assert f"\n{name}{{" in exposed or f"\n{name} " in exposed, name


def test_the_image_serves_without_root_and_without_torch():
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.search(r"^USER \d+$", dockerfile, re.M)
    assert '".[serve]"' in dockerfile
    assert "--constraint requirements.lock" in dockerfile
    assert all(
        "@" in base or re.search(r":\d+\.\d+\.\d+", base) for base in re.findall(r"^FROM (\S+)", dockerfile, re.M)
    )


def test_what_the_image_copies_is_not_ignored():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M):
        for source in sources.split():
            assert f"!{source}" in ignore
            assert (ROOT / source).exists()
