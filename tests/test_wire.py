"""The fields of protobuf messages, against protobuf's own encoder."""

from __future__ import annotations

import struct

import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.wire import WireError, fields, varint


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_an_integer_is_read_as_protobuf_writes_it(value, before, after):
    encoded = _VarintBytes(value)
    assert varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


def test_fields_of_every_wire_type_are_read_as_protobuf_writes_them():
    assert list(fields(wrappers_pb2.UInt64Value(value=2**63).SerializeToString())) == [(1, 2**63)]
    assert list(fields(wrappers_pb2.Int64Value(value=-1).SerializeToString())) == [(1, 2**64 - 1)]
    assert list(fields(wrappers_pb2.DoubleValue(value=0.1).SerializeToString())) == [(1, struct.pack("<d", 0.1))]
    assert list(fields(wrappers_pb2.FloatValue(value=0.5).SerializeToString())) == [(1, struct.pack("<f", 0.5))]
    assert list(fields(wrappers_pb2.BytesValue(value=b"a" * 300).SerializeToString())) == [(1, b"a" * 300)]
    assert list(fields(b"")) == []


def test_fields_come_in_order_and_messages_in_messages_stay_bytes():
    message = descriptor_pb2.FileDescriptorProto(name="a.proto", dependency=["b", "c"])
    message.message_type.add(name="M")
    inner = message.message_type[0].SerializeToString()
    assert list(fields(message.SerializeToString())) == [(1, b"a.proto"), (3, b"b"), (3, b"c"), (4, inner)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80", "ends too early"),  # a key that goes on
        (b"\x08", "ends too early"),  # a key without its integer
        (b"\x0d\0\0\0", "ends too early"),  # 3 of 4 bytes
        (b"\x09" + b"\0" * 7, "ends too early"),  # 7 of 8 bytes
        (b"\x0a\x05abcd", "ends too early"),  # 4 of 5 bytes
        (b"\x0a" + b"\xff" * 9 + b"\x01", "ends too early"),  # 2^64 - 1 bytes
        (b"\x08" + b"\xff" * 10 + b"\x01", "a protobuf integer is too long"),
        (b"\x0b", "wire type 3 is not supported"),
        (b"\x0c", "wire type 4 is not supported"),
        (b"\x0f", "wire type 7 is not supported"),
    ],
)
def test_bytes_that_are_not_a_message_are_refused(data, message):
    with pytest.raises(WireError, match=message):
        list(fields(data))


@given(st.binary(max_size=40))
def test_any_bytes_give_fields_or_the_one_error(data):
    """The bytes are not trusted: no other error, and all fields together are not longer than the input."""
    try:
        found = list(fields(data))
    except WireError:
        return
    assert sum(len(value) if isinstance(value, bytes) else 1 for _, value in found) + len(found) <= len(data)
