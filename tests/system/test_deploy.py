"""The files of deploy/: they are consistent, and their alerts fire."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.running import running

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
    assert len(alerts) >= 16
    for alert in alerts:
        name = alert.split()[0]
        assert f"alertname: {name}" in tests
        assert name in runbook
        assert re.search(r"severity: (critical|warning)", alert)
        assert re.search(r"runbook: deploy/runbook\.md#(\S+)", alert)[1] in chapters


def test_every_metric_in_the_alerts_is_one_the_service_exposes(model_path, tmp_path):
    """Some metrics exist only with TLS."""
    for name, data in zip(("tls.key", "tls.crt"), Authority().issue(), strict=True):
        (tmp_path / name).write_bytes(data)
    with running(model_path, "--tls-cert", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key") as service:
        exposed = service.get("/metrics")[1]
    names = set(re.findall(r"\b((?:grpc_server|anomaly_vae)_\w+?)(?:\{|\[|\)| |$)", ALERTS, re.M))
    names = {
        name for name in names if not name.startswith(("anomaly_vae_errors", "anomaly_vae_service", "anomaly_vae_data"))
    }
    assert {"anomaly_vae_tls_certificate_expiry_timestamp_seconds", "anomaly_vae_log_lines_lost_total"} <= names
    assert len(names) >= 11
    for name in names:
        assert f"\n{name}{{" in exposed or f"\n{name} " in exposed, name


DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
LOCKS = {name: (ROOT / "deploy" / name).read_text() for name in ("requirements.lock", "build.lock")}
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.M)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_image_serves_without_root_without_pip_and_without_reports_to_others():
    _, build, final = DOCKERFILE.split("\nFROM ")
    assert re.search(r"^USER [1-9]\d*$", final, re.M)
    assert "pip uninstall --yes pip" in final
    assert "rm -r /usr/local/lib/python3.12/ensurepip" in final
    assert "ORT_DISABLE_TELEMETRY=1" in final
    assert final.count("COPY") == 1
    assert "COPY --from=build /opt/anomaly-vae /opt/anomaly-vae\n" in final
    # tests/system/test_image.py runs the environment that these two scripts make.
    assert re.findall("^RUN (.+)", build, re.M) == [
        "deploy/install_dependencies.sh python /opt/anomaly-vae",
        "deploy/install_package.sh python /opt/anomaly-vae",
    ]


def test_everything_that_goes_into_the_image_is_pinned_by_its_digest():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    images = re.findall(r"^ +image: (\S+)", (ROOT / "deploy" / "compose.yaml").read_text(), re.M)
    assert len(bases) == 2
    assert bases[0] == bases[1]
    assert images.pop(0) == "anomaly-vae"  # built from the Dockerfile
    for image in (*bases, *images):
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w-]*@sha256:[0-9a-f]{64}", image), image
    for script in ("install_dependencies.sh", "install_package.sh"):
        for install in re.findall(r"^ +install .+", (ROOT / "deploy" / script).read_text(), re.M):
            assert "--require-hashes --only-binary :all:" in install or "--no-index" in install
            assert "--no-deps" in install


def test_the_locks_of_the_image_have_the_versions_of_the_other_lock_and_a_hash_for_every_file():
    pinned = {normal(name): version for name, version in PIN.findall((ROOT / "requirements.lock").read_text())}
    wanted = re.findall(r"^[\w-]+", (ROOT / "deploy" / "requirements.in").read_text(), re.M)
    image = {normal(name): version for name, version in PIN.findall(LOCKS["requirements.lock"])}
    assert list(image) == wanted
    assert image == {name: pinned[name] for name in wanted}
    assert [name for name, _ in PIN.findall(LOCKS["build.lock"])] == ["setuptools"]
    for lock in LOCKS.values():
        for line in lock.splitlines():
            assert re.fullmatch(r"#.*|[\w.-]+==\S+ \\| {4}--hash=sha256:[0-9a-f]{64}(?: \\)?", line), line
            assert not re.search("https?:|index|find-links", line)


def test_what_the_image_copies_is_not_ignored():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for source in sources.split():
            assert f"!{source}" in ignore
            assert (ROOT / source).exists()
