"""Figures and their files."""

import builtins
import sys
import threading

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.plot.canvas import finished, new_figure, private_fonts, refuse_format


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_a_picture_is_written_in_the_format_of_its_name_and_replaces_another(tmp_path, name, start):
    path = tmp_path / name
    path.write_bytes(b"old")
    assert finished(new_figure(300, 200), str(path)) is None
    assert path.read_bytes().startswith(start)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_figure_has_the_size_in_pixels(tmp_path):
    finished(new_figure(321, 123), tmp_path / "a.png")
    header = (tmp_path / "a.png").read_bytes()[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (321, 123)


def test_a_picture_that_cannot_be_drawn_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = new_figure(300, 200)
    monkeypatch.setattr(figure, "savefig", lambda *_arguments, **_options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finished(figure, path)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.bmp: pictures are files with the ending \.png, \.svg, \.pdf"):
        refuse_format(tmp_path / "a.bmp")
    refuse_format(None)


def test_a_missing_matplotlib_is_said(monkeypatch):
    real = builtins.__import__

    def without(name, *more, **options):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pictures need matplotlib: pip install 'anomaly_vae\[train\]'"):
        new_figure(300, 200)


def test_threads_draw_at_once_and_pyplot_knows_no_figure(tmp_path):
    threads = [
        threading.Thread(target=lambda i=i: finished(new_figure(300, 200), tmp_path / f"{i}.png")) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 4
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_the_list_of_fonts_goes_to_a_folder_that_is_removed(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    with private_fonts(tmp_path):
        new_figure(300, 200)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
