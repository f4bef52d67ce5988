"""Matrices in messages: what a request claims, and the rows that it gives."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rpc.tensors import (
    TensorFields,
    check_claim,
    check_id,
    checked_values,
    claimed_rows,
    limited_fields,
    matrix_of,
)
from anomaly_vae.wire import WireError
from tests.support.running import INVALID
from tests.support.served import LIMITS, SCHEMA
from tests.support.shaped import IMAGE, images, schema_with
from tests.support.wire import entry

SHAPED = schema_with(IMAGE)
NAMES = TensorFields("the type", "the shape", "the data", "the method")

claims = st.tuples(
    st.sampled_from(["FP32", "FP64", "UINT8", "INT64", ""]),
    st.lists(st.sampled_from([-5, 0, 1, 3, 4, 5, 6, 12, 1_000, 1_001, 2**62]), max_size=5),
    st.sampled_from([0, 30, 72, 100, 120, 200, 240, 288, 576, 20_000, 40_000]),
)


@given(claims, st.sampled_from([SCHEMA, SHAPED]))
@example(("FP64", [6, 5], 240), SCHEMA)
@example(("UINT8", [6, 5], 30), SCHEMA)
@example(("UINT8", [6, 3, 4, 1], 72), SHAPED)
@example(("FP32", [6, 3, 4], 288), SHAPED)
def test_a_claim_that_passes_has_the_rows_that_were_counted(claim, schema):
    """Both functions read a claim by themselves: rows are counted before the claim is checked."""
    dtype, shape, num_bytes = claim
    try:
        found = check_claim(dtype, shape, num_bytes, schema, LIMITS, NAMES)
    except CallError:
        return
    assert claimed_rows(dtype, shape, num_bytes) == shape[0] > 0
    assert math.prod(shape) * found.itemsize == num_bytes
    assert math.prod(shape[1:]) == len(schema.columns)


@given(claims)
@example(("FP32", [-5, -5], 100))
@example(("FP64", [6, 5], 240))
@example(("UINT8", [6, 5, 1, 1, 1], 30))
def test_rows_are_counted_only_if_they_fill_the_bytes(claim):
    dtype, shape, num_bytes = claim
    size = {"FP32": 4, "FP64": 8, "UINT8": 1}.get(dtype, 0)
    if num_rows := claimed_rows(dtype, shape, num_bytes):
        assert num_rows == shape[0] > 0
        assert 2 <= len(shape) <= 4
        assert math.prod(shape) * size == num_bytes


@pytest.mark.parametrize(
    ("dtype", "shape", "num_bytes", "field", "text"),
    [
        ("INT8", (6, 5), 240, "the type", "is 'INT8', expected FP32, FP64 or UINT8"),
        ("FP64" * 9_000, (6, 5), 240, "the type", f"is '{'FP64' * 5}', expected"),
        ("FP64", (30,), 240, "the shape", "has 1 dimensions, expected 2: rows, columns"),
        ("FP64", (0, 5), 0, "the shape", "has 0 rows, a request may have 1 to 1000"),
        ("FP64", (1_001, 5), 40_040, "the shape", "has 1001 rows, a request may have 1 to 1000"),
        ("FP64", (10, 3), 240, "the shape", "has 3 columns, the model has 5; see the method"),
        ("FP64", (6, 5), 239, "the data", "has 239 bytes, expected 240: 6 x 5 FP64"),
        ("FP32", (6, 5), 240, "the data", "has 240 bytes, expected 120: 6 x 5 FP32"),
        ("UINT8", (6, 5), 240, "the data", "has 240 bytes, expected 30: 6 x 5 UINT8"),
    ],
)
def test_a_wrong_claim_is_refused_with_its_field(dtype, shape, num_bytes, field, text):
    with pytest.raises(CallError) as error:
        check_claim(dtype, shape, num_bytes, SCHEMA, LIMITS, NAMES)
    assert (error.value.code, error.value.field) == (INVALID, field)
    assert text in error.value.text


@given(arrays(np.uint64, st.tuples(st.integers(1, 4), st.just(5))))
def test_rows_of_any_bits_are_read_as_little_endian_doubles(bits):
    """Signalling NaN included, which make numpy warn when they are computed with; a warning fails this test."""
    rows = matrix_of(bits.astype("<u8").tobytes(), "FP64", bits.shape, SCHEMA, LIMITS, NAMES)
    expected = bits.view(np.float64)
    np.testing.assert_array_equal(np.isnan(rows), np.isnan(expected))
    np.testing.assert_array_equal(rows[~np.isnan(rows)], expected[~np.isnan(expected)])


@pytest.mark.parametrize("shape", [(6, 12), (6, 3, 4, 1), (6, 3, 4)])
@pytest.mark.parametrize(("dtype", "kind"), [("UINT8", "u1"), ("FP32", "<f4"), ("FP64", "<f8")])
def test_images_are_the_same_rows_in_every_shape_and_type(shape, dtype, kind):
    pixels = images(6)
    rows = matrix_of(pixels.astype(kind).tobytes(), dtype, shape, SHAPED, LIMITS, NAMES)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, pixels.reshape(6, 12))


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((), "[]"),
        ((72,), "[72]"),
        ((12, 6), "[12, 6]"),
        ((6, 4, 3, 1), "[6, 4, 3, 1]"),
        ((6, 1, 3, 4), "[6, 1, 3, 4]"),
        ((3, 4, 1), "[3, 4, 1]"),
        ((-6, -12), "[-6, -12]"),
        ((6, 3, 4, 1, 1), "[6, 3, 4, 1, 1]"),
        ((6, 12) + (1,) * 100_000, "[6, 12, 1, 1, 1, ...]"),
    ],
)
def test_another_shape_of_images_is_refused_with_those_that_are_accepted(shape, found):
    with pytest.raises(CallError) as error:
        check_claim("UINT8", shape, 72, SHAPED, LIMITS, NAMES)
    assert (error.value.code, error.value.field) == (INVALID, "the shape")
    assert error.value.text == f"is {found}, expected [N, 12], [N, 3, 4, 1] or [N, 3, 4]; see the method"


def test_many_images_are_refused_as_many_rows():
    with pytest.raises(CallError, match="has 1001 rows, a request may have 1 to 1000"):
        check_claim("UINT8", (1_001, 3, 4, 1), 12_012, SHAPED, LIMITS, NAMES)


def test_signalling_nan_of_float32_become_nan_without_a_warning():
    rows = matrix_of(b"\1\0\x80\x7f" * 5, "FP32", (1, 5), SCHEMA, LIMITS, NAMES)
    assert np.isnan(rows).all()


def test_an_infinite_value_is_refused_with_its_cell():
    rows = np.zeros((3, 5))
    rows[2, 1] = -np.inf
    with pytest.raises(CallError, match="row 2, column 'flow' is -inf") as error:
        checked_values(rows, SCHEMA, "the data")
    assert (error.value.code, error.value.field) == (INVALID, "the data")


def test_all_missing_cells_become_the_same_nan():
    """Signalling NaN have the highest bit of the mantissa unset."""
    bits = np.zeros((2, 5), np.uint64)
    bits[0, 1], bits[1, 2] = 0x7FF0_0000_0000_0001, 0xFFF8_0000_0000_00FF
    rows = checked_values(bits.view(np.float64), SCHEMA, "the data")
    assert rows[np.isnan(rows)].tobytes() == np.array([np.nan, np.nan]).tobytes()
    assert np.isnan(rows).sum() == 2
    assert rows[~np.isnan(rows)].tobytes() == bytes(8 * 8)


@pytest.mark.parametrize("text", ["", "a", "x" * 128, "Bestellung Nr. 66 ü"])
def test_ids_that_can_be_logged_are_accepted(text):
    check_id(text, "id")


@pytest.mark.parametrize("text", ["x" * 129, "a\nb", "\0", "\N{RIGHT-TO-LEFT OVERRIDE}"])
def test_other_ids_are_refused(text):
    with pytest.raises(CallError, match="must have at most 128 printable characters") as error:
        check_id(text, "id")
    assert (error.value.code, error.value.field) == (INVALID, "id")


def test_fields_are_counted_before_they_are_parsed():
    data = entry(1, b"a") + b"\x10\x07" + entry(3, b"")
    assert limited_fields(data, 3, "the message") == [(1, b"a"), (2, 7), (3, b"")]
    with pytest.raises(CallError, match="has more entries than a request may have") as error:
        limited_fields(data + b"\xff", 2, "the message")
    assert (error.value.code, error.value.field) == (INVALID, "the message")
    with pytest.raises(WireError):
        limited_fields(data + b"\xff", 4, "the message")
