"""What sources of texts share: their type, and how far they were read."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from anomaly_vae.table.sources.encoding import TextStream
from anomaly_vae.table.sources.streams import ByteStream
from anomaly_vae.table.sources.text import TextSource


def test_cells_are_texts_and_an_unknown_column_is_an_error():
    source = TextSource(TextStream(ByteStream(io.BytesIO(b"a\n1\n"), "t.csv", 4)))
    source.names = ("a",)
    assert (source.where, source.encoding, source.is_text) == ("t.csv", "utf-8", True)
    assert source.type_of("a") == pa.string()
    with pytest.raises(KeyError):
        source.type_of("b")
    assert source.progress() == (0.0, 4)
    source._finished = True
    assert source.progress() == (4, 4)
    source.close()
