"""What all demos share; each has tests of its own."""

import pytest

from anomaly_vae.cli import demo_images, demo_series, demo_table
from tests.support.command_line import in_process, one_line

MODULES = {"table": demo_table, "series": demo_series, "image": demo_images}


@pytest.mark.parametrize("kind", MODULES)
def test_the_kind_chooses_the_demo(tmp_path, monkeypatch, kind):
    calls = []
    for name, module in MODULES.items():
        monkeypatch.setattr(module, "run", lambda output, seed, *, quiet, name=name: calls.append((name, output, seed)))
    options = [] if kind == "table" else ["--kind", kind]
    done = in_process("demo", *options, "-o", tmp_path / "new", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert calls == [(kind, tmp_path / "new", 7)]


def test_an_existing_folder_is_kept(tmp_path):
    for kind in MODULES:
        one_line(in_process("demo", "--kind", kind, "-o", tmp_path), 2, "exists already; choose another folder with -o")
