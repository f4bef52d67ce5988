"""Requests over HTTP share the queue, limits, tokens, certificate, log, metrics and drain of gRPC."""

import contextlib
import http.client
import json
import os
import signal
import ssl
import threading

import numpy as np
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.access.token_file import add_token, make_token
from anomaly_vae.service.settings import ServeConfig
from tests.support.callers import CALLER, EVERYWHERE, SAMPLED, TRACE, stopped_log
from tests.support.certificates import Authority
from tests.support.data import make_rows
from tests.support.log_lines import calls_in, lines_of
from tests.support.rest import Wire, ask, infer, tensor_json
from tests.support.running import eventually, running, score, tensor

INFER = "/v2/models/model/infer"
ROUTE = "/v2/models/{model}/infer"


def slow_request(headers=b""):
    """The bytes of a request that takes many seconds."""
    rows = make_rows(16_000).astype("<f8")
    x = {"name": "x", "datatype": "FP64", "shape": list(rows.shape), "parameters": {"binary_data_size": rows.nbytes}}
    text = json.dumps({"inputs": [x], "parameters": {"num_samples": 2048}}).encode()
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    return head % (INFER.encode(), headers, len(text), len(text) + rows.nbytes) + text + rows.tobytes()


@pytest.fixture(scope="module")
def rest(model_path):
    with running(model_path, "--http-port", 0, "--max-message-bytes", 2_000_000) as service:
        yield service


def waiting(service):
    return service.metric("anomaly_vae_queue_rows")


def counted(service, code, route=ROUTE, method="POST"):
    return service.metric("anomaly_vae_http_requests_total", code=str(code), route=route, method=method)


def test_both_protocols_give_the_same_bits(rest, new_rows):
    with rest.channel() as channel:
        expected = score(channel, tensor=tensor(new_rows))
    outputs = {output["name"]: output["data"] for output in infer(rest.http_port, tensor_json(new_rows))[2]["outputs"]}
    for name in ("log_px", "elbo", "std_error", "p_value", "score"):
        assert np.array(outputs[name]).tobytes() == np.array(getattr(expected, name)).tobytes(), name
    assert outputs["is_anomaly"] == list(expected.is_anomaly)


def test_requests_rows_and_seconds_are_counted(rest, new_rows):
    good, bad = counted(rest, 200), counted(rest, 400)
    rows = rest.metric("anomaly_vae_rows_total", outcome="invalid")
    seconds = rest.metric("anomaly_vae_http_request_seconds_count", route=ROUTE)
    assert infer(rest.http_port, tensor_json(new_rows))[0] == 200
    assert infer(rest.http_port, tensor_json(new_rows[:, :2]))[0] == 400
    assert counted(rest, 200) == good + 1
    assert counted(rest, 400) == bad + 1
    assert rest.metric("anomaly_vae_rows_total", outcome="invalid") == rows + len(new_rows)
    assert rest.metric("anomaly_vae_http_request_seconds_count", route=ROUTE) == seconds + 2


def test_paths_of_nobody_are_counted_together(rest):
    for name in ("a", "b", "c"):
        assert ask(rest.http_port, "GET", f"/{name}")[0] == 404
    assert counted(rest, 404, "other", "other") >= 3
    page = rest.get("/metrics")[1]
    assert 'route="/a"' not in page


def test_a_deadline_ends_the_work(rest):
    with Wire(rest.http_port) as wire:
        wire.send(slow_request(b"X-Request-Timeout: 0.5\r\n"))
        status, _, body = wire.reply()
    assert (status, json.loads(body)["error"]) == (504, "the deadline passed before the rows were scored")
    eventually(lambda: waiting(rest) == 0)
    assert rest.metric("anomaly_vae_rejected_total", reason="deadline") >= 1
    assert rest.metric("anomaly_vae_caller_rejected_total", caller="-", reason="deadline") >= 1


def test_a_timeout_among_the_parameters_ends_it_too(rest):
    rows = make_rows(8_000)
    found = infer(rest.http_port, tensor_json(rows), parameters={"num_samples": 2048, "timeout": 300_000})
    assert (found[0], found[2]["error"]) == (504, "the request's timeout passed before the rows were scored")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "a", "1e9"])
def test_a_wrong_deadline_is_refused(rest, new_rows, text):
    status, _, body = infer(rest.http_port, tensor_json(new_rows[:1]), headers={"X-Request-Timeout": text})
    assert (status, body["field"]) == (400, "X-Request-Timeout")


def test_a_client_that_goes_cancels_its_work(rest):
    gone = rest.metric("anomaly_vae_http_requests_total") - counted(rest, 200)
    with Wire(rest.http_port) as wire:
        wire.send(slow_request())
        eventually(lambda: waiting(rest) == 16_000)
    eventually(lambda: waiting(rest) == 0)
    eventually(lambda: counted(rest, 499) >= 1)
    assert gone >= 0


@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({"Content-Length": "2000001"}, b"", 413, "body"),
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b", 415, "Content-Encoding"),
        ({}, b"[" * 1_000_000, 400, "body"),
        ({}, b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,5],"data":[1,2,3,4,NaN]}]}', 400, "body"),
        (
            {},
            b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,5],"data":[1,2,3,4,1e999]}]}',
            400,
            "inputs[0].data",
        ),
        ({"Authorization": "a", "Content-Type": "text/plain"}, b"", 400, "body"),
    ],
)
def test_hostile_bodies_are_refused(rest, headers, body, status, field):
    found = ask(rest.http_port, "POST", INFER, body, headers)
    assert (found[0], found[2]["field"]) == (status, field)


def test_a_request_for_more_rows_than_allowed_is_refused_before_they_are_read(rest):
    status, _, body = infer(rest.http_port, {"name": "x", "datatype": "FP64", "shape": [10**9, 5], "data": [1]})
    assert (status, body["field"]) == (400, "inputs[0].shape")


def test_a_full_queue_says_when_to_come_back(model_path):
    options = ("--max-queue-rows", 16_000, "--max-rows", 16_000, "--http-port", 0)
    with running(model_path, *options) as service, Wire(service.http_port) as wire:
        wire.send(slow_request())
        eventually(lambda: waiting(service) == 16_000)
        status, headers, body = infer(service.http_port, tensor_json(make_rows(1)))
        assert (status, int(headers["Retry-After"]) >= 1) == (429, True)
        assert "16000 rows are waiting, at most 16000 may" in body["error"]
        assert 0 < body["retry_after"] <= 30


def test_too_many_calls_are_refused_before_their_body_is_read(model_path):
    with running(model_path, "--max-calls", 1, "--http-port", 0) as service, Wire(service.http_port) as wire:
        wire.send(slow_request())
        eventually(lambda: waiting(service) == 16_000)
        with Wire(service.http_port) as other:
            other.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" % INFER.encode())
            assert other.reply()[0] == 429
        assert ask(service.http_port, "GET", "/v2/health/live")[0] == 200


def test_bodies_that_never_end_share_the_room_of_the_queue_by_address(model_path):
    """Otherwise they could take all memory. Another address still gets in."""
    options = ("--http-port", 0, "--max-message-bytes", 100_000, "--max-queue-bytes", 800_000)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 99000\r\n\r\n" % INFER.encode()
    with running(model_path, *options) as service, contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(Wire(service.http_port, source="127.0.0.2")).send(head + bytes(98_000))
        eventually(lambda: counted(service, 429) >= 5)
        assert infer(service.http_port, tensor_json(make_rows(500)))[0] == 200
        assert service.metric("anomaly_vae_rejected_total", reason="queue_full") >= 5
        assert service.metric("anomaly_vae_caller_rejected_total", caller="-", reason="queue_full") >= 5


def test_calls_need_a_token_and_probes_do_not(model_path, tmp_path, new_rows):
    token, tokens = make_token(), tmp_path / "tokens"
    add_token(tokens, "billing", token)
    with running(model_path, "--http-port", 0, "--token-file", tokens) as service:
        port, x = service.http_port, tensor_json(new_rows[:1])
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
            status, found, body = infer(port, x, headers=headers)
            assert (status, found["WWW-Authenticate"]) == (401, "Bearer")
            assert "anomaly-vae token NAME" in body["error"]
            assert ask(port, "GET", "/v2/models/model", headers=headers)[0] == 401
        assert infer(port, x, headers={"Authorization": f"Bearer {token}"})[0] == 200
        assert ask(port, "GET", "/v2/health/ready")[0] == ask(port, "GET", "/v2/health/live")[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for headers, expected in (({"Authorization": f"Bearer {token}"}, 200), ({}, 401)):  # each request needs its own
            connection.request("GET", "/v2/models/model", headers=headers)
            reply = connection.getresponse()
            assert (reply.status, len(reply.read()) > 0) == (expected, True)
        connection.close()
        assert service.metric("anomaly_vae_rejected_total", reason="unauthenticated") == 7


def test_the_certificate_is_that_of_grpc_and_replaced_without_a_restart(model_path, tmp_path, new_rows):
    old, new, clients = Authority("old"), Authority("new"), Authority("clients")

    def write(authority):
        for name, data in zip(("tls.key", "tls.crt"), authority.issue(), strict=True):
            (tmp_path / "part").write_bytes(data)
            (tmp_path / "part").chmod(0o600)
            (tmp_path / "part").replace(tmp_path / name)

    def status_by(authority, client=clients):
        context = ssl.create_default_context(cadata=authority.pem.decode())
        if client is not None:
            (tmp_path / "client.pem").write_bytes(b"".join(client.issue("client")))
            context.load_cert_chain(tmp_path / "client.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", service.http_port, context=context, timeout=30)
        try:
            connection.request("POST", INFER, json.dumps({"inputs": [tensor_json(new_rows[:2])]}))
            return connection.getresponse().status
        except (ssl.SSLError, ConnectionError) as error:
            return type(error)
        finally:
            connection.close()

    write(old)
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    files = ("--tls-cert", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key")
    with running(model_path, *files, "--tls-client-ca", tmp_path / "clients.pem", "--http-port", 0) as service:
        assert "HTTP on https://127.0.0.1:" in service.line
        assert status_by(old) == 200
        assert status_by(old, client=None) != 200
        assert status_by(old, client=old) != 200
        write(new)
        assert status_by(new) == 200
        assert status_by(old) is ssl.SSLCertVerificationError
        (tmp_path / "clients.pem").write_bytes(old.pem)  # authorities are replaced, not added
        assert status_by(new, client=old) == 200
        assert status_by(new, client=clients) != 200
        (tmp_path / "tls.key").write_bytes(b"broken")
        assert status_by(new, client=old) == 200


def test_a_request_has_a_line_in_the_log_with_its_ids_and_no_values(model_path):
    headers = {"X-Request-Id": "by-header", "traceparent": SAMPLED}
    bad = {"name": "x", "datatype": "FP64", "shape": [1, 5], "data": [31337.0625, 1, 2, 3]}
    with running(model_path, "--http-port", 0, "--log-format", "json") as service:
        assert infer(service.http_port, bad, headers=headers)[0] == 400
        assert infer(service.http_port, bad, id="r-17")[0] == 400
        assert infer(service.http_port, tensor_json(make_rows(2)))[0] == 200
        assert ask(service.http_port, "GET", "/31337?0625")[0] == 404
        assert service.stop() == 0
        lines = lines_of(service)
    assert "31337" not in json.dumps(lines)
    first, second, lost = calls_in(lines)
    assert (first["http_method"], first["http_route"], first["http_code"]) == ("POST", ROUTE, 400)
    assert (first["request_id"], first["trace_id"], first["parent_span_id"]) == ("by-header", TRACE, CALLER)
    assert (first["level"], "grpc_code" in first, first["model_version"]) == ("info", False, "1")
    assert second["request_id"] == "r-17"
    assert (lost["http_route"], lost["http_code"]) == ("other", 404)
    assert next(line for line in lines if line["event"] == "http_listening")["http_port"] == service.http_port


def test_sigterm_answers_what_was_admitted_and_refuses_the_rest(model_path, scorer):
    rows = make_rows(1_000, seed=8)
    with running(model_path, "--grace", 300, "--http-port", 0) as service:
        replies = []
        thread = threading.Thread(target=lambda: replies.append(infer(service.http_port, tensor_json(rows))))
        with Wire(service.http_port) as idle, Wire(service.http_port) as silent:
            idle.send(b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
            idle.reply()
            thread.start()
            eventually(lambda: waiting(service) == 1_000)
            service.process.send_signal(signal.SIGTERM)
            eventually(lambda: service.get("/readyz") == (503, "draining\n"))
            assert idle.is_closed()
            assert silent.is_closed()
        status, headers, body = infer(service.http_port, tensor_json(rows[:1]))
        assert (status, headers["Connection"]) == (503, "close")
        assert int(headers["Retry-After"]) >= 1
        assert "the server is shutting down" in body["error"]
        assert ask(service.http_port, "GET", "/v2/health/ready")[0] == 503
        assert ask(service.http_port, "GET", "/v2/models/model/ready")[0] == 503
        assert ask(service.http_port, "GET", "/v2/health/live")[0] == 200
        thread.join(100)
        assert service.process.wait(60) == 0
    assert replies[0][0] == 200
    assert np.array(replies[0][2]["outputs"][0]["data"]).tobytes() == scorer.score(rows).log_px.tobytes()


def test_requests_that_outlast_the_grace_are_cut_off(model_path):
    with running(model_path, "--grace", "0.5", "--http-port", 0) as service, Wire(service.http_port) as wire:
        wire.send(slow_request())
        eventually(lambda: waiting(service) == 16_000)
        assert service.stop(timeout=100) == 1
        status, _, body = wire.reply()
        assert (status, "its grace is over" in json.loads(body)["error"]) == (503, True)


def test_bodies_that_never_end_do_not_delay_the_end(model_path):
    with running(model_path, "--grace", 300, "--http-port", 0) as service, Wire(service.http_port) as wire:
        wire.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc" % INFER.encode())
        ask(service.http_port, "GET", "/v2/health/live")
        assert service.stop(timeout=30) == 0
        assert wire.is_closed()


def test_a_client_that_does_not_read_its_replies_loses_its_connection(model_path):
    """The replies are more than the kernel buffers, so that one of them waits."""
    data = json.dumps({"inputs": [tensor_json(make_rows(16_000))], "parameters": {"num_samples": 16}}).encode()
    request = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(data)) + data
    with running(model_path, "--http-port", 0, "--reply-timeout", "0.5") as service:
        with Wire(service.http_port) as wire, pytest.raises(ConnectionError):
            wire.send(request * 20)
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"http_port": 50051}, "port and http_port are both 50051"),
        ({"http_port": 9464}, "metrics_port and http_port are both 9464"),
        ({"http_port": 8000, "http_host": EVERYWHERE}, "http_host 0.0.0.0 is reachable from other machines"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused(model_path, options, message):
    with pytest.raises(ConfigError, match=message):
        ServeConfig(model=model_path, **options)


def test_plaintext_beyond_loopback_is_possible_and_tokens_in_it_cause_a_warning(model_path, tmp_path):
    ServeConfig(model=model_path, http_host=EVERYWHERE)  # not used without http_port
    add_token(tmp_path / "tokens", "billing", make_token())
    options = ("--http-port", 0, "--http-host", EVERYWHERE, "--insecure-listen", "--token-file", tmp_path / "tokens")
    with running(model_path, *options) as service:
        assert "tokens travel in plaintext on 0.0.0.0" in stopped_log(service)


def test_a_port_in_use_stops_the_start(run_cli, model_path, rest):
    environment = ("--port", 0, "--metrics-port", 0)
    done = run_cli("serve", model_path, *environment, "--http-port", rest.http_port, code=4)
    assert f"cannot listen on 127.0.0.1, port {rest.http_port}, for HTTP".encode() in done.stderr


def test_without_the_option_nothing_of_it_is_there(service):
    assert service.http_port is None
    assert "anomaly_vae_http" not in service.get("/metrics")[1]
    assert "HTTP on" not in service.line
    assert os.environ.get("ANOMALY_VAE_HTTP_PORT") is None
