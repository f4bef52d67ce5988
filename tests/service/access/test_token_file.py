"""The file of tokens: lines that are made, added and read back."""

import base64
import hashlib
import subprocess
import sys

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.access.token_file import add_token, make_token, parse_tokens, token_line
from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.callers import Caller, Priority
from tests.support.callers import bearer


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "tokens"


def read(path):
    return {caller.name: digest for caller, digest in parse_tokens(path.read_bytes(), path)}


def test_a_token_is_a_prefix_and_256_random_bits():
    tokens = {make_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        prefix, text = token[:5], token[5:]
        assert prefix == "avae_"
        assert len(base64.urlsafe_b64decode(f"{text}=")) == 32


def test_a_line_holds_the_sha256_of_the_token():
    """The digest of "abc" is an example of FIPS 180-4."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert token_line("billing", "abc") == f"billing sha256:{digest}"


CALLERS = [
    Caller("a"),
    Caller("b", Priority.BATCH, 1_000, 4_096, admin=True),
    Caller("c", rows_per_second=2**31 - 1),
    Caller("d", outstanding_rows=1),
    Caller("e", admin=True),
]


@pytest.mark.parametrize("caller", CALLERS, ids=str)
def test_what_a_caller_may_do_is_read_back_from_its_line(token_file, caller):
    add_token(token_file, caller, "t")
    assert [found for found, _ in parse_tokens(token_file.read_bytes(), token_file)] == [caller]


def test_words_after_the_digest_have_any_order_and_distance(token_file):
    words = b"admin \t outstanding_rows=4096  priority=batch\trows_per_second=1000 "
    token_file.write_bytes(b"b sha256:" + b"0" * 64 + b" " + words)
    assert [caller for caller, _ in parse_tokens(token_file.read_bytes(), token_file)] == [CALLERS[1]]


@pytest.mark.parametrize("limit", ["rows_per_second", "outstanding_rows"])
@pytest.mark.parametrize("number", [0, 2**31])
def test_a_limit_out_of_range_is_refused_by_name(token_file, limit, number):
    with pytest.raises(ConfigError, match=f"{limit} must lie between 1 and 2147483647, got {number}"):
        add_token(token_file, Caller("a", **{limit: number}), "t")
    assert not token_file.exists()


@pytest.mark.parametrize("name", ["", "-a", ".a", "two words", "a:b", "a\n", "x" * 65, "ä"])
def test_a_name_that_is_not_allowed_is_refused(token_file, name):
    for call in (lambda: token_line(name, "t"), lambda: add_token(token_file, name, "t")):
        with pytest.raises(ConfigError, match="a token's name must have 1 to 64 letters, digits and") as error:
            call()
        assert repr(name) in str(error.value)
    assert not token_file.exists()


def test_added_tokens_are_read_back_in_order_by_name_and_digest(token_file):
    tokens = {name: make_token() for name in ("b", "a@example.org", "x" * 64)}
    for name, token in tokens.items():
        add_token(token_file, name, token)
    assert list(read(token_file).items()) == [
        (name, hashlib.sha256(token.encode()).hexdigest()) for name, token in tokens.items()
    ]
    assert not any(token in token_file.read_text() for token in tokens.values())


def test_comments_and_empty_lines_are_skipped(token_file):
    token_file.write_bytes(b"# ours\r\n\n  \n \ta \t sha256:" + b"0" * 64 + b" \n")
    assert read(token_file) == {"a": "0" * 64}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a SECRET", "line 2: expected NAME sha256:HEX, with 64 digits"),
        (f"a sha256:{'A' * 64}", "line 2: expected NAME sha256:HEX"),
        (f"a sha256:{'0' * 65}", "line 2: expected NAME sha256:HEX"),
        (f"a md5:{'0' * 64}", "line 2: expected NAME sha256:HEX"),
        (f"first sha256:{'1' * 64}", "line 2: the name appears twice in the file"),
        (f"a sha256:{'1' * 64} SECRET", "line 2: a word after the digest is unknown; the words are priority=online"),
        (f"a sha256:{'1' * 64} priority=urgent", "line 2: a word after the digest is unknown"),
        (f"a sha256:{'1' * 64} rows_per_second=0", "line 2: a word after the digest is unknown"),
        (f"a sha256:{'1' * 64} rows_per_second={2**31}", "line 2: a word after the digest is unknown"),
        (f"a sha256:{'1' * 64} outstanding_rows=1.5", "line 2: a word after the digest is unknown"),
        (f"a sha256:{'1' * 64} admin=no", "line 2: a word after the digest is unknown"),
        (f"a sha256:{'1' * 64} admin admin", "line 2: a word appears twice"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_not_repeated(token_file, line, text):
    """Someone may have put a token into it. It is no place for another one before it is corrected."""
    token_file.write_text(f"first sha256:{'0' * 64}\n{line}\n")
    before = token_file.read_bytes()
    for call in (lambda: read(token_file), lambda: add_token(token_file, "b", "t")):
        with pytest.raises(ConfigError, match=text) as error:
            call()
        assert str(error.value).startswith(f"{token_file}, ")
        assert "SECRET" not in str(error.value)
    assert token_file.read_bytes() == before


def test_a_name_twice_is_refused(token_file):
    add_token(token_file, "a", "t")
    with pytest.raises(ConfigError, match="has a token named 'a' already; choose another name"):
        add_token(token_file, "a", "u")


@pytest.mark.parametrize(("mode", "kept"), [(None, 0o600), (0o600, 0o600), (0o640, 0o640), (0o666, 0o640)])
def test_only_the_owner_may_write_and_others_may_not_read(token_file, mode, kept):
    """A group that could read the file still can: the service may run as another user of it."""
    if mode is not None:
        token_file.touch()
        token_file.chmod(mode)
    add_token(token_file, "a", "t")
    assert token_file.stat().st_mode & 0o777 == kept


def test_a_link_stays_a_link(token_file, tmp_path):
    token_file.touch()
    (tmp_path / "link").symlink_to(token_file)
    add_token(tmp_path / "link", "a", "t")
    assert (tmp_path / "link").is_symlink()
    assert list(read(token_file)) == ["a"]


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory; create the folder first") as error:
        add_token(tmp_path / "none" / "tokens", "a", "t")
    assert str(error.value).startswith(f"{tmp_path / 'none'}: ")


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


def test_the_command_writes_what_the_caller_may_do(run_cli, tmp_path):
    limits = ("--priority", "batch", "--rows-per-second", "1000", "--outstanding-rows", "4096", "--admin")
    run_cli("token", "b", "--file", "tokens", *limits)
    path = tmp_path / "tokens"
    assert [caller for caller, _ in parse_tokens(path.read_bytes(), path)] == [CALLERS[1]]
    assert path.read_text().endswith(" priority=batch rows_per_second=1000 outstanding_rows=4096 admin\n")


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
    assert all(known.caller_of(bearer(token)) for token in tokens)
