"""The command line as a whole: help, version, a call without arguments, wrong names, and completion in shells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import click
import pytest

import anomaly_vae
from anomaly_vae.cli import cli as group
from tests.support.command_line import cli, one_line

COMMANDS = [
    "demo", "profile", "train", "calibrate", "score", "evaluate", "compare", "drift", "serve", "token", "push", "pull",
    "sign", "encode", "sample", "report", "inspect",
]  # fmt: skip


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS if name not in ("serve", "token"))])
def test_help_teaches(tmp_path, command):
    text = cli(tmp_path, *command, "--help").stdout
    assert "Usage: anomaly-vae" in text
    assert len(text.splitlines()) > 8
    assert "\\b" not in text
    example = r"^ +(Try it: +)?anomaly-vae [\w .:/-]+$"  # on its own line
    assert re.search(example, text, re.MULTILINE), text


def test_no_arguments_teach(tmp_path):
    done = cli(tmp_path)
    assert done.returncode == 2
    assert "Usage: anomaly-vae" in done.stderr
    assert len(done.stderr.splitlines()) > 8


def test_version(tmp_path):
    assert cli(tmp_path, "--version").stdout.strip() == f"anomaly-vae {anomaly_vae.__version__}"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("scroe", "did you mean 'score'?"),
        ("TRAIN", "did you mean 'train'?"),
        ("calibrat", "did you mean 'calibrate'?"),
        ("zzz", "there are demo, profile, train, calibrate, "),
    ],
)
def test_a_mistyped_command_is_wrong_usage_with_a_suggestion(tmp_path, typed, hint):
    one_line(cli(tmp_path, typed, "--help"), 2, f"no such command {typed!r}; {hint}", "(see `anomaly-vae --help`)")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--verbos"], "--verbose"),
        (["score", "model", "new.csv", "--quite"], "--quiet"),
        (["train", "new.csv", "-o", "model", "--search", "fats"], "'off', 'fast', 'full'"),
    ],
)
def test_a_mistyped_option_or_choice_is_wrong_usage_with_what_there_is(tmp_path, arguments, hint):
    one_line(cli(tmp_path, *arguments), 2, hint)


def complete(folder, *words, kind="bash"):
    """The lines that the program prints when a shell of this kind asks to complete the last of these words."""
    done = cli(folder, env=os.environ | asked(*words, kind=kind))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def asked(*words, kind="bash"):
    """The environment variables by which a shell asks."""
    before = words[:-1] if kind == "fish" else words
    return {
        "_ANOMALY_VAE_COMPLETE": f"{kind}_complete",
        "COMP_WORDS": " ".join(["anomaly-vae", *before]),
        "COMP_CWORD": words[-1] if kind == "fish" else str(len(words)),
    }


COMPLETIONS = {
    "a command": (["sc"], ["plain,score"]),
    "every command": ([""], [f"plain,{name}" for name in COMMANDS]),
    "an option": (["score", "--only"], ["plain,--only-flagged"]),
    "an option of the group": (["--verb"], ["plain,--verbose"]),
    "a choice": (["train", "--search", "f"], ["plain,fast", "plain,full"]),
    "a model": (["score", "mo"], ["dir,mo"]),
    "a table to score": (["score", "model", "ne"], ["file,ne"]),
    "an output": (["score", "model", "new.csv", "-o", "ou"], ["file,ou"]),
    "a model to encode with": (["encode", "mo"], ["dir,mo"]),
    "a table to encode": (["encode", "model", "ne"], ["file,ne"]),
    "a model to inspect": (["inspect", "mo"], ["dir,mo"]),
    "a model to sample": (["sample", "mo"], ["dir,mo"]),
    "a file of certificates": (["score", "model", "new.csv", "--tls-ca", "c"], ["file,c"]),
    "nothing that is known": (["scroe", "x"], [""]),
}


@pytest.mark.parametrize("case", COMPLETIONS)
def test_bash_is_told_what_fits(tmp_path, case):
    words, lines = COMPLETIONS[case]
    assert complete(tmp_path, *words) == lines


def test_zsh_and_fish_get_the_help_texts_too(tmp_path):
    assert complete(tmp_path, "sc", kind="zsh")[:2] == ["plain", "score"]
    assert "Score the rows" in complete(tmp_path, "sc", kind="zsh")[2]
    assert "Score the rows" in "".join(complete(tmp_path, "sc", kind="fish"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_asks_this_program(tmp_path, shell):
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("click asks bash for its version")
    done = cli(tmp_path, env=os.environ | {"_ANOMALY_VAE_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0
    assert f"_ANOMALY_VAE_COMPLETE={shell}_complete" in done.stdout
    assert "anomaly-vae" in done.stdout


def test_bash_completes_with_the_script(tmp_path):
    """The script in a real bash: it fills COMPREPLY with what fits."""
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    program = tmp_path / "anomaly-vae"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m anomaly_vae "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_ANOMALY_VAE_COMPLETE=bash_source anomaly-vae)"\n'
        "COMP_WORDS=(anomaly-vae cal) COMP_CWORD=1\n"
        "_anomaly_vae_completion anomaly-vae cal anomaly-vae\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("calibrate\n", "")


def test_completing_imports_nothing_heavy(tmp_path):
    """A shell waits for the answer at each press of the key."""
    code = (
        "import atexit, sys\n"
        "sys.argv = ['anomaly-vae']\n"
        "heavy = {'numpy', 'pyarrow', 'onnxruntime', 'torch', 'rich', 'grpc', 'msgspec'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "from anomaly_vae.cli import main; main()\n"
    )
    for words in (["sc"], ["score", "--to"]):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | asked(*words), cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr == "[]\n", words
        assert done.stdout


def test_every_command_can_be_quiet_but_serve_which_has_a_log():
    """The levels of its log say how much serve tells."""
    with click.Context(group) as context:
        loud = {
            name
            for name in group.list_commands(context)
            if not any("--quiet" in param.opts for param in group.get_command(context, name).params)
        }
    assert loud == {"serve"}


@pytest.mark.parametrize(("given", "expected"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_gives_freed_memory_back_unless_the_user_chose_another_allocator(tmp_path, given, expected):
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    program = (
        "import sys; sys.argv = ['anomaly-vae', 'profile', 't.csv', '-q', '--html', 'p.html']; "
        "import atexit; atexit.register(lambda: print(__import__('pyarrow').default_memory_pool().backend_name)); "
        "from anomaly_vae.cli import main; main()"
    )
    chosen = {} if given is None else {"ARROW_DEFAULT_MEMORY_POOL": given}
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"} | chosen
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
