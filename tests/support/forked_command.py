"""A command for shells that runs ``anomaly-vae`` in forked processes, which import nothing: see :mod:`.forked`.

A shell starts a small script. It sends its arguments, folder, environment and standard files to the tests, and ends
with the code that comes back.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.forked import Forked

__all__ = ["forked_command"]

_SCRIPT = """\
#!{python} -IS
import json, os, socket, sys
words = sys.argv[1:]
if words[:1] == ["train"]:
    words += {training!r}
with socket.socket(socket.AF_UNIX) as tests:
    tests.connect({address!r})
    socket.send_fds(tests, [b"x"], [0, 1, 2])
    tests.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode())
    tests.shutdown(socket.SHUT_WR)
    sys.exit(int(tests.recv(16)))
"""


@contextlib.contextmanager
def forked_command(script: Path, training: list[str]):
    """Write the script, which adds arguments to ``train``, and answer it within the block."""
    address = str(script.with_suffix(".socket"))
    script.write_text(_SCRIPT.format(python=sys.executable, training=training, address=address))
    script.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        threading.Thread(target=_serve, args=(listening,), daemon=True).start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the end
        while True:
            shell, _ = listening.accept()
            threading.Thread(target=_run, args=(shell,), daemon=True).start()


def _run(shell: socket.socket) -> None:
    with shell:
        _, files, _, _ = socket.recv_fds(shell, 1, 3)
        with shell.makefile("rb") as request:
            words, folder, environment = json.load(request)
        process = Forked(words, folder, environment, files=[Connection(file) for file in files])
        shell.sendall(str(process.wait(300)).encode())
