"""The interface of sources: all of them have it."""

from __future__ import annotations

import pytest

from anomaly_vae.table.raw import RawBatch, Source
from anomaly_vae.table.sources import open_source
from tests.support.sources import open_bytes
from tests.table.sources.test_files import CONTENTS


@pytest.mark.parametrize("ending", [*CONTENTS, ""])
def test_all_sources_have_the_interface(tmp_path, ending):
    if ending:
        source = open_bytes(tmp_path, f"t{ending}", CONTENTS[ending])
    else:
        (tmp_path / "d").mkdir()
        open_bytes(tmp_path / "d", "t.parquet", CONTENTS[".parquet"])
        source = open_source(str(tmp_path / "d"))
    members = [*Source.__annotations__, "type_of", "batches", "progress"]
    assert [name for name in members if not hasattr(source, name)] == []
    for batch in source.batches(source.names):
        assert isinstance(batch, RawBatch)
        assert len(batch.faults) == batch.columns.num_rows
