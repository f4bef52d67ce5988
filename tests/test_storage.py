"""Files appear completely or not at all, at whatever moment Ctrl-C comes."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path

import pytest

from anomaly_vae import storage


def interrupt_at(number):
    """Return a trace function that raises KeyboardInterrupt at line ``number`` of the code that makes the file."""
    lines = itertools.count()
    files = {storage.__file__, sys.modules[Path.__module__].__file__}

    def trace(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and next(lines) == number:
            raise KeyboardInterrupt
        return trace

    return trace


def test_ctrl_c_leaves_no_file_behind_at_any_line(tmp_path):
    before, entered = sys.gettrace(), False
    for number in range(1000):
        with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
            stack.callback(sys.settrace, before)
            sys.settrace(interrupt_at(number))
            stack.enter_context(storage.atomic_file(tmp_path / "scores.csv", overwrite=False))
            sys.settrace(before)
            entered = True
            raise KeyboardInterrupt
        assert os.listdir(tmp_path) == [], number
        if entered:
            break
    assert entered
    assert number > 10


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_and_folders_have_the_modes_that_the_umask_leaves_them(tmp_path, mask):
    before = os.umask(mask)
    try:
        with storage.atomic_file(tmp_path / "scores.csv", overwrite=False) as part:
            part.write_bytes(b"x")
        storage.write_directory(tmp_path / "model", {"a": b"x"}, replaceable=("a",), overwrite=False)
    finally:
        os.umask(before)
    paths = ("scores.csv", "model", "model/a")
    expected = [0o666 & ~mask, 0o777 & ~mask, 0o666 & ~mask]
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in paths] == expected
