"""No command connects to another machine or writes other files than its outputs. strace records its system calls."""

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
from tests.support.data import make_rows

# onnxruntime 1.32 writes files when it is imported, and resolves the host of its maker 9.3 to 9.8 s after the start
# (measured).
QUIET_SECONDS = 15.0
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
CALLS = (
    "connect,sendto,sendmsg,sendmmsg,?open,openat,?openat2,?creat,?mkdir,mkdirat,?rename,?renameat,renameat2,?unlink,"
    "unlinkat,?rmdir,?link,linkat,?symlink,symlinkat,?mknod,mknodat,truncate,?chmod,fchmodat"
)


class Trace:
    """The system calls of all threads of a process."""

    def __init__(self, folder, outputs):
        self._lines = [line for path in folder.iterdir() for line in path.read_text(errors="replace").splitlines()]
        self._outputs = outputs
        assert any("openat(" in line for line in self._lines)

    def addresses(self):
        """Addresses outside of this machine that it sent data to, and name servers that it used."""
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
        """Paths other than the outputs that it created, opened for writing, renamed or removed."""
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
    """Skip the test if strace is missing or not allowed. In CI, fail instead."""
    if shutil.which("strace") is None:
        message = "strace is not installed (Debian: apt-get install strace)"
    elif subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        message = "strace may not trace here (a container needs the capability SYS_PTRACE)"
    else:
        return
    pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


@pytest.fixture
def room(tmp_path):
    """Empty folders of a user and an environment for them, without the variables of this process or of CI."""
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
def test_score_connects_nowhere_and_writes_only_its_output(room, model_path, home):
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


def test_train_connects_nowhere_and_writes_only_its_bundle(room):
    """The optimisers of torch import its compiler, which would create a cache folder although nothing is compiled."""
    folder, _ = room
    write_rows(folder / "work" / "normal.csv", 200)
    options = ("--search", "off", "--max-steps", 50, "--target-fpr", 0.1, "--force", "--quiet")
    with watched(room, "train", "normal.csv", "-o", "model", *options) as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert [line for line in errors.splitlines() if not line.startswith("anomaly-vae: ")] == []
    assert sorted(os.listdir(folder / "work")) == ["model", "normal.csv"]
    assert_nothing_else(room)


def test_serve_connects_nowhere_and_writes_only_its_log(room, model_path, new_rows):
    """At the start, while it scores, and while it is idle."""
    started = time.monotonic()
    ports = ("--port", 0, "--metrics-port", 0)
    with watched(room, "serve", model_path, *ports, "--log-format", "json") as process:
        loaded, start = (json.loads(process.stderr.readline()) for _ in range(2))
        assert (loaded["event"], start["event"]) == ("audit", "serving")
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
def test_telemetry_is_turned_off_even_if_onnxruntime_was_imported_before(room, given, called, kept):
    """It reads the variable when it is imported. A user's value is kept: 0 allows reports."""
    folder, environment = room
    environment |= {"CI": "true"} | ({} if given is None else {"ORT_DISABLE_TELEMETRY": given})  # CI: no report at all
    code = """
import os, onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
import anomaly_vae.density.runtime
print(len(calls), os.environ["ORT_DISABLE_TELEMETRY"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.stdout.removesuffix("\n"), done.stderr) == (f"{called} {kept}", "")


def test_a_training_run_leaves_torch_its_cache_folder(room):
    """What a user compiles later in the same process goes to the usual folder."""
    folder, environment = room
    code = """
import os, sys, torch
from anomaly_vae.training import optimiser
optimiser._import_compiler()
assert "torch._dynamo" in sys.modules
assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
torch.optim.AdamW([torch.zeros(1)])
assert os.listdir(os.environ["TMPDIR"]) == []
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(environment["TMPDIR"]), done.stderr
