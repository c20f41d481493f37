"""Reading full frames and stacks: every format, every calibration."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from io_files import (
    CALIBRATED,
    DATA,
    FRAME,
    NEEDS_EXTRA,
    SAVE,
    SHAPE,
    STACK,
    message_of,
    save_mrc,
    save_rosetta,
    save_tif_pages,
)
from PIL import Image

from cs_recon.io import iter_frames, read, read_frames
from cs_recon.io.units import nm_per_unit
from simulate.errors import InputError


def test_every_format_gives_the_frame_back(saved):
    measurement = read(saved)
    np.testing.assert_array_equal(measurement.values, FRAME)
    assert measurement.values.dtype == np.float64
    assert measurement.name == "grid"
    assert measurement.pixel_size_nm == (pytest.approx(0.25) if saved.suffix in CALIBRATED else None)


def test_zeros_stay_sampled(saved):
    measurement = read(saved)
    assert measurement.mask.all()
    assert (measurement.values == 0).sum() == (FRAME == 0).sum() > 0


def test_a_given_pixel_size_takes_the_place_of_the_files(saved):
    assert read(saved, pixel_size_nm=(0.5, 0.75)).pixel_size_nm == (0.5, 0.75)


def test_upper_case_extension(tmp_path):
    SAVE[".tif"](tmp_path / "A.TIF", FRAME)
    assert read(tmp_path / "A.TIF").shape == SHAPE


def test_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(24), np.arange(32)) * 4
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read(tmp_path / "a.jpg").values, smooth, atol=4)


@pytest.mark.parametrize("depth", [np.bool_, np.uint8, np.uint16])
def test_png_keeps_its_depth(tmp_path, depth):
    frame = FRAME > 100 if depth is np.bool_ else (FRAME * (300 if depth is np.uint16 else 1)).astype(depth)
    Image.fromarray(frame).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").values, frame)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.tif", lambda p, s: tifffile.imwrite(p, s.astype(np.float32), imagej=True, metadata={"axes": "TYX"})),
        ("a.tif", lambda p, s: tifffile.imwrite(p, s.astype(np.int32), ome=True, metadata={"axes": "ZYX"})),
        ("a.tif", lambda p, s: tifffile.imwrite(p, s.astype(np.uint16), compression="zlib", metadata=None)),
        ("a.tif", lambda p, s: tifffile.imwrite(p, s.astype(np.float64), bigtiff=True)),
        ("a.tif", save_tif_pages),
        ("a.npy", np.save),
        ("a.npz", lambda p, s: np.savez(p, s)),
        ("a.mrc", save_mrc),
        ("a.hspy", lambda p, s: save_rosetta(p, s, (True, False, False))),
        ("b.hspy", lambda p, s: save_rosetta(p, s, (False, False, False))),
    ],
)
def test_a_stack_is_a_list_of_named_frames(tmp_path, name, save):
    if Path(name).suffix in NEEDS_EXTRA:
        pytest.importorskip("rsciio", reason="needs the extra io")
    save(tmp_path / name, STACK)
    frames = read(tmp_path / name)
    assert isinstance(frames, list)
    assert [frame.name for frame in frames] == [f"{name[0]}[{k}]" for k in range(5)]
    for frame, expected in zip(frames, STACK, strict=True):
        np.testing.assert_array_equal(frame.values, expected)


def test_read_frames_always_gives_a_list(saved):
    (only,) = read_frames(saved)
    assert only.name == "grid"


def test_a_long_stack_is_not_read_at_once(tmp_path):
    stack = np.arange(500 * 64 * 64).reshape(500, 64, 64).astype(np.uint16)  # 4 MB, 16 MB as float64
    np.save(tmp_path / "long.npy", stack)
    tifffile.imwrite(tmp_path / "long.tif", stack, photometric="minisblack")
    for path in (tmp_path / "long.npy", tmp_path / "long.tif"):
        next(iter_frames(path))  # imports
        tracemalloc.start()
        assert next(iter_frames(path)).values[0, 9] == 9
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2e6


# --- calibration


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("m", 1e9), ("mm", 1e6), ("µm", 1e3), ("um", 1e3), ("\u03bcm", 1e3), ("\\u00B5m", 1e3), ("micron", 1e3),
     ("nm", 1), ("Å", 0.1), ("\u212b", 0.1), ("A", 0.1), ("pm", 1e-3), (" nm ", 1), ("NM", None), ("Metres", 1e9),
     ("1/nm", None), ("nm^-1", None),
     ("A\u030a", 0.1), ("Ångström", 0.1), ("ångströms", 0.1), ("inches", 2.54e7), ("inch", 2.54e7),
     ("eV", None), ("px", None), ("", None), (None, None), ("Mm", None), ("s", None), ("<undefined>", None)],
)  # fmt: skip
def test_units(unit, nm):
    assert nm_per_unit(unit) == nm


@pytest.mark.parametrize(("unit", "nm"), [("nm", 0.5), ("\\u00B5m", 500), ("micron", 500), ("pixel", None), ("", None)])
def test_imagej_calibration(tmp_path, unit, nm):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME.astype(np.float32), imagej=True, resolution=(2, 2), metadata={"unit": unit})
    assert read(path).pixel_size_nm == (None if nm is None else pytest.approx(nm))


@pytest.mark.parametrize(("unit", "per_unit"), [("inch", 300), ("inch", 72), ("cm", 118.11)])
def test_a_printers_resolution_in_imagejs_units_is_no_calibration(tmp_path, unit, per_unit):
    path = tmp_path / "a.tif"
    resolution = (per_unit, per_unit)
    tifffile.imwrite(path, FRAME.astype(np.float32), imagej=True, resolution=resolution, metadata={"unit": unit})
    assert read(path).pixel_size_nm is None


def test_imagej_anisotropic_is_row_column(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME.astype(np.float32), imagej=True, resolution=(2, 5), metadata={"unit": "nm"})
    assert read(path).pixel_size_nm == pytest.approx((0.2, 0.5))


@pytest.mark.parametrize(("unit", "nm"), [("nm", 0.3), ("µm", 300), ("Å", 0.03), ("pixel", None), (None, 300)])
def test_ome_calibration(tmp_path, unit, nm):
    units = {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    metadata = {"axes": "YX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3, **units}
    tifffile.imwrite(tmp_path / "a.tif", FRAME.astype(np.int32), ome=True, metadata=metadata)
    assert read(tmp_path / "a.tif").pixel_size_nm == (None if nm is None else pytest.approx(nm))


@pytest.mark.parametrize(
    ("resolution", "unit", "nm"),
    [
        (2e7, "CENTIMETER", 0.5),
        (5000, "CENTIMETER", 2000),
        (72, "INCH", None),
        (300, "INCH", None),
        (2e7, "INCH", None),
        (2e7, "NONE", None),
        (72 / 2.54, "CENTIMETER", None),
        (300 / 2.54, "CENTIMETER", None),
        (600 / 2.54, "CENTIMETER", None),
        (50, "CENTIMETER", None),
    ],
)
def test_resolution_tags_are_a_calibration_only_for_a_microscope(tmp_path, resolution, unit, nm):
    path = tmp_path / "a.tif"
    options = {"resolution": (resolution, resolution), "resolutionunit": unit, "metadata": None}
    tifffile.imwrite(path, FRAME.astype(np.float32), **options)
    assert read(path).pixel_size_nm == (None if nm is None else pytest.approx(nm))


def test_picture_resolution_is_no_calibration(tmp_path):
    Image.fromarray(FRAME.astype(np.uint8)).save(tmp_path / "a.png", dpi=(2.54e6, 2.54e6))
    assert read(tmp_path / "a.png").pixel_size_nm is None


@pytest.mark.parametrize(("unit", "nm"), [("µm", 2500), ("1/nm", None), ("px", None), ("", None)])
def test_hspy_calibration(tmp_path, unit, nm):
    save_rosetta(tmp_path / "a.hspy", FRAME, unit=unit)
    assert read(tmp_path / "a.hspy").pixel_size_nm == (None if nm is None else pytest.approx(nm))


def test_mrc_without_a_cell_has_no_calibration(tmp_path):
    pytest.importorskip("rsciio", reason="needs the extra io")
    for at in (28, 40):  # MX and MY, then the cell's lengths
        save_mrc(tmp_path / "a.mrc", FRAME)
        data = bytearray((tmp_path / "a.mrc").read_bytes())
        data[at : at + 8] = bytes(8)
        (tmp_path / "a.mrc").write_bytes(bytes(data))
        assert read(tmp_path / "a.mrc").pixel_size_nm is None


def test_a_pixel_size_of_zero(tmp_path, saved):
    with pytest.raises(InputError, match="pixel size is 0; expected a finite number above 0"):
        read(saved, pixel_size_nm=0)
    save_rosetta(tmp_path / "zero.hspy", FRAME, scale=0.0)
    assert "pixel size is 0" in message_of(tmp_path / "zero.hspy")
    assert read(tmp_path / "zero.hspy", pixel_size_nm=1.5).pixel_size_nm == 1.5


# --- real microscope files


@pytest.mark.parametrize(
    ("name", "shape", "pixel_size_nm"),
    [("jeol_haadf.dm4", (112, 112), 1.249), ("hr_df.dm4", (512, 512), 0.05859)],
)
def test_real_dm4(name, shape, pixel_size_nm):
    pytest.importorskip("rsciio", reason="needs the extra io")
    if not (DATA / name).is_file():
        pytest.skip("the shared microscope files are not here")
    measurement = read(DATA / name)
    assert measurement.shape == shape
    assert measurement.pixel_size_nm == pytest.approx(pixel_size_nm, rel=1e-3)
    assert measurement.mask.all()


@pytest.mark.parametrize("suffix", [".dm4", ".dm3"])
@pytest.mark.parametrize("kept", [1, 12, 100, 5000, 0.5, 0.9])
def test_truncated_dm4(tmp_path, kept, suffix):
    pytest.importorskip("rsciio", reason="needs the extra io")
    if not (DATA / "jeol_haadf.dm4").is_file():
        pytest.skip("the shared microscope files are not here")
    whole = (DATA / "jeol_haadf.dm4").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    message_of(path)
