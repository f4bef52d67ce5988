"""The dashboard and the rules, in a Prometheus that scrapes a service with traffic: every query has data."""

import contextlib
import json
import re
import shutil
import ssl
import urllib.request

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from anomaly_vae.client import Client, Tls
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.access.token_file import make_token, token_line
from anomaly_vae.service.callers import Caller
from tests.support.certificates import Authority
from tests.support.dashboard import DASHBOARD, dashboard_text
from tests.support.documents import ROOT, text_of
from tests.support.manifests import KUBERNETES
from tests.support.prometheus import prometheus_of
from tests.support.rest import tensor_json
from tests.support.running import eventually, running

BOARD = json.loads(text_of(DASHBOARD))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def rules_in(name):
    groups = yaml.safe_load(text_of(ROOT / "deploy" / "prometheus" / name))["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = {rule["record"]: rule["expr"] for rule in rules_in("recording.yml")}
ALERTS = [rule["expr"] for rule in rules_in("alerts.yml")]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [note["expr"] for note in BOARD["annotations"]["list"]]
OF_WORKERS = {"anomaly_vae_workers", "anomaly_vae_worker_up", "anomaly_vae_worker_restarts_total"}
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}


def metrics_in(query):
    """Return the names of the service's metrics in a query; recorded series, with colons, are none of them."""
    return set(re.findall(r"(?<![\w:])(?:grpc_server|anomaly_vae|process)_\w+(?![\w:])", query))


def as_prometheus_sees(query):
    """Replace what Grafana replaces: all values of every variable, and a range with several samples."""
    return re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "10s"))


class Traffic:
    """Calls of two callers over gRPC and HTTP, and changes of a model, so that no metric of a service is without data.

    Model fraud has a default version, a canary, a shadow, and a version that is refused; model returns changes.
    """

    def __init__(self, folder, bundle, rows):
        self.folder, self.rows = folder, rows
        self.models = folder / "models"
        for version in ("fraud/1", "fraud/2", "fraud/3", "fraud/9", "returns/1", "returns/.2"):
            shutil.copytree(bundle, self.models / version)
        (self.models / "fraud" / "9" / "manifest.json").write_text("{}")
        authority = Authority()
        key, certificate = authority.issue()
        for name, data in (("tls.key", key), ("tls.crt", certificate), ("ca.pem", authority.pem)):
            (folder / name).write_bytes(data)
        self.tokens = {"billing": make_token(), "nightly": make_token()}
        nightly = Caller("nightly", rows_per_second=1)
        lines = [token_line("billing", self.tokens["billing"]), token_line(nightly, self.tokens["nightly"])]
        (folder / "tokens").write_text("\n".join(lines) + "\n")

    def options(self):
        """Return the options of the service."""
        files = {"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--token-file": "tokens"}
        paths = [part for option, name in files.items() for part in (option, self.folder / name)]
        ports = ["--http-port", 0, "--poll-seconds", 0.1]
        return [*paths, *ports, "--canary", "fraud=2:0.5", "--shadow", "fraud=3:1"]

    def client(self, service, caller="billing", version=""):
        return Client(
            f"grpcs://{service.target}",
            model_name="fraud",
            model_version=version,
            tls=Tls(ca=self.folder / "ca.pem"),
            token=self.tokens[caller],
            retries=0,
        )

    def send(self, service):
        """Send a call of each kind."""
        for version in ("", "1", "2"):
            with self.client(service, version=version) as client:
                client.score(self.rows)
        with self.client(service, caller="nightly") as client:
            for _ in range(2):
                with contextlib.suppress(ServiceError):
                    client.score(self.rows)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        address = f"https://127.0.0.1:{service.http_port}/v2/models/fraud/infer"
        body = json.dumps({"inputs": [tensor_json(self.rows)]}).encode()
        headers = {"Authorization": f"Bearer {self.tokens['billing']}"}
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), context=context) as reply:
            assert reply.status == 200

    def change(self):
        """Add version 2 of the model returns, or remove it."""
        versions = self.models / "returns"
        old, new = (".2", "2") if (versions / ".2").exists() else ("2", ".2")
        (versions / old).rename(versions / new)


@pytest.fixture(scope="module", params=[2], ids=["2 workers"])
def served(request, model_path, tmp_path_factory, new_rows):
    """A service with TLS and tokens, its traffic, and the Prometheus that scrapes it."""
    folder = tmp_path_factory.mktemp("monitoring")
    traffic = Traffic(folder, model_path, new_rows[:8])
    options = (*traffic.options(), "--workers", request.param)
    with (
        running(traffic.models, *options) as service,
        prometheus_of(service, folder, namespace="anomaly-vae", pod="anomaly-vae-0") as prometheus,
    ):
        service.has_workers = request.param > 1
        yield service, traffic, prometheus


def exposed_by(service):
    """Return the names of the service's metrics, with those that only a service with workers has."""
    names = set(re.findall(r"^(\w+)", service.get("/metrics")[1], re.MULTILINE))
    assert bool(names & OF_WORKERS) == service.has_workers
    return names | OF_WORKERS


def test_every_query_has_data(served):
    service, traffic, prometheus = served
    pending = [query for query in QUERIES if service.has_workers or not metrics_in(query) & OF_WORKERS]
    pending += RULES.values()
    assert len(pending) >= 80

    def all_answered():
        traffic.send(service)
        traffic.change()
        pending[:] = [query for query in pending if not prometheus.values(as_prometheus_sees(query))]
        return not pending

    try:
        eventually(all_answered)
    except AssertionError as error:
        raise AssertionError("no data: " + "\n".join(pending)) from error


def test_refused_calls_of_a_caller_count_for_it_and_not_as_failures(served):
    """Its calls end with ResourceExhausted, which is a failure only if the queue is full."""
    service, traffic, prometheus = served
    refused = "sum(anomaly_vae_caller_rejected_total{caller='nightly',reason='rows_per_second'})"
    ended = "sum(grpc_server_handled_total{grpc_code='ResourceExhausted'})"

    def is_refused():
        traffic.send(service)
        return prometheus.values(f"{refused} > 2") and prometheus.values(f"{refused} == {ended}")

    eventually(is_refused)
    eventually(lambda: prometheus.values("job:anomaly_vae_errors:ratio_rate5m") == [0])


def test_every_metric_in_queries_and_rules_is_one_the_service_exposes(served):
    names = {name for query in [*QUERIES, *RULES.values(), *ALERTS] for name in metrics_in(query)}
    assert {"anomaly_vae_tls_certificate_expiry_timestamp_seconds", "anomaly_vae_log_lines_lost_total"} <= names
    assert len(names) >= 40
    assert names - exposed_by(served[0]) == set()


def test_metrics_have_the_label_by_which_rules_and_panels_know_the_model(served):
    page = served[0].get("/metrics")[1]
    wanted = {name for query in QUERIES if "model_name" in query for name in metrics_in(query)}
    assert len(wanted) >= 15
    assert {name for name in wanted if not re.search(rf"^{name}{{.*model_name=", page, re.MULTILINE)} == set()


def test_with_workers_gauges_have_a_label_and_facts_of_the_models_do_not(served):
    service, _, _ = served
    samples = [s for family in text_string_to_metric_families(service.get("/metrics")[1]) for s in family.samples]
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in samples}) == len(samples)
    labelled = {sample.name for sample in samples if "worker" in sample.labels}
    if not service.has_workers:
        assert labelled == set()
        return
    gauges = {"anomaly_vae_queue_rows", "anomaly_vae_model_check_timestamp_seconds", "anomaly_vae_drift_log_detector"}
    assert gauges | {"anomaly_vae_caller_outstanding_rows", "process_cpu_seconds_total"} <= labelled
    facts = {"share", "refused", "info", "loaded_timestamp_seconds"}
    facts = {f"anomaly_vae_model_{fact}" for fact in facts} | {"anomaly_vae_calibration_rows"}
    facts |= {"anomaly_vae_threshold_nats", "anomaly_vae_expected_anomaly_ratio", "anomaly_vae_rows_total"}
    assert facts & labelled == set()
    assert facts <= {sample.name for sample in samples}


def test_prometheus_knows_no_other_rules_and_all_of_them_work(served):
    _, _, prometheus = served
    found = []

    def evaluated():
        found[:] = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        return all(rule["health"] != "unknown" for rule in found)

    eventually(evaluated)
    assert len(found) >= 50
    assert [(rule["name"], rule["lastError"]) for rule in found if rule["health"] != "ok"] == []


def test_the_autoscalers_metric_has_a_value_for_each_pod(served):
    """The adapter fills these templates for the pods of a namespace."""
    _, _, prometheus = served
    (rule,) = yaml.safe_load(text_of(KUBERNETES / "prometheus-adapter.yaml"))["rules"]["custom"]
    series, _, labels = rule["seriesQuery"].partition("{")
    query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", f'namespace="anomaly-vae",{labels.rstrip("}")}')
    eventually(lambda: prometheus.values(query))
    (found,) = prometheus.get("/api/v1/query", query=query)["result"]
    assert found["metric"] == {"pod": "anomaly-vae-0"}
    assert 0 <= float(found["value"][1]) < 1


def test_every_variable_has_values(served):
    _, _, prometheus = served
    for name in ("job", "instance", "model_name", "model_version"):
        definition = VARIABLES[name]["query"]["query"]
        query, label = re.fullmatch(r"label_values\((.+), (\w+)\)", definition).groups()
        found = prometheus.get("/api/v1/series", **{"match[]": as_prometheus_sees(query)})
        assert {series[label] for series in found} - {""}, name
        assert definition == VARIABLES[name]["definition"]


def test_the_dashboard_is_the_one_of_its_panels():
    assert text_of(DASHBOARD) == dashboard_text(), "run `make rules`"


def test_panels_have_their_own_place_and_number():
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len({panel["title"] for panel in BOARD["panels"]}) == len(numbers)


def test_every_query_names_its_data_source_and_only_variables_that_exist():
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$(\w+)", "".join(QUERIES))) - {"__rate_interval"}
    assert used == set(VARIABLES) - {"datasource"}


def test_compose_gives_grafana_the_dashboard_and_its_prometheus():
    compose = yaml.safe_load(text_of(ROOT / "deploy" / "compose.yaml"))["services"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"] if volume.startswith("./"))
    for source in mounts:
        assert (ROOT / "deploy" / source).exists(), source
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load(text_of(provisioning / "dashboards" / "anomaly_vae.yml"))["providers"]
    assert mounts["./grafana/dashboard.json"] == f"{provider['options']['path']}/anomaly_vae.json"
    (source,) = yaml.safe_load(text_of(provisioning / "datasources" / "prometheus.yml"))["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()
    assert f"127.0.0.1:{port}:{port}" in compose[host]["ports"]
    assert all(port.startswith("127.0.0.1:") for service in compose.values() for port in service["ports"])
