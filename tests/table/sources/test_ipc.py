"""Arrow files and streams, and Feather."""

from __future__ import annotations

import pandas
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources import open_source
from tests.support.sources import cells

TABLE = pa.table(
    {
        "x": [float(i) for i in range(5000)],
        "d": pa.array([f"c{i % 7}" for i in range(5000)]).dictionary_encode(),
        "u": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * 5000, pa.binary(16))),
    }
)


def written(path, table=TABLE, *, stream=False, compression=None):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema, options=options) as writer:
        writer.write_table(table)
    return str(path)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("name", ["t.arrow", "t.feather", "t.ipc", "t"])
def test_values_are_those_of_the_file(tmp_path, stream, compression, name):
    source = open_source(written(tmp_path / name, stream=stream, compression=compression))
    assert (source.is_text, source.notes, source.names) == (False, (), ("x", "d", "u"))
    assert source.type_of("u") == pa.binary(16)
    columns, faults = cells(source, ["d", "x", "u"])
    assert columns == {"d": TABLE["d"].to_pylist(), "x": TABLE["x"].to_pylist(), "u": [b"0123456789abcdef"] * 5000}
    assert faults == [None] * 5000


def test_a_large_record_batch_is_handed_out_in_parts(tmp_path):
    for stream in (False, True):
        source = open_source(written(tmp_path / "t.arrow", stream=stream))
        next(source.batches(["x"]))
        done, total = source.progress()
        assert 0.15 < done / total < 0.3


def test_files_of_pandas_and_polars(tmp_path):
    path = str(tmp_path / "t.feather")
    pandas.DataFrame({"x": [0.1, 0.2], "s": ["a", None]}).to_feather(path)
    assert cells(open_source(path))[0] == {"x": [0.1, 0.2], "s": ["a", None]}
    polars.DataFrame({"x": [0.1, 0.2], "s": ["a", None]}).write_ipc(path)
    assert cells(open_source(path))[0] == {"x": [0.1, 0.2], "s": ["a", None]}
    polars.DataFrame({"x": [0.1]}).write_ipc_stream(path)
    assert cells(open_source(path))[0] == {"x": [0.1]}


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_without_rows_or_requested_columns(tmp_path, stream):
    path = written(tmp_path / "t.arrow", TABLE.slice(0, 0), stream=stream)
    assert cells(open_source(path), ["x"]) == ({"x": []}, [])
    path = written(tmp_path / "t.arrow", stream=stream)
    assert sum(len(batch.faults) for batch in open_source(path).batches([])) == 5000
    with pytest.raises(InvalidInput, match="has no columns"):
        open_source(written(tmp_path / "t.arrow", pa.table({}), stream=stream))


def test_a_damaged_file_is_explained(tmp_path):
    path = tmp_path / "t.arrow"
    data = (tmp_path / "t.arrow", written(path))[0].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match=r"t\.arrow: damaged, or not an Arrow file"):
        open_source(str(path))
    written(path, stream=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match=r"t\.arrow: damaged after 0 rows"):
        cells(open_source(str(path)))


@pytest.mark.parametrize("stream", [False, True])
def test_offsets_and_names_of_a_damaged_file_are_checked(tmp_path, stream):
    """An offset beyond the texts would read memory of others, or crash."""
    path = tmp_path / "t.arrow"
    written(path, pa.table({"name_of_it": ["abc", "de"]}), stream=stream)
    data = path.read_bytes()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 3, 5))
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, offsets[:4] + b"\xff\xff\xff\x7f" + offsets[8:]))
    with pytest.raises(InvalidInput, match=r"t\.arrow: damaged after 0 rows"):
        cells(open_source(str(path)))
    path.write_bytes(data.replace(b"name_of_it", b"name\xffof_it"))
    with pytest.raises(InvalidInput, match=r"t\.arrow: damaged, or not an Arrow file"):
        open_source(str(path))
