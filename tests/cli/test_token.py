"""``anomaly-vae token``: the token on standard output, its digest elsewhere."""

from __future__ import annotations

import hashlib

from click.testing import CliRunner

from anomaly_vae.cli import cli
from anomaly_vae.errors import ConfigError


def token(*arguments):
    return CliRunner().invoke(cli, ["token", *map(str, arguments)])


def digest_line(name, secret):
    return f"{name} sha256:{hashlib.sha256(secret.encode()).hexdigest()}"


def test_the_file_has_the_digest_and_standard_output_the_token(tmp_path):
    """Anyone who reads the file or the terminal's log of standard error must not get the token."""
    path = tmp_path / "tokens"
    done = token("billing", "--file", path)
    secret = done.stdout.strip()
    assert path.read_text() == digest_line("billing", secret) + "\n"
    assert done.stderr == f"{path}: billing added\n"
    assert secret not in done.stderr


def test_without_a_file_the_line_for_it_is_on_standard_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = token("billing")
    assert done.stderr == f"for the token file: {digest_line('billing', done.stdout.strip())}\n"
    assert list(tmp_path.iterdir()) == []


def test_two_tokens_differ():
    assert token("a").stdout != token("a").stdout


def test_no_token_is_printed_that_the_file_does_not_have(tmp_path):
    """Otherwise a client would get a token that no service accepts."""
    path = tmp_path / "tokens"
    token("billing", "--file", path)
    before = path.read_text()
    for arguments, message in (
        (["billing"], "has a token named 'billing' already"),
        (["two words"], "1 to 64 letters"),
    ):
        done = token(*arguments, "--file", path)
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)
        assert done.stdout == ""
    assert path.read_text() == before


def test_quiet_prints_the_token_alone(tmp_path):
    for arguments in (["billing", "-q"], ["billing", "-q", "--file", tmp_path / "tokens"]):
        done = token(*arguments)
        assert done.stderr == ""
        assert done.stdout.strip()
