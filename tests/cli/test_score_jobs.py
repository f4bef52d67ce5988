"""``anomaly-vae score`` for models of series and of images: files, summaries, pictures and errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.cli.score_jobs import say_notes
from anomaly_vae.scorer import load
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel
from tests.support.command_line import cli, one_line, read_csv
from tests.support.conv_models import (
    HOSTS,
    LENGTH,
    arrow_table,
    grey_images,
    image_bundle,
    series_bundle,
    series_table,
    write_table,
)

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models, a table of series and images."""
    folder = tmp_path_factory.mktemp("models")
    write_bundle(series_bundle(), folder / "series")
    write_bundle(image_bundle(), folder / "image")
    write_table(folder / "new.csv", series_table(60, seed=5))
    np.save(folder / "new.npy", grey_images(30, seed=5))
    (folder / "photos").mkdir()
    for i, image in enumerate(grey_images(5, seed=6)):
        Image.fromarray(image).save(folder / "photos" / f"{i}.png")
    (folder / "photos" / "5.png").write_bytes((folder / "photos" / "4.png").read_bytes()[:60])
    return folder


def test_the_rows_of_a_csv_have_the_scores_of_python_bit_for_bit(models, tmp_path):
    done = cli(models, "score", "series", "new.csv", "-o", tmp_path / "out.csv", "--keep", "ts,host", "--json")
    facts, rows = json.loads(done.stdout), read_csv((tmp_path / "out.csv").read_text())
    scorer = load(models / "series")
    panel = to_panel(arrow_table(series_table(60, seed=5)), scorer.schema.shape)
    expected = score_panel(scorer.score_rows, panel, LENGTH)
    for name in ("log_px", "score", "std_error", "p_value", "step_score"):
        got = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_array_equal(got, np.where(np.isnan(getattr(expected, name)), np.nan, getattr(expected, name)))
    assert [row["host"] for row in rows][:3] == list(HOSTS)
    warm_up = [row["reason"].startswith("warm-up: ") for row in rows]
    assert sum(warm_up) == 3 * (LENGTH - 1) == facts["unscored"]["warm-up"]
    assert (facts["kind"], facts["series"], facts["window"], facts["step_seconds"]) == ("series", 3, LENGTH, 60.0)
    assert facts["windows"] == sum(bool(row["log_px"]) for row in rows)


def test_warm_up_is_no_warning_and_a_row_that_cannot_be_read_is_one(models, tmp_path):
    done = cli(models, "score", "series", "new.csv", "-o", tmp_path / "out.csv", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (models / "new.csv").read_text().splitlines()
    lines[30] = lines[30].rpartition(",")[0] + ",high"
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    done = cli(models, "score", "series", tmp_path / "in.csv", "-o", "-", "-q")
    assert "1 unreadable" in done.stderr
    assert read_csv(done.stdout)[29]["reason"] == "column 'load': 'high' is not a number"


def test_the_notes_of_the_times_are_said_unless_quiet(models, tmp_path, capsys):
    table = series_table(60, seed=5)
    table = {name: cells[::-1] for name, cells in table.items()}
    write_table(tmp_path / "in.csv", table)
    done = cli(models, "score", "series", tmp_path / "in.csv", "-o", "-")
    assert "anomaly-vae: the rows of 3 of 3 series were not in the order of time: sorted" in done.stderr
    say_notes(("a", "b"), quiet=True)
    assert capsys.readouterr().err == ""


def test_a_folder_of_images_has_a_row_for_each_file(models, tmp_path):
    done = cli(models, "score", "image", "photos", "-o", tmp_path / "out.csv")
    rows = read_csv((tmp_path / "out.csv").read_text())
    assert [row["image"] for row in rows] == [f"{i}.png" for i in range(6)]
    assert rows[5]["reason"].startswith("the image is damaged")
    expected = load(models / "image").score(grey_images(5, seed=6))
    np.testing.assert_array_equal([float(row["log_px"]) for row in rows[:5]], expected.log_px)
    bits = [float(row["bits_per_dim"]) for row in rows[:5]]
    np.testing.assert_allclose(bits, -expected.log_px / (64 * np.log(2)))
    assert "6 rows, " in done.stderr
    assert "1 not scored (1 unreadable" in done.stderr


def test_the_summary_of_images_as_json(models, tmp_path):
    done = cli(models, "score", "image", "new.npy", "-o", tmp_path / "out.parquet", "--top", "3", "--json")
    facts = json.loads(done.stdout)
    assert (facts["kind"], facts["size"], facts["rows"], facts["written"]) == ("image", [8, 8, 1], 30, 3)
    scores = load(models / "image").score(grey_images(30, seed=5))
    assert facts["mean_bits_per_dim"] == pytest.approx(-scores.log_px.mean() / (64 * np.log(2)))


@pytest.mark.parametrize("kind", ["series", "image", "table"])
def test_a_picture_is_drawn_beside_the_scores(models, tmp_path, kind, request):
    model, new = (models / kind, "new.csv") if kind == "series" else (models / kind, "photos")
    if kind == "table":
        folder = request.getfixturevalue("folder")
        model, new = folder / "model", folder / "new.csv"
    arguments = ["score", model, new, "-o", tmp_path / "out.csv", "--plot", tmp_path / "out.png"]
    done = cli(models, *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    one_line(cli(models, *arguments[:4], "-", "--plot", tmp_path / "out.gif"), 2, "out.gif")


def wrong(path):
    """Arguments, the exit code and parts of the message, by case."""
    return {
        "a table for images": (["image", "new.csv"], 2, "holds a table, the model scores images of 8 x 8 pixels"),
        "images for series": (["series", "photos"], 2, "holds images, the model scores windows of series"),
        "images of another size": (["image", path / "big.npy"], 2, "images of 9 x 9 pixels", "model expects 8 x 8"),
        "no times": (["series", path / "no_ts.csv"], 2, "column 'ts' is missing: the model reads the times"),
        "flags": (["series", "new.csv", "--flag-only"], 2, "--flag-only is for rows of a table and for images"),
        "keep": (["image", "new.npy", "--keep", "image"], 2, "--keep is for tables"),
        "layout": (["series", "new.csv", "--layout", "NHW"], 2, "--layout is for images"),
        "strict": (["series", path / "extra.csv", "--strict"], 2, "input columns that the model does not use: other"),
        "plot": (["image", "new.npy", "--flag-only", "--plot", "x.png"], 2, "--plot shows scores, and --flag-only"),
    }


@pytest.mark.parametrize("case", wrong(Path()))
def test_input_that_does_not_fit_the_model_is_one_line_with_what_to_do(models, tmp_path, case):
    np.save(tmp_path / "big.npy", np.zeros((3, 9, 9), np.uint8))
    table = series_table(30)
    write_table(tmp_path / "no_ts.csv", {"time": table["ts"], **{name: table[name] for name in table if name != "ts"}})
    write_table(tmp_path / "extra.csv", {**table, "other": table["flow"]})
    arguments, code, *parts = wrong(tmp_path)[case]
    one_line(cli(models, "score", *arguments, "-o", tmp_path / "out.csv"), code, *parts)
    assert not (tmp_path / "out.csv").exists()


def test_windows_and_images_are_explained_and_a_picture_shows_where(models, tmp_path):
    table = series_table(60, seed=5)
    table["load"][100] = 500.0
    write_table(tmp_path / "in.csv", table)
    done = cli(models, "score", "series", tmp_path / "in.csv", "-o", "-", "--explain", "1")
    found = read_csv(done.stdout)[100]["why_1"]
    assert found.startswith("load["), done.stderr
    assert " 500: expected" in found
    images = grey_images(6, seed=6)
    images[2, 4:6, 2:4] = 255 - images[2, 4:6, 2:4]
    np.save(tmp_path / "in.npy", images)
    arguments = [tmp_path / "in.npy", "-o", "-", "--explain", "1", "--explain-all", "--plot"]
    done = cli(models, "score", "image", *arguments, tmp_path / "out.png")
    assert all(row["why_1"].startswith("y") for row in read_csv(done.stdout)), done.stderr
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(("kind", "new"), [("series", "broken.csv"), ("image", "broken.npy")])
@pytest.mark.parametrize("only_flagged", [[], ["--only-flagged"]])
def test_windows_and_images_are_decided_over_all_rows(models, tmp_path, kind, new, only_flagged):
    table, images = series_table(60, seed=5), grey_images(60, seed=5)
    table["load"][60:] = [500.0 + i for i in range(len(table["load"]) - 60)]
    images[:30] = np.random.default_rng(5).integers(0, 256, size=(30, 8, 8))
    write_table(tmp_path / "broken.csv", table)
    np.save(tmp_path / "broken.npy", images)
    for name, more in (("plain", []), ("fdr", ["--fdr", "0.3", *only_flagged])):
        done = cli(models, "score", kind, tmp_path / new, "-o", tmp_path / f"{name}.csv", "--json", *more)
        assert done.returncode == 0, done.stderr
    told, plain = json.loads(done.stdout)["fdr"], read_csv((tmp_path / "plain.csv").read_text())
    found = read_csv((tmp_path / "fdr.csv").read_text())
    p_values = sorted(float(row["p_value"]) for row in plain if row["p_value"])
    passed = [p for i, p in enumerate(p_values, 1) if p <= 0.3 * i / len(p_values)]
    assert (told["tests"], told["p_value_cut_off"]) == (len(p_values), passed[-1])
    expected = []
    for i, row in enumerate(plain, 1):
        row["is_anomaly"] = str(float(row["p_value"]) <= passed[-1]).lower() if row["p_value"] else ""
        if not only_flagged or row["is_anomaly"] == "true":
            expected.append({"row": str(i), **row} if only_flagged else row)
    assert found == expected
    assert told["flagged"] == sum(row["is_anomaly"] == "true" for row in found)
