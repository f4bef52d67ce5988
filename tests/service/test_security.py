"""Who may call the service, and what others on the network may see."""

import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from anomaly_vae.errors import ConfigError, StartupError
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.inference import INFERENCE
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.servicers import SERVICE
from anomaly_vae.service.tls import Tls, expiry_of
from anomaly_vae.service.token_file import add_token, make_token, token_line
from anomaly_vae.service.tokens import Tokens
from tests.service.certificates import DAY, NOW, Authority, pem_of
from tests.service.running import SERVING, assert_same_bits, fault_of, running, tensor

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Files:
    """A certificate and its key on disk, replaced as a careful operator would."""

    def __init__(self, folder):
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.options = ("--tls-cert", self.certificate, "--tls-key", self.key)

    def write(self, pair):
        for path, data in zip((self.key, self.certificate), pair, strict=True):
            replace(path, data)


def replace(path, data):
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.chmod(0o600)
    part.replace(path)


@pytest.fixture
def files(tmp_path, authority):
    files = Files(tmp_path)
    files.write(authority.issue())
    return files


def secure_channel(service, ca, pair=(None, None)):
    """A new connection that trusts an authority, with a client's key and certificate or none."""
    credentials = grpc.ssl_channel_credentials(ca, *pair)
    return grpc.secure_channel(service.target, credentials, [("grpc.use_local_subchannel_pool", 1)])


def serial_shown_by(service):
    """The serial number of the certificate that a new connection sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).serial_number


def serial_of(pair):
    return x509.load_pem_x509_certificate(pair[1]).serial_number


def stopped_log(service):
    """Standard error after the end of the service."""
    service.process.send_signal(signal.SIGTERM)
    return service.process.communicate(timeout=30)[1]


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def call(channel, rows, *metadata):
    return ScoringServiceStub(channel).Score(pb.ScoreRequest(tensor=tensor(rows)), metadata=metadata, timeout=10)


def refused_start(model, *options):
    """Exit code and the one line on standard error of a service that must not start."""
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model), *map(str, options)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_VAE_")}
    own |= {"ANOMALY_VAE_PORT": "0", "ANOMALY_VAE_METRICS_PORT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=own, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


def test_over_tls_rows_get_the_same_bits(model_path, files, authority, scorer, new_rows):
    with running(model_path, *files.options) as service:
        with secure_channel(service, authority.pem) as channel:
            assert_same_bits(call(channel, new_rows), scorer.score(new_rows))
        expiry = service.metric("anomaly_vae_tls_certificate_expiry_timestamp_seconds")
        assert expiry == (NOW + 20 * DAY).timestamp()
        assert service.get("/readyz")[0] == 200


def test_a_client_that_trusts_another_authority_does_not_connect(model_path, files, new_rows):
    with running(model_path, *files.options) as service, secure_channel(service, Authority("other").pem) as channel:
        code, details, _ = fault_of(call, channel, new_rows)
        assert code is UNAVAILABLE
        assert "CERTIFICATE_VERIFY_FAILED" in details


def test_plaintext_on_a_port_of_tls_gets_nothing_and_harms_nobody(model_path, files, authority, new_rows):
    with running(model_path, *files.options) as service:
        with service.channel() as channel:
            assert fault_of(call, channel, new_rows[:1])[0] is UNAVAILABLE
        with secure_channel(service, authority.pem) as channel:
            assert len(call(channel, new_rows[:1]).log_px) == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_no_tls_older_than_1_2_is_spoken(model_path, files):
    with running(model_path, *files.options) as service:
        spoken = {version: speaks(service.port, version) for version in list(ssl.TLSVersion)[3:-1]}
    assert spoken == {
        ssl.TLSVersion.TLSv1_1: False,
        ssl.TLSVersion.TLSv1_2: True,
        ssl.TLSVersion.TLSv1_3: True,
    }


def speaks(port, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.selected_alpn_protocol() == "h2"
    except (ssl.SSLError, ConnectionError):
        return False


def test_with_a_client_authority_only_its_certificates_connect(model_path, files, authority, new_rows, tmp_path):
    clients = Authority("clients")
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    options = (*files.options, "--tls-client-ca", tmp_path / "clients.pem")
    with running(model_path, *options) as service:
        with secure_channel(service, authority.pem, clients.issue("client")) as channel:
            assert len(call(channel, new_rows).log_px) == 75
        for pair in ((None, None), authority.issue("client"), Authority("clients").issue("client")):
            with secure_channel(service, authority.pem, pair) as channel:
                assert fault_of(call, channel, new_rows[:1])[0] is UNAVAILABLE
        assert service.metric("grpc_server_started_total", grpc_method="Score") == 1


def test_a_client_authority_can_be_replaced_as_well(model_path, files, authority, new_rows, tmp_path):
    before, after = Authority("before"), Authority("after")
    replace(tmp_path / "clients.pem", before.pem)
    with running(model_path, *files.options, "--tls-client-ca", tmp_path / "clients.pem") as service:
        replace(tmp_path / "clients.pem", after.pem)
        with secure_channel(service, authority.pem, after.issue("client")) as channel:
            assert len(call(channel, new_rows[:1]).log_px) == 1
        with secure_channel(service, authority.pem, before.issue("client")) as channel:
            assert fault_of(call, channel, new_rows[:1])[0] is UNAVAILABLE


def test_a_new_certificate_is_shown_without_a_restart_and_old_connections_go_on(
    model_path, files, authority, scorer, new_rows
):
    new = authority.issue(ends=NOW + 25 * DAY)
    with running(model_path, *files.options) as service, secure_channel(service, authority.pem) as channel:
        requests = QueueOfRequests()
        replies = ScoringServiceStub(channel).ScoreStream(requests, timeout=30)
        requests.put(pb.ScoreRequest(tensor=tensor(new_rows)))
        assert_same_bits(next(replies), scorer.score(new_rows))
        files.write(new)
        assert serial_shown_by(service) == serial_of(new)
        requests.put(pb.ScoreRequest(tensor=tensor(new_rows[:2])))
        assert_same_bits(next(replies), scorer.score(new_rows[:2]))
        requests.put(None)
        expiry = service.metric("anomaly_vae_tls_certificate_expiry_timestamp_seconds")
        assert expiry == (NOW + 25 * DAY).timestamp()


class QueueOfRequests:
    """Requests of a stream, given one by one; None ends it."""

    def __init__(self):
        self._queue = queue.Queue()
        self.put = self._queue.put

    def __iter__(self):
        return self

    def __next__(self):
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


@pytest.mark.parametrize("broken", ["half", "mismatched", "gone", "text"])
def test_a_broken_new_certificate_keeps_the_old_one_and_is_logged_once(
    model_path, files, authority, broken, scorer, new_rows
):
    old, new = (files.key.read_bytes(), files.certificate.read_bytes()), authority.issue()
    with running(model_path, *files.options) as service:
        if broken == "half":
            files.certificate.write_bytes(new[1][: len(new[1]) // 2])
        elif broken == "mismatched":
            files.certificate.write_bytes(new[1])
        elif broken == "gone":
            files.certificate.unlink()
        else:
            files.certificate.write_text("SECRET-CONTENTS\n")
        assert [serial_shown_by(service) for _ in range(3)] == [serial_of(old)] * 3
        files.write(new)
        assert serial_shown_by(service) == serial_of(new)
        log = stopped_log(service)
    assert log.count("stays in use") == 1
    assert log.count("read again") == 1
    for secret in ("SECRET", new[0].decode().split()[5], old[0].decode().split()[5], "Traceback"):
        assert secret not in log


def test_a_folder_is_swapped_as_kubernetes_does_it(model_path, authority, tmp_path):
    """Mounted secrets are links through ``..data``, itself a link, which is replaced by a rename."""
    pairs = [authority.issue(), authority.issue()]
    for number, pair in enumerate(pairs):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        for name, data in zip(("tls.key", "tls.crt"), pair, strict=True):
            (folder / name).write_bytes(data)
    (tmp_path / "..data").symlink_to("..0")
    for name in ("tls.key", "tls.crt"):
        (tmp_path / name).symlink_to(Path("..data", name))
    with running(model_path, *Files(tmp_path).options) as service:
        assert serial_shown_by(service) == serial_of(pairs[0])
        (tmp_path / "..new").symlink_to("..1")
        (tmp_path / "..new").replace(tmp_path / "..data")
        assert serial_shown_by(service) == serial_of(pairs[1])
        log = stopped_log(service)
    assert "tls.key can be read by every user of this machine" in log
    assert "ERROR" not in log


def test_many_swaps_under_connections_are_never_half_seen(model_path, files, authority):
    """The key is replaced before its certificate: between the two, and during each, connections still come in."""
    with running(model_path, *files.options) as service:
        known = {serial_of((files.key.read_bytes(), files.certificate.read_bytes()))}
        for _ in range(10):
            pair = authority.issue()
            known.add(serial_of(pair))
            replace(files.key, pair[0])
            assert serial_shown_by(service) in known
            replace(files.certificate, pair[1])
            assert serial_shown_by(service) == serial_of(pair)


def test_an_expired_certificate_is_served_with_a_warning(model_path, files, authority):
    files.write(authority.issue(ends=NOW - DAY))
    with running(model_path, *files.options) as service:
        assert service.metric("anomaly_vae_tls_certificate_expiry_timestamp_seconds") < time.time()
        log = stopped_log(service)
    assert f"expired at {(NOW - DAY).isoformat()}: clients will refuse it" in log


def test_the_gauge_of_the_expiry_is_there_only_with_tls(service):
    assert "tls_certificate" not in service.get("/metrics")[1]


def test_files_that_cannot_be_used_stop_the_start_in_one_line(model_path, files, authority, tmp_path):
    cases = {
        "missing": (FileNotFoundError, "cannot be read: No such file or directory"),
        "other key": (authority.issue()[0], "KEY_VALUES_MISMATCH"),
        "no key": (b"SECRET", "holds no private key"),
        "folder": (IsADirectoryError, "is not a file"),
        "protected": (protected_key(), "protected by a password"),
        "large": (b"SECRET" * 200_000, "more than 1048576 bytes"),
    }
    for content, text in cases.values():
        files.key.unlink(missing_ok=True)
        if isinstance(content, bytes):
            files.key.write_bytes(content)
        elif content is IsADirectoryError:
            files.key.mkdir()
        with pytest.raises(StartupError, match=text) as caught:
            Tls(files.certificate, files.key)
        assert "SECRET" not in str(caught.value)
        if content is IsADirectoryError:
            files.key.rmdir()
    code, line = refused_start(model_path, *files.options)
    assert code == 4
    assert f"{files.key} has more than 1048576 bytes" in line


def protected_key():
    encryption = serialization.BestAvailableEncryption(b"password")
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_pipe_in_place_of_a_file_does_not_hang_the_start(files):
    files.key.unlink()
    os.mkfifo(files.key)
    with pytest.raises(StartupError, match="is not a file"):
        Tls(files.certificate, files.key)


def test_a_client_authority_must_be_one(files, tmp_path):
    for content in (b"", b"SECRET", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nSECRET\n-----END CERTIFICATE-----\n"):
        (tmp_path / "ca.pem").write_bytes(content)
        with pytest.raises(StartupError, match="holds no certificates of authorities") as caught:
            Tls(files.certificate, files.key, tmp_path / "ca.pem")
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "ends", [NOW, NOW.replace(year=2049, month=12, day=31), NOW.replace(year=2050), NOW.replace(year=9999)]
)
def test_the_end_of_a_certificate_is_read_in_both_ways_of_writing_years(authority, ends):
    _, certificate = authority.issue(ends=ends)
    assert expiry_of(certificate) == ends.timestamp()


def test_a_certificate_cut_anywhere_is_a_value_error(authority):
    whole = ssl.PEM_cert_to_DER_cert(authority.issue()[1].decode())
    for length in range(150):
        with pytest.raises(ValueError, match=r".+"):
            expiry_of(ssl.DER_cert_to_PEM_cert(whole[:length]).encode())


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-384", "RSA"],
)
def test_usual_kinds_of_keys_serve(model_path, files, authority, key, new_rows):
    files.write(authority.issue(key=key))
    with running(model_path, *files.options) as service, secure_channel(service, authority.pem) as channel:
        assert len(call(channel, new_rows[:1]).log_px) == 1


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


def test_a_stranger_is_refused_before_the_message_is_read(model_path, token_file):
    """The message never ends: whoever reads it first waits for ever."""
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


def test_metadata_is_judged_whatever_it_holds(token_file):
    token = make_token()
    add_token(token_file, "billing", token)
    tokens = Tokens(token_file)
    assert tokens.allows([("other", "x"), ("authorization", f"Bearer {token}")])
    assert tokens.allows([("authorization", f"BEARER {token}".encode())])
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
        assert not tokens.allows([("authorization", value)])
    assert not tokens.allows([])
    assert not tokens.allows([("authorization", f"Bearer {token}"), ("authorization", "Bearer x")])


def test_any_of_many_tokens_is_known(token_file):
    tokens = {f"client-{i}": make_token() for i in range(20)}
    for name, token in tokens.items():
        add_token(token_file, name, token)
    known = Tokens(token_file)
    assert all(known.allows(bearer(token)) for token in tokens.values())
    assert not known.allows(bearer(make_token()))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no token; make one"),
        ("# nobody\n\n", "holds no token; make one"),
        ("billing SECRET\n", "line 1: expected NAME sha256:HEX"),
        (f"\na sha256:{'0' * 64}\nb sha256:{'0' * 63}\n", "line 3: expected NAME sha256:HEX"),
        (f"a sha512:{'0' * 64}\n", "line 1: expected NAME sha256:HEX"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}\n", "line 2: the name stands in the file twice"),
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


def test_the_command_refuses_a_name_twice_and_adds_another(run_cli, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# ours\na sha256:" + "0" * 64)  # no newline at its end
    path.chmod(0o640)
    again = run_cli("token", "a", "--file", "tokens", code=2)
    assert b"has a token named 'a' already" in again.stderr
    assert again.stdout == b""
    run_cli("token", "b", "--file", "tokens")
    lines = path.read_text().splitlines()
    assert lines[:2] == ["# ours", "a sha256:" + "0" * 64]
    assert lines[2].startswith("b sha256:")
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(found.name for found in tmp_path.iterdir()) == ["tokens"]


def test_without_a_file_the_command_gives_the_line_for_it(run_cli):
    done = run_cli("token", "billing")
    token = done.stdout.decode().strip()
    assert done.stderr.decode().strip().endswith(token_line("billing", token))
    assert b"1 to 64 letters" in run_cli("token", "two words", code=2).stderr
    assert b"is a directory" in run_cli("token", "billing", "--file", ".", code=2).stderr
    assert b"create the folder first" in run_cli("token", "billing", "--file", "none/tokens", code=2).stderr


def test_tokens_made_at_the_same_time_are_all_kept(token_file):
    code = "import sys; from anomaly_vae.cli import main; sys.argv[0] = 'anomaly-vae'; main()"
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", code, "token", f"n{i}", "--file", str(token_file)], stdout=subprocess.PIPE
        )
        for i in range(6)
    ]
    tokens = [command.communicate(timeout=60)[0].decode().strip() for command in commands]
    known = Tokens(token_file)
    assert all(known.allows(bearer(token)) for token in tokens)


def test_beyond_loopback_plaintext_needs_the_flag(model_path, files, token_file):
    add_token(token_file, "billing", make_token())
    for options in ((), ("--token-file", token_file)):
        code, line = refused_start(model_path, "--host", EVERYWHERE, *options)
        assert code == 2
        assert "would speak plaintext" in line
        assert "--tls-cert" in line
    with running(model_path, "--host", EVERYWHERE, *files.options) as service:
        assert "in plaintext" not in stopped_log(service)


def test_tokens_in_plaintext_beyond_loopback_are_warned_of(model_path, token_file):
    add_token(token_file, "billing", make_token())
    options = ("--host", EVERYWHERE, "--insecure-listen", "--token-file", token_file)
    with running(model_path, *options) as service:
        assert "tokens travel in plaintext on 0.0.0.0" in stopped_log(service)
    with running(model_path, "--token-file", token_file) as service:
        assert "plaintext" not in stopped_log(service)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tls_cert": Path("a")}, "tls_cert and tls_key belong together"),
        ({"tls_key": Path("a")}, "tls_cert and tls_key belong together"),
        ({"tls_client_ca": Path("a")}, "needs tls_cert and tls_key"),
    ],
)
def test_half_of_a_setting_is_refused(model_path, fields, text):
    with pytest.raises(ConfigError, match=text):
        ServeConfig(model=model_path, **fields)


def test_ed25519_keys_are_read_though_few_clients_take_them(files, authority):
    key = ed25519.Ed25519PrivateKey.generate()
    _, certificate = authority.issue(key=key)
    files.write((pem_of(key), certificate))
    assert Tls(files.certificate, files.key).expiry > time.time()
