"""Files that are read again when they change."""

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.watched_files import UsableLater, WatchedFiles


def joined(contents):
    """Load files that must have the same content, as a key and its certificate must belong together."""
    if len(set(contents)) > 1:
        raise StartupError("they do not belong together")
    return contents[0]


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"old")
    return paths


def test_files_that_change_while_they_are_read_are_read_again(paths, caplog):
    """The second file is replaced after the first was read: the two do not match, but that is not an error."""
    interrupted = []

    def load(contents):
        if contents[0] == b"new" and not interrupted:
            interrupted.append(True)
            paths[1].write_bytes(b"new, as the first")
            paths[0].write_bytes(b"new, as the first")
        return joined(contents)

    watched = WatchedFiles(paths, load, "both")
    paths[0].write_bytes(b"new")
    assert watched.get() == b"new, as the first"
    assert interrupted
    assert "ERROR" not in caplog.text


def test_unusable_files_are_read_once_per_change(paths):
    readings = []

    def load(contents):
        readings.append(contents)
        return joined(contents)

    watched = WatchedFiles(paths, load, "both")
    paths[0].write_bytes(b"new")
    assert [watched.get() for _ in range(5)] == [b"old"] * 5
    assert len(readings) == 2
    paths[1].write_bytes(b"new")
    assert [watched.get() for _ in range(5)] == [b"new"] * 5
    assert len(readings) == 3


def test_files_that_are_usable_later_are_read_again_at_that_time(paths):
    now, readings = 0.0, []

    def load(contents):
        readings.append(contents)
        if contents[0] == b"new" and now < 100:
            raise UsableLater("not before 100", 100.0)
        return contents[0]

    watched = WatchedFiles(paths, load, "both", lambda: now)
    paths[0].write_bytes(b"new")
    assert [watched.get() for _ in range(5)] == [b"old"] * 5
    now = 99.0
    assert watched.get() == b"old"
    assert len(readings) == 2
    now = 101.0
    assert [watched.get() for _ in range(5)] == [b"new"] * 5
    assert len(readings) == 3


def test_files_replaced_before_that_time_are_not_read_again_at_that_time(paths):
    """A file that can be used later is replaced by one that can be used now."""
    now, readings = 0.0, []

    def load(contents):
        readings.append(contents)
        if contents[0] == b"later":
            raise UsableLater("not before 100", 100.0)
        return contents[0]

    watched = WatchedFiles(paths, load, "both", lambda: now)
    for content, expected in ((b"later", b"old"), (b"now", b"now")):
        paths[0].write_bytes(content)
        assert watched.get() == expected
    now = 101.0
    assert watched.get() == b"now"
    assert len(readings) == 3


def test_a_file_replaced_by_one_of_the_same_size_is_read_again(paths, tmp_path):
    watched = WatchedFiles(paths[:1], joined, "one")
    (tmp_path / "part").write_bytes(b"new")
    (tmp_path / "part").replace(paths[0])
    assert watched.get() == b"new"


def test_no_descriptor_is_left_open(paths, tmp_path):
    import psutil

    watched = WatchedFiles(paths[:1], joined, "one")
    before = psutil.Process().num_fds()
    paths[0].unlink()
    for _ in range(20):
        paths[0].mkdir()
        watched.get()
        paths[0].rmdir()
        watched.get()
    assert psutil.Process().num_fds() == before
