"""Runs the examples of a page one after the other, in a folder that has the files they name."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from tests.support.certificates import Authority
from tests.support.data import NAMES, make_rows
from tests.support.documents import ROOT, comment_before, text_of
from tests.support.forked_command import forked_command
from tests.support.remote_stores import bucket_server, make_bucket
from tests.support.running import running

# The addresses in the pages, and what they stand for: each service of the tests takes free ports.
RPC_ADDRESSES = ("127.0.0.1:50051", "scores.example.com:50051")
HTTP_ADDRESS = "127.0.0.1:9464"
REST_ADDRESS = "127.0.0.1:8000"

# A page shows the defaults; tests train for fewer steps, on the command line and in Python.
SHORT_TRAINING = ("--max-steps", "40")
SHORT_DETECTOR = ("VAEDetector(", "VAEDetector(max_steps=40, ")

_SIGNING = '#!/bin/sh\nexec {python} -m model_signing "$@"\n'


class Examples:
    """The examples of one page.

    Attributes:
        done: How many were run or, marked as not run, passed over.
    """

    def __init__(self, page: Path, folder: Path, bundle: Path, met: frozenset[str] = frozenset()) -> None:
        """Write the files that examples name. Examples that are not run elsewhere for the reasons in ``met`` run."""
        self.done = 0
        self._page = page
        self._folder = folder
        self._met = met
        self._replace: dict[str, str] = {}
        self._services = contextlib.ExitStack()
        self._prepare(bundle)

    def run(self) -> None:
        """Run all of them; a service that one starts runs until the next one starts, or the page ends."""
        runners = {"python": self._python, "sh": self._shell, "toml": _toml, "json": _json, "text": _nothing}
        sybil = Sybil(
            parsers=[CodeBlockParser(language, self._unless_marked(run)) for language, run in runners.items()]
        )
        command = forked_command(self._folder / "bin" / "anomaly-vae", [*SHORT_TRAINING])
        with self._services, command, contextlib.ExitStack() as stack:
            if "s3://" in text_of(self._page):
                self._give_bucket(stack.enter_context(bucket_server()), stack)
            for example in sybil.parse(self._page).examples():
                example.evaluate()

    def _give_bucket(self, server: str, stack: contextlib.ExitStack) -> None:
        """Let the bucket "models" be an empty one of this server, in the examples of all languages."""
        keys = {"AWS_ENDPOINT_URL": f"http://{server}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        stack.enter_context(patch.dict(os.environ, keys | {"XDG_CACHE_HOME": str(self._folder / "cache")}))
        make_bucket(server, "models")

    def _prepare(self, bundle: Path) -> None:
        normal = _table(500, seed=0)
        normal.to_csv(self._folder / "normal.csv", index=False)
        _table(75, seed=99).to_csv(self._folder / "new.csv", index=False)
        _table(400, seed=5).to_csv(self._folder / "january.csv", index=False)
        marked = normal.assign(is_fraud=0)
        odd = marked.sample(20, random_state=1).assign(is_fraud=1)
        odd[list(NAMES[:4])] += odd[list(NAMES[:4])].std()
        pd.concat([marked, odd]).to_parquet(self._folder / "history.parquet")
        if not re.search(r"^anomaly-vae train .* -o model\b(?!-)", text_of(self._page), re.MULTILINE):
            shutil.copytree(bundle, self._folder / "model")
        if "metrics.csv" in text_of(self._page):
            _series("2024-01-01", 700, seed=0).to_csv(self._folder / "metrics.csv", index=False)
            _series("2024-04-01", 60, seed=1).to_csv(self._folder / "new_metrics.csv", index=False)
        if "normal.npy" in text_of(self._page):
            np.save(self._folder / "normal.npy", _images(90, seed=0))
            np.save(self._folder / "new.npy", _images(12, seed=1))
            np.save(self._folder / "odd.npy", 255 - _images(12, seed=2))
        authority = Authority()
        (self._folder / "ca.pem").write_bytes(authority.pem)
        key, certificate = authority.issue()
        (self._folder / "tls.key").write_bytes(key)
        (self._folder / "tls.key").chmod(0o600)
        (self._folder / "tls.crt").write_bytes(certificate)
        (self._folder / "bin").mkdir()
        (self._folder / "bin" / "model_signing").write_text(_SIGNING.format(python=sys.executable))
        (self._folder / "bin" / "model_signing").chmod(0o755)

    def _unless_marked(self, run):
        def evaluate(example):
            self.done += 1
            what, value = comment_before(example.document.text, example.start)
            if what == "file":
                (self._folder / value).write_text(example.parsed)
            if what == "not run" and value not in self._met:
                return
            run(example)

        return evaluate

    def _python(self, example):
        source = "\n" * (example.line + example.parsed.line_offset) + self._real(example.parsed)
        code = compile(source.replace(*SHORT_DETECTOR), str(self._page), "exec", dont_inherit=True)
        exec(code, example.namespace)  # noqa: S102 (our own documentation)

    def _shell(self, example):
        """Run the lines by bash; a service is started in the background."""
        lines = self._real(example.parsed)
        serve = re.fullmatch(r"((?:\w+=\S+\s+(?:\\\n\s*)?)*)anomaly-vae serve (.*)\n?", lines)
        if serve:
            variables = dict(word.split("=", 1) for word in serve[1].replace("\\\n", " ").split())
            self._serve(serve[2].split("#")[0].split(), variables)
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{self._page}:\n{lines}{done.stdout}{done.stderr}"

    def _serve(self, options, variables):
        self._services.close()
        with contextlib.chdir(self._folder):
            options = ["0" if before == "--http-port" else word for before, word in pairwise(["", *options])]
            service = self._services.enter_context(running(*options, env=variables))
        self._services.callback(_stop, service)
        self._replace = dict.fromkeys(RPC_ADDRESSES, service.target) | {
            HTTP_ADDRESS: f"127.0.0.1:{service.metrics_port}",
            REST_ADDRESS: f"127.0.0.1:{service.http_port}",
        }

    def _real(self, source):
        for shown, real in self._replace.items():
            source = source.replace(shown, real)
        return source

    def _environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
        places = [str(ROOT), *own.get("PYTHONPATH", "").split(os.pathsep)]
        path = f"{self._folder / 'bin'}{os.pathsep}{own['PATH']}"
        return own | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _stop(service):
    assert service.stop() == 0, service.log()


def _toml(example):
    tomllib.loads(example.parsed)


def _json(example):
    json.loads(example.parsed)


def _nothing(example):
    """Plain text is read, not run."""


def _table(num_rows: int, seed: int) -> pd.DataFrame:
    """Rows with an id."""
    table = pd.DataFrame(make_rows(num_rows, seed), columns=list(NAMES))
    table.insert(0, "id", np.arange(num_rows))
    return table


def _series(start: str, num_steps: int, seed: int) -> pd.DataFrame:
    """Hourly steps of two series with two channels, of which one hour is missing."""
    rng = np.random.default_rng(seed)
    hours = np.arange(num_steps)
    parts = []
    for host, phase in (("north", 0.0), ("south", 1.0)):
        day = np.sin(2 * np.pi * hours / 24 + phase)
        load = 0.5 + 0.2 * day + 0.03 * rng.normal(size=num_steps)
        flow = 10 + 2 * day + 0.3 * rng.normal(size=num_steps)
        times = pd.date_range(start, periods=num_steps, freq="h")
        parts.append(pd.DataFrame({"time": times, "host": host, "load": load, "flow": flow}).drop(index=30))
    return pd.concat(parts)


def _images(count: int, seed: int) -> np.ndarray:
    """Grey images of 8 x 8 pixels with a bright square at some place."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, size=(count, 8, 8))
    for image, (y, x) in zip(images, rng.integers(0, 5, size=(count, 2)), strict=True):
        image[y : y + 4, x : x + 4] += rng.integers(150, 200)
    return images.astype(np.uint8)
