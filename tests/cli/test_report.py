"""``anomaly-vae report``: a page for a model of tables, of series and of images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.progress import Pace
from tests.support.command_line import cli, in_process, one_line, write_csv
from tests.support.conv_models import grey_images, image_bundle, series_bundle, series_table, write_table
from tests.support.data import make_rows


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Forty rows like those of the training, one far away, one with a new value and one that cannot be read."""
    rows = make_rows(42, seed=4)
    rows[11, 1] += 5.0
    rows[30, 4] = 8.0
    path = tmp_path_factory.mktemp("report") / "new.csv"
    write_csv(path, rows)
    path.write_text(path.read_text() + "1,1,broken,1,7\n")
    return path


def test_a_model_alone_needs_no_data(model_path, tmp_path):
    done = in_process("report", model_path, "-o", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for part in ("<h1><bdi>model</bdi></h1>", "420 normal rows", "pressure", "always 7", "posterior collapse", "passed",
                 "training batches", "threshold -", "because no INPUT was given"):  # fmt: skip
        assert part in page, part
    assert "The most anomalous" not in page
    assert "open it in a browser" in done.stderr


def test_the_rows_of_a_table_are_shown_the_worst_first(model_path, table, tmp_path):
    done = in_process(
        "report", model_path, table, "-o", tmp_path / "r.html", "--worst", 5, "--title", "Week 12", "--json"
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["worst"][:2] == ["31", "12"], "a new value ranks lowest"
    assert len(facts["worst"]) == 5
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert facts["bytes"] == len(page.encode()) < 200_000
    for part in ("Week 12", "p-values", "column &#39;unit&#39; was always 7.0 in training, is 8.0", "1 unreadable",
                 ">42</b><span>rows scored", "Of 42 rows the 5 worst are shown", "row 43"):  # fmt: skip
        assert part in page, part


def test_series_show_windows_and_images_show_pixels(tmp_path):
    write_bundle(series_bundle(), tmp_path / "series")
    write_bundle(image_bundle(), tmp_path / "image")
    write_table(tmp_path / "in.csv", series_table(40, seed=5))
    np.save(tmp_path / "x.npy", grey_images(9))
    for model, given, parts in (
        ("series", "in.csv", ("<bdi>until ", " of alpha</bdi>", "flow", "share of its range", "share no step")),
        ("image", "x.npy", ('src="data:image/png;base64,', "what the model makes of it", "8 × 8", "upper threshold")),
    ):
        page = tmp_path / f"{model}.html"
        done = in_process("report", tmp_path / model, tmp_path / given, "-o", page, "-q")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
        text = page.read_text(encoding="utf-8")
        assert [part for part in parts if part not in text] == []


def test_progress_is_shown(model_path, table, tmp_path, monkeypatch):
    monkeypatch.setattr(Pace, "is_due", lambda *_: True)
    assert "scoring: 100 %, 43 rows" in in_process("report", model_path, table, "-o", tmp_path / "r.html").stderr


def test_a_file_is_replaced_only_if_asked(model_path, tmp_path):
    (tmp_path / "r.html").write_text("theirs")
    one_line(in_process("report", "no model", "-o", tmp_path / "r.html"), 2, "r.html exists already")
    assert (tmp_path / "r.html").read_text() == "theirs"
    assert in_process("report", model_path, "-o", tmp_path / "r.html", "--overwrite").returncode == 0
    assert "<h1>" in (tmp_path / "r.html").read_text()


def test_arguments_that_are_mixed_up_are_refused(model_path, table, tmp_path):
    page = tmp_path / "r.html"
    one_line(in_process("report", model_path, "-o", "-"), 2, "a page is written to a file")
    one_line(in_process("report", table, "-o", page), 2, "is a table; expected the directory")
    one_line(in_process("report", table, model_path, "-o", page), 2, "MODEL and INPUT are swapped")
    one_line(in_process("report", "grpc://127.0.0.1:1", "-o", page), 2, "MODEL is a service")
    one_line(in_process("report", model_path, tmp_path / "none.csv", "-o", page), 2, "no such file")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    one_line(cli(tmp_path, "report", model_path, "other.csv", "-o", page), 2, "pressure")
    assert not page.exists()
