"""Images in folders."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from anomaly_vae.images import open_images
from anomaly_vae.images.files import Found, find_files, find_matches, has_mostly_images, tables_of

RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (6, 8, 5, 3), dtype=np.uint8)
NAMES = ["a/1.png", "a/2.PNG", "b.png", "c/d/x.png", "y.png", "z.png"]


@pytest.fixture
def folder(tmp_path):
    for name, image in zip(NAMES, IMAGES, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def test_a_folder_is_read_with_all_below_it_in_the_order_of_names(folder):
    source = open_images(folder)
    assert source.names == NAMES
    assert source.shape.sizes == (8, 5, 3)
    assert source.notes == ()
    assert source.has_cheap_rows
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in source.batches(4)]), IMAGES)
    np.testing.assert_array_equal(source.rows([4, 0]), IMAGES[[4, 0]].reshape(2, -1))


def test_other_files_are_ignored_with_one_note_and_hidden_ones_silently(folder):
    for name in ("labels.csv", "x.bmp", ".hidden.png", "Thumbs.db", ".DS_Store"):
        (folder / name).write_text("text")
    (folder / ".thumbnails").mkdir()
    Image.fromarray(IMAGES[0]).save(folder / ".thumbnails" / "t.png")
    source = open_images(folder)
    assert source.names == NAMES
    assert source.notes == (f"{folder}/: ignores files that are neither PNG nor JPEG: labels.csv and 1 more",)


def test_links_that_lead_in_circles_end(folder):
    (folder / "c" / "up").symlink_to(folder)
    (folder / "c" / "self").symlink_to(folder / "c" / "self")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert open_images(folder).names == NAMES


def test_a_pipe_does_not_block(folder):
    os.mkfifo(folder / "pipe.png")
    assert open_images(folder).names == NAMES


def test_bad_files_are_problems_with_their_names_and_not_the_end(folder):
    (folder / "b.png").write_bytes(b"text")
    whole = (folder / "y.png").read_bytes()
    (folder / "y.png").write_bytes(whole[:-60])
    source = open_images(folder)
    assert [problem.name for problem in source.problems] == ["b.png"]
    with pytest.warns(AnomalyVaeWarning, match=r"2 of 6 images cannot be read, such as b\.png: is damaged"):
        [batch] = source.batches()
    assert [i for i, fault in enumerate(batch.faults) if fault] == [2, 4]
    assert [problem.name for problem in source.problems] == ["b.png", "y.png"]
    np.testing.assert_array_equal(batch.images[5], IMAGES[5])


def test_a_file_that_goes_away_is_a_problem(folder):
    source = open_images(folder)
    (folder / "z.png").unlink()
    Image.fromarray(IMAGES[0, :4]).save(folder / "y.png")
    assert np.isnan(source.rows([4, 5])).all()
    assert [problem.text for problem in source.problems] == [
        "has the shape (4, 5, 3), expected (8, 5, 3); the file has changed",
        "cannot be read: No such file or directory",
    ]


def test_sizes_must_agree_or_be_made_so(folder):
    Image.fromarray(IMAGES[0, :4]).save(folder / "y.png")
    with pytest.raises(InvalidInput, match=r"5 of 8x5 .* \(a/1\.png\), 1 of 4x5 .* \(y\.png\); --resize 8x5"):
        open_images(folder)
    source = open_images(folder, resize="4x4")
    assert source.shape.sizes == (4, 4, 3)
    assert source.shape.resized
    assert sum(len(batch.images) for batch in source.batches()) == 6


def test_channels_must_agree_or_be_made_so(folder):
    Image.fromarray(IMAGES[0, ..., 0]).save(folder / "y.png")
    with pytest.raises(InvalidInput, match="--channels 1 or --channels 3"):
        open_images(folder)
    assert open_images(folder, channels=1).shape.channels == 1


def test_a_folder_without_images_says_so(tmp_path):
    with pytest.raises(InvalidInput, match="holds no PNG or JPEG files"):
        open_images(tmp_path)
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(InvalidInput, match=r"none of 1 images can be read; a\.png: is damaged"):
        open_images(tmp_path)


def test_patterns_name_files_and_folders(folder):
    assert find_matches(str(folder / "*.png"), "p").names == ["b.png", "y.png", "z.png"]
    assert find_matches(str(folder / "[ac]"), "p").names == ["a/1.png", "a/2.PNG", "c/d/x.png"]
    assert find_matches(str(folder / "**" / "*.png"), "p").names == [name for name in NAMES if name != "a/2.PNG"]
    with pytest.raises(InvalidInput, match="p: no file matches"):
        find_matches(str(folder / "*.gif"), "p")


def test_most_files_decide_what_a_folder_is(folder):
    for number in range(6):
        assert has_mostly_images(find_files(folder, "f"))
        (folder / f"{number}.csv").touch()
    assert not has_mostly_images(find_files(folder, "f"))


def test_names_are_text_of_one_line(folder):
    (folder / "b.png").rename(os.fsdecode(os.fsencode(folder) + b"/new\nline.png"))
    (folder / "y.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    source = open_images(folder)
    assert sorted(set(source.names) - set(NAMES)) == ["\\udcff.png", "new\\nline.png"]
    assert source.problems == []
    assert np.isfinite(source.rows(range(6))).all()


def test_tables_count_only_without_images(tmp_path):
    assert tables_of(Found(tmp_path, [], ["a.csv", "b.PARQUET", "c.arrow"])) == [
        tmp_path / "b.PARQUET",
        tmp_path / "c.arrow",
    ]
    assert tables_of(Found(tmp_path, ["a.png"], ["b.parquet"])) == []
