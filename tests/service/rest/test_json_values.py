"""Numbers and texts in JSON: exact, checked against the shape, without much memory for a hostile request."""

import json
import tracemalloc

import numpy as np
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rest.json_values import check_layout, numbers_of, texts_of


def read(data, shape):
    check_layout(data, shape, "data")
    return numbers_of(data, "data", lambda i: f"value {i}")


def refusal(call, *arguments):
    with pytest.raises(CallError) as caught:
        call(*arguments)
    return caught.value.message


@pytest.mark.parametrize("text", [b"[[1,2,3],[4,5,6]]", b"[1,2,3,4,5,6]", b" [ [1 ,2,3], [4,\n5,6 ] ] "])
def test_a_list_is_flat_or_nested_as_the_shape(text):
    np.testing.assert_array_equal(read(text, (2, 3)), [1, 2, 3, 4, 5, 6])


def test_images_are_lists_in_lists_in_lists():
    images = np.arange(24.0).reshape(2, 3, 2, 2)
    np.testing.assert_array_equal(read(json.dumps(images.tolist()).encode(), (2, 3, 2, 2)), images.ravel())


def test_every_float64_keeps_its_bits(new_rows):
    rng = np.random.default_rng(3)
    values = np.frombuffer(rng.bytes(8 * 50_000), "<f8")
    values = np.append(values[np.isfinite(values)], [0.0, -0.0, 5e-324, 1.7976931348623157e308])
    text = json.dumps(values.tolist()).encode()
    assert len(text) > 10 * 2**16  # read in several parts
    assert read(text, (len(values), 1)).tobytes() == values.tobytes()


def test_null_is_a_missing_cell():
    np.testing.assert_array_equal(read(b"[1,null,3]", (1, 3)), [1, np.nan, 3])


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        (b"[1,2,3]", (2, 2), "data: has 3 values, expected 4: 2 x 2"),
        (b"[[1,2,3],[4]]", (2, 2), "data: must be one flat list, or lists in lists of the sizes [2, 2]"),
        (b"[[[1,2],[3,4]]]", (2, 2), "data: must be one flat list, or lists in lists of the sizes [2, 2]"),
        (b"[]", (1, 1), "data: has an empty list"),
        (b"[[],[]]", (2, 1), "data: value 0: is neither a number that float64 has nor null"),
        (b'[1,"2"]', (1, 2), "data: value 1: is neither"),
        (b"[1,true]", (1, 2), "data: value 1: is neither"),
        (b'[1,{"a":2}]', (1, 2), "data: value 1: is neither"),
        (b"[1,1e999]", (1, 2), "data: value 1: is neither"),
        (b"17", (1, 1), "data: must be one flat list"),
        (b'"[,]"', (1, 2), "data: value 0: is neither"),
    ],
)
def test_other_values_and_layouts_are_refused(text, shape, message):
    assert refusal(read, text, shape).startswith(message)


def test_a_wrong_value_far_behind_is_found():
    values = ["0.12345678901234567"] * 20_000
    values[15_000] = "false"
    assert refusal(read, f"[{','.join(values)}]".encode(), (20_000, 1)).startswith("data: value 15000: is neither")


def test_a_claim_takes_no_memory_before_it_is_checked():
    tracemalloc.start()
    refusal(check_layout, b"[1]", (10**6, 10**6), "data")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000


def test_numbers_take_little_more_memory_than_their_values():
    """As Python objects all at once, they would take 32 bytes each."""
    text = b"[" + b",".join([b"1.5"] * 500_000) + b"]"
    tracemalloc.start()
    read(text, (500_000, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 500_000 + 4 * len(text)


def test_texts_may_be_missing():
    assert texts_of('["a,[b]","é",null,""]'.encode(), "data") == ["a,[b]", "é", None, ""]


@pytest.mark.parametrize("text", [b'[["a"]]', b"[1]", b'"a"', b'["\xff"]'])
def test_other_texts_are_refused(text):
    assert refusal(texts_of, text, "data").startswith("data: must be one flat list of texts")
