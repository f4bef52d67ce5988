"""Random bytes as requests give either rows, or an error that names the field."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly_vae.service.rpc import inference_messages, score_messages
from tests.fuzz.mutations import changed_bytes, changed_message
from tests.fuzz.seeds import SCHEMA, infer_seeds, request_seeds
from tests.fuzz.targets import decoded, inferred

SEEDS = request_seeds() + infer_seeds()
SCORES = request_seeds()
bounded = settings(max_examples=1000, deadline=None, derandomize="CI" in os.environ)


@pytest.fixture(params=["parsed at once", "checked first"])
def small_message(request, monkeypatch):
    """Only large messages are checked before they are parsed; with the second parameter small ones are, too."""
    if request.param == "checked first":
        monkeypatch.setattr(score_messages, "SMALL_MESSAGE", 0)
        monkeypatch.setattr(inference_messages, "SMALL_MESSAGE", 0)


def in_little_memory(data, decode=decoded):
    """Decode a request, and check that the memory used is a small multiple of its size."""
    tracemalloc.start()
    try:
        rows = decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**18 + 40 * len(data)
    return rows


def decoder_of(seed):
    return decoded if type(seed) is type(SCORES[0]) else inferred


def test_valid_requests_become_rows():
    for seed in SEEDS:
        rows = decoder_of(seed)(seed.SerializeToString())
        assert rows is not None
        assert rows.shape == (6, len(SCHEMA.columns))


@pytest.mark.usefixtures("small_message")
def test_noise_is_refused_or_decoded():
    @bounded
    @given(st.binary(max_size=300))
    @example(b"")
    def check(data):
        for decode in (decoded, inferred):
            in_little_memory(data, decode)

    check()


@pytest.mark.usefixtures("small_message")
def test_changed_bytes_are_refused_or_decoded():
    @bounded
    @given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
    def check(seed, rng):
        in_little_memory(changed_bytes(rng, seed.SerializeToString()), decoder_of(seed))

    check()


@pytest.mark.usefixtures("small_message")
def test_changed_fields_are_refused_or_decoded():
    outcomes = set()

    @bounded
    @given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
    def check(seed, rng):
        outcomes.add((type(seed), in_little_memory(changed_message(rng, seed), decoder_of(seed)) is None))

    check()
    assert len(outcomes) == 4


def test_long_messages_are_refused_or_decoded():
    """Changed requests, repeated until they are long enough to be checked before they are parsed."""

    @settings(bounded, max_examples=150)
    @given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
    def check(seed, rng):
        data = changed_message(rng, seed)
        in_little_memory(data * (1 + score_messages.SMALL_MESSAGE // max(len(data), 1)), decoder_of(seed))

    check()


def test_signalling_nans_are_missing_cells():
    """Numpy warns when it converts or compares them; a warning fails this test."""
    for name, bits in (("FP32", b"\1\0\x80\x7f"), ("FP64", b"\1\0\0\0\0\0\xf0\x7f")):
        seed = next(seed for seed in SCORES if seed.tensor.dtype == name)
        request = type(seed)()
        request.CopyFrom(seed)
        request.tensor.data = bits * (6 * len(SCHEMA.columns))
        rows = decoded(request.SerializeToString())
        assert not SCHEMA.novel_cells(rows).any()
