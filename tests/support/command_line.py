"""Runs the command line in processes of its own or in this one, and reads and writes the tables that it works on."""

import csv
import io
import subprocess
import sys
import time
import warnings

from click.testing import CliRunner

from anomaly_vae.cli import cli as group
from anomaly_vae.cli.reporting import explain, warn
from anomaly_vae.errors import AnomalyVaeWarning
from tests.support.data import NAMES
from tests.support.forked import run_forked

__all__ = ["cli", "in_process", "one_line", "read_csv", "start", "wait_for", "write_csv"]


def cli(path, *arguments, **options):
    """Run a command in a process of its own, in this folder; one with an environment or an input is a fresh one."""
    if not options:
        code, *outputs = run_forked(path, arguments)
        return subprocess.CompletedProcess(arguments, code, *(each.decode().replace("\r\n", "\n") for each in outputs))
    return subprocess.run(
        [sys.executable, "-m", "anomaly_vae", *map(str, arguments)],
        cwd=path, capture_output=True, text=True, timeout=300, check=False, **options,
    )  # fmt: skip


def in_process(*arguments):
    """Run a command in this process, which takes a tenth of the time; the result is that of :func:`cli`."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AnomalyVaeWarning)
        warnings.showwarning = warn
        done = CliRunner().invoke(group, [*map(str, arguments)], standalone_mode=False)
    code, errors = done.return_value or 0, done.stderr
    if done.exception is not None:
        text, code = explain(done.exception)
        errors += f"anomaly-vae: error: {text}\n"
    return subprocess.CompletedProcess(arguments, code, done.stdout, errors)


def write_csv(path, rows, extra=None, names=NAMES):
    extra = extra or {}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *extra])
        writer.writerows([*map(repr, map(float, row)), *more] for row, *more in zip(rows, *extra.values(), strict=True))


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def one_line(done, code, *parts):
    """The process failed as promised: the code, one line, everything named."""
    assert done.returncode == code, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("anomaly-vae: error: "), done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in line, line


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def start(path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "anomaly_vae", *map(str, arguments)], cwd=path, stderr=subprocess.PIPE, text=True
    )
