"""Write the software bill of materials of the image: its packages, from the lock, and its base image.

    python deploy/make_sbom.py > deploy/sbom.cdx.json     # `make sbom` does this

Needs cyclonedx-bom. The same inputs give the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

_DEPLOY = Path(__file__).parent
_LOCK, _DOCKERFILE = _DEPLOY / "requirements.lock", _DEPLOY / "Dockerfile"
_VERSION = _DEPLOY.parent / "anomaly_vae" / "version.py"

_NAME, _SPEC = "anomaly-vae", "1.6"


def main() -> None:
    """Print the bill if it is valid."""
    bill = _bill()
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    error = JsonStrictValidator(SchemaVersion.from_version(_SPEC)).validate_str(text)
    if error is not None:
        raise SystemExit(f"the bill does not fit the schema of CycloneDX {_SPEC}: {error}")
    sys.stdout.write(text)


def _bill() -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(_LOCK), "--output-reproducible"]
    command += ["--spec-version", _SPEC, "--no-validate"]  # the changed bill is validated instead
    made = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 (the command is ours)
    bill: dict[str, Any] = json.loads(made.stdout)
    components = [*map(_package, bill["components"]), _base_image()]
    (version,) = re.findall(r'__version__ = "(.+)"', _VERSION.read_text())
    main = {"bom-ref": _NAME, "name": _NAME, "type": "container", "version": version}
    names = [component["bom-ref"] for component in components]
    bill["components"] = components
    bill["dependencies"] = [{"ref": _NAME, "dependsOn": names}, *({"ref": name} for name in names)]
    tools = bill["metadata"]["tools"]
    tools["components"] = [
        {key: tool[key] for key in ("name", "type", "version")}
        for tool in tools["components"]
        if tool["name"] == "cyclonedx-py"
    ]
    bill["metadata"]["component"] = main
    return bill


def _package(component: dict[str, Any]) -> dict[str, Any]:
    """Return a package without the text of its line in the lock, and without the address of an index."""
    purl = component["purl"]
    hashes = [found for reference in component["externalReferences"] for found in reference.get("hashes", ())]
    files = {"type": "distribution", "url": purl, "hashes": hashes, "comment": "the files that the lock allows"}
    return {
        "bom-ref": purl,
        "externalReferences": [files],
        "name": component["name"],
        "purl": purl,
        "type": component["type"],
        "version": component["version"],
    }


def _base_image() -> dict[str, Any]:
    name, tag, digest = re.findall(r"^FROM (\S+?):(\S+)@sha256:(\w+)", _DOCKERFILE.read_text(), re.M)[-1]
    purl = f"pkg:docker/{name}@sha256%3A{digest}?tag={tag}"
    return {
        "bom-ref": purl,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "name": name,
        "purl": purl,
        "type": "container",
        "version": tag,
    }


if __name__ == "__main__":
    main()
