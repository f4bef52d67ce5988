"""Bundles made to harm: each is refused with a line that names the file, nothing of it runs, and memory stays small.

Every case starts from a real bundle. Where the attack would otherwise be caught by a digest, the digest is made right:
whoever can change a file can change the manifest.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from anomaly_vae import bundle as reader
from anomaly_vae.errors import BundleError
from anomaly_vae.manifest import decode_manifest
from anomaly_vae.runtime import OnnxNetwork
from anomaly_vae.scorer import load
from tests.array_attacks import ARRAY_ATTACKS
from tests.attacks import FOLDERS, MANIFESTS, PICKLE
from tests.graph_attacks import GRAPH_ATTACKS, ort_format

# What loading may take, many times what the model does.
_MOST_MEMORY = 32 * 2**20

ATTACKS = FOLDERS | MANIFESTS | GRAPH_ATTACKS | ARRAY_ATTACKS


@pytest.fixture
def hostile(model_path, tmp_path, monkeypatch):
    """Make the bundle of a case, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def make(name):
        folder = shutil.copytree(model_path, tmp_path / "model")
        ATTACKS[name][0](folder)
        return folder

    return make


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_bundle_is_refused_in_one_line_and_nothing_of_it_runs(hostile, name):
    folder = hostile(name)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=ATTACKS[name][1]) as caught:
            load(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not Path("executed").exists()
    assert len(str(caught.value)) < 1500
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
    """A file that is exchanged after it was read changes nothing; neither does one exchanged for a link."""
    expected = load(model_path).score(new_rows).log_px
    folder = shutil.copytree(model_path, tmp_path / "model")
    check, seen = reader._check_digest, []

    def exchange(data, record, where):
        Path(where).unlink()
        Path(where).symlink_to("/etc/passwd") if len(seen) % 2 else Path(where).write_bytes(PICKLE)
        seen.append(where)
        check(data, record, where)

    monkeypatch.setattr(reader, "_check_digest", exchange)
    assert load(folder).score(new_rows).log_px.tobytes() == expected.tobytes()
    assert len(seen) == 6


def test_another_folder_under_the_same_name_is_not_mixed_in(model_path, tmp_path, monkeypatch):
    """Files are read through the folder that was opened, whatever its path leads to later."""
    folder = shutil.copytree(model_path, tmp_path / "model")

    def replace(data, where):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / "noise.npy").write_bytes(PICKLE)
        return decode_manifest(data, where)

    monkeypatch.setattr(reader, "decode_manifest", replace)
    load(folder)
    assert os.listdir(folder) == ["noise.npy"]


def test_onnxruntime_reads_onnx_only(bundle, tmp_path, monkeypatch):
    """The second line of defence: the session itself does not look for its own format."""
    monkeypatch.chdir(tmp_path)
    graphs = dict(bundle.files)
    graphs["decoder.onnx"] = ort_format(graphs["decoder.onnx"])
    with pytest.raises(BundleError, match=r"decoder\.onnx: onnxruntime cannot load it"):
        OnnxNetwork(graphs, latent_dim=2, num_features=4, num_params=4)
