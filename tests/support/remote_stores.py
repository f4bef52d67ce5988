"""Remote storage for tests: in memory, a server like Amazon S3's, and a web server with TLS."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import subprocess
import threading
import urllib.request
from functools import partial

from anomaly_vae.errors import BundleError, RemoteError
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.objects import ObjectFolder
from anomaly_vae.remote.store import Found, NotThere
from tests.support.certificates import Authority
from tests.support.other_clients import python_of, require_client

__all__ = ["MemoryStore", "bucket_server", "files_of", "make_bucket", "put_objects", "web_server"]

_MOTO = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()  # ends with the tests
"""

# Long ago, nanoseconds since 1970: the time of a change that a mirror trusts.
OLD = 10**18


class MemoryStore:
    """A store in memory that counts what is read, and fails on demand.

    Attributes:
        data: Bytes by path.
        changed: Times of changes by path, nanoseconds; where none is given, long ago.
        reads: Paths, as they were read.
        fault: Raised by every use, if there is one.
        before_read: Called with the path before each read.
    """

    def __init__(self, data=None, url="s3://bucket/models", lists=True):
        self.address = parse_address(url)
        self.data = dict(data or {})
        self.changed, self.reads, self.fault, self.lists = {}, [], None, lists
        self.before_read = lambda path: None

    def put(self, folder, model_path):
        for name, data in files_of(model_path).items():
            self.data[f"{folder}/{name}" if folder else name] = data

    def files(self):
        self._check()
        if not self.lists:
            return None
        return [Found(path, len(data), self.changed.get(path, OLD)) for path, data in self.data.items()]

    def read(self, path, limit):
        self._check()
        self.reads.append(path)
        self.before_read(path)
        if path not in self.data:
            raise NotThere(f"{self.address}/{path}: there is no such file")
        if len(self.data[path]) > limit:
            raise BundleError(f"{path}: over {limit} bytes")
        return self.data[path]

    def write(self, path, data):
        self._check()
        self.data[path] = data

    def delete(self, path):
        self.data.pop(path, None)

    def _check(self):
        if self.fault is not None:
            raise RemoteError(self.fault)


def files_of(model_path):
    """The bytes of a bundle's files by name."""
    return {path.name: path.read_bytes() for path in model_path.iterdir()}


@contextlib.contextmanager
def bucket_server():
    """Yield HOST:PORT of a server like Amazon S3's."""
    require_client("moto", "import moto.server")
    command = [python_of("moto"), "-c", _MOTO]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()  # it has nothing to save


def make_bucket(server, name):
    request = urllib.request.Request(f"http://{server}/{name}", method="PUT")
    urllib.request.urlopen(request).close()  # noqa: S310


def put_objects(bucket, **objects):
    """Write objects by their names; texts as UTF-8. The environment names the server."""
    folder = ObjectFolder(parse_address(f"s3://{bucket}"))
    for name, data in objects.items():
        folder.write(name, data.encode() if isinstance(data, str) else data)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, replies, seen, *arguments):
        self._replies, self._seen = replies, seen
        super().__init__(*arguments)

    def do_GET(self):
        self._seen.append(self.path)
        reply = self._replies.get(self.path, (404, {}, b""))
        if callable(reply):
            reply(self)
            return
        status, headers, body = reply
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Print nothing."""


@contextlib.contextmanager
def web_server(replies, folder, *, tls=True):
    """Yield HOST:PORT of a web server, and the paths that it was asked for, in order.

    Args:
        replies: (status, headers, body) by path, or what answers a request handler.
        folder: Where its authority is written to, as ca.pem.
        tls: Whether it speaks https.
    """
    seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, replies, seen))
    server.daemon_threads = True
    if tls:
        authority = Authority()
        (folder / "ca.pem").write_bytes(authority.pem)
        key, certificate = authority.issue()
        (folder / "server.pem").write_bytes(key + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # clients that do not trust it
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
