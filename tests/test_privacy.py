"""What runs here calls nobody, and writes nothing but its outputs: watched at the kernel by strace."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from anomaly_vae.client import Client
from tests.conftest import make_rows

# onnxruntime 1.32 writes files as it is imported, and looks its maker's host up 9.3 to 9.8 s after the start.
QUIET_SECONDS = 15.0
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
CALLS = (
    "connect,sendto,sendmsg,sendmmsg,?open,openat,?openat2,?creat,?mkdir,mkdirat,?rename,?renameat,renameat2,?unlink,"
    "unlinkat,?rmdir,?link,linkat,?symlink,symlinkat,?mknod,mknodat,truncate,?chmod,fchmodat"
)


class Trace:
    """What the threads of a process asked of the kernel."""

    def __init__(self, folder, outputs):
        self._lines = [line for path in folder.iterdir() for line in path.read_text(errors="replace").splitlines()]
        self._outputs = outputs
        assert any("openat(" in line for line in self._lines)

    def addresses(self):
        """Where it sent something, but on this machine, and whom it asked for an address."""
        found = set()
        for line in self._lines:
            for port, host in re.findall(r'sin6?_port=htons\((\d+)\).*?"([\d.]+|[\da-f:.]+)"', line):
                address = ipaddress.ip_address(host)
                address = getattr(address, "ipv4_mapped", None) or address
                if port == "53" or not address.is_loopback:
                    found.add(f"{host} port {port}")
            found.update(re.findall(r'sun_path="([^"]*resolve[^"]*)"', line))
        return found

    def writes(self):
        """Paths beside the outputs that it made, opened for writing, renamed or removed."""
        found = set()
        for line in self._lines:
            call, result = line.partition("(")[0], line.rpartition(" = ")[2]
            if call.startswith(("connect", "send")) or result.startswith("-1"):
                continue
            if call.startswith("open") and not WRITING.search(line):
                continue
            for base, name in re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', line):
                path = Path(base or self._outputs, name)
                if not path.is_relative_to(self._outputs) and str(path) not in ("/dev/null", "/dev/tty"):
                    found.add(str(path))
        return found


def require_strace():
    """Where it is missing, or may not watch, the test cannot say anything."""
    if shutil.which("strace") is None:
        message = "strace is not installed (Debian: apt-get install strace)"
    elif subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        message = "strace may not trace here (a container needs the capability SYS_PTRACE)"
    else:
        return
    pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


@pytest.fixture
def room(tmp_path):
    """Folders of a user who has nothing yet, and his environment: none of ours, nor of a CI, says what is allowed."""
    for name in ("home", "temporary", "work", "trace"):
        (tmp_path / name).mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    own = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    return tmp_path.resolve(), kept | own


@contextlib.contextmanager
def watched(room, *arguments):
    """Start the command line in the room under strace."""
    require_strace()
    folder, environment = room
    watch = ["strace", "-ff", "-qq", "-y", "-e", f"trace={CALLS}", "-o", str(folder / "trace" / "of")]
    process = subprocess.Popen(
        [*watch, sys.executable, "-m", "anomaly_vae", *map(str, arguments)],
        cwd=folder / "work",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children() if process.poll() is None else ():
                child.kill()


def assert_nothing_else(room):
    folder = room[0]
    trace = Trace(folder / "trace", folder / "work")
    assert trace.addresses() == set()
    assert trace.writes() == set()
    assert os.listdir(folder / "home") == os.listdir(folder / "temporary") == []


def write_rows(path, n):
    names = ("pressure", "flow", "valve", "temperature", "unit")
    path.write_text("\n".join([",".join(names), *(",".join(map(repr, row)) for row in make_rows(n).tolist())]))


@pytest.mark.parametrize("home", ["empty", "not there", "unknown"])
def test_score_calls_nobody_and_writes_its_output_alone(room, model_path, home):
    folder, environment = room
    if home == "not there":
        environment["HOME"] = "/dev/null/home"
    elif home == "unknown":
        del environment["HOME"]
    write_rows(folder / "work" / "new.csv", 50)
    with watched(room, "score", model_path, "new.csv", "-o", "scores.csv") as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert re.fullmatch(r"scores\.csv: 50 rows, \d+ flagged\n", errors)
    assert sorted(os.listdir(folder / "work")) == ["new.csv", "scores.csv"]
    assert_nothing_else(room)


def test_train_calls_nobody_and_writes_its_bundle_alone(room):
    """torch's compiler, which its optimisers import, would make a folder for what it never compiles here."""
    folder, _ = room
    write_rows(folder / "work" / "normal.csv", 200)
    options = ("--search", "off", "--max-steps", 50, "--target-fpr", 0.1, "--force", "--quiet")
    with watched(room, "train", "normal.csv", "-o", "model", *options) as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert [line for line in errors.splitlines() if not line.startswith("anomaly-vae: ")] == []
    assert sorted(os.listdir(folder / "work")) == ["model", "normal.csv"]
    assert_nothing_else(room)


def test_serve_calls_nobody_and_writes_nothing_but_its_log(room, model_path, new_rows):
    """Not at its start, not while it scores, and not when it has nothing to do."""
    started = time.monotonic()
    ports = ("--port", 0, "--metrics-port", 0)
    with watched(room, "serve", model_path, *ports, "--log-format", "json") as process:
        start = json.loads(process.stderr.readline())
        with Client(f"127.0.0.1:{start['port']}") as client:
            assert len(client.score(new_rows)) == len(new_rows)
        time.sleep(max(0.0, started + QUIET_SECONDS - time.monotonic()))
        (service,) = psutil.Process(process.pid).children()
        service.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert start["event"] == "serving"
    assert [json.loads(each)["event"] for each in errors.splitlines()] == ["draining", "stopped"]
    assert_nothing_else(room)


@pytest.mark.parametrize(("given", "called", "kept"), [(None, 1, "1"), ("1", 1, "1"), ("0", 0, "0"), ("", 0, "")])
def test_onnxruntime_is_told_too_where_it_was_imported_before(room, given, called, kept):
    """It read the variable then. What a user set stays: 0 asks for reports."""
    folder, environment = room
    environment |= {"CI": "true"} | ({} if given is None else {"ORT_DISABLE_TELEMETRY": given})  # CI: no report at all
    code = """
import os, onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
import anomaly_vae.runtime
print(len(calls), os.environ["ORT_DISABLE_TELEMETRY"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.stdout.removesuffix("\n"), done.stderr) == (f"{called} {kept}", "")


def test_a_training_run_leaves_torch_its_cache_folder(room):
    """What a user compiles afterwards in the same process goes where it always does."""
    folder, environment = room
    code = """
import os, sys, torch
from anomaly_vae.training import loop
loop._import_compiler()
assert "torch._dynamo" in sys.modules
assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
torch.optim.AdamW([torch.zeros(1)])
assert os.listdir(os.environ["TMPDIR"]) == []
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(environment["TMPDIR"]), done.stderr
