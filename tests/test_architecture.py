"""The borders between packages, and the map from modules to their tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "anomaly_vae"
TESTS = ROOT / "tests"

# The most packages and root modules that the picture in docs/architecture.md can hold.
MOST_NODES = 32

# Folders of tests that go over the borders of modules.
WHOLE = {"benchmarks", "docs", "fuzz", "load", "support", "system"}

# Modules without a test file of their own, and the file whose tests fail when they are wrong.
TESTED_ELSEWHERE = {"density/member.py": "density/test_ensemble.py", "pages/records.py": "pages/test_report.py"}

# Test files that test no single module, and what they test.
TESTS_OF_MORE = {
    "test_architecture.py": "this file",
    "training/test_cyclic_columns.py": "a time of day, from training to scores",
    "training/test_rare_values.py": "rare and new values, from training to scores",
    "training/test_sklearn.py": "VAEDetector among scikit-learn's own estimators",
}


def modules() -> list[Path]:
    """Every module but packages' own and generated code, relative to the package."""
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    return sorted(path for path in found if path.name not in ("__init__.py", "__main__.py") and "pb" not in path.parts)


def test_every_module_has_a_test_file():
    """A change starts at tests/FOLDER/test_NAME.py for anomaly_vae/FOLDER/NAME.py; exceptions have names."""
    without = {str(path) for path in modules() if not (TESTS / path.with_name(f"test_{path.name}")).exists()}
    assert without == set(TESTED_ELSEWHERE)
    assert [name for name in TESTED_ELSEWHERE.values() if not (TESTS / name).exists()] == []


def test_every_test_file_has_the_name_of_its_module():
    known = {str(path.with_name(f"test_{path.name}")) for path in modules()}
    packages = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")} - {Path()}
    known |= {str(path.parent / f"test_{path.name}.py") for path in packages}  # what a package says by itself
    files = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    strange = {str(path) for path in files if path.parts[0] not in WHOLE and str(path) not in known}
    assert strange == set(TESTS_OF_MORE)


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("anomaly_vae", cache_dir=None)


def test_the_packages_and_root_modules_are_few_and_in_no_circle(graph):
    """Imports inside functions count: grimp reads the syntax tree, not what happens to run."""
    nodes = {".".join(name.split(".")[:2]) for name in graph.modules}
    assert len(nodes) <= MOST_NODES
    edges: dict[str, set[str]] = {node: set() for node in nodes}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            start, end = (".".join(name.split(".")[:2]) for name in (importer, imported))
            if start != end:
                edges[start].add(end)
    TopologicalSorter(edges).prepare()  # raises CycleError


# A module with a forbidden import in each package, by its name.
FORBIDDEN = {
    "density/new_of_density.py": "import torch",
    "columns/new_of_columns.py": "from anomaly_vae.density import tiles",
    "columns/newer_of_columns.py": "import pyarrow",
    "remote/new_of_remote.py": "from anomaly_vae.scorer import load",
    "remote/newer_of_remote.py": "import pyarrow",
    "bundle/new_of_bundle.py": "from anomaly_vae import VAEDetector",
    "service/queue/new_of_queue.py": "from anomaly_vae.service import server",
    "service/telemetry/new_of_telemetry.py": "from anomaly_vae.table import reader",
    "client/new_of_client.py": "from anomaly_vae.service import server",
    "training/new_of_training.py": "def f():\n    from anomaly_vae import batch",
    "cli/new_of_cli.py": "import onnxruntime",
    "batch/cluster/new_of_cluster.py": "import ray",
    "images/new_of_images.py": "from PIL import Image",
    "arrow/new_of_arrow.py": "from anomaly_vae.table import reader",
    "scorer/new_of_scorer.py": "from anomaly_vae.arrow import results",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package and its import rules, for modules that break them."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "anomaly_vae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def checked(folder):
    program = "from importlinter.cli import lint_imports_command as check; check()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_new_module_with_a_forbidden_import_fails_the_check(copy):
    """The rules cover whole packages: no list is edited for the new module to be guarded."""
    code, report = checked(copy)
    assert code == 0, report
    for name, line in FORBIDDEN.items():
        (copy / "anomaly_vae" / name).write_text(f"{line}\n")
    code, report = checked(copy)
    assert code == 1, report
    assert [name for name in FORBIDDEN if Path(name).stem not in report] == [], report
    for name in FORBIDDEN:
        (copy / "anomaly_vae" / name).unlink()


def test_a_new_module_at_the_root_needs_a_layer(copy):
    path = copy / "anomaly_vae" / "new_at_the_root.py"
    path.write_text("from anomaly_vae.errors import ConfigError\n")
    code, report = checked(copy)
    path.unlink()
    assert code == 1, report
    assert "new_at_the_root" in report
