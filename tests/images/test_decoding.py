"""PNG and JPEG to pixels."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.base import BadImage
from anomaly_vae.images.decoding import Decoder, check_resize, is_image_start, resize_pixels

RNG = np.random.default_rng(1)
COLOURS = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]
DEEP = RNG.integers(0, 65536, (6, 4), dtype=np.uint16)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def both(data, resize=None, channels=None):
    """The pixels, and the header if it says the same."""
    decoder = Decoder(resize, channels)
    pixels, look = decoder.decode(data), decoder.look(data)
    assert look.sizes == pixels.shape
    assert (look.depth == "float") == (pixels.dtype == np.float64)
    return pixels, look


@pytest.mark.parametrize("image", [COLOURS, GREY, DEEP])
def test_png_loses_nothing(image):
    pixels, look = both(encoded(image))
    np.testing.assert_array_equal(pixels, image.reshape(6, 4, -1))
    assert not look.has_alpha


def test_black_and_white_and_palettes():
    np.testing.assert_array_equal(both(encoded(Image.fromarray(GREY > 99)))[0][..., 0], (GREY > 99) * 255)
    palette = Image.fromarray(COLOURS).quantize(256)
    pixels, _ = both(encoded(palette))
    np.testing.assert_array_equal(pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3), ("YCbCr", 3)])
def test_jpeg_of_all_modes(mode, channels):
    flat = Image.new("RGB", (40, 24), (90, 90, 90)).convert(mode)
    pixels, _ = both(encoded(flat, "JPEG", quality=95))
    assert pixels.shape == (24, 40, channels)
    assert abs(pixels.astype(int) - 90).max() <= 2


def test_transparency_is_left_out_or_kept():
    transparent = np.dstack([COLOURS, RNG.integers(0, 256, (6, 4), dtype=np.uint8)])
    pixels, look = both(encoded(transparent))
    np.testing.assert_array_equal(pixels, COLOURS)
    assert look.has_alpha
    pixels, look = both(encoded(transparent), channels=4)
    np.testing.assert_array_equal(pixels, transparent)
    assert not look.has_alpha
    pixels, look = both(encoded(Image.fromarray(GREY).convert("LA")))
    np.testing.assert_array_equal(pixels[..., 0], GREY)
    assert look.has_alpha
    assert both(encoded(Image.fromarray(COLOURS).quantize(8), transparency=0))[1].has_alpha


def test_channels_are_converted_if_asked_for():
    pixels, _ = both(encoded(GREY), channels=3)
    np.testing.assert_array_equal(pixels, np.dstack([GREY] * 3))
    assert both(encoded(COLOURS), channels=1)[0].shape == (6, 4, 1)
    with pytest.raises(ConfigError, match=r"channels is 2, expected 1 \(grey\)"):
        Decoder(None, 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(orientation, kind):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOURS).resize((16, 24)), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(both(data)[0], expected)
    assert both(data, resize=(10, 12))[0].shape == (10, 12, 3)


def test_damaged_notes_of_a_camera_leave_the_image_good():
    data = encoded(COLOURS, exif=b"Exif\0\0" + b"\xff" * 40)
    np.testing.assert_array_equal(both(data)[0], COLOURS)


def test_a_shrunk_image_has_no_aliases():
    """Stripes of one pixel become an even grey; nearest neighbours would be black or white."""
    stripes = np.tile(np.array([[0, 255]], np.uint8), (64, 32))
    pixels = both(encoded(stripes), resize=(16, 16))[0]
    assert abs(pixels[2:-2, 2:-2].astype(int) - 128).max() <= 16
    deep = both(encoded(DEEP), resize=(3, 2))[0]
    assert deep.max() > 255
    assert abs(deep.mean() - DEEP.mean()) < 0.2 * DEEP.mean()


def test_resizing_keeps_types_and_missing_pixels():
    assert resize_pixels(COLOURS, (6, 4)) is COLOURS
    assert resize_pixels(COLOURS, (3, 2)).dtype == np.uint8
    reals = np.full((6, 4, 2), 0.5)
    np.testing.assert_allclose(resize_pixels(reals, (3, 2)), 0.5)
    reals[0, 0, 1] = np.nan
    small = resize_pixels(reals, (3, 2))
    assert np.isnan(small[0, 0, 1])
    assert np.isfinite(small[..., 0]).all()


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", encoded(GREY)[:30]])
def test_what_is_no_image_is_a_bad_image(data):
    for read in (Decoder(None, None).look, Decoder(None, None).decode):
        with pytest.raises(BadImage, match="is damaged"):
            read(data)


def test_other_formats_and_images_that_are_cut_off_are_bad():
    with pytest.raises(BadImage, match="neither PNG nor JPEG"):
        Decoder(None, None).decode(encoded(COLOURS, "BMP"))
    big = encoded(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
    assert Decoder(None, None).look(big[:-200]).sizes == (64, 64, 3)
    with pytest.raises(BadImage, match="truncated"):
        Decoder(None, None).decode(big[:-200])


def test_an_image_that_would_fill_the_memory_is_bad(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 23)
    for data in (encoded(COLOURS), encoded(np.zeros((60, 60), np.uint8))):  # beyond twice the limit, Pillow raises
        with pytest.raises(BadImage, match=r"at most 23|exceeds limit"):
            Decoder(None, None).decode(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24)
    assert Decoder(None, None).decode(encoded(COLOURS)).shape == (6, 4, 3)


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    expected = r"pip install 'anomaly_vae\[images\]'"
    with pytest.raises(ConfigError, match=expected):
        Decoder(None, None)
    with pytest.raises(ConfigError, match=expected):
        resize_pixels(COLOURS, (2, 2))


def test_sizes_to_resize_to():
    assert check_resize(None) is None
    assert check_resize((64, 48)) == check_resize("64x48") == check_resize("64X48") == (64, 48)
    for wrong in ("64", "64x", "0x4", "axb", "-1x4", "1x2x3", "99999x1", (1,), (0, 4), (4.5, 4)):
        with pytest.raises(ConfigError, match="expected HEIGHTxWIDTH"):
            check_resize(wrong)


def test_first_bytes():
    assert is_image_start(encoded(GREY)[:16])
    assert is_image_start(encoded(GREY, "JPEG")[:16])
    assert not is_image_start(encoded(GREY, "BMP")[:16])
