"""The bill of materials of the image: exactly its locked packages and its base image."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PYTHON = ROOT / ".venv-sbom" / "bin" / "python"
BILL = (DEPLOY / "sbom.cdx.json").read_text()


def locked():
    """Yield name, version and hashes of the packages in the lock."""
    lines = [line for line in (DEPLOY / "requirements.lock").read_text().splitlines() if line[:1] != "#"]
    for entry in re.split(r"\n(?=\S)", "\n".join(lines).strip()):
        name, version = re.match(r"([\w.-]+)==(\S+)", entry).groups()
        yield name, version, sorted(re.findall("--hash=sha256:([0-9a-f]{64})", entry))


def test_the_bill_lists_exactly_the_locked_packages_with_their_hashes():
    packages = [each for each in json.loads(BILL)["components"] if each["type"] == "library"]
    listed = []
    for each in packages:
        (files,) = each["externalReferences"]
        assert {found["alg"] for found in files["hashes"]} == {"SHA-256"}
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        listed.append((each["name"], each["version"], sorted(found["content"] for found in files["hashes"])))
    expected = list(locked())
    assert listed == expected, "run `make sbom`"
    assert len(expected) > 10
    assert all(hashes for _, _, hashes in expected)


def test_the_bill_names_the_base_image_by_its_digest():
    (image,) = [each for each in json.loads(BILL)["components"] if each["type"] == "container"]
    base = f"FROM {image['name']}:{image['version']}@sha256:{image['hashes'][0]['content']}\n"
    assert (DEPLOY / "Dockerfile").read_text().split("\n\n\n")[1].startswith(base)


def test_nothing_in_the_bill_depends_on_when_or_where_it_was_made():
    assert not re.search("timestamp|serialNumber|urn:uuid|/work|/tmp|/home", BILL)


def test_the_tool_makes_the_same_bill_which_fits_the_schema_that_it_ships():
    if not PYTHON.exists():
        message = ".venv-sbom is not there: run make test"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    command = [PYTHON, DEPLOY / "make_sbom.py"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stdout == BILL, "run `make sbom`"
