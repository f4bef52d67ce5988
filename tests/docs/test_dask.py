"""What the examples of Dask's page write has the same bits as the scorer alone."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import anomaly_vae
from tests.support.documents import ROOT
from tests.support.examples import Examples

PAGE = ROOT / "docs" / "dask.md"


@pytest.fixture(scope="module")
def page_in(tmp_path_factory, model_path):
    """Run the page in a folder whose new.csv has cells that are missing or infinite; return the folder."""
    folder = tmp_path_factory.mktemp("dask")
    examples = Examples(PAGE, folder, model_path)
    rows = pyarrow.csv.read_csv(folder / "new.csv")
    flow = rows["flow"].to_numpy().copy()
    flow[[3, 40]] = np.inf
    cells = pa.array(flow, mask=np.arange(75) % 20 == 1)
    rows = rows.set_column(rows.column_names.index("flow"), "flow", cells)
    pyarrow.csv.write_csv(rows, folder / "new.csv")
    with contextlib.chdir(folder):
        examples.run()
    return folder


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:DeprecationWarning")  # Dask uses it
@pytest.mark.parametrize("written", ["scores", "scored"])
def test_parts_have_the_scores_of_the_whole_table(page_in, model_path, written):
    """In three parts, with nulls and reasons in rows that cannot be scored."""
    rows = ds.dataset(page_in / "rows").to_table().sort_by("id")
    assert len(list((page_in / "rows").iterdir())) == 3
    expected = anomaly_vae.load(model_path).score_arrow(rows, keep=["id"])
    assert expected["score"].null_count == 2
    found = pq.read_table(page_in / written).sort_by("id")
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        assert found[name].equals(expected[name]), name
