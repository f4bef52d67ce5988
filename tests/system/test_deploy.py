"""The files of deploy/: they are consistent, and their alerts fire."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.prometheus_rule import RULE, rule_text

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
ALERTS = (RULES / "alerts.yml").read_text()
RECORDING = (RULES / "recording.yml").read_text()


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
    promtool("check", "rules", "alerts.yml", "recording.yml")


def test_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", *sorted(path.name for path in RULES.glob("alerts*_test.yml")))


def test_every_alert_has_a_test_a_severity_and_a_chapter_of_the_runbook():
    tests = "".join(path.read_text() for path in RULES.glob("alerts*_test.yml"))
    runbook = (ROOT / "deploy" / "runbook.md").read_text()
    chapters = {"-".join(re.findall(r"\w+", title.lower())) for title in re.findall(r"^## (.+)$", runbook, re.M)}
    alerts = ALERTS.split("- alert: ")[1:]
    assert len(alerts) >= 16
    for alert in alerts:
        name = alert.split()[0]
        assert re.search(rf"alertname: {name}\n +exp_alerts:\n", tests), f"{name} never fires"
        assert f"alertname: {name}\n        exp_alerts: []\n" in tests, f"{name} is never silent"
        assert name in runbook
        assert re.search(r"severity: (critical|warning)", alert)
        assert re.search(r"runbook: deploy/runbook\.md#(\S+)", alert)[1] in chapters


def rules_of(text):
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_the_alerts_use_series_that_are_recorded_and_every_one_of_them():
    """Or the dashboard or the autoscaler do, by the names that their files have."""
    recorded = {rule["record"] for rule in rules_of(RECORDING)}
    used = {name for rule in rules_of(ALERTS) for name in re.findall(r"\w+:\w+:\w+", rule["expr"])}
    assert used <= recorded
    others = [*ROOT.glob("deploy/grafana/*.json"), *ROOT.glob("deploy/kubernetes/*.yaml")]
    between = "".join(rule["expr"] for rule in rules_of(RECORDING)) + "".join(path.read_text() for path in others)
    assert [name for name in recorded - used if name not in between] == []


def test_the_rules_of_kubernetes_are_those_of_prometheus():
    assert RULE.read_text() == rule_text(), "run `make rules`"
    spec = yaml.safe_load(RULE.read_text())["spec"]
    assert spec["groups"] == [group for text in (RECORDING, ALERTS) for group in yaml.safe_load(text)["groups"]]


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
    assert final.count("COPY") == 2
    assert "COPY deploy/sbom.cdx.json /usr/share/doc/anomaly-vae/\n" in final  # what is in the image
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
