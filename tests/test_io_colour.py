"""Colour images: refused, or converted when asked."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from io_files import (
    FRAME,
    message_of,
    save_picture,
)
from PIL import Image

from cs_recon.io import read
from cs_recon.io.raw import grey_frame
from simulate.errors import InputError

COLOUR = np.stack([FRAME, FRAME // 2, FRAME // 3], axis=-1).astype(np.uint8)
LUMINANCE = COLOUR @ np.array([0.2125, 0.7154, 0.0721])


def save_colour(path, image):
    if path.suffix == ".tif":
        alpha = {"extrasamples": ["unassalpha"]} if image.shape[-1] == 4 else {}
        tifffile.imwrite(path, image, photometric="rgb", **alpha)
    elif path.suffix == ".npy":
        np.save(path, image)
    else:
        save_picture(path, image)


COLOUR_FILES = [".png", ".bmp", ".webp", ".tif", ".npy"]


@pytest.mark.parametrize("suffix", COLOUR_FILES)
def test_colour_is_refused_or_converted_by_luminance(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_colour(path, COLOUR)
    message = message_of(path)
    assert "3 differing channels; expected one grey channel" in message
    assert "--grey" in message
    np.testing.assert_allclose(read(path, grey=True).values, LUMINANCE)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", COLOUR_FILES)
def test_equal_channels_are_grey(tmp_path, suffix, channels, grey):
    image = np.repeat(FRAME[..., np.newaxis], channels, axis=-1).astype(np.uint8)
    image[..., 3:] = 255
    path = tmp_path / f"a{suffix}"
    save_colour(path, image)
    np.testing.assert_array_equal(read(path, grey=grey).values, FRAME)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".npy"])
def test_transparency_is_refused(tmp_path, suffix):
    image = np.repeat(FRAME[..., np.newaxis], 4, axis=-1).astype(np.uint8)
    image[..., 3] = 255
    image[3, 4, 3] = 128
    path = tmp_path / f"a{suffix}"
    save_colour(path, image)
    for grey in (False, True):
        assert "transparent" in message_of(path, grey=grey)


def test_planar_colour_tiff(tmp_path):
    planes = np.moveaxis(COLOUR, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_allclose(read(tmp_path / "a.tif", grey=True).values, LUMINANCE)


def test_five_channels():
    with pytest.raises(InputError, match="5 channels"):
        grey_frame(np.zeros((9, 9, 5)), grey=True)


def test_colour_tables(tmp_path):
    palette = Image.fromarray(FRAME.astype(np.uint8)).convert("P")
    palette.putpalette([value for k in range(256) for value in (k, k, k)])
    palette.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png").values, FRAME)
    table = np.stack([np.arange(256), np.arange(256) // 2, np.zeros(256)]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "fire.tif", FRAME.astype(np.uint8), photometric="palette", colormap=table)
    assert "3 differing channels" in message_of(tmp_path / "fire.tif")


def test_a_transparent_grey_level_is_refused(tmp_path):
    Image.fromarray(FRAME.astype(np.uint8)).save(tmp_path / "a.png", transparency=int(FRAME[9, 9]))
    assert "transparent" in message_of(tmp_path / "a.png")
    deep = 200 * FRAME.astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=int(deep[9, 9]))
    assert "transparent" in message_of(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=1)
    np.testing.assert_array_equal(read(tmp_path / "deep.png").values, deep)


def test_16_bit_colour_png_is_not_read_with_8_bits(tmp_path):
    save_picture(tmp_path / "a.png", COLOUR)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[24] = 16
    (tmp_path / "a.png").write_bytes(bytes(data))
    assert "16-bit RGB PNG" in message_of(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inverted_greys(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(dtype).max - FRAME.astype(dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, FRAME)


def test_cmyk(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    assert "colour mode CMYK" in message_of(tmp_path / "a.jpg")
