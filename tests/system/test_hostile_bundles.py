"""Hostile bundles: each is refused with one line that names the file, none of its code runs, and memory stays small.

Every case starts from a real bundle. If a digest would detect the attack, the digest is corrected too: an attacker who
can change a file can change the manifest.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from anomaly_vae.bundle import contents
from anomaly_vae.bundle import files as reader
from anomaly_vae.bundle.manifest_json import decode_manifest
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import load
from tests.support.array_attacks import ARRAY_ATTACKS
from tests.support.attacks import FOLDERS, MANIFESTS, PICKLE
from tests.support.graph_attacks import GRAPH_ATTACKS, ort_format

# Most bytes that loading may allocate, many times what the real model takes.
_MOST_MEMORY = 32 * 2**20

ATTACKS = FOLDERS | MANIFESTS | GRAPH_ATTACKS | ARRAY_ATTACKS


@pytest.fixture
def hostile(model_path, tmp_path, monkeypatch):
    """Return a function that makes the bundle of a case; the working directory is empty."""
    monkeypatch.chdir(tmp_path)

    def make(name):
        folder = shutil.copytree(model_path, tmp_path / "model")
        ATTACKS[name][0](folder)
        return folder

    return make


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_bundle_is_refused_in_one_line_and_none_of_its_code_runs(hostile, name):
    folder = hostile(name)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=ATTACKS[name][1]) as caught:
            load(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not Path("executed").exists()
    assert len(str(caught.value)) < 2000
    assert peak < _MOST_MEMORY + 8 * (folder / "manifest.json").lstat().st_size


@pytest.mark.parametrize("command", [["inspect"], ["score"], ["serve", "--port", "0", "--metrics-port", "0"]])
@pytest.mark.parametrize(
    "name", ["pickle", "folder", "a key twice", "graph: two formats", "array: a shape beyond counting"]
)
def test_every_command_exits_3_with_one_line(hostile, run_cli, tmp_path, command, name):
    folder = hostile(name)
    (tmp_path / "rows.csv").write_text("x\n1\n")
    rows = [tmp_path / "rows.csv", "-o", "-"] if command == ["score"] else []
    done = run_cli(command[0], folder, *rows, *command[1:], code=3)
    assert done.stdout == b""
    assert done.stderr.startswith(b"anomaly-vae: error: ")
    assert done.stderr.count(b"\n") == 1


def test_the_bytes_that_were_checked_are_the_bytes_that_are_used(model_path, tmp_path, monkeypatch, new_rows):
    """Replacing a file after it was read, by other bytes or by a link, changes nothing."""
    expected = load(model_path).score(new_rows).log_px
    folder = shutil.copytree(model_path, tmp_path / "model")
    check, seen, num_files = reader.check_digest, [], len(reader.read_bundle(model_path).files)

    def exchange(data, record, where):
        Path(where).unlink()
        Path(where).symlink_to("/etc/passwd") if len(seen) % 2 else Path(where).write_bytes(PICKLE)
        seen.append(where)
        check(data, record, where)

    monkeypatch.setattr(reader, "check_digest", exchange)
    assert load(folder).score(new_rows).log_px.tobytes() == expected.tobytes()
    assert len(seen) == num_files


def test_another_folder_under_the_same_name_is_not_mixed_in(model_path, tmp_path, monkeypatch):
    """Files are read through the opened folder, even if its path names another folder later."""
    folder = shutil.copytree(model_path, tmp_path / "model")

    def replace(data, where):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / "noise.npy").write_bytes(PICKLE)
        return decode_manifest(data, where)

    monkeypatch.setattr(contents, "decode_manifest", replace)
    load(folder)
    assert os.listdir(folder) == ["noise.npy"]


def test_onnxruntime_reads_onnx_only(bundle, tmp_path, monkeypatch):
    """The second line of defence: onnxruntime itself is set not to accept its own format."""
    monkeypatch.chdir(tmp_path)
    graphs = dict(bundle.files)
    graphs["decoder.onnx"] = ort_format(graphs["decoder.onnx"])
    with pytest.raises(BundleError, match=r"decoder\.onnx: onnxruntime cannot load it"):
        OnnxNetwork(graphs, latent_dim=2, num_features=4, num_params=4)
