"""Arrays to .npy bytes and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anomaly_vae.bundle.npy import npy_bytes, parse_npy
from anomaly_vae.errors import BundleError

F4, F8 = np.dtype("<f4"), np.dtype("<f8")
NOISE = np.random.default_rng(0).normal(size=(16, 256, 2)).astype(F4)


def saved(array, **options):
    """Return the bytes that numpy saves."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


FINITE = {"allow_nan": False, "allow_infinity": False}
ARRAYS = st.sampled_from([F4, F8]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(max_dims=3, max_side=5), elements=FINITE)
)


@given(ARRAYS)
def test_numpy_reads_what_is_written_and_so_does_the_parser(array):
    data = npy_bytes(array)
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), array)
    got = parse_npy(data, array.dtype, array.ndim, "x.npy")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype
    assert data == saved(array)


def test_the_bytes_of_an_array_do_not_depend_on_its_memory_order():
    array = np.arange(6.0).reshape(2, 3)
    assert npy_bytes(np.asfortranarray(array)) == npy_bytes(array)


HUGE = saved(NOISE).replace(b"(16, 256, 2), }" + b" " * 9, b"(16, 256000000000, 2), }")

# One size is 0, so the product is 0, but another size is beyond numpy's integers.
EMPTY = saved(NOISE[:0]).replace(b"(0, 256, 2), }" + b" " * 19, b"(0, 2560000000000000000000, 2), }")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(NOISE.astype(F8)), r"<f8 array of shape \(16, 256, 2\), expected <f4 with 3 dimensions"),
        (saved(NOISE[0]), r"<f4 array of shape \(256, 2\), expected <f4 with 3"),
        (saved(np.asfortranarray(NOISE)), "not a .npy array of numbers in C order"),
        (saved(NOISE.astype(">f4")), "not a .npy array of numbers in C order"),
        (saved(NOISE.astype(np.int64)), "not a .npy array of numbers in C order"),
        (saved(np.where(NOISE > 2, np.inf, NOISE).astype(F4)), "holds NaN or an infinity"),
        (saved(np.where(NOISE > 2, np.nan, NOISE).astype(F4)), "holds NaN or an infinity"),
        (saved(np.array([{}], dtype=object), allow_pickle=True), "not a .npy array of numbers"),
        (b"", "not a .npy"),
        (b"not an array", "not a .npy"),
        (saved(NOISE)[:50], "not a .npy"),
        (HUGE, r"shape \(16, 256000000000, 2\) needs another size than its 32768 bytes"),
        (saved(NOISE)[:-4], "needs another size"),
        (saved(NOISE) + b"\0", "needs another size"),
        (saved(NOISE).replace(b"(16, 256, 2)", b"(16, 256, 0)"), "needs another size"),
        (EMPTY, "needs another size than its 0 bytes"),
        (saved(NOISE).replace(b"\x76\x00{", b"\x77\x00{"), "not a .npy"),
    ],
)
def test_other_bytes_are_refused_by_the_name_of_the_file(data, message):
    """The array that a header claims is never allocated: HUGE claims 30 TiB."""
    with pytest.raises(BundleError, match=rf"^model/noise\.npy: .*{message}"):
        parse_npy(data, F4, 3, "model/noise.npy")
