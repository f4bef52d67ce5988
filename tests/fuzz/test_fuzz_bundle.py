"""Bundles with changed bytes and matching digests either load or raise BundleError."""

from __future__ import annotations

import os
import time

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.bundle.file_arrays import ARRAYS
from anomaly_vae.bundle.manifest import graph_names
from tests.fuzz.mutations import changed_bytes, changed_json, changed_message
from tests.fuzz.seeds import small_bundle
from tests.fuzz.targets import CHECKSUM, MANIFEST, loaded, parses

GRAPHS = graph_names(1)
_LONGEST = 5.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("fuzz") / "model")


def bounded(max_examples):
    return settings(max_examples=max_examples, deadline=None, derandomize="CI" in os.environ)


def quickly(folder, name, data):
    start = time.monotonic()
    scorer = loaded(folder, name, data)
    assert time.monotonic() - start < _LONGEST
    return scorer


def test_the_bundle_itself_is_loaded(folder):
    for path in folder.iterdir():
        assert parses(path.name, path.read_bytes())
    assert quickly(folder, "noise.npy", (folder / "noise.npy").read_bytes()) is not None


@pytest.mark.parametrize(("name", "examples"), [*((name, 30) for name in (*GRAPHS, *ARRAYS, CHECKSUM)), (MANIFEST, 80)])
def test_changed_bytes_are_refused_or_harmless(folder, name, examples):
    original = (folder / name).read_bytes()

    @bounded(examples)
    @given(st.randoms(use_true_random=False))
    def check(rng):
        quickly(folder, name, changed_bytes(rng, original))

    check()


def test_a_changed_manifest_is_refused_or_harmless(folder):
    original, outcomes = (folder / MANIFEST).read_bytes(), set()

    @bounded(200)
    @given(st.randoms(use_true_random=False))
    def check(rng):
        outcomes.add(quickly(folder, MANIFEST, changed_json(rng, original)) is None)

    check()
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_with_changed_fields_is_refused_or_harmless(folder, name):
    original, outcomes = onnx.load_from_string((folder / name).read_bytes()), set()

    @bounded(80)
    @given(st.randoms(use_true_random=False))
    def check(rng):
        outcomes.add(quickly(folder, name, changed_message(rng, original)) is None)

    check()
    assert outcomes == {True, False}
