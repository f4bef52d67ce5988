"""Clients of other projects, in environments of their own: whether they are there, and what they get from a service."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.running import running

ROOT = Path(__file__).parents[2]


def python_of(package):
    """The Python of the environment that `make test` makes for a package."""
    return ROOT / f".venv-{package}" / "bin" / "python"


def require_client(package, statement):
    """Skip where the statement fails in the package's environment, but never in CI."""
    python = python_of(package)
    if not (python.exists() and subprocess.run([python, "-c", statement], check=False).returncode == 0):
        message = f"no {package} at {python}: `make test` installs it, which needs a package registry"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


def ask_by(package, model_path, rows, folder, timeout, script="ask_by", over_http=False):
    """Run tests/support/SCRIPT_PACKAGE.py against a service; return its arrays by "call.output", and its facts.

    It gets the address of gRPC, or that of HTTP.
    """
    np.save(folder / "rows.npy", rows)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANOMALY_VAE_"))}
    with running(model_path, *(("--http-port", 0) if over_http else ())) as service:
        path = ROOT / "tests" / "support" / f"{script}_{package}.py"
        target = f"127.0.0.1:{service.http_port}" if over_http else service.target
        command = [python_of(package), path, target, folder]
        done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=timeout, check=False)
        assert done.returncode == 0, done.stderr
    with np.load(folder / "arrays.npz") as arrays:
        return dict(arrays), json.loads((folder / "facts.json").read_text())
