"""Links lead somewhere, names exist, and tables list what the code has."""

import importlib
import re
import tomllib

import pytest

from anomaly_vae.arrow.results import CONTRAST, OUTPUT_SCHEMA
from anomaly_vae.bundle.contents import CONTRAST_GRAPH, SIGNATURE
from anomaly_vae.bundle.file_arrays import CONTRAST_ARRAY
from anomaly_vae.bundle.manifest import graph_names
from anomaly_vae.errors import AnomalyVaeError
from tests.support.documents import (
    PAGES,
    ROOT,
    anchors_of,
    blocks_of,
    codes_of,
    inline_code_of,
    links_of,
    name_of,
    table_of,
    text_of,
)

DOCS = ROOT / "docs"
LINKED = [*PAGES, ROOT / "deploy" / "runbook.md", ROOT / "CHANGELOG.md"]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in links_of(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the project"
        assert not anchor or anchor in anchors_of(target), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_list_of_pages():
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links_of(DOCS / "README.md")}
    assert {page for page in PAGES if page.parent == DOCS} - {DOCS / "README.md"} <= listed


def test_the_first_page_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 130


@EVERY_PAGE
def test_every_path_that_a_page_names_exists(page):
    paths = [
        code
        for code in inline_code_of(page)
        if re.fullmatch(r"(anomaly_vae|tests|deploy|proto|docs|\.\w+)/[\w./-]+", code)
    ]
    assert not [path for path in paths if not (ROOT / path).exists() and "NAME" not in path]


@EVERY_PAGE
def test_every_module_that_a_page_names_exists(page):
    named = re.findall(r"(?:python -m |`)((?:anomaly_vae|tests)(?:\.\w+)+)", text_of(page))
    for name in named:
        if not name.startswith("anomaly_vae.v1"):  # the package of the protos
            assert _exists(name), f"no module, class or function is named {name}"


def _exists(name):
    """Whether it is a module, or an attribute of one."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        try:
            return hasattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError:
            return False
    return True


@EVERY_PAGE
def test_every_target_of_make_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    lines = [line for block in blocks_of(page) if block.language == "sh" for line in block.source.splitlines()]
    named = [re.match(r"make (?:\w+=\S+ )?([a-z-]+)", code) for code in [*inline_code_of(page), *lines]]
    assert {found[1] for found in named if found} <= targets


def test_the_table_of_scores_lists_the_columns_of_the_output():
    listed = codes_of([row[0] for row in table_of(DOCS / "scores.md", "Columns")])
    assert sorted(listed) == sorted([*OUTPUT_SCHEMA.names, CONTRAST.name])


def test_the_table_of_exit_codes_lists_those_of_the_errors():
    listed = {int(row[0]) for row in table_of(DOCS / "guide.md", "Exit codes")}
    assert {error.exit_code for error in [AnomalyVaeError, *AnomalyVaeError.__subclasses__()]} <= listed


def test_the_table_of_metrics_lists_what_the_service_has(service):
    """With the metrics of TLS, of HTTP, of a second threshold and of workers, which not every service has."""
    listed = set(codes_of([row[0] for row in table_of(DOCS / "operations.md", "Metrics")]))
    types = re.findall(r"^# TYPE (\S+) \w+$", service.get("/metrics")[1], re.MULTILINE)
    ours = {name for name in types if name.startswith(("anomaly_vae_", "grpc_"))}
    others = {"anomaly_vae_tls_certificate_expiry_timestamp_seconds", "anomaly_vae_upper_threshold_nats"}
    others |= {"anomaly_vae_http_requests_total", "anomaly_vae_http_request_seconds"}
    others |= {"anomaly_vae_workers", "anomaly_vae_worker_up", "anomaly_vae_worker_restarts_total"}
    assert listed == ours | others


def test_the_table_of_files_lists_those_of_a_bundle(model_path):
    listed = set(codes_of([row[0] for row in table_of(DOCS / "bundle.md", "The bundle")]))
    of_images = {CONTRAST_GRAPH, CONTRAST_ARRAY}
    further = set(graph_names(2)) - set(graph_names(1)) | of_images | {SIGNATURE}
    assert listed - {path.name for path in model_path.iterdir()} == further
    assert {path.name for path in model_path.iterdir()} <= listed


def test_the_layers_of_imports_are_those_that_are_checked():
    rules = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in rules if rule["containers"] == ["anomaly_vae"])
    shown = [block.source.splitlines() for block in blocks_of(DOCS / "architecture.md") if block.language == "text"]
    assert layers in shown


def test_hooks_run_the_locked_version_of_ruff():
    locked = re.search(r"^ruff==(\S+)$", text_of(ROOT / "requirements.lock"), re.MULTILINE)
    hooks = re.findall(r'"ruff==([^"]+)"', text_of(ROOT / ".pre-commit-config.yaml"))
    assert set(hooks) == {locked[1]}


def test_the_workflow_runs_what_must_pass():
    workflow = text_of(ROOT / ".github" / "workflows" / "ci.yml")
    assert re.search(r"^      - run: \.ci/run$", workflow, re.MULTILINE)
    image = re.search(r"^FROM python:(\d+\.\d+)", text_of(ROOT / "deploy" / "Dockerfile"), re.MULTILINE)
    assert f'python-version: "{image[1]}"' in workflow, "some tests need the CPython of the image"
