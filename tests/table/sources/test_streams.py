"""Streams decompress what is compressed, whatever the name says, and know where they are."""

from __future__ import annotations

import gzip
import io
import random

import pyarrow as pa
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.streams import ByteStream

DATA = bytes(random.Random(0).choices(b"0123456789\n", k=3_000_000))


def compressed(data, codec):
    if codec is None:
        return data
    return gzip.compress(data) if codec == "gzip" else pa.compress(data, codec=codec, asbytes=True)


def stream_of(data):
    return ByteStream(io.BytesIO(data), "text", len(data))


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
@pytest.mark.parametrize("data", [DATA, b"a", b""])
def test_bytes_come_as_they_were_before_compression(codec, data):
    if codec == "zstd" and not data:
        return
    stream = stream_of(compressed(data, codec))
    assert stream.compression == codec
    assert stream.peek(10) == data[:10]
    assert stream.peek(2**20) == data[: 2**20]
    parts = [stream.read(3)]
    while part := stream.read(700_000):
        parts.append(part)
    assert b"".join(parts) == data
    assert all(len(part) == 700_000 for part in parts[1:-1])


def test_gzip_files_in_a_row_are_one_file():
    assert stream_of(gzip.compress(b"abc") + gzip.compress(b"def")).read(100) == b"abcdef"


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_the_position_follows_what_was_read_not_what_was_read_ahead(codec):
    data = compressed(DATA, codec)
    stream = stream_of(data)
    stream.peek(2**20)
    assert stream.position == 0
    stream.read(2**19)
    assert abs(stream.position / len(data) - 2**19 / len(DATA)) < 0.05
    stream.read(2**30)
    assert stream.position == len(data)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_data_that_are_cut_off_are_explained(codec):
    stream = stream_of(compressed(DATA, codec)[:-100])
    with pytest.raises(InvalidInput, match=f"text: the {codec} data are cut off or damaged"):
        stream.read(2**30)


def test_a_read_error_is_explained():
    class Failing(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(InvalidInput, match="text: cannot be read: Input/output error"):
        ByteStream(Failing(), "text", 8)


def test_a_file_is_closed_unless_others_opened_it():
    for keeps_open in (False, True):
        file = io.BytesIO(b"a")
        ByteStream(file, "text", None, keeps_open=keeps_open).close()
        assert file.closed != keeps_open
