"""Writing: what is written is read back, whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cs_recon.io import provenance, read, read_frames, write_hspy, write_image, write_provenance, write_sparse
from simulate import measure, scan_path
from simulate.errors import InputError
from simulate.measurement import Measurement

RNG = np.random.default_rng(5)
IMAGES = {
    "float32": RNG.normal(size=(24, 32)).astype(np.float32),
    "uint8": RNG.integers(0, 256, (24, 32), dtype=np.uint8),
    "uint16": RNG.integers(0, 65536, (24, 32), dtype=np.uint16),
    "int32": RNG.integers(-(2**31), 2**31, (24, 32), dtype=np.int32),
    "uint32": RNG.integers(0, 2**32, (24, 32), dtype=np.uint32),
    "int16": RNG.integers(-(2**15), 2**15, (24, 32), dtype=np.int16),
}
SIZES = [None, 0.05859375, 1.249, 2500.0, (0.2, 0.3)]


def near(size):
    return None if size is None else pytest.approx(size, rel=1e-6)


# --- images


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", IMAGES)
def test_tiff_round_trip(tmp_path, dtype, size):
    path = tmp_path / "a.tif"
    write_image(path, IMAGES[dtype], pixel_size_nm=size)
    back = read(path)
    np.testing.assert_array_equal(back.values, IMAGES[dtype])
    assert back.pixel_size_nm == near(size)
    stored = tifffile.imread(path)
    assert stored.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored, IMAGES[dtype])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("dtype", ["float32", "uint16", "int32"])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_a_stack_round_trip(tmp_path, dtype, n):
    stack = np.stack([np.roll(IMAGES[dtype], k) for k in range(n)])
    write_image(tmp_path / "a.tif", stack, pixel_size_nm=(0.2, 0.3))
    frames = read_frames(tmp_path / "a.tif")
    assert len(frames) == n
    assert frames[0].pixel_size_nm == near((0.2, 0.3))
    np.testing.assert_array_equal([frame.values for frame in frames], stack)


def test_imagej_finds_its_calibration(tmp_path):
    write_image(tmp_path / "a.tif", IMAGES["float32"], pixel_size_nm=(0.2, 0.25))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata["unit"] == "nm"
        tags = file.pages[0].tags
        per_nm = [np.divide(*tags[name].value) for name in ("XResolution", "YResolution")]
    np.testing.assert_allclose(per_nm, [4, 5])


def test_label_map_is_ome_with_resolution_tags(tmp_path):
    write_image(tmp_path / "a.tif", IMAGES["int32"], pixel_size_nm=0.25)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_ome
        assert 'PhysicalSizeXUnit="nm"' in file.ome_metadata
        assert int(file.pages[0].tags["ResolutionUnit"].value) == 3
        assert np.divide(*file.pages[0].tags["XResolution"].value) == pytest.approx(4e7)


@pytest.mark.parametrize(
    ("given", "stored"), [(np.float64, "float32"), (np.float16, "float32"), (np.bool_, "uint8"), (np.int64, "int32")]
)
def test_other_types_are_converted(tmp_path, given, stored):
    image = (np.arange(256).reshape(16, 16) % 2).astype(given)
    write_image(tmp_path / "a.tif", image)
    back = tifffile.imread(tmp_path / "a.tif")
    assert back.dtype == np.dtype(stored)
    np.testing.assert_array_equal(back, image.astype(stored))


@pytest.mark.parametrize("size", SIZES)
def test_hspy_round_trip(tmp_path, size):
    pytest.importorskip("rsciio.hspy", reason="needs the extra io")
    for dtype in ("float32", "int32"):
        write_hspy(tmp_path / "a.hspy", IMAGES[dtype], pixel_size_nm=size, title="HAADF")
        back = read(tmp_path / "a.hspy")
        np.testing.assert_array_equal(back.values, IMAGES[dtype])
        assert back.pixel_size_nm == near(size)


def test_hspy_title_and_stack(tmp_path):
    hspy = pytest.importorskip("rsciio.hspy", reason="needs the extra io")
    stack = np.stack([IMAGES["uint16"]] * 4)
    write_hspy(tmp_path / "a.hspy", stack, pixel_size_nm=0.5, title="my scan")
    (signal,) = hspy.file_reader(str(tmp_path / "a.hspy"))
    assert signal["metadata"]["General"]["title"] == "my scan"
    assert [axis["units"] for axis in signal["axes"]] == ["", "nm", "nm"]
    assert [axis["navigate"] for axis in signal["axes"]] == [True, False, False]
    assert len(read_frames(tmp_path / "a.hspy")) == 4


def test_hspy_without_the_extra(tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "rsciio":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rsciio", None)
    with pytest.raises(InputError, match=r'pip install "cs-stem\[io\]"'):
        write_hspy(tmp_path / "a.hspy", IMAGES["float32"])


@pytest.mark.parametrize("write", [write_image, write_hspy])
@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros(9), "has shape"),
        (np.zeros((2, 2, 2, 2)), "has shape"),
        (np.zeros((0, 9)), "has shape"),
        (np.zeros((9, 9), complex), "complex128"),
        (np.full((9, 9), 2**40), "fit into 32 bits"),
        (np.full((9, 9), 1e300), "fit into 32 bits: scale it"),
        (np.array([["a"]]), "expected real numbers"),
    ],
)
def test_images_that_cannot_be_stored(tmp_path, write, image, says):
    with pytest.raises(InputError, match=says):
        write(tmp_path / ("a.tif" if write is write_image else "a.hspy"), image)
    assert not list(tmp_path.iterdir())


def test_a_pixel_size_of_zero(tmp_path):
    with pytest.raises(InputError, match="pixel size is 0"):
        write_image(tmp_path / "a.tif", IMAGES["uint8"], pixel_size_nm=0)


# --- sparse scans


def scans():
    frame = np.add.outer(np.arange(24.0), np.arange(32.0)) / 7
    random = scan_path("random", (24, 32), 0.2, rng=1)
    sparse = measure(frame, random, peak_counts=30, read_noise_counts=1.5, rng=1, pixel_size_nm=(0.2, 0.3))
    plain = Measurement(frame - 3, frame > 4, pixel_size_nm=0.5)
    mask = RNG.random((24, 32)) < 0.1
    weighted = Measurement(frame, mask, exposure=RNG.random((24, 32)) + 0.5, black_level=-2.0)
    return {"noisy": sparse, "plain": plain, "exposure": weighted, "unit exposure": measure(frame, random)}


@pytest.mark.parametrize("kind", scans())
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_sparse_round_trip(tmp_path, kind, suffix):
    scan = scans()[kind]
    write_sparse(tmp_path / f"a{suffix}", scan)
    back = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_array_equal(back.values, scan.values)
    for name in ("pixel_size_nm", "counts_per_unit", "black_level", "read_noise"):
        assert getattr(back, name) == getattr(scan, name)
    assert (back.exposure is None) == (scan.exposure is None)
    if scan.exposure is not None:
        np.testing.assert_array_equal(back.exposure, scan.exposure)


def test_zeros_stay_sampled(tmp_path):
    mask = np.zeros((9, 9), bool)
    mask[2:5] = True
    values = np.zeros((9, 9))
    values[2, 2] = 4
    for suffix in (".npz", ".csv"):
        write_sparse(tmp_path / f"a{suffix}", Measurement(values, mask))
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}").mask, mask)


def test_csv_is_a_plain_table(tmp_path):
    write_sparse(tmp_path / "a.csv", scans()["plain"])
    lines = [line for line in (tmp_path / "a.csv").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "row,col,value"
    assert len(lines) == 1 + scans()["plain"].mask.sum()


def test_a_cut_csv_is_noticed(tmp_path):
    write_sparse(tmp_path / "a.csv", scans()["plain"])
    text = (tmp_path / "a.csv").read_text()
    for kept in (0.3, 0.6, 0.9):
        (tmp_path / "a.csv").write_text(text[: int(kept * len(text))])
        with pytest.raises(InputError):
            read(tmp_path / "a.csv")


# --- where files cannot be written

WRITERS = {
    "a.tif": lambda path: write_image(path, IMAGES["uint8"]),
    "a.hspy": lambda path: write_hspy(path, IMAGES["uint8"]),
    "a.npz": lambda path: write_sparse(path, scans()["plain"]),
    "a.csv": lambda path: write_sparse(path, scans()["plain"]),
    "a.json": lambda path: write_provenance(path, {"a": 1}),
}


@pytest.fixture(params=WRITERS)
def writer(request):
    if request.param == "a.hspy":
        pytest.importorskip("rsciio.hspy", reason="needs the extra io")
    return request.param, WRITERS[request.param]


def test_a_new_folder_is_made(tmp_path, writer):
    name, write = writer
    write(tmp_path / "new" / "folder" / name)
    assert [entry.name for entry in (tmp_path / "new" / "folder").iterdir()] == [name]


def test_the_folder_is_a_file(tmp_path, writer):
    name, write = writer
    (tmp_path / "file").write_text("x")
    for folder in ("file", "file/deeper"):
        with pytest.raises(InputError, match="cannot make the output folder"):
            write(tmp_path / folder / name)


def test_the_target_is_a_folder(tmp_path, writer):
    name, write = writer
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        write(tmp_path / name)


def test_a_read_only_folder(tmp_path, writer, monkeypatch):
    name, write = writer
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(InputError, match="cannot write into the folder"):
        write(tmp_path / name)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_full_disk_leaves_the_old_file(tmp_path, writer, monkeypatch, error):
    name, write = writer
    (tmp_path / name).write_text("old")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match=error.strerror):
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_extension_of_another_kind(tmp_path, writer):
    _, write = writer
    with pytest.raises(InputError, match=r"cannot write the file type '\.png'; expected \."):
        write(tmp_path / "a.png")


# --- provenance


def test_provenance_says_what_ran(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cs-stem", "run", "--ratio", "0.1"])
    record = provenance(method="linear")
    assert record["command"] == ["cs-stem", "run", "--ratio", "0.1"]
    assert record["method"] == "linear"
    assert record["versions"]["numpy"] == np.__version__
    assert record["time_utc"].endswith("+00:00")
    assert record["python"] == sys.version.split()[0]
    with pytest.raises(InputError, match="a field 'python' of its own"):
        provenance(python="mine")


@dataclasses.dataclass
class Settings:
    ratio: float
    folder: Path


def test_values_that_json_does_not_have(tmp_path):
    record = {
        "float": np.float32(0.5),
        "int": np.int64(3),
        "bool": np.bool_(True),
        "array": np.arange(4).reshape(2, 2),
        "path": Path("a") / "b",
        "settings": Settings(0.1, Path("c")),
        "nested": [{"t": (1, 2)}, None, {np.float64("nan"), float("-inf")}],
        "unit": "µm",
    }
    write_provenance(tmp_path / "a.json", record)
    back = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    nested = back.pop("nested")
    assert back == {
        "float": 0.5, "int": 3, "bool": True, "array": [[0, 1], [2, 3]], "path": str(Path("a/b")),
        "settings": {"ratio": 0.1, "folder": "c"}, "unit": "µm",
    }  # fmt: skip
    assert nested[:2] == [{"t": [1, 2]}, None]
    assert sorted(nested[2]) == ["-inf", "nan"]


def test_provenance_round_trip(tmp_path):
    record = provenance(seed=3)
    write_provenance(tmp_path / "a.json", record)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == record


def test_an_unknown_type_is_named(tmp_path):
    with pytest.raises(InputError, match=r"record.a\[1\] is a object"):
        write_provenance(tmp_path / "a.json", {"a": [1, object()]})
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_written_as_their_bytes(tmp_path):
    write_provenance(tmp_path / "a.json", {"frame": "mov\udcff.tif", "path": Path("mov\udcff"), "\udcff": 1})
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert found == {"frame": "mov\\udcff.tif", "path": "mov\\udcff", "\\udcff": 1}


@pytest.mark.parametrize("size_nm", [1e4, 21205.2, 134139.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32])
def test_a_pixel_size_that_a_printer_might_have_comes_back(tmp_path, size_nm, dtype):
    write_image(tmp_path / "a.tif", np.arange(384).reshape(16, 24).astype(dtype), pixel_size_nm=size_nm)
    assert read(tmp_path / "a.tif").pixel_size_nm == pytest.approx(size_nm, rel=1e-5)
