"""Text in all encodings becomes UTF-8; bytes of another encoding are marked, never mixed in silence."""

from __future__ import annotations

import io
import itertools

import pytest

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.encoding import TextStream, encoding_name
from anomaly_vae.table.sources.files import open_pipe
from anomaly_vae.table.sources.streams import ByteStream
from tests.support.sources import cells

TEXT = "größe;€ 5;naïve\n" * 200_000


def stream_of(data, encoding=None, sample=2**20):
    return TextStream(ByteStream(io.BytesIO(data), "text", len(data)), encoding, sample)


def all_of(stream):
    return b"".join(iter(lambda: stream.read(100_000), b""))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "utf-32-le"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_is_found(written, found):
    text = TEXT.replace("€", "E") if written.startswith("utf-16-") else TEXT
    stream = stream_of(text.encode(written))
    assert stream.encoding == found
    assert all_of(stream).decode() == text


def test_utf_16_of_the_other_order_is_found_by_its_mark():
    stream = stream_of(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert stream.encoding == "utf-16-be"
    assert all_of(stream).decode() == TEXT


def test_bytes_that_windows_does_not_define_are_latin_1():
    stream = stream_of(b"a\x81\xe9b")
    assert stream.encoding == "iso8859-1"
    assert all_of(stream).decode() == "a\x81éb"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF8", "latin-1", "shift_jis", "utf-16", "utf-32"])
def test_the_user_can_name_the_encoding(encoding):
    text = "ab,cd\n1,2\n"
    stream = stream_of(text.encode(encoding), encoding)
    assert all_of(stream).decode() == text


def test_characters_cut_by_blocks_are_whole():
    data = ("aé€𝄞" * 50_000).encode()
    for sample in range(1, 12):
        stream = stream_of(data, sample=sample)
        stream.peek(sample)
        assert stream.encoding == "utf-8"
        assert all_of(stream) == data


def marked(data, encoding=None):
    """Return the cells and the messages of a column with one cell per line."""
    stream = stream_of(data, encoding, sample=100)
    column = from_strings(all_of(stream).decode().splitlines())
    faults = [None] * len(column)
    [checked] = stream.check([column], ["c"], faults)
    return stream, checked.to_pylist(), [fault and fault.text for fault in faults]


def test_bad_bytes_after_the_sample_are_faults():
    _, found, faults = marked(b"plain\n" * 50 + b"caf\xe9\n\xff\xfe!\nok\n")
    assert found[-3:] == ["caf\ufffd", "\ufffd!", "ok"]
    assert faults[-4:] == [
        None,
        "column 'c': the bytes e9 are not UTF-8; if the whole file is in another encoding, name it, such as "
        "--encoding latin-1",
        "column 'c': the bytes ff fe are not UTF-8; if the whole file is in another encoding, name it, such as "
        "--encoding latin-1",
        None,
    ]


def test_utf_8_in_a_file_of_another_encoding_is_not_mixed():
    """A few bad bytes do not turn a UTF-8 file into Windows-1252."""
    stream, found, faults = marked("größe\nköln\nnaïve\n".encode() + b"caf\xe9\n")
    assert stream.encoding == "utf-8"
    assert found == ["größe", "köln", "naïve", "caf\ufffd"]
    assert [fault is not None for fault in faults] == [False, False, False, True]


def test_bytes_that_a_named_encoding_lacks_are_faults():
    _, found, faults = marked("テスト\n".encode("shift_jis") + b"\xff\xa0x\n", "shift_jis")
    assert found == ["テスト", "\ufffdx"]
    assert "the bytes ff a0 are not shift_jis" in faults[1]
    assert "--encoding utf-8" in faults[1]


@pytest.mark.parametrize("data", [b"\0\1\2\3" * 100, bytes(range(256)), b"\x01\x02\x03abc", b"a,b\n1,\0\n"])
def test_binary_data_are_refused(data):
    with pytest.raises(InvalidInput, match="text: holds binary data, not text"):
        stream_of(data)


def test_a_file_that_is_not_of_the_named_encoding_at_all_is_refused():
    with pytest.raises(InvalidInput, match="text: is not UTF-16: "):
        all_of(stream_of(b"a,b\n1,2\n", "utf-16"))


def test_the_progress_is_that_of_the_file_in_any_encoding():
    for encoding in ("utf-8", "utf-16"):
        data = TEXT.encode(encoding)
        stream, size = stream_of(data), len(TEXT.encode())
        for place in itertools.count():
            if not stream.read(2**18):
                break
            done, total = stream.progress(place * 2**18)
            assert total == len(data)
            assert abs(done / total - place * 2**18 / size) < 0.03
        assert stream.progress(size) == (len(data), len(data))
        assert stream.total() == (len(data), len(data))


def test_names_for_people():
    assert [encoding_name(name) for name in ("cp1252", "utf-16-be", "big5")] == ["Windows-1252", "UTF-16", "big5"]


def test_characters_that_stand_for_bad_bytes_are_reported_and_do_not_change_the_encoding():
    source = open_pipe(io.BytesIO("a\n\U0010ff41\nb\n".encode()), "text", ReadOptions())
    columns, faults = cells(source)
    assert source.encoding == "utf-8"
    assert faults[0] is not None
    assert (columns["a"][1], faults[1]) == ("b", None)
