"""The manifests of deploy/kserve: valid, consistent, and their container starts and answers."""

import os
import subprocess
from http import HTTPStatus

import pytest
import yaml

from anomaly_vae.client import Client
from anomaly_vae.service.settings import ServeConfig
from tests.support.documents import ROOT, text_of
from tests.support.manifests import (
    VARIABLES,
    check_probes,
    check_schema,
    container_of,
    container_running,
    environment_of,
    image_environment,
)
from tests.support.other_clients import python_of, require_client
from tests.support.rest import ask, infer, tensor_json

KSERVE = ROOT / "deploy" / "kserve"
MOUNT = "/mnt/models"  # where the storage initializer of KServe puts the bundle


def objects_of(name):
    return {found["metadata"]["name"]: found for found in yaml.safe_load_all(text_of(KSERVE / name))}


RUNTIMES = objects_of("runtimes.yaml")
EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=RUNTIMES)


def unknown_fields(*paths):
    """Return the fields that the classes of KServe do not have."""
    require_client("kserve", "import importlib.metadata; importlib.metadata.version('kserve')")
    command = [python_of("kserve"), ROOT / "tests" / "support" / "unknown_by_kserve.py", *paths]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def container_in(runtime):
    (container,) = runtime["spec"]["containers"]
    return container


def test_kserve_knows_every_field(tmp_path):
    """By its own classes; those of containers are those of Kubernetes."""
    files = {name: text_of(KSERVE / name) for name in ("runtimes.yaml", "inferenceservice.yaml")}
    wrong = [
        files["runtimes.yaml"].replace("supportedModelFormats:", "supportedFormats:").replace("grpc:", "gprc:"),
        files["inferenceservice.yaml"].replace("canaryTrafficPercent", "canaryPercent"),
    ]
    for name, text in zip(files, wrong, strict=True):
        (tmp_path / name).write_text(text)
    found = unknown_fields(*(KSERVE / name for name in files), *(tmp_path / name for name in files))
    assert found == [
        "ClusterServingRuntime.spec.supportedFormats",
        "ClusterServingRuntime.spec.containers[0].readinessProbe.gprc",
        "ClusterServingRuntime.spec.supportedFormats",
        "InferenceService.spec.predictor.canaryPercent",
    ]


@EVERY_RUNTIME
def test_the_container_is_one_that_kubernetes_and_knative_accept(runtime):
    """The schema of a Pod is that of its container. Knative wants one port, no hooks, and no rights of the host."""
    check_schema(runtime)
    container = container_in(runtime)
    check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": {"containers": [container]}})
    assert container["name"] == "kserve-container"
    assert len(container["ports"]) == 1
    assert "lifecycle" not in container
    rights = container_of("production")["securityContext"].items()
    assert rights <= container["securityContext"].items()


@EVERY_RUNTIME
def test_the_variables_are_those_of_serve_and_the_numbers_agree(runtime, tmp_path):
    container = container_in(runtime)
    environment = environment_of(container)
    assert environment.pop("ANOMALY_VAE_MODEL") == MOUNT
    assert set(environment) <= set(VARIABLES)
    assert environment["ANOMALY_VAE_THREADS"] == container["resources"]["requests"]["cpu"]
    values = {}
    for name, text in (image_environment() | environment | {"ANOMALY_VAE_MODEL": MOUNT}).items():
        if setting := VARIABLES.get(name):
            values[setting.field] = text == "1" if setting.type is bool else setting.type(text)
    config = ServeConfig(model=tmp_path, **values)
    (port,) = container["ports"]
    assert port["containerPort"] == (config.port if port["name"] == "h2c" else config.http_port)
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(config.metrics_port)
    probes = [container["readinessProbe"], container["livenessProbe"]]
    ports = [(probe.get("grpc") or probe["httpGet"])["port"] for probe in probes]
    assert ports == [port["containerPort"], config.metrics_port]


def test_each_protocol_has_its_runtime_and_its_name_of_the_port():
    found = {
        protocol: container_in(runtime)["ports"][0]["name"]
        for runtime in RUNTIMES.values()
        for protocol in runtime["spec"]["protocolVersions"]
    }
    assert found == {"grpc-v2": "h2c", "v2": "http1"}


def test_the_example_is_a_canary_of_a_format_and_a_protocol_that_a_runtime_has():
    (service,) = objects_of("inferenceservice.yaml").values()
    check_schema(service)
    predictor = service["spec"]["predictor"]
    assert 0 < predictor["canaryTrafficPercent"] < 100
    model = predictor["model"]
    assert [
        name
        for name, runtime in RUNTIMES.items()
        if model["protocolVersion"] in runtime["spec"]["protocolVersions"]
        and model["modelFormat"]["name"] in [known["name"] for known in runtime["spec"]["supportedModelFormats"]]
    ] == ["anomaly-vae-grpc"]
    (version,) = [variable for variable in model["env"] if variable["name"] in VARIABLES]
    assert version["name"] == "ANOMALY_VAE_MODEL_VERSION"
    assert model["storageUri"].endswith(f"/{service['metadata']['name']}/{version['value']}")


def container_of_fraud(runtime):
    """Return the container with the name that KServe fills in, and the variables of the InferenceService."""
    (service,) = objects_of("inferenceservice.yaml").values()
    container = dict(container_in(RUNTIMES[runtime]))
    own = [{**each, "value": each["value"].replace("{{.Name}}", "fraud")} for each in container["env"]]
    return container | {"env": own + service["spec"]["predictor"]["model"]["env"]}


def test_the_container_of_grpc_starts_and_its_probes_answer(model_path, tmp_path, new_rows):
    container = container_of_fraud("anomaly-vae-grpc")
    with container_running(container, model_path, tmp_path) as running:
        check_probes(container, running)
        with Client(running.target) as client:
            assert len(client.score(new_rows[:2])) == 2
        assert running.metric("anomaly_vae_model_info", model_name="fraud", model_version="4") == 1
        assert running.metric("anomaly_vae_rows_total", model_version="4", outcome="normal") > 0


def test_the_container_of_http_starts_and_its_probes_answer(model_path, tmp_path, new_rows, scorer):
    container = container_of_fraud("anomaly-vae-rest")
    with container_running(container, model_path, tmp_path) as running:
        check_probes(container, running)
        assert ask(running.http_port, "GET", "/v2/models/fraud/ready")[0] == HTTPStatus.OK
        status, _, reply = infer(running.http_port, tensor_json(new_rows[:2]), "fraud")
        assert (status, reply["model_version"]) == (HTTPStatus.OK, "4")
        (log_px,) = [output["data"] for output in reply["outputs"] if output["name"] == "log_px"]
        assert log_px == scorer.score(new_rows[:2]).log_px.tolist()
