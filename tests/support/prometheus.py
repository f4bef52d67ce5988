"""A Prometheus that scrapes a service of a test."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus

import pytest
import yaml

from tests.support.documents import ROOT
from tests.support.ports import fixed_port
from tests.support.running import eventually

__all__ = ["Prometheus", "prometheus_of"]

# Short, so that a rate over a few seconds has several samples.
_INTERVAL = "500ms"


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port):
        self._port = port

    def get(self, path, **parameters):
        """Return the data of a reply, or None while Prometheus starts."""
        url = f"http://127.0.0.1:{self._port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        except OSError:
            return None

    def values(self, query):
        """Return the numbers that a query gives now, without NaN and infinity."""
        data = self.get("/api/v1/query", query=query)
        found = [float(series["value"][1]) for series in data["result"]] if data else []
        return [value for value in found if math.isfinite(value)]


@contextlib.contextmanager
def prometheus_of(service, folder, **labels):
    """Run Prometheus with our rules; ``labels`` are added to those of the service."""
    if shutil.which("prometheus") is None:
        message = "prometheus is not installed (Debian: apt-get install prometheus)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    target = {"targets": [f"127.0.0.1:{service.metrics_port}"], "labels": labels}
    rules = ROOT / "deploy" / "prometheus"
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": _INTERVAL, "scrape_timeout": _INTERVAL, "evaluation_interval": _INTERVAL},
                "rule_files": [str(rules / "recording.yml"), str(rules / "alerts.yml")],
                "scrape_configs": [{"job_name": "anomaly_vae", "static_configs": [target]}],
            }
        )
    )
    port = fixed_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(port)
            eventually(lambda: found.values("up") == [1])
            yield found
        finally:
            process.terminate()
