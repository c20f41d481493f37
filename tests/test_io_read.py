"""Reading full frames and stacks: every format, every calibration, every bad input."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cs_recon.io import iter_frames, read, read_frames
from cs_recon.io.boundary import guarded
from cs_recon.io.raw import grey_frame
from cs_recon.io.units import nm_per_unit
from simulate.errors import InputError

DATA = Path(__file__).parents[2] / "shared" / "data" / "stem"

SHAPE = (24, 32)
FRAME = np.random.default_rng(7).integers(0, 200, SHAPE)
FRAME[0, :5] = 0


def save_picture(path, frame):
    Image.fromarray(frame.astype(np.uint8)).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))


def save_mrc(path, frame):
    """An MRC2014 file of float32 with 0.25 nm pixels (2.5 Å)."""
    stack = np.atleast_3d(frame.T).T.astype("<f4")
    n, height, width = stack.shape
    header = bytearray(1024)
    struct.pack_into("<10i6f3i", header, 0, width, height, n, 2, 0, 0, 0, width, height, n,
                     2.5 * width, 2.5 * height, 2.5 * n, 90, 90, 90, 1, 2, 3)  # fmt: skip
    path.write_bytes(bytes(header) + stack.tobytes())


def save_ser(path, frame):
    """A TIA series of one float32 image with 0.25 nm pixels."""
    dimension = struct.pack("<IddII6sI", 1, 0, 1, 0, 6, b"Number", 0)
    offsets_at = 30 + len(dimension)
    data_at = offsets_at + 8
    height, width = frame.shape
    head = struct.pack("<ddI ddI HII", 0, 2.5e-10, 0, 0, 2.5e-10, 0, 7, width, height)
    data = head + frame[::-1].astype("<f4").tobytes()  # the rows lie bottom up
    header = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, 1, 1, offsets_at, 1)
    tag = struct.pack("<HHI", 0x4152, 0, 1)
    path.write_bytes(header + dimension + struct.pack("<II", data_at, data_at + len(data)) + data + tag)


def save_velox(path, *frames, names=("HAADF", "BF"), unit="m"):
    """A Velox EMD with one image a detector and 0.25 nm pixels."""
    h5py = pytest.importorskip("h5py", reason="needs the extra io")
    with h5py.File(path, "w") as file:
        file["Version"] = [json.dumps({"format": "Velox", "version": "1.0"}).encode()]
        for k, frame in enumerate(frames):
            group = file.create_group(f"Data/Image/{k:032x}")
            group["Data"] = np.atleast_3d(frame).astype(np.float32)
            metadata = {
                "Core": {"MetadataDefinitionVersion": "7.9"},
                "Instrument": {"InstrumentModel": "Test", "InstrumentId": "1"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1600000000"}},
                "Optics": {},
                "Stage": {},
                "Scan": {},
                "BinaryResult": {
                    "PixelSize": {"width": "2.5e-10", "height": "2.5e-10"},
                    "Offset": {"x": "0", "y": "0"},
                    "PixelUnitX": unit,
                    "PixelUnitY": unit,
                    "Detector": names[k],
                },
                "Detectors": {},
            }
            text = np.frombuffer(json.dumps(metadata).encode().ljust(4000, b"\0"), np.uint8)
            group["Metadata"] = np.ascontiguousarray(text[:, np.newaxis])


def signal_dict(data, navigate=(False, False), scale=2.5, unit="Å", title="HAADF"):
    return {
        "data": data,
        "axes": [
            {"_type": "UniformDataAxis", "name": f"a{k}", "units": unit, "scale": scale, "offset": 0.0,
             "size": size, "navigate": nav, "is_binned": False, "index_in_array": k}
            for k, (size, nav) in enumerate(zip(data.shape, navigate, strict=True))
        ],
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "", "package_version": ""},
    }  # fmt: skip


def save_rosetta(path, frame, navigate=(False, False), **options):
    plugin = pytest.importorskip(f"rsciio.{path.suffix[1:]}", reason="needs the extra io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's about itself
        plugin.file_writer(str(path), signal_dict(np.asarray(frame, dtype=np.float32), navigate, **options))


SAVE = {
    ".tif": lambda path, frame: tifffile.imwrite(path, frame.astype(np.float32)),
    ".tiff": lambda path, frame: tifffile.imwrite(path, frame.astype(np.uint16), compression="zlib"),
    ".png": save_picture,
    ".bmp": save_picture,
    ".webp": save_picture,
    ".npy": np.save,
    ".npz": lambda path, frame: np.savez_compressed(path, values=frame),
    ".mrc": save_mrc,
    ".ser": save_ser,
    ".emd": save_velox,
    ".hspy": save_rosetta,
    ".zspy": save_rosetta,
}
NEEDS_EXTRA = (".mrc", ".ser", ".emd", ".hspy", ".zspy")
CALIBRATED = NEEDS_EXTRA


@pytest.fixture(params=SAVE)
def saved(request, tmp_path):
    """One file of each format that holds FRAME."""
    if request.param in NEEDS_EXTRA:
        pytest.importorskip("rsciio", reason="needs the extra io")
    path = tmp_path / f"grid{request.param}"
    SAVE[request.param](path, FRAME)
    return path


def message_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_frames(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


# --- good files


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


STACK = np.stack([FRAME, FRAME + 1, FRAME[::-1], FRAME + 3, FRAME[:, ::-1]])


def save_tif_pages(path, stack):
    with tifffile.TiffWriter(path) as file:
        for frame in stack:
            file.write(frame.astype(np.float32), contiguous=False)


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
     ("eV", None), ("px", None), ("", None), (None, None), ("Mm", None), ("s", None), ("<undefined>", None)],
)  # fmt: skip
def test_units(unit, nm):
    assert nm_per_unit(unit) == nm


@pytest.mark.parametrize(("unit", "nm"), [("nm", 0.5), ("\\u00B5m", 500), ("micron", 500), ("pixel", None), ("", None)])
def test_imagej_calibration(tmp_path, unit, nm):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAME.astype(np.float32), imagej=True, resolution=(2, 2), metadata={"unit": unit})
    assert read(path).pixel_size_nm == (None if nm is None else pytest.approx(nm))


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


# --- bad files


@pytest.mark.parametrize("kept", [1, 3, 8, 40, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_file(saved, kept):
    if saved.is_dir():
        pytest.skip("a folder, see test_damaged_zspy")
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    message_of(saved)


@pytest.mark.parametrize("save", ["imagej", "ome", "plain", "pages"])
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_tiff_stack_is_not_a_shorter_one(tmp_path, save, kept):
    path = tmp_path / "cut.tif"
    if save == "pages":
        save_tif_pages(path, STACK)
    else:
        kind = {} if save == "plain" else {save: True, "metadata": {"axes": "TYX"}}
        tifffile.imwrite(path, STACK.astype(np.float32), **kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    message_of(path)


def test_a_truncated_jpeg(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(FRAME.astype(np.uint8)).save(path)
    whole = path.read_bytes()
    for kept in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(kept * len(whole))])
        message_of(path)


def test_damaged_zspy(tmp_path):
    path = tmp_path / "a.zspy"
    save_rosetta(path, FRAME)
    for file in path.rglob(".z*"):
        file.write_bytes(file.read_bytes()[:5])
    message_of(path)
    (tmp_path / "b.zspy").mkdir()
    message_of(tmp_path / "b.zspy")


def test_empty_file(saved):
    if saved.is_dir():
        pytest.skip("a folder")
    saved.write_bytes(b"")
    assert "is empty (0 bytes)" in message_of(saved)


@pytest.mark.parametrize("suffix", [".emi", *SAVE, ".dm3", ".dm4", ".jpg", ".csv", ".txt"])
def test_noise_in_a_file_of_any_extension(tmp_path, suffix):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(3).bytes(5000))
    message_of(path)


def test_missing_file_suggests_the_nearest(saved):
    wrong = saved.with_name("gird" + saved.suffix)
    assert f"no such file (did you mean '{saved.name}'?)" in message_of(wrong)


def test_missing_folder(tmp_path):
    assert "no folder" in message_of(tmp_path / "nowhere" / "a.tif")


def test_a_folder(tmp_path):
    (tmp_path / "scans.tif").mkdir()
    assert "is a folder; expected a file" in message_of(tmp_path)
    assert "is a folder; expected a file" in message_of(tmp_path / "scans.tif")


def test_an_impossible_path(tmp_path):
    assert "cannot be opened" in message_of(tmp_path / ("a" * 300 + ".tif"))


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_unknown_format_lists_the_known(tmp_path, name):
    (tmp_path / name).write_bytes(b"hello")
    message = message_of(tmp_path / name)
    assert ".dm4" in message
    assert ".tif" in message


def test_missing_extra_says_how_to_install(tmp_path, monkeypatch):
    save_mrc(tmp_path / "a.mrc", FRAME)
    for name in list(sys.modules):
        if name.partition(".")[0] == "rsciio":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rsciio", None)
    assert 'pip install "cs-stem[io]"' in message_of(tmp_path / "a.mrc")


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz", ".png", ".mrc", ".hspy"])
def test_a_line_is_no_frame(tmp_path, suffix):
    if suffix in NEEDS_EXTRA:
        pytest.importorskip("rsciio", reason="needs the extra io")
    path = tmp_path / f"line{suffix}"
    SAVE[suffix](path, FRAME[:1])
    message = message_of(path)
    assert "frame is 1 x 32 pixels" in message or "holds a line" in message


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz", ".hspy"])
def test_complex_data(tmp_path, suffix):
    path = tmp_path / f"fft{suffix}"
    data = np.fft.fft2(FRAME).astype(np.complex64)
    if suffix == ".tif":
        tifffile.imwrite(path, data)
    elif suffix == ".hspy":
        plugin = pytest.importorskip("rsciio.hspy", reason="needs the extra io")
        plugin.file_writer(str(path), signal_dict(data))
    else:
        SAVE[suffix](path, data)
    assert "save its amplitude or phase" in message_of(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_never_loaded(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    array = np.empty(2, dtype=object)
    array[:] = [Bomb(), 1]
    path = tmp_path / f"bomb{suffix}"
    SAVE[suffix](path, array)
    assert "never loaded" in message_of(path)


def test_a_bare_pickle(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x80\x04cos\nsystem\n.")
    message_of(tmp_path / "a.npy")
    (tmp_path / "a.npz").write_bytes(b"\x80\x04cos\nsystem\n.")
    message_of(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["U3", "M8[s]", [("a", "f4"), ("b", "f4")]])
def test_other_types(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros(SHAPE, dtype=dtype))
    assert "expected real numbers" in message_of(tmp_path / "a.npy")


def test_constant_frame(saved):
    if saved.is_dir():
        saved = saved.with_suffix(".npy")
    SAVE[saved.suffix](saved, np.full(SHAPE, 7))
    assert f"all {FRAME.size} sampled values equal 7" in message_of(saved)


def test_a_frame_of_a_stack_is_named(tmp_path):
    stack = STACK.copy()
    stack[1] = 5
    np.save(tmp_path / "movie.npy", stack)
    assert "movie.npy[1]: all 768" in message_of(tmp_path / "movie.npy")


@pytest.mark.parametrize("shape", [(0, 24, 32), (0, 32), (2, 3, 24, 32), ()])
def test_other_shapes(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    assert "expected an image" in message_of(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", np.zeros(shape))
    assert "expected" in message_of(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("shape", "navigate", "kind"),
    [
        ((9, 9, 16), (True, True, False), "a spectrum image"),
        ((9, 9, 16, 16), (True, True, False, False), "a 4D-STEM data cube"),
        ((9, 16, 16, 16), (True, False, False, False), "a 4D-STEM data cube"),
        ((16,), (False,), "a line"),
    ],
)
def test_data_cubes_are_refused(tmp_path, shape, navigate, kind):
    save_rosetta(tmp_path / "a.hspy", np.random.default_rng(0).random(shape), navigate)
    message = message_of(tmp_path / "a.hspy")
    assert f"holds {kind} of shape {shape}" in message
    assert "expected an image" in message


def test_a_map_of_single_numbers_is_an_image(tmp_path):
    save_rosetta(tmp_path / "a.hspy", FRAME, (True, True))
    np.testing.assert_array_equal(read(tmp_path / "a.hspy").values, FRAME)


def test_several_detectors_need_a_choice(tmp_path):
    pytest.importorskip("rsciio", reason="needs the extra io")
    path = tmp_path / "a.emd"
    save_velox(path, FRAME, FRAME + 1)
    assert "holds 2 images" in message_of(path)
    np.testing.assert_array_equal(read(path, signal=1).values, FRAME + 1)
    assert "no single signal 7" in message_of(path, signal=7)


def test_several_channels_need_a_choice(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK.astype(np.uint16), imagej=True, metadata={"axes": "CYX"})
    assert "holds 5 channels" in message_of(path)
    np.testing.assert_array_equal(read(path, signal=2).values, STACK[2])


def test_images_of_different_shape_need_a_choice(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(FRAME.astype(np.float32))
        file.write(FRAME[:16, :16].astype(np.float32))
    assert "holds 2 images" in message_of(path)
    assert read(path, signal=1).shape == (16, 16)


def test_a_signal_that_is_not_there(tmp_path):
    SAVE[".tif"](tmp_path / "a.tif", FRAME)
    assert "no single signal 1" in message_of(tmp_path / "a.tif", signal=1)
    SAVE[".npy"](tmp_path / "a.npy", FRAME)
    assert "expected no signal=" in message_of(tmp_path / "a.npy", signal=0)


def test_a_shape_that_differs(saved):
    assert read(saved, shape=SHAPE).shape == SHAPE
    assert "shape=(32, 24) is given" in message_of(saved, shape=(32, 24))


# --- colour

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


# --- the boundary


def test_guard_lets_no_third_party_exception_out(recwarn, caplog):
    import logging

    def fail():
        warnings.warn("noisy reader", UserWarning, stacklevel=1)
        logging.getLogger("tifffile").error("noisy reader")
        raise KeyError("offset\nand more")

    with pytest.raises(InputError, match="cannot be read as TIFF") as caught:
        guarded("TIFF", fail)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not recwarn
    assert not caplog.records


def test_guard_keeps_our_own_message():
    def fail():
        raise InputError("ours")

    with pytest.raises(InputError, match=r"^ours$"):
        guarded("TIFF", fail)
