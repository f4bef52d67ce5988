"""The manifests of deploy/kubernetes as kubectl renders them, and the environment of their container."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from anomaly_vae.service.settings import settings
from tests.support.documents import ROOT, text_of
from tests.support.rest import ask
from tests.support.running import SERVING, eventually, running

__all__ = [
    "KUBERNETES",
    "OVERLAYS",
    "VARIABLES",
    "check_probes",
    "check_schema",
    "container_of",
    "container_running",
    "environment_of",
    "image_environment",
    "kustomize",
    "of_kind",
    "rendered",
]

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
VARIABLES = {
    f"ANOMALY_VAE_{(setting.option.flag or setting.field).replace('-', '_').upper()}": setting for setting in settings()
}
# The oldest version of Kubernetes that is still maintained; fields that are too new for it are refused.
_OLDEST = "1.33"

# Kinds without a schema in kubernetes-validate, and the fields below spec that an object must and may have.
_CUSTOM = {
    "Certificate": ({"secretName", "issuerRef", "dnsNames"}, {"duration", "renewBefore", "privateKey", "usages"}),
    "ClusterServingRuntime": ({"supportedModelFormats", "containers", "protocolVersions"}, {"annotations"}),
    "InferenceService": ({"predictor"}, set()),
    "PrometheusRule": ({"groups"}, set()),
    "ServiceMonitor": ({"selector", "endpoints"}, set()),
}


def check_schema(found):
    """Check an object strictly by the schema of its kind, or its fields below spec where there is none."""
    if found["kind"] in _CUSTOM:
        must, may = _CUSTOM[found["kind"]]
        assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
        assert must <= set(found["spec"]) <= must | may
    else:
        kubernetes_validate.validate(found, _OLDEST, strict=True)


def rendered(overlay):
    """Return the objects of an overlay."""
    return kustomize(KUBERNETES / "overlays" / overlay)


def kustomize(folder):
    """Return the objects of a folder with a kustomization."""
    return list(yaml.safe_load_all(_text_of(folder)))


@functools.cache
def _text_of(folder):
    if shutil.which("kubectl") is None:
        message = "kubectl is not installed (Debian: apt-get install kubernetes-client)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return done.stdout


def of_kind(overlay, kind):
    """Return the objects of a kind, by their names."""
    return {found["metadata"]["name"]: found for found in rendered(overlay) if found["kind"] == kind}


def container_of(overlay):
    """Return the one container of the Deployment."""
    (deployment,) = of_kind(overlay, "Deployment").values()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def image_environment():
    """Return the variables that the image sets for the service."""
    final = text_of(ROOT / "deploy" / "Dockerfile").rsplit("\nFROM ", 1)[1]
    return dict(re.findall(r"\b(ANOMALY_VAE_\w+)=(\S+)", final.partition("\nUSER ")[0]))


def environment_of(container):
    """Return the variables of a container as the kubelet would set them, those of optional Secrets left out."""
    values = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "value" in variable:
            values[variable["name"]] = variable["value"]
        elif "resourceFieldRef" in source:
            kind, resource = source["resourceFieldRef"]["resource"].split(".")
            values[variable["name"]] = str(_rounded_up(container["resources"][kind][resource]))
        else:
            assert source["secretKeyRef"]["optional"], variable
    return values


def _rounded_up(quantity):
    """Return an amount of CPU in whole cores, as a resourceFieldRef gives it."""
    return -(-int(quantity[:-1]) // 1_000) if quantity.endswith("m") else int(quantity)


@contextlib.contextmanager
def container_running(container, model_path, volumes):
    """Run the service with the environment of the image and of a container, its volumes below a folder of the test."""
    environment = image_environment() | environment_of(container)
    for name, value in environment.items():
        if value.startswith(("/etc/", "/cache")):
            environment[name] = str(volumes / Path(value).relative_to("/"))
    del environment["ANOMALY_VAE_MODEL"]
    if "ANOMALY_VAE_HTTP_PORT" in environment:
        environment["ANOMALY_VAE_HTTP_PORT"] = "0"
    with running(model_path, env=environment) as service:
        yield service


def check_probes(container, service):
    """Request what the kubelet requests."""
    for probe in [probe for name, probe in container.items() if name.endswith("Probe")]:
        if "grpc" in probe:
            eventually(lambda: service.health() == SERVING)
        else:
            eventually(lambda probe=probe["httpGet"]: _status_of(probe, container, service) == HTTPStatus.OK)


def _status_of(probe, container, service):
    """Return the status of a probe's request to the port of requests over HTTP, or to that of probes and metrics."""
    if str(probe["port"]) == environment_of(container).get("ANOMALY_VAE_HTTP_PORT"):
        return ask(service.http_port, "GET", probe["path"])[0]
    return service.get(probe["path"])[0]
