"""Hostile bundles with a contrast: its two files are checked as the others are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.errors import BundleError
from anomaly_vae.scorer import load
from tests.support.array_attacks import npy
from tests.support.attacks import PICKLE, edit, seal
from tests.support.graph_attacks import graph

N = 100  # calibration rows


def network(change):
    return graph(change, "contrast.onnx")


def rename(model):
    for node in model.graph.node:
        node.output[:] = ["other" if name == "contrast" else name for name in node.output]
    model.graph.output[0].name = "other"


def scale(model):
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.ndim == 4:
            weight.CopyFrom(numpy_helper.from_array(1.5 * array, weight.name))


def widen(model):
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = 65


def random_node(model):
    model.graph.node.insert(0, helper.make_node("RandomNormal", [], ["r"], shape=[1]))


def missing(name):
    return lambda folder: (folder / name).unlink()


def linked(folder):
    (folder / "contrast.onnx").unlink()
    (folder / "contrast.onnx").symlink_to("/etc/passwd")


def without_record(manifest):
    manifest["contrast"] = None


def without_it_at_all(manifest):
    manifest["contrast"] = None
    manifest["calibration"].update(contrast_rank=None, contrast_threshold=None)


def consistent(manifest):
    """The manifest has no contrast, but lists its files."""
    without_it_at_all(manifest)
    calibration = manifest["calibration"]
    calibration["effective_fpr"] = 2 * calibration["rank"] / (N + 1)


def in_calibration(**fields):
    return edit(lambda manifest: manifest["calibration"].update(fields))


ATTACKS = {
    "a pickle": (seal("contrast.onnx", PICKLE), r"contrast\.onnx: refused"),
    "another name": (network(rename), r"contrast\.onnx: has inputs or outputs"),
    "other inputs": (network(widen), r"contrast\.onnx: "),
    "a random node": (network(random_node), r"contrast\.onnx: refused: .*RandomNormal"),
    "other weights": (network(scale), r"golden\.npy: the contrast of its rows differs"),
    "no graph": (missing("contrast.onnx"), r"contrast\.onnx is missing"),
    "no array": (missing("contrast.npy"), r"contrast\.npy is missing"),
    "a link": (linked, r"contrast\.onnx"),
    "an array of pickles": (seal("contrast.npy", PICKLE), r"contrast\.npy: not a \.npy array"),
    "NaN": (seal("contrast.npy", npy(np.full(N, np.nan))), r"contrast\.npy: holds NaN"),
    "not sorted": (seal("contrast.npy", npy(np.arange(N)[::-1] * 1.0)), r"contrast\.npy: is not sorted"),
    "too few": (seal("contrast.npy", npy(np.arange(N - 1) * 1.0)), r"contrast\.npy: holds 99 contrasts, .* says 100"),
    "others": (seal("contrast.npy", npy(np.arange(N) * 1.0)), r"contrast_threshold is not the contrast of rank"),
    "golden rows without contrasts": (seal("golden.npy", npy(np.zeros((16, 65)))), r"golden\.npy: has shape"),
    "a record only": (edit(without_record), "contrast, calibration.contrast_rank and contrast_threshold must go"),
    "files only": (edit(consistent), "files must list exactly"),
    "no threshold": (in_calibration(contrast_threshold=None), "must go together"),
    "a rank of another target": (in_calibration(contrast_rank=50), "effective_fpr must be 2 contrast_rank"),
    "a rank beyond the rows": (in_calibration(contrast_rank=200, effective_fpr=400 / 101), "effective_fpr"),
    "an odd rank": (in_calibration(contrast_rank=9, effective_fpr=18 / 101), "contrast_rank must be rank, or with"),
    "control characters": (edit(lambda m: m["contrast"].update(against=["\x1b[2J"])), "contrast.against must be print"),
    "rows of a table": (edit(lambda m: m["schema"].update(shape=None)), r"contrast is for images only|schema\.columns"),
}


@pytest.fixture(scope="module")
def picture_path(picture_bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "model"
    write_bundle(picture_bundle, path)
    return path


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_contrast_is_refused_in_one_line(picture_path, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(picture_path, tmp_path / "model")
    ATTACKS[name][0](folder)
    with pytest.raises(BundleError, match=ATTACKS[name][1]) as caught:
        load(folder)
    assert not Path("executed").exists()
    assert len(str(caught.value)) < 2000
    assert "\n" not in str(caught.value)


def test_a_bundle_without_a_contrast_may_not_hold_its_files(model_path, tmp_path, picture_path):
    folder = shutil.copytree(model_path, tmp_path / "model")
    shutil.copy(picture_path / "contrast.onnx", folder)
    with pytest.raises(BundleError, match=r"'contrast\.onnx' is not part of a bundle"):
        load(folder)


def test_a_bundle_with_a_contrast_is_written_and_read(picture_path, picture_bundle):
    files = json.loads((picture_path / "manifest.json").read_text())["files"]
    for name in ("contrast.onnx", "contrast.npy"):
        data = (picture_path / name).read_bytes()
        assert files[name]["sha256"] == hashlib.sha256(data).hexdigest()
    onnx.checker.check_model(onnx.load(picture_path / "contrast.onnx"))
    found = load(picture_path).bundle
    np.testing.assert_array_equal(found.contrast, picture_bundle.contrast)
    assert len(found.contrast) == N
    assert found.golden_rows.shape == (16, 64)
    assert found.digest == picture_bundle.digest
