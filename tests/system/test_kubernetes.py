"""The manifests of deploy/kubernetes: valid, consistent, and their container starts and answers."""

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from anomaly_vae.client import Client, Tls
from anomaly_vae.service.access.token_file import make_token, token_line
from anomaly_vae.service.settings import ServeConfig, settings
from tests.support.certificates import Authority
from tests.support.documents import ROOT, blocks_of, text_of
from tests.support.manifests import (
    KUBERNETES,
    OVERLAYS,
    VARIABLES,
    check_probes,
    check_schema,
    container_of,
    container_running,
    environment_of,
    image_environment,
    kustomize,
    of_kind,
    rendered,
)

EVERY_OVERLAY = pytest.mark.parametrize("overlay", OVERLAYS)
PAGE = ROOT / "docs" / "kubernetes.md"
DEFAULTS = {setting.field: setting.default for setting in settings()}


def pod_of(overlay):
    (deployment,) = of_kind(overlay, "Deployment").values()
    return deployment["spec"]["template"]["spec"]


@EVERY_OVERLAY
def test_every_object_has_the_fields_of_its_kind(overlay):
    found = list(rendered(overlay))
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"} <= {
        each["kind"] for each in found
    }
    for each in found:
        check_schema(each)


def test_a_field_that_does_not_exist_is_refused():
    deployment = of_kind("local", "Deployment")["anomaly-vae"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        check_schema(deployment)


@EVERY_OVERLAY
def test_every_object_has_the_recommended_labels_and_lies_in_the_namespace(overlay):
    for each in rendered(overlay):
        if each["kind"] == "Namespace":
            assert each["metadata"]["name"] == "anomaly-vae"
        else:
            assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "anomaly-vae"
            assert each["metadata"]["namespace"] == "anomaly-vae"


@EVERY_OVERLAY
def test_every_variable_of_the_container_is_one_that_serve_reads(overlay):
    names = [variable["name"] for variable in container_of(overlay)["env"]]
    known = {*VARIABLES, "ANOMALY_VAE_MODEL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
    assert set(names) <= known
    assert len(names) == len(set(names))
    assert set(image_environment()) <= known
    assert "args" not in container_of(overlay)
    assert "command" not in container_of(overlay)


@EVERY_OVERLAY
def test_ports_are_the_services_own(overlay):
    """And those of the image; probes, Services and policies name them."""
    container = container_of(overlay)
    environment = environment_of(container)
    assert not {"ANOMALY_VAE_PORT", "ANOMALY_VAE_METRICS_PORT"} & {*environment, *image_environment()}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": DEFAULTS["port"], "metrics": DEFAULTS["metrics_port"]}
    assert re.search(rf"^EXPOSE {ports['grpc']} {ports['metrics']}\b", text_of(ROOT / "deploy" / "Dockerfile"), re.M)
    services = of_kind(overlay, "Service")
    for service in services.values():
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]
            assert port["targetPort"] == port["name"]
    assert services["anomaly-vae-headless"]["spec"]["clusterIP"] == "None"
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {"metrics"}
    assert [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/livez"]


@EVERY_OVERLAY
def test_selectors_find_the_pods_and_the_service_to_scrape(overlay):
    (deployment,) = of_kind(overlay, "Deployment").values()
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    pod = deployment["spec"]["template"]["spec"]
    terms = [
        term["podAffinityTerm"]
        for term in pod.get("affinity", {})
        .get("podAntiAffinity", {})
        .get("preferredDuringSchedulingIgnoredDuringExecution", [])
    ]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in of_kind(overlay, "Service").values()),
        *(each["spec"]["selector"]["matchLabels"] for each in of_kind(overlay, "PodDisruptionBudget").values()),
        *(each["spec"]["podSelector"]["matchLabels"] for each in of_kind(overlay, "NetworkPolicy").values()),
        *(each["labelSelector"]["matchLabels"] for each in [*pod["topologySpreadConstraints"], *terms]),
    ]
    assert len(selectors) >= 7
    for selector in selectors:
        assert selector.items() <= labels
    for monitor in of_kind(overlay, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (scraped,) = [
            service
            for service in of_kind(overlay, "Service").values()
            if wanted <= service["metadata"]["labels"].items()
        ]
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= {p["name"] for p in scraped["spec"]["ports"]}


@EVERY_OVERLAY
def test_the_policy_lets_clients_and_prometheus_in_and_nobody_else(overlay):
    (policy,) = of_kind(overlay, "NetworkPolicy").values()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]]
    assert ports == [["grpc"], ["metrics"]]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])
    egress = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    remote = environment_of(container_of(overlay))["ANOMALY_VAE_MODEL"].startswith("s3://")
    assert egress == ({53, 443} if remote else set())


@EVERY_OVERLAY
def test_a_pod_ends_after_its_last_call_and_never_before_its_replacement_is_ready(overlay):
    """The kubelet waits for preStop, then for the service's grace, and kills it after the period for both."""
    (deployment,) = of_kind(overlay, "Deployment").values()
    pod, container = pod_of(overlay), container_of(overlay)
    grace = float(environment_of(container).get("ANOMALY_VAE_GRACE", DEFAULTS["grace"]))
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before >= 5
    assert pod["terminationGracePeriodSeconds"] >= before + grace + 5
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    (budget,) = of_kind(overlay, "PodDisruptionBudget").values()
    scalers = of_kind(overlay, "HorizontalPodAutoscaler").values()
    replicas = min([scaler["spec"]["minReplicas"] for scaler in scalers] or [deployment["spec"]["replicas"]])
    spec = budget["spec"]
    assert spec.get("maxUnavailable", replicas - spec.get("minAvailable", 0)) >= 1, "no node could be drained"
    assert replicas == {"local": 1, "production": 3}[overlay]
    assert ("replicas" in deployment["spec"]) is not bool(scalers), "kubectl apply would undo the autoscaler's choice"


@EVERY_OVERLAY
def test_the_pod_has_no_rights(overlay):
    """The rules of the Pod Security Standard "restricted", and more."""
    pod, container = pod_of(overlay), container_of(overlay)
    user = re.search(r"^USER (\d+)$", text_of(ROOT / "deploy" / "Dockerfile"), re.M)[1]
    context = pod["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == int(user)
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert of_kind(overlay, "ServiceAccount")[pod["serviceAccountName"]]["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {"memory"} <= set(container["resources"]["limits"])
    assert "cpu" not in container["resources"]["limits"]


@EVERY_OVERLAY
def test_every_volume_is_mounted_and_only_emptydirs_can_be_written(overlay):
    pod, container = pod_of(overlay), container_of(overlay)
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        assert ("emptyDir" in volume) is not mounts[volume["name"]].get("readOnly", False)
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]
    environment = environment_of(container)
    paths = [mount["mountPath"] for mount in mounts.values()]
    for name, value in environment.items():
        if value.startswith("/"):
            assert any(Path(value).is_relative_to(path) for path in paths), f"{name}={value} is in no volume"


def test_only_the_local_overlay_speaks_plaintext():
    local, production = (environment_of(container_of(overlay)) for overlay in ("local", "production"))
    assert local["ANOMALY_VAE_INSECURE_LISTEN"] == "1"
    assert "ANOMALY_VAE_INSECURE_LISTEN" not in production
    assert {"ANOMALY_VAE_TLS_CERT", "ANOMALY_VAE_TLS_KEY", "ANOMALY_VAE_TOKEN_FILE"} <= set(production)


def test_the_workers_of_production_have_a_core_for_each_thread():
    container = container_of("production")
    environment = environment_of(container)
    cores = int(container["resources"]["requests"]["cpu"])
    assert int(environment["ANOMALY_VAE_WORKERS"]) * int(environment["ANOMALY_VAE_THREADS"]) == cores
    assert environment_of(container_of("local"))["ANOMALY_VAE_THREADS"] == "1"


def test_the_secrets_of_production_have_the_keys_that_the_page_makes():
    """And those of cert-manager: the Certificate writes the Secret that the pod mounts."""
    pod, container = pod_of("production"), container_of("production")
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    (certificate,) = of_kind("production", "Certificate").values()
    assert secrets == {certificate["spec"]["secretName"], "anomaly-vae-tokens"}
    namespace = certificate["metadata"]["namespace"]
    for service in of_kind("production", "Service"):
        assert f"{service}.{namespace}.svc" in certificate["spec"]["dnsNames"]
    page = text_of(PAGE)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = environment_of(container)
    file = Path(environment["ANOMALY_VAE_TOKEN_FILE"]).relative_to(mounts["tokens"])
    assert re.search(rf"secret generic anomaly-vae-tokens --from-file={file}$", page, re.MULTILINE)
    for variable in container["env"]:
        if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert f"--from-literal={secret['key']}=" in page
            assert f"secret generic {secret['name']} " in page


def test_the_kustomization_of_the_page_sets_image_models_and_issuer(tmp_path):
    (example,) = [block for block in blocks_of(PAGE) if block.comment == ("file", "kustomization.yaml")]
    (tmp_path / "kustomization.yaml").write_text(example.source)
    shutil.copytree(KUBERNETES, tmp_path / "deploy" / "kubernetes")
    found = {each["kind"]: each for each in kustomize(tmp_path)}
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.mycompany.com/anomaly-vae:")
    expected = container_of("production") | {"image": container["image"]}
    for variable in expected["env"]:
        if variable["name"] == "ANOMALY_VAE_MODEL":
            variable["value"] = "s3://mycompany-models/anomaly-vae"
    assert container == expected
    assert found["Certificate"]["spec"]["issuerRef"]["name"] == "mycompany-ca"


def test_the_job_of_the_monitor_is_the_one_of_the_alerts():
    (monitor,) = of_kind("production", "ServiceMonitor").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    (job,) = [rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"]
    assert f'up{{job="{job}"}}' in text_of(ROOT / "deploy" / "prometheus" / "alerts.yml")


def test_the_adapter_gives_the_autoscaler_its_metric():
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] in of_kind("production", "Deployment")
    wanted = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Pods"}
    rules = yaml.safe_load(text_of(KUBERNETES / "prometheus-adapter.yaml"))["rules"]["custom"]
    assert {rule["name"]["as"] for rule in rules} == wanted
    recorded = re.findall(r"record: (\S+)", text_of(ROOT / "deploy" / "prometheus" / "recording.yml"))
    for rule in rules:
        assert rule["seriesQuery"].partition("{")[0] in recorded


def mounted(folder, files):
    """Write files as the kubelet mounts a Secret: links into a folder that is replaced as a whole."""
    real = folder / "..2026"
    real.mkdir(parents=True)
    (folder / "..data").symlink_to(real.name)
    for name, data in files.items():
        (real / name).write_bytes(data)
        (real / name).chmod(0o440)
        (folder / name).symlink_to(f"..data/{name}")


def test_the_local_container_starts_and_its_probes_answer(model_path, tmp_path, new_rows, scorer):
    with container_running(container_of("local"), model_path, tmp_path) as service:
        check_probes(container_of("local"), service)
        with Client(service.target) as client:
            assert client.score(new_rows[:2]).log_px.tobytes() == scorer.score(new_rows[:2]).log_px.tobytes()
        assert service.stop() == 0


def test_the_container_of_production_starts_with_tls_and_tokens(model_path, tmp_path, new_rows, scorer):
    authority, token = Authority(), make_token()
    key, certificate = authority.issue(hosts=["127.0.0.1"])
    mounted(tmp_path / "etc" / "anomaly-vae" / "tls", {"tls.key": key, "tls.crt": certificate})
    mounted(tmp_path / "etc" / "anomaly-vae" / "tokens", {"tokens": f"{token_line('billing', token)}\n".encode()})
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with container_running(container_of("production"), model_path, tmp_path) as service:
        check_probes(container_of("production"), service)
        with Client(f"grpcs://{service.target}", tls=Tls(ca=tmp_path / "ca.pem"), token=token) as client:
            assert client.score(new_rows[:2]).log_px.tobytes() == scorer.score(new_rows[:2]).log_px.tobytes()
        assert service.stop() == 0


def test_serve_config_accepts_the_numbers_of_the_manifests(tmp_path):
    """The values have the types and lie in the ranges of the options."""
    for overlay in OVERLAYS:
        values = {}
        for name, text in (image_environment() | environment_of(container_of(overlay))).items():
            if setting := VARIABLES.get(name):
                values[setting.field] = text == "1" if setting.type is bool else setting.type(text)
        config = ServeConfig(model=tmp_path, name="model", **values)
        assert config.host == config.metrics_host == image_environment()["ANOMALY_VAE_HOST"]
