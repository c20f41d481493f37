"""Files that are damaged, foreign or ambiguous: one clear line each."""

from __future__ import annotations

import logging
import sys
import warnings
from threading import Barrier, Thread

import numpy as np
import pytest
import tifffile
from io_files import (
    FRAME,
    NEEDS_EXTRA,
    SAVE,
    SHAPE,
    STACK,
    message_of,
    save_mrc,
    save_rosetta,
    save_tif_pages,
    save_velox,
    signal_dict,
)
from PIL import Image

from cs_recon.io import read
from cs_recon.io.boundary import guarded, quiet
from simulate.errors import InputError


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


def write_ome(path, *images):
    """Write images with the pixel size in nm of each."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, image, size in images:
            sizes = {
                f"PhysicalSize{axis}{part}": value for axis in "XY" for part, value in (("", size), ("Unit", "nm"))
            }
            file.write(image.astype(np.float32), metadata={"axes": "YX", "Name": name, **sizes})


def test_each_image_of_a_file_has_its_own_pixel_size_and_title(tmp_path):
    path = tmp_path / "a.ome.tif"
    write_ome(path, ("survey", FRAME, 2.0), ("zoom", FRAME[:16, :20], 0.1))
    assert [read(path, signal=number).pixel_size_nm for number in (0, 1)] == [2.0, 0.1]
    zoom = read(path, signal="zoom")
    assert (zoom.shape, zoom.pixel_size_nm) == ((16, 20), 0.1)
    assert "zoom (16, 20)" in message_of(path, signal="zom")


def test_images_of_one_shape_and_another_pixel_size_are_no_movie(tmp_path):
    path = tmp_path / "a.ome.tif"
    write_ome(path, ("survey", FRAME, 2.0), ("zoom", FRAME + 1, 0.1))
    assert "holds 2 images" in message_of(path)
    assert read(path, signal="zoom").pixel_size_nm == 0.1


def test_readers_in_several_threads_leave_warnings_as_they_were():
    """The first to begin ends while the second still reads."""
    before = list(warnings.filters), logging.getLogger("tifffile").level
    begun, ended = Barrier(2, timeout=10), Barrier(2, timeout=10)

    def first():
        with quiet():
            begun.wait()
        ended.wait()

    def second():
        with quiet():
            begun.wait()
            ended.wait()
            warnings.warn("not heard", stacklevel=1)

    threads = [Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), logging.getLogger("tifffile").level) == before
