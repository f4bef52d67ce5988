"""Bearer tokens, the file of their digests, and the command that makes them."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.token_file import add_token, make_token, token_line
from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.callers import Caller
from anomaly_vae.service.rpc.inference_servicer import INFERENCE
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from tests.support.callers import EVERYWHERE, QueueOfRequests, bearer, call, stopped_log
from tests.support.running import SERVING, assert_same_bits, fault_of, running

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "tokens"


def test_only_calls_with_a_known_token_are_answered(model_path, token_file, scorer, new_rows):
    token = make_token()
    add_token(token_file, "billing", token)
    too_long, strange = "x" * 4_000, "Bearer t\u00f6ken"
    with running(model_path, "--token-file", token_file) as service, service.channel() as channel:
        assert_same_bits(call(channel, new_rows, *bearer(token)), scorer.score(new_rows))
        assert_same_bits(call(channel, new_rows, ("authorization", f"bearer {token}")), scorer.score(new_rows))
        strangers = [
            (),
            bearer(make_token()),
            bearer(""),
            bearer(token[:-1]),
            bearer(token + "x"),
            bearer(too_long),
            bearer(token) * 2,
            (*bearer(make_token()), *bearer(token)),
            (("authorization", token),),
            (("authorization", f"Basic {token}"),),
            (("authorization", f"Bearer {token_line('billing', token).split(':')[1]}"),),
            (("x-authorization", f"Bearer {token}"),),
            (("authorization-bin", strange.encode()),),
        ]
        for metadata in strangers:
            code, details, _ = fault_of(call, channel, new_rows[:1], *metadata)
            assert code is UNAUTHENTICATED, metadata
            assert 'send the metadata "authorization: Bearer TOKEN"' in details
            assert token not in details
        assert service.metric("anomaly_vae_rejected_total", reason="unauthenticated") == len(strangers)
        labels = {"grpc_code": "Unauthenticated", "grpc_method": "Score"}
        assert service.metric("grpc_server_handled_total", **labels) == len(strangers)
        log = stopped_log(service)
    assert token not in log
    assert too_long not in log


def test_every_method_but_health_needs_the_token(model_path, token_file):
    token = make_token()
    add_token(token_file, "billing", token)
    with running(model_path, "--token-file", token_file) as service, service.channel() as channel:
        assert service.health() == service.health(SERVICE) == SERVING
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert next(watched).status == SERVING
        watched.cancel()
        for method in (f"/{SERVICE}/Score", f"/{SERVICE}/GetModel", f"/{INFERENCE}/ServerLive"):
            assert fault_of(channel.unary_unary(method), b"", timeout=10)[0] is UNAUTHENTICATED
        stream = channel.stream_stream(f"/{SERVICE}/ScoreStream")(iter([b""]), timeout=10)
        assert fault_of(next, stream)[0] is UNAUTHENTICATED
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        assert fault_of(next, ask(iter([request]), timeout=10))[0] is UNAUTHENTICATED
        names = next(ask(iter([request]), timeout=10, metadata=bearer(token)))
        assert SERVICE in {listed.name for listed in names.list_services_response.service}


def test_a_call_without_a_token_is_refused_before_its_message_is_read(model_path, token_file):
    """The message never ends: a server that reads it before the check would wait for ever."""
    add_token(token_file, "billing", make_token())
    with running(model_path, "--token-file", token_file) as service, service.channel() as channel:
        requests = QueueOfRequests()
        ask = channel.stream_unary(f"/{SERVICE}/Score")
        assert fault_of(ask, requests, timeout=10)[0] is UNAUTHENTICATED
        requests.put(None)


def test_tokens_are_added_and_revoked_without_a_restart(model_path, token_file, new_rows):
    first, second = make_token(), make_token()
    add_token(token_file, "first", first)
    with running(model_path, "--token-file", token_file) as service, service.channel() as channel:
        assert fault_of(call, channel, new_rows[:1], *bearer(second))[0] is UNAUTHENTICATED
        add_token(token_file, "second", second)
        for token in (first, second):
            assert len(call(channel, new_rows[:1], *bearer(token)).log_px) == 1
        token_file.write_text(token_line("second", second) + "\n")
        assert fault_of(call, channel, new_rows[:1], *bearer(first))[0] is UNAUTHENTICATED
        assert len(call(channel, new_rows[:1], *bearer(second)).log_px) == 1


def test_a_broken_token_file_keeps_the_old_one_and_an_empty_one_refuses_all(model_path, token_file, new_rows):
    token = make_token()
    add_token(token_file, "first", token)
    with running(model_path, "--token-file", token_file) as service, service.channel() as channel:
        token_file.write_text(f"{token_line('first', token)}\nsecond SECRET-TOKEN\n")
        for _ in range(3):
            assert len(call(channel, new_rows[:1], *bearer(token)).log_px) == 1
        token_file.unlink()
        assert len(call(channel, new_rows[:1], *bearer(token)).log_px) == 1
        token_file.write_text("# none\n")
        assert fault_of(call, channel, new_rows[:1], *bearer(token))[0] is UNAUTHENTICATED
        log = stopped_log(service)
    assert log.count("line 2: expected NAME sha256:HEX") == 1
    assert log.count("cannot be read: No such file") == 1
    assert log.count("holds no token: every call is refused") == 1
    for secret in ("SECRET", token):
        assert secret not in log


def test_any_metadata_gets_an_answer(token_file):
    token = make_token()
    add_token(token_file, "billing", token)
    tokens = Tokens(token_file)
    assert tokens.caller_of([("other", "x"), ("authorization", f"Bearer {token}")]) == Caller("billing")
    assert tokens.caller_of([("authorization", f"BEARER {token}".encode())]) == Caller("billing")
    for value in (
        "",
        "Bearer",
        "Bearer ",
        f"Bearer\t{token}",
        f"Bearer {token}\u00e9",
        b"\xff" * 8,
        " " * 600,
        "\ud800",
    ):
        assert tokens.caller_of([("authorization", value)]) is None
    assert tokens.caller_of([]) is None
    assert tokens.caller_of([("authorization", f"Bearer {token}"), ("authorization", "Bearer x")]) is None


def test_each_of_many_tokens_is_accepted(token_file):
    tokens = {f"client-{i}": make_token() for i in range(20)}
    for name, token in tokens.items():
        add_token(token_file, name, token)
    known = Tokens(token_file)
    assert [known.caller_of(bearer(token)).name for token in tokens.values()] == list(tokens)
    assert known.caller_of(bearer(make_token())) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no token; make one"),
        ("# nobody\n\n", "holds no token; make one"),
        ("billing SECRET\n", "line 1: expected NAME sha256:HEX"),
        (f"\na sha256:{'0' * 64}\nb sha256:{'0' * 63}\n", "line 3: expected NAME sha256:HEX"),
        (f"a sha512:{'0' * 64}\n", "line 1: expected NAME sha256:HEX"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}\n", "line 2: the name appears twice in the file"),
        ("\ud800SECRET", "line 1: expected NAME sha256:HEX"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_token_file_stops_the_start_and_is_not_repeated(token_file, content, text):
    if content is not None:
        token_file.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(StartupError, match=text) as caught:
        Tokens(token_file)
    assert "SECRET" not in str(caught.value)


def test_the_command_makes_a_token_that_the_service_knows(model_path, run_cli, tmp_path, new_rows):
    done = run_cli("token", "billing", "--file", "tokens")
    token = done.stdout.decode().strip()
    path = tmp_path / "tokens"
    assert token.startswith("avae_")
    assert len(token) > 40
    assert token not in path.read_text() + done.stderr.decode()
    assert path.stat().st_mode & 0o777 == 0o600
    environment = {"ANOMALY_VAE_TOKEN_FILE": str(path)}
    with running(model_path, env=environment) as service, service.channel() as channel:
        assert len(call(channel, new_rows[:1], *bearer(token)).log_px) == 1


def test_without_a_file_the_command_gives_the_line_for_it(run_cli):
    done = run_cli("token", "billing")
    token = done.stdout.decode().strip()
    assert done.stderr.decode().strip().endswith(token_line("billing", token))
    assert b"1 to 64 letters" in run_cli("token", "two words", code=2).stderr
    assert b"is a directory" in run_cli("token", "billing", "--file", ".", code=2).stderr
    assert b"create the folder first" in run_cli("token", "billing", "--file", "none/tokens", code=2).stderr


def test_tokens_in_plaintext_beyond_loopback_cause_a_warning(model_path, token_file):
    add_token(token_file, "billing", make_token())
    options = ("--host", EVERYWHERE, "--insecure-listen", "--token-file", token_file)
    with running(model_path, *options) as service:
        assert "tokens travel in plaintext on 0.0.0.0" in stopped_log(service)
    with running(model_path, "--token-file", token_file) as service:
        assert "plaintext" not in stopped_log(service)
