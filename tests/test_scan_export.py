"""Scan paths survive every file format, and what is no scan path is refused in one line."""

import pickle
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import cs_recon
from simulate import InputError, ScanPath, scan_binary, scan_path
from simulate.export import read_scan, write_scan
from simulate.scan_text import info_file, read_info

h5py = pytest.importorskip("h5py")

EVERYTHING = ("scan.csv", "scan.npz", "scan.nxs", "scan.h5", "scan.hdf5")
POSITIONS = ("scan.npy", "lot_scan_coordinates.csv")
PATH = scan_path("random", (24, 40), 0.2, rng=7, dwell_us=0.1)
N = PATH.n_positions


def same(first, second):
    for name in ("rows", "cols", "dwells_us"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    return (first.shape, first.scheme, first.seed) == (second.shape, second.scheme, second.seed)


def paths():
    visits = replace(
        PATH,
        rows=np.concatenate([PATH.rows, PATH.rows[::-1]]),
        cols=np.concatenate([PATH.cols, PATH.cols[::-1]]),
        dwell_us=np.random.default_rng(0).uniform(0.01, 500, 2 * N),
    )
    return {
        "one dwell": PATH,
        "revisits": visits,
        "no seed": replace(PATH, seed=None, scheme="from elsewhere, x"),
        "huge seed": replace(PATH, seed=2**200),
        "one position": ScanPath([3], [5], (8, 9)),
    }


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("which", paths())
def test_reading_gives_the_written_scan(tmp_path, name, which):
    path = paths()[which]
    assert write_scan(tmp_path / name, path) == tmp_path / name
    got = read_scan(tmp_path / name)
    assert same(got, path)
    assert np.ndim(got.dwell_us) == np.ndim(path.dwell_us)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", POSITIONS)
def test_position_lists_keep_the_order(tmp_path, name):
    file = write_scan(tmp_path / name, PATH)
    shape = {"shape": PATH.shape} if name.endswith("npy") else {}
    assert same(read_scan(file, dwell_us=0.1, **shape), replace(PATH, scheme="custom", seed=None))
    with pytest.raises(InputError, match="does not say the dwell time"):
        read_scan(file, **shape)


def test_npy_is_what_a_scan_generator_takes(tmp_path):
    array = np.load(write_scan(tmp_path / "scan.npy", PATH), allow_pickle=False)
    assert array.dtype.kind == "i"
    np.testing.assert_array_equal(array, np.column_stack([PATH.cols, PATH.rows]))
    with pytest.raises(InputError, match="does not say the frame's shape"):
        read_scan(tmp_path / "scan.npy", dwell_us=1.0)


def test_csv_says_what_it_holds(tmp_path):
    path = ScanPath([0, 3], [1, 2], (8, 16), dwell_us=np.array([10.0, 0.1]), scheme="mine", seed=4)
    write_scan(tmp_path / "scan.csv", path)
    expected = "# shape: 8 16\n# scheme: mine\n# seed: 4\n# positions: 2\nx,y,dwell_us\n1,0,10.0\n2,3,0.1\n"
    assert (tmp_path / "scan.csv").read_bytes() == expected.encode()


def test_a_plain_table_of_another_program_is_read(tmp_path):
    (tmp_path / "scan.csv").write_text("x,y\r\n1,0\r\n2,3")
    got = read_scan(tmp_path / "scan.csv", shape=(8, 16), dwell_us=5.0)
    assert (got.rows.tolist(), got.cols.tolist(), got.dwell_us) == ([0, 3], [1, 2], 5)


@pytest.mark.parametrize("pixel_size_nm", [None, (0.2, 0.3)])
def test_the_reader_of_measurements_understands_direct_electrons_coordinates(tmp_path, pixel_size_nm):
    write_scan(tmp_path / "20260101_00001_scan_coordinates.csv", PATH, pixel_size_nm=pixel_size_nm)
    frame = np.random.default_rng(0).random(PATH.shape)
    np.save(tmp_path / "20260101_00001_haadf.npy", frame[PATH.rows, PATH.cols])  # one value a visit
    values = np.load(tmp_path / "20260101_00001_haadf.npy")
    from cs_recon.io.raw import Raw
    from cs_recon.io.sparse import with_coordinates

    raw = with_coordinates(Raw(values), tmp_path / "20260101_00001_scan_coordinates.csv")
    np.testing.assert_array_equal(raw.extra["mask"], PATH.mask)
    np.testing.assert_array_equal(raw.data, np.where(PATH.mask, frame, 0))
    assert raw.pixel_size_nm == pixel_size_nm
    assert cs_recon.Measurement(raw.data, raw.extra["mask"]).ratio == PATH.ratio


def test_a_region_of_interest_gives_the_frame(tmp_path):
    file = write_scan(tmp_path / "a_scan_coordinates.csv", PATH)
    (tmp_path / "a_info.txt").write_text(
        "Scan - ROI Enable = Enable\nScan - Size X = 999\nScan - Size Y = 999\n"
        "Scan - ROI Size X = 41\nScan - ROI Size Y = 30\n"
    )
    assert read_scan(file, dwell_us=1.0).shape == (30, 41)


def test_hdf5_has_the_nexus_attributes(tmp_path):
    with h5py.File(write_scan(tmp_path / "scan.nxs", PATH), "r") as file:
        assert file["entry"].attrs["NX_class"] == "NXentry"
        data = file[f"{file.attrs['default']}/{file['entry'].attrs['default']}"]
        assert data.attrs["NX_class"] == "NXdata"
        assert data.attrs["signal"] in data
        assert [data[name].attrs["units"] for name in ("x", "y", "dwell")] == ["pixel", "pixel", "us"]
        assert data["dwell"].shape == (N,)


def test_a_missing_h5py_names_the_extra(tmp_path, monkeypatch):
    file = write_scan(tmp_path / "scan.nxs", PATH)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (lambda: read_scan(file), lambda: write_scan(tmp_path / "other.nxs", PATH)):
        with pytest.raises(InputError, match=r'pip install "cs-stem\[io\]"'):
            call()
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.nxs"]


def test_a_format_can_be_named(tmp_path):
    write_scan(tmp_path / "scan.dat", PATH, format="npz")
    assert same(read_scan(tmp_path / "scan.dat", format="npz"), PATH)


@pytest.mark.parametrize(
    ("name", "path", "options", "message"),
    [
        ("scan.tif", PATH, {}, "unknown file type '.tif'; expected a name that ends in .csv, .npy, "),
        ("scan.csv", PATH, {"format": "nexsus"}, "did you mean 'nexus'"),
        ("scan.csv", PATH, {"format": "direct-electron"}, "ends in _scan_coordinates.csv"),
        ("scan.csv", PATH, {"pixel_size_nm": 0.5}, "no place for a pixel size"),
        ("scan.npy", paths()["revisits"], {}, "the dwell times differ"),
        ("a_scan_coordinates.csv", paths()["revisits"], {}, "the dwell times differ"),
        ("scan.csv", replace(PATH, scheme="a\n# shape: 9 9"), {}, "one line of text"),
        ("scan.csv", ScanPath([0], [0], (2**14, 2**14)), {}, "at most"),
        ("", PATH, {"format": "csv"}, "is a folder"),
        ("file/scan.csv", PATH, {}, "cannot make the output folder"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, path, options, message):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=message) as caught:
        write_scan(tmp_path / name, path, **options)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


HEAD = "# shape: 8 16\n# scheme: mine\n# seed: 4\n# positions: 2\nx,y,dwell_us\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns ''"),
        (HEAD, "holds no position"),
        (HEAD + "1,0,10\n", "position 1 of 2"),
        (HEAD + "1,0,10\n2,3,1", "position 2 of 2"),
        (HEAD + "1,0,10\n2,3\n", "not numbers"),
        (HEAD + "1,0,10\n2,3,x\n", "not numbers"),
        (HEAD + "1,0\n2,3\n", "2 numbers a line"),
        (HEAD + "1,0,10\nnan,3,1\n", "x is nan at position 2"),
        (HEAD + "1,0,10\n2,-3,1\n", "y is -3 at position 2"),
        (HEAD + "1,0,10\n2.5,3,1\n", r"x is 2\.5"),
        (HEAD + "1,0,10\n2,1e300,1\n", r"y is 1e\+300"),
        (HEAD + "1,0,10\n2,inf,1\n", "y is inf"),
        (HEAD + "1,0,10\n16,3,1\n", "columns run from 1 to 16; expected 0 to 15"),
        (HEAD + "1,0,10\n2,3,-1\n", "expected finite numbers above 0"),
        (HEAD + "1,0,10\n2,3,nan\n", "expected finite numbers above 0"),
        (HEAD + "1,0,nan\n2,3,nan\n", "expected finite numbers above 0"),
        (HEAD.replace("x,y,dwell_us", "1,0,10") + "1,0,10\n2,3,1\n", "has the columns '1,0,10'"),
        (HEAD.replace("8 16", "8") + "1,0,10\n2,3,1\n", "says its shape is '8'"),
        (HEAD.replace("8 16", "8 -16") + "1,0,10\n2,3,1\n", "says its shape"),
        (HEAD.replace("8 16", "99999 99999") + "1,0,10\n2,3,1\n", "expected at most"),
        (HEAD.replace("8 16", "4 16") + "1,0,10\n2,3,1\n", "at least 8 x 8"),
        (HEAD.replace("seed: 4", "seed: four") + "1,0,10\n2,3,1\n", "says its seed"),
        (HEAD.replace("mine", "m" * 300) + "1,0,10\n2,3,1\n", "says its scheme"),
        ("\x00\x01\x02\n" * 9, "has the columns"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "scan.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_scan(tmp_path / "scan.csv")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "scan.csv"))


@pytest.mark.parametrize("name", [*EVERYTHING, "scan.npy"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_truncated_file_is_refused(tmp_path, name, kept):
    file = write_scan(tmp_path / name, paths()["revisits" if name != "scan.npy" else "one dwell"])
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    options = {"shape": PATH.shape, "dwell_us": 1.0} if name == "scan.npy" else {}
    with pytest.raises(InputError) as caught:
        read_scan(file, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*EVERYTHING, *POSITIONS])
def test_a_missing_file_a_folder_and_noise_are_refused(tmp_path, name):
    file = tmp_path / name
    with pytest.raises(InputError, match="no such file"):
        read_scan(file)
    file.mkdir()
    with pytest.raises(InputError, match="no such file"):
        read_scan(file)
    file.rmdir()
    file.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError) as caught:
        read_scan(file, shape=(64, 64), dwell_us=1.0)
    assert "\n" not in str(caught.value)


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("the file was unpickled",)


@pytest.mark.parametrize("name", ["scan.npy", "scan.npz"])
def test_pickles_are_never_opened(tmp_path, name):
    file = tmp_path / name
    array = np.array([Explosive()], dtype=object)
    if name == "scan.npy":
        np.save(file, array)
    else:
        np.savez(file, x=array, y=np.arange(1), shape=np.array([8, 8]), dwell_us=np.array(1.0))
    for content in (file.read_bytes(), pickle.dumps(Explosive())):
        file.write_bytes(content)
        with pytest.raises(InputError):
            read_scan(file)


GOOD = {"x": np.arange(4), "y": np.arange(4), "dwell_us": np.ones(4), "shape": np.array([8, 8])}


@pytest.mark.parametrize("kind", ["npz", "nxs"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "holds no x"),
        ({"x": np.arange(3)}, "4 rows but 3 columns"),
        ({"x": np.arange(4.0)}, "expected integers"),
        ({"x": np.arange(4)[None]}, "expected a list of pixel indices"),
        ({"y": np.array([0, 1, 2, -1])}, "y is -1 at position 4"),
        ({"y": np.array([0, 1, 2, 8])}, "expected 0 to 7"),
        ({"y": np.array([0, 1, 2, 2**63], dtype=np.uint64)}, "at position 4"),
        ({"x": np.zeros(0, int), "y": np.zeros(0, int)}, "no position"),
        ({"dwell_us": np.array([1, 1, np.nan, 1])}, "above 0"),
        ({"dwell_us": np.array([1, 1, -2.0, 1])}, "above 0"),
        ({"dwell_us": np.ones(3)}, "one per visit"),
        ({"dwell_us": np.ones((4, 1))}, "one per visit"),
        ({"shape": np.array([8.0, 8.0])}, "says its shape"),
        ({"shape": np.array([8, 8, 3])}, "says its shape"),
        ({"shape": np.array([2**30, 2**30])}, "says its shape"),
        ({"shape": np.array([2**29, 2**29])}, "expected at most"),
        ({"shape": None}, "does not say the frame's shape"),
    ],
)
def test_bad_arrays_are_one_clear_line(tmp_path, kind, change, message):
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    file = tmp_path / f"scan.{kind}"
    if kind == "npz":
        np.savez(file, **arrays)
    else:
        with h5py.File(file, "w") as opened:
            for name, value in arrays.items():
                opened[f"entry/scan/{ {'dwell_us': 'dwell', 'shape': 'frame_shape'}.get(name, name) }"] = value
    with pytest.raises(InputError, match=message) as caught:
        read_scan(file)
    assert "\n" not in str(caught.value)


def test_claims_larger_than_any_scan_are_refused_unread(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("entry/scan/x", shape=(2**40,), dtype="i4", chunks=(2**20,))
    with pytest.raises(InputError, match="too large for a scan"):
        read_scan(tmp_path / "scan.h5")
    monkeypatch.setattr(scan_binary, "MOST_POSITIONS", 1000)
    with zipfile.ZipFile(tmp_path / "scan.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10_000))
    with pytest.raises(InputError, match="too large for a scan"):
        read_scan(tmp_path / "scan.npz")


def test_other_units_groups_and_contradictions_are_refused(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/scan/dwell"] = np.ones(4)
        file["entry/scan/dwell"].attrs["units"] = "ms"
    with pytest.raises(InputError, match="dwell times in 'ms'"):
        read_scan(tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["elsewhere"] = np.ones(4)
    with pytest.raises(InputError, match="no group entry/scan"):
        read_scan(tmp_path / "scan.h5")
    file = write_scan(tmp_path / "scan.npz", PATH)
    with pytest.raises(InputError, match="is for a frame of"):
        read_scan(file, shape=(8, 8))
    with pytest.raises(InputError, match="says the dwell times itself"):
        read_scan(file, dwell_us=2.0)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = write_scan(tmp_path / "scan.csv", PATH)
    before = file.read_bytes()
    with pytest.raises(InputError):
        write_scan(file, replace(PATH, scheme="a\nb"))
    assert file.read_bytes() == before


def test_an_info_file_that_does_not_know_the_size(tmp_path):
    file = tmp_path / "a_scan_coordinates.csv"
    file.write_text("1,2\n3,4\n")
    info_file(file).write_text("Scan - Size X = -1\nScan - Size Y = -1\nSpecimen Pixel Size X (nanometers) = -1\n")
    assert read_info(info_file(file)) == (None, None)
    assert read_scan(file, shape=(8, 8), dwell_us=1.0).shape == (8, 8)


def test_a_scan_without_a_seed_has_no_seed_in_its_file(tmp_path):
    path = replace(scan_path("random", (16, 16), 0.2, rng=1), seed=None)
    write_scan(tmp_path / "scan.csv", path)
    assert "seed" not in (tmp_path / "scan.csv").read_text()
    again = read_scan(tmp_path / "scan.csv")
    assert again.seed is None
    np.testing.assert_array_equal(again.rows, path.rows)
