"""TLS: what others on the network can see, which clients connect, and how certificates are replaced."""

import os
import socket
import ssl
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from anomaly_vae.errors import ConfigError, StartupError
from anomaly_vae.service.access.tls import ServerCertificate
from anomaly_vae.service.access.token_file import add_token, make_token
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.settings import ServeConfig
from tests.support.callers import EVERYWHERE, QueueOfRequests, call, refused_start, secure_channel, stopped_log
from tests.support.certificates import DAY, NOW, SECOND, Authority, pem_of
from tests.support.running import assert_same_bits, fault_of, running, tensor

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Files:
    """A certificate and its key on disk. Each file is replaced by a rename."""

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


def test_plaintext_on_a_tls_port_is_refused_and_others_are_served(model_path, files, authority, new_rows):
    with running(model_path, *files.options) as service:
        with service.channel() as channel:
            assert fault_of(call, channel, new_rows[:1])[0] is UNAVAILABLE
        with secure_channel(service, authority.pem) as channel:
            assert len(call(channel, new_rows[:1]).log_px) == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_older_than_1_2_is_refused(model_path, files):
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


def test_a_new_certificate_needs_no_restart_and_old_connections_continue(
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


@pytest.mark.parametrize("broken", ["half", "mismatched", "gone", "text", "expired", "early"])
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
        elif broken == "expired":
            files.write(authority.issue(ends=NOW - DAY))
        elif broken == "early":
            files.write(authority.issue(begins=NOW + DAY))
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


def test_a_folder_can_be_replaced_as_kubernetes_does_it(model_path, authority, tmp_path):
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


def test_connections_during_many_replacements_see_whole_pairs(model_path, files, authority):
    """The key is replaced first, then the certificate. Connections are made in between."""
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


def tls_at(files, now):
    """The certificate in the files, with ``now[0]`` as the time in seconds since 1970."""
    return ServerCertificate(files.certificate, files.key, clock=lambda: now[0])


def test_a_certificate_that_clients_refuse_replaces_only_another_that_they_refuse(files, authority, caplog):
    now = [NOW.timestamp()]
    tls = tls_at(files, now)
    expired = authority.issue(ends=NOW - DAY)
    files.write(expired)
    assert tls.valid_until == (NOW + 20 * DAY).timestamp()
    assert f"{files.certificate} expired at {(NOW - DAY).isoformat()}, so clients would refuse it" in caplog.text
    assert "replace it and its key by a renewed certificate, which needs no restart" in caplog.text
    assert "clients will refuse it" not in caplog.text
    now[0] = (NOW + 21 * DAY).timestamp()  # the one in use has expired too
    files.write(authority.issue(ends=NOW - 2 * DAY))
    assert tls.valid_until == (NOW - 2 * DAY).timestamp()
    assert f"{files.certificate} expired at {(NOW - 2 * DAY).isoformat()}: clients will refuse it" in caplog.text
    files.write(authority.issue(ends=NOW + 25 * DAY))
    assert tls.valid_until == (NOW + 25 * DAY).timestamp()


def test_a_certificate_that_is_not_valid_yet_is_used_once_it_is(files, authority, caplog):
    """It is used one minute earlier, since the clocks of this machine and of the authority may differ."""
    now, begins = [NOW.timestamp()], NOW + 3600 * SECOND
    tls = tls_at(files, now)
    files.write(authority.issue(begins=begins, ends=NOW + 25 * DAY))
    for seconds in (0, 1, 3000, 3539):
        now[0] = NOW.timestamp() + seconds
        assert tls.valid_until == (NOW + 20 * DAY).timestamp()
    (refusal,) = (record for record in caplog.records if "stays in use" in record.message)
    assert f"{files.certificate} is valid only from {begins.isoformat()}" in refusal.message
    assert refusal.levelname == "WARNING"
    now[0] = NOW.timestamp() + 3540
    assert tls.valid_until == (NOW + 25 * DAY).timestamp()
    assert tls.valid_until == (NOW + 25 * DAY).timestamp()
    assert [record.levelname for record in caplog.records].count("ERROR") == 0


@pytest.mark.parametrize(("seconds", "warned"), [(30, False), (90, True)])
def test_a_certificate_that_begins_later_is_served_from_the_start_with_a_warning(
    files, authority, caplog, seconds, warned
):
    files.write(authority.issue(begins=NOW + seconds * SECOND))
    tls = tls_at(files, [NOW.timestamp()])
    assert tls.valid_until == (NOW + 20 * DAY).timestamp()
    warning = f"{files.certificate} is valid only from {(NOW + seconds * SECOND).isoformat()}: clients will refuse it"
    assert (warning in caplog.text) is warned


def test_the_gauge_of_the_expiry_is_there_only_with_tls(service):
    assert "tls_certificate" not in service.get("/metrics")[1]


def test_files_that_cannot_be_used_stop_the_start_in_one_line(model_path, files, authority, tmp_path):
    cases = {
        "missing": (FileNotFoundError, "cannot be read: No such file or directory"),
        "other key": (authority.issue()[0], "is not the private key of the first certificate in"),
        "no key": (b"SECRET", "holds no private key"),
        "folder": (IsADirectoryError, "is not a file"),
        "protected": (protected_key(), "is protected by a password; write it without one: openssl pkey -in"),
        "large": (b"SECRET" * 200_000, "more than 1048576 bytes"),
    }
    for content, text in cases.values():
        files.key.unlink(missing_ok=True)
        if isinstance(content, bytes):
            files.key.write_bytes(content)
        elif content is IsADirectoryError:
            files.key.mkdir()
        with pytest.raises(StartupError, match=text) as caught:
            ServerCertificate(files.certificate, files.key)
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
        ServerCertificate(files.certificate, files.key)


def test_a_client_authority_must_be_a_certificate(files, tmp_path):
    none, unreadable = "ca.pem holds no certificate; expected PEM", "ca.pem holds a certificate that cannot be read"
    cases = {
        b"": none,
        b"SECRET": none,
        b"\xff\xfe": none,
        b"-----BEGIN CERTIFICATE-----\nSECRET\n-----END CERTIFICATE-----\n": unreadable,
    }
    for content, text in cases.items():
        (tmp_path / "ca.pem").write_bytes(content)
        with pytest.raises(StartupError, match=text) as caught:
            ServerCertificate(files.certificate, files.key, tmp_path / "ca.pem")
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "ends", [NOW, NOW.replace(year=2049, month=12, day=31), NOW.replace(year=2050), NOW.replace(year=9999)]
)
def test_the_expiry_is_read_with_two_and_with_four_digits_of_the_year(files, authority, ends):
    files.write(authority.issue(ends=ends))
    assert ServerCertificate(files.certificate, files.key).valid_until == ends.timestamp()


def test_a_chain_expires_with_its_first_certificate(files, authority):
    key, certificate = authority.issue(ends=NOW + 20 * DAY)
    files.write((key, certificate + authority.issue(ends=NOW + 3 * DAY)[1] + authority.pem))
    assert ServerCertificate(files.certificate, files.key).valid_until == (NOW + 3 * DAY).timestamp()


@pytest.mark.parametrize("place", [0, 1])
def test_a_certificate_cut_anywhere_stops_the_start(files, authority, place):
    key, whole = authority.issue()
    der = ssl.PEM_cert_to_DER_cert(whole.decode())
    for length in range(0, len(der), 5):
        cut = ssl.DER_cert_to_PEM_cert(der[:length]).encode()
        files.write((key, cut if place == 0 else whole + cut))
        with pytest.raises(StartupError, match=rf"^{files.certificate} holds"):
            ServerCertificate(files.certificate, files.key)


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


def test_beyond_loopback_plaintext_needs_the_flag(model_path, files, tmp_path):
    token_file = tmp_path / "tokens"
    add_token(token_file, "billing", make_token())
    for options in ((), ("--token-file", token_file)):
        code, line = refused_start(model_path, "--host", EVERYWHERE, *options)
        assert code == 2
        assert "would speak plaintext" in line
        assert "--tls-cert" in line
    with running(model_path, "--host", EVERYWHERE, *files.options) as service:
        assert "in plaintext" not in stopped_log(service)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tls_cert": Path("a")}, "tls_cert and tls_key belong together"),
        ({"tls_key": Path("a")}, "tls_cert and tls_key belong together"),
        ({"tls_client_ca": Path("a")}, "needs tls_cert and tls_key"),
    ],
)
def test_a_certificate_without_key_or_a_key_without_certificate_is_refused(model_path, fields, text):
    with pytest.raises(ConfigError, match=text):
        ServeConfig(model=model_path, **fields)


def test_ed25519_keys_are_accepted_although_few_clients_support_them(files, authority):
    key = ed25519.Ed25519PrivateKey.generate()
    _, certificate = authority.issue(key=key)
    files.write((pem_of(key), certificate))
    assert ServerCertificate(files.certificate, files.key).valid_until > time.time()
