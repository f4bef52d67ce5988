"""Bundles on a web server with TLS."""

from __future__ import annotations

import contextlib
import time

import pytest

from anomaly_vae.errors import BundleError, ConfigError, RemoteError
from anomaly_vae.remote import web
from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.store import NotThere
from anomaly_vae.remote.web import WebFolder
from tests.support.remote_stores import web_server


@pytest.fixture
def replies():
    return {"/m/x": (200, {}, b"12345")}


@pytest.fixture
def server(replies, tmp_path, monkeypatch):
    with web_server(replies, tmp_path) as (place, seen):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield place, seen


@pytest.fixture
def store(server):
    return WebFolder(parse_address(f"https://{server[0]}/m"))


def redirect(to):
    return (302, {"Location": to}, b"")


def test_files_are_read_and_never_listed_or_written(store, server):
    assert store.read("x", 5) == b"12345"
    assert store.files() is None
    assert server[1] == ["/m/x"]
    for use in (lambda: store.write("x", b""), lambda: store.delete("x")):
        with pytest.raises(ConfigError, match=r"nothing can be written to https://; use s3://"):
            use()


def test_no_byte_beyond_the_limit_is_kept(store, replies):
    replies["/m/endless"] = endless
    for path in ("x", "endless"):
        with pytest.raises(BundleError, match=rf"/m/{path}: over 4 bytes"):
            store.read(path, 4)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(bytes(2**16))
    handler.close_connection = True


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_told_apart_from_faults(store, replies, status):
    replies["/m/none"] = (status, {}, b"")
    with pytest.raises(NotThere, match=f"the server answers {status}"):
        store.read("none", 1)


@pytest.mark.parametrize("status", [401, 500, 503])
def test_other_answers_are_faults(store, replies, status):
    replies["/m/x"] = (status, {}, b"secret")
    with pytest.raises(RemoteError, match=f"/m/x: the server answers {status}") as caught:
        store.read("x", 5)
    assert type(caught.value) is RemoteError
    assert "secret" not in str(caught.value)


def test_redirects_stay_with_https(store, server, replies):
    replies["/m/moved"] = redirect("/m/x")
    assert store.read("moved", 5) == b"12345"
    for target in ("http://127.0.0.1:1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"):
        replies["/m/moved"] = redirect(target)
        with pytest.raises(RemoteError, match=r"redirects to .*, which is not https|is not allowed"):
            store.read("moved", 5)
    replies["/m/moved"] = redirect("/m/moved")
    with pytest.raises(RemoteError, match=r"the server answers 302"):
        store.read("moved", 5)


def test_a_server_that_nobody_vouches_for_is_refused(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(RemoteError, match="CERTIFICATE_VERIFY_FAILED"):
        WebFolder(parse_address(f"https://{server[0]}/m")).read("x", 5)


def test_a_server_without_tls_is_refused(replies, tmp_path):
    with web_server(replies, tmp_path, tls=False) as (place, _), pytest.raises(RemoteError, match="SSL"):
        WebFolder(parse_address(f"https://{place}/m")).read("x", 5)


def test_a_body_that_breaks_off_is_a_fault(store, replies):
    replies["/m/x"] = (200, {"Content-Length": "9"}, b"12345")
    with pytest.raises(RemoteError, match=r"/m/x: .*(5 bytes arrived of 9|IncompleteRead)"):
        store.read("x", 9)


def test_a_server_that_drips_is_left(store, replies, monkeypatch):
    monkeypatch.setattr(web, "_LEAST_S", 0.05)
    monkeypatch.setattr(web, "_SLOWEST", 10**9)
    replies["/m/x"] = drip
    with pytest.raises(RemoteError, match=r"sends less than \d+ kB a second; stopped"):
        store.read("x", 10**6)


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.01)
    handler.close_connection = True


def test_a_server_that_says_nothing_is_left(store, replies, monkeypatch):
    monkeypatch.setattr(web, "_SILENCE_S", 0.1)
    replies["/m/x"] = lambda handler: time.sleep(1)
    with pytest.raises(RemoteError, match="timed out"):
        store.read("x", 5)


def test_a_server_that_is_down_is_a_fault():
    with pytest.raises(RemoteError, match=r"https://127\.0\.0\.1:1/m/x: .*refused"):
        WebFolder(parse_address("https://127.0.0.1:1/m")).read("x", 5)
