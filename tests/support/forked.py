"""The program in processes of its own that import nothing: each is forked from one that has imported everything.

A process that is started spends up to three seconds on imports. :func:`tests.support.command_line.cli`, ``run_cli`` and
:func:`tests.support.running.running` use forked ones, as do the examples of the documentation; the image, and tests of
imports, environments and signals start real ones.
"""

import atexit
import gc
import os
import resource
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver, get_context
from pathlib import Path
from unittest.mock import patch

__all__ = ["Forked", "run_forked", "without_page_cache"]

_FROM = get_context("forkserver")
_FROM.set_forkserver_preload(
    [
        "anomaly_vae.batch.scoring",
        "anomaly_vae.cli.demo_table",
        "anomaly_vae.cli.image_training",
        "anomaly_vae.cli.series_training",
        "anomaly_vae.cli.serve",
        "anomaly_vae.cli.train",
        "anomaly_vae.client",
        "anomaly_vae.service.server",
        "anomaly_vae.training.images",
        "anomaly_vae.training.pipeline",
        "anomaly_vae.training.windows",
        "pytest",
        "torch._dynamo",
    ]
)

# What the program sets before these imports, since they read it.
_BEFORE_IMPORTS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "GRPC_VERBOSITY": "NONE"}


class Forked:
    """``anomaly-vae`` with some arguments, used like a :class:`subprocess.Popen` with pipes for both outputs.

    Attributes:
        stdout, stderr: Files to read from, of texts unless ``mode`` is "rb".
    """

    def __init__(self, arguments, folder=".", environment=None, prepare=None, mode="r", files=None):
        """Start it; ``prepare`` is called in it before the program runs.

        ``files`` are connections to its three standard files. Without them it gets pipes for both outputs.
        """
        pipes = [_FROM.Pipe(duplex=False) for _ in range(2)] if files is None else []
        files = files or [None, *(end for _, end in pipes)]
        environment = dict(os.environ if environment is None else environment)
        self._command = [*map(str, arguments)]
        self._process = _FROM.Process(
            target=_main,
            args=(self._command, str(Path(folder).resolve()), environment, _open_files(), prepare, files),
            name="MainProcess",  # in others, trainings have no companions
        )
        with patch.dict(os.environ, _BEFORE_IMPORTS):
            forkserver.ensure_running()
        self._process.start()
        for file in files:
            if file is not None:
                file.close()
        self.stdout, self.stderr = [os.fdopen(os.dup(each.fileno()), mode) for each, _ in pipes] or (None, None)
        for each, _ in pipes:
            each.close()
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._command, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Read those outputs that are open, wait for the end, and return what was read."""
        files = [each for each in (self.stdout, self.stderr) if not each.closed]
        with ThreadPoolExecutor(2) as threads:
            reading = [threads.submit(each.read) for each in files]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # so that there is an end to read
                raise
            found = [each.result() for each in reading]
        for each in files:
            each.close()
        return found


def run_forked(folder, arguments):
    """Run ``anomaly-vae`` in this folder; return the exit code and the bytes of both outputs."""
    process = Forked(arguments, folder, mode="rb")
    outputs = process.communicate(timeout=300)
    return process.returncode, *outputs


def without_page_cache():
    """Build the page of metrics for every reading; it may be a second old otherwise."""
    from anomaly_vae.service.http import metrics_page

    metrics_page._MIN_SECONDS_BETWEEN_RENDERS = 0.0


def _open_files():
    """Return the limits of open files, which a process that is started inherits as well."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _main(arguments, folder, environment, open_files, prepare, files):
    """What ``python -m anomaly_vae`` does, in a process that has the modules already."""
    for number, file in enumerate(files):
        os.dup2(os.open(os.devnull, os.O_RDONLY) if file is None else file.fileno(), number)
        if file is not None:
            file.close()
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    sys.argv = ["anomaly-vae", *arguments]
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_NOFILE, open_files)
    os.environ.clear()
    os.environ.update(environment)
    gc.freeze()  # a collection need not look at half a million objects of modules
    if prepare:
        prepare()
    try:
        runpy.run_module("anomaly_vae", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without them
