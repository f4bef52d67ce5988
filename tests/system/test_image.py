"""The environment of the image, without docker: `make test` makes .venv-image with the two scripts of the Dockerfile.

On the image's CPython it serves the same scores as the environment of all other tests.
"""

import filecmp
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anomaly_vae.remote.keys import make_keys
from anomaly_vae.remote.signing import sign
from tests.support.callers import call, secure_channel
from tests.support.certificates import Authority
from tests.support.running import SERVING, assert_same_bits, running, score, tensor

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
ENVIRONMENT = ROOT / ".venv-image"
COMMAND = ENVIRONMENT / "bin" / "anomaly-vae"
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.M)
# The variables of the image, without the addresses and the path of the model inside a container.
OWN = dict(re.findall(r"\b([A-Z][A-Z_]+)=(\S+)", re.search(r"^ENV ((?:.+\\\n)*.+)", DOCKERFILE, re.M)[1]))
OWN = {name: value for name, value in OWN.items() if not re.search("PATH|MODEL|HOST", name)} | {"PYTHONPATH": ""}


def missing(message):
    """Skip the test if the environment is missing. In CI, fail instead."""
    pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


def python_says(code):
    command = [ENVIRONMENT / "bin" / "python", "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Check that the installed package is the one under test."""
    if not COMMAND.exists():
        missing(".venv-image is not there: run make test")
    installed = Path(python_says("import anomaly_vae; print(anomaly_vae.__file__)")).parent
    assert installed.is_relative_to(ENVIRONMENT)
    sources = [path.relative_to(ROOT / "anomaly_vae") for path in (ROOT / "anomaly_vae").rglob("*.py")]
    found = [path.relative_to(installed) for path in installed.rglob("*.py")]
    _, changed, lost = filecmp.cmpfiles(ROOT / "anomaly_vae", installed, map(str, sources), shallow=False)
    if changed or lost or set(found) != set(sources):
        missing(".venv-image has an older anomaly_vae: run make test")


def test_the_environment_has_the_cpython_of_the_image():
    """If that CPython is missing, the other tests run on another one."""
    wanted = re.search(r"^FROM python:(\d+\.\d+)\.", DOCKERFILE, re.M)[1]
    actual = python_says("import platform; print(platform.python_version())")
    if not actual.startswith(f"{wanted}."):
        missing(f".venv-image has CPython {actual}, the image {wanted}: make test IMAGE_PYTHON=/path/to/python{wanted}")


def test_it_holds_what_the_lock_names_and_nothing_else():
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    actual = {name.replace("_", "-"): version for name, version in json.loads(python_says(code)).items()}
    wanted = dict(PIN.findall((ROOT / "deploy" / "requirements.lock").read_text()))
    assert actual.pop("anomaly-vae")
    assert actual == wanted
    assert not actual.keys() & {"pip", "setuptools", "rich", "pandas", "torch", "scikit-learn", "opentelemetry-api"}


def test_it_serves_the_bits_of_the_other_environment_and_logs_json(model_path, scorer, new_rows):
    options = ("--log-calls", "all", "--max-rows", 1000)
    with running(model_path, *options, env=OWN, command=[COMMAND]) as service:
        with service.channel() as channel:
            assert_same_bits(score(channel, tensor=tensor(new_rows)), scorer.score(new_rows))
            flagged = score(channel, tensor=tensor(new_rows), flag_only=True)
            assert list(flagged.is_anomaly) == scorer.flag(new_rows).is_anomaly.tolist()
        assert service.get("/readyz") == (200, "ready\n")
        assert service.get("/metrics")[0] == 200
        assert service.health() == SERVING
        assert service.stop() == 0
        events = [json.loads(line)["event"] for line in service.log().splitlines()]
        assert service.process.stdout.read() == ""
    assert events == ["audit", "serving", "call", "call", "call", "draining", "stopped"]


def test_it_serves_over_tls(model_path, scorer, new_rows, tmp_path):
    """TLS needs packages that nothing else there uses."""
    authority = Authority()
    for name, data in zip(("tls.key", "tls.crt"), authority.issue(), strict=True):
        (tmp_path / name).write_bytes(data)
    options = ("--tls-cert", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key")
    with (
        running(model_path, *options, env=OWN, command=[COMMAND]) as service,
        secure_channel(service, authority.pem) as channel,
    ):
        assert_same_bits(call(channel, new_rows), scorer.score(new_rows))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("score", "model", "rows.csv", "-o", "scores.csv"), "this needs rich, which is not installed"),
        (("encode", "model", "rows.csv", "-o", "codes.csv"), "this needs rich, which is not installed"),
        (("sample", "model", "-n", "3", "-o", "-"), "this needs rich, which is not installed"),
        (("inspect", "model"), "this needs rich, which is not installed"),
        (("train", "rows.csv", "-o", "another"), "this needs torch; install the train extra"),
        (("demo",), "this needs torch; install the train extra"),
    ],
)
def test_a_command_that_needs_more_packages_names_them_in_one_line(model_path, tmp_path, command, text):
    (tmp_path / "model").symlink_to(model_path)
    (tmp_path / "rows.csv").write_text("pressure\n1\n")
    env = os.environ | OWN
    done = subprocess.run(
        [COMMAND, *command], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60, check=False
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith(f"anomaly-vae: error: {text}")
    assert "pip install" in line


def test_it_pulls_a_signed_model(model_path, tmp_path):
    """As in a container that fetches the model before the service starts; checking needs no further package."""
    folder = shutil.copytree(model_path, tmp_path / "model")
    make_keys(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    sign(folder, tmp_path / "a.pem")
    command = [COMMAND, "pull", folder, "-o", tmp_path / "pulled", "--verify-key", tmp_path / "a.pub.pem", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | OWN, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "pulled" / "model.sig").read_bytes() == (folder / "model.sig").read_bytes()


def test_it_reads_from_object_stores():
    code = "from pyarrow import fs; print(*(hasattr(fs, f'{each}FileSystem') for each in ('S3', 'Gcs', 'Azure')))"
    assert python_says(code).split() == ["True"] * 3


def test_it_describes_a_model_as_json(model_path, scorer):
    done = subprocess.run(
        [COMMAND, "inspect", model_path, "--json"], capture_output=True, env=os.environ | OWN, timeout=60, check=True
    )
    assert json.loads(done.stdout)["bundle_digest"] == scorer.info["bundle_digest"]
