"""Reading sparse scans: masks, NaN, lists of samples, and values in visiting order with scan coordinates."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cs_recon.io import read, read_frames
from simulate.errors import InputError

SHAPE = (24, 32)
RNG = np.random.default_rng(11)
FRAME = RNG.integers(0, 200, SHAPE)
MASK = RNG.random(SHAPE) < 0.3
MASK[-1, -1] = True  # so that the largest indices give the shape
FRAME[MASK & (RNG.random(SHAPE) < 0.2)] = 0  # sampled zeros


def message_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_frames(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


def same(measurement, mask=MASK, frame=FRAME):
    np.testing.assert_array_equal(measurement.mask, mask)
    np.testing.assert_array_equal(measurement.values, np.where(mask, frame, 0))


# --- NaN


def save_float(path, frame):
    if path.suffix == ".tif":
        tifffile.imwrite(path, frame.astype(np.float32))
    elif path.suffix == ".npy":
        np.save(path, frame)
    else:
        np.savez(path, values=frame)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz"])
def test_nan_pixels_are_exactly_the_unsampled_ones(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_float(path, np.where(MASK, FRAME, np.nan))
    measurement = read(path)
    same(measurement)
    assert (measurement.samples == 0).any()


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz"])
def test_infinite_and_all_nan(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_float(path, np.where(MASK, FRAME, np.inf))
    assert f"{(~MASK).sum()} of 768 pixels are infinite" in message_of(path)
    save_float(path, np.full(SHAPE, np.nan))
    assert "all 768 pixels are NaN" in message_of(path)


def test_each_frame_has_its_own_nan(tmp_path):
    masks = np.stack([MASK, ~MASK, np.ones(SHAPE, bool)])
    np.save(tmp_path / "a.npy", np.where(masks, FRAME, np.nan))
    for measurement, mask in zip(read(tmp_path / "a.npy"), masks, strict=True):
        same(measurement, mask)


# --- masks


def save_mask(path, mask, high=1):
    if path.suffix == ".png":
        Image.fromarray(mask if high is True else (mask * high).astype(np.uint8)).save(path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, (mask * high).astype(np.uint8))
    elif path.suffix == ".npy":
        np.save(path, mask if high is True else mask * high)
    else:
        np.savez(path, mask if high is True else mask * high)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".npz"])
@pytest.mark.parametrize("high", [True, 1, 255])
def test_mask_files(tmp_path, suffix, high):
    np.save(tmp_path / "frame.npy", FRAME)
    save_mask(tmp_path / f"mask{suffix}", MASK, high)
    same(read(tmp_path / "frame.npy", mask=tmp_path / f"mask{suffix}"))
    same(read(tmp_path / "frame.npy", mask=str(tmp_path / f"mask{suffix}")))


def test_mask_array_and_named_in_npz(tmp_path):
    np.save(tmp_path / "frame.npy", FRAME)
    same(read(tmp_path / "frame.npy", mask=MASK))
    same(read(tmp_path / "frame.npy", mask=(MASK * 3).tolist()))
    np.savez(tmp_path / "both.npz", values=FRAME, mask=MASK)
    same(read(tmp_path / "frame.npy", mask=tmp_path / "both.npz"))
    Image.fromarray(np.repeat(MASK[..., None] * np.uint8(255), 3, axis=-1)).save(tmp_path / "rgb.png")
    same(read(tmp_path / "frame.npy", mask=tmp_path / "rgb.png"))


def test_bilevel_tiff_mask_is_not_inverted(tmp_path):
    np.save(tmp_path / "frame.npy", FRAME)
    for photometric in ("minisblack", "miniswhite"):
        stored = MASK if photometric == "minisblack" else ~MASK
        tifffile.imwrite(tmp_path / "mask.tif", stored, photometric=photometric)
        same(read(tmp_path / "frame.npy", mask=tmp_path / "mask.tif"))


def test_mask_may_leave_out_nan(tmp_path):
    np.save(tmp_path / "frame.npy", np.where(MASK, FRAME, np.nan))
    inner = MASK & (RNG.random(SHAPE) < 0.5)
    same(read(tmp_path / "frame.npy", mask=inner), inner)
    assert "NaN or infinite" in message_of(tmp_path / "frame.npy", mask=np.ones(SHAPE, bool))


def test_masks_of_a_stack(tmp_path):
    stack, masks = np.stack([FRAME, FRAME + 1, FRAME]), np.stack([MASK, ~MASK, MASK])
    np.save(tmp_path / "a.npy", stack)
    for measurement, frame in zip(read(tmp_path / "a.npy", mask=MASK), stack, strict=True):
        same(measurement, frame=frame)
    np.save(tmp_path / "m.npy", masks)
    for given in (masks, tmp_path / "m.npy"):
        for measurement, mask, frame in zip(read(tmp_path / "a.npy", mask=given), masks, stack, strict=True):
            same(measurement, mask, frame)
    assert "2 masks for 3 frames" in message_of(tmp_path / "a.npy", mask=masks[:2])


def test_a_mask_of_another_shape_names_both(tmp_path):
    np.save(tmp_path / "frame.npy", FRAME)
    np.save(tmp_path / "mask.npy", MASK.T)
    message = message_of(tmp_path / "frame.npy", mask=tmp_path / "mask.npy")
    assert "mask.npy" in message
    assert "(32, 24)" in message
    assert "(24, 32)" in message


def test_bad_masks(tmp_path):
    np.save(tmp_path / "frame.npy", FRAME)
    assert "different values" in message_of(tmp_path / "frame.npy", mask=FRAME)
    assert "samples no pixel" in message_of(tmp_path / "frame.npy", mask=np.zeros(SHAPE))
    assert "mask.npi: no such file" in message_of(tmp_path / "frame.npy", mask=tmp_path / "mask.npi")
    (tmp_path / "mask.jpg").write_bytes(b"x")
    assert "expected one of .npy .npz .png .tif .tiff" in message_of(tmp_path / "frame.npy", mask=tmp_path / "mask.jpg")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    assert "cut.png: cannot be read as PNG" in message_of(tmp_path / "frame.npy", mask=tmp_path / "cut.png")
    np.savez(tmp_path / "own.npz", values=FRAME, mask=MASK)
    assert "expected one" in message_of(tmp_path / "own.npz", mask=MASK)


# --- npz


def test_npz_fields(tmp_path):
    np.savez(
        tmp_path / "a.npz", values=FRAME[MASK], mask=MASK, pixel_size_nm=[0.2, 0.3], exposure=MASK * 2.0,
        counts_per_unit=3.0, black_level=-1.0, read_noise=0.5,
    )  # fmt: skip
    measurement = read(tmp_path / "a.npz")
    same(measurement)
    assert measurement.pixel_size_nm == (0.2, 0.3)
    assert (measurement.counts_per_unit, measurement.black_level, measurement.read_noise) == (3, -1, 0.5)
    np.testing.assert_array_equal(measurement.exposure, MASK * 2.0)
    np.savez(tmp_path / "b.npz", FRAME)
    assert read(tmp_path / "b.npz").mask.all()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"values": FRAME, "maks": MASK}, "did you mean 'mask'?"),
        ({"a": FRAME, "b": FRAME}, "expected a single array, or 'values'"),
        ({}, "(none)"),
        ({"values": FRAME, "pixel_size_nm": [0.0]}, "pixel size is 0"),
        ({"values": FRAME, "pixel_size_nm": [1.0, 2.0, 3.0]}, "expected one number"),
        ({"values": FRAME, "mask": MASK.T}, "(32, 24)"),
        ({"values": FRAME[0]}, "expected a 2-D image"),
    ],
)
def test_bad_npz(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    assert says in message_of(tmp_path / "a.npz")


# --- lists of samples


def save_list(path, rows, cols, values, *, header=None, order=(0, 1, 2), separator=",", **extra):
    table = np.stack([rows, cols, values, *extra.values()], axis=1)[:, [*order, *range(3, 3 + len(extra))]]
    names = [(header or ("row", "col", "value"))[k] for k in order] + list(extra)
    lines = [separator.join(names)] if header else []
    lines += [separator.join(f"{number:.17g}" for number in line) for line in table]
    path.write_text("\n".join(lines) + "\n")


VISITS = (*np.nonzero(MASK), FRAME[MASK])


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", "])
@pytest.mark.parametrize(
    ("header", "order"),
    [(None, (0, 1, 2)), (("row", "col", "value"), (0, 1, 2)), (("Y", "X", "Intensity"), (2, 1, 0)),
     (("rows", "column", '"counts"'), (1, 2, 0))],
)  # fmt: skip
def test_a_list_is_the_frame_and_its_mask(tmp_path, suffix, separator, header, order):
    shuffled = RNG.permutation(len(VISITS[0]))
    save_list(tmp_path / f"a{suffix}", *(v[shuffled] for v in VISITS), header=header, order=order, separator=separator)
    measurement = read(tmp_path / f"a{suffix}")
    same(measurement)
    assert measurement.exposure is None
    assert measurement.name == "a"


def test_a_list_as_numpy_writes_it(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.stack(VISITS, 1), delimiter=",", header="row,col,value")
    same(read(tmp_path / "a.csv"))


def test_a_byte_order_mark_and_further_columns(tmp_path):
    save_list(tmp_path / "a.csv", *VISITS, header=("row", "col", "value"), time=np.arange(len(VISITS[0])))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\n", b"\r\n"))
    same(read(tmp_path / "a.csv"))


def test_the_shape_of_a_list(tmp_path):
    save_list(tmp_path / "a.csv", *VISITS)
    larger = read(tmp_path / "a.csv", shape=(40, 50))
    assert larger.shape == (40, 50)
    np.testing.assert_array_equal(larger.mask[:24, :32], MASK)
    assert larger.mask.sum() == MASK.sum()
    assert "indices reach row 23 and column 31" in message_of(tmp_path / "a.csv", shape=(32, 24))


def test_repeated_visits_are_averaged_and_counted(tmp_path):
    rows, cols, values = (np.concatenate([v, v[:50], v[:20]]) for v in VISITS)
    values = values + RNG.normal(size=len(values))
    save_list(tmp_path / "a.csv", rows, cols, values)
    measurement = read(tmp_path / "a.csv")
    np.testing.assert_array_equal(measurement.mask, MASK)
    assert measurement.exposure is not None
    for k in (0, 30, 60):
        here = (rows == rows[k]) & (cols == cols[k])
        assert measurement.exposure[rows[k], cols[k]] == here.sum() == {0: 3, 30: 2, 60: 1}[k]
        assert measurement.values[rows[k], cols[k]] == pytest.approx(values[here].mean())


def test_exposure_column_weights_the_visits(tmp_path):
    (tmp_path / "a.csv").write_text("row,col,value,exposure\n0,0,1,3\n0,0,5,1\n9,9,7,2\n")
    measurement = read(tmp_path / "a.csv")
    assert (measurement.values[0, 0], measurement.exposure[0, 0]) == (2, 4)
    assert (measurement.values[9, 9], measurement.exposure[9, 9]) == (7, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n\n", "holds no numbers"),
        ("row,col,value\n", "holds no numbers"),
        ("row,col\n1,2\n", "expected row, col and value"),
        ("row,col,value\n1,2\n", "3 column names but 2 columns"),
        ("row,y,value\n1,2,3\n", "2 columns for row"),
        ("1,2\n3,4\n", "has 2 columns and no header"),
        ("1,2,3,4\n", "has 4 columns and no header"),
        ("1,2,3\n4,5\n", "cannot be read as a table of numbers"),
        ("1,2,3\n4,5,six\n", "cannot be read as a table of numbers"),
        ("1,2,3\n4,5,\n", "cannot be read as a table of numbers"),
        ("1.5,2,3\n", "row is 1.5 in sample 1; expected a pixel index"),
        ("9,9,3\n1,-2,3\n", "col is -2 in sample 2"),
        ("nan,2,3\n", "row is nan"),
        ("9,9,nan\n9,8,1\n", "1 of 2 sampled values are NaN"),
        ("9,9,inf\n9,8,1\n", "NaN or infinite"),
        ("9,9,5\n9,8,5\n", "all 2 sampled values equal 5"),
        ("0,9,5\n0,8,4\n", "1 x 10 pixels"),
        ("100000,100000,1\n1,1,2\n", "expected at most"),
        ("row,col,value,exposure\n9,9,1,0\n9,8,2,1\n", "exposure of a visit"),
        ("# shape: 9\n9,9,1\n8,8,2\n", "the comment '# shape' says '9'"),
        ("# shape: 9 9\n9,9,1\n8,8,2\n", "indices reach row 9"),
        ("# samples: 3\n9,9,1\n8,8,2\n", "holds 2 of 3 samples"),
        ("# pixel_size_nm: 0\n9,9,1\n8,8,2\n", "pixel size is 0"),
    ],
)
def test_bad_lists(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    assert says in message_of(tmp_path / "a.csv")


def test_binary_in_a_list(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    assert "cannot be read as text" in message_of(tmp_path / "a.csv")


# --- Direct Electron: scan coordinates


def save_mrc(path, image, angstrom=0.0):
    height, width = np.atleast_2d(image).shape
    header = bytearray(1024)
    struct.pack_into("<10i6f3i", header, 0, width, height, 1, 2, 0, 0, 0, width, height, 1,
                     angstrom * width, angstrom * height, angstrom, 90, 90, 90, 1, 2, 3)  # fmt: skip
    path.write_bytes(bytes(header) + np.asarray(image, dtype="<f4").tobytes())


ORDER = RNG.permutation(int(MASK.sum()))
ROWS, COLS, VALUES = (v[ORDER] for v in VISITS)
PREFIX = "20250429_06688"
NAME = f"{PREFIX}_1_Virt #1_sum.mrc"


def save_coordinates(folder, rows=ROWS, cols=COLS, name=f"{PREFIX}_scan_coordinates.csv", extra=""):
    """As DE-Server writes them: x,y for each visit and no header."""
    lines = (f"{x},{y}{extra}" for x, y in zip(cols, rows, strict=True))
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def save_info(folder, shape, *, roi=False, pixel_nm=-1.0):
    size = "ROI Size" if roi else "Size"
    other = "Size" if roi else "ROI Size"
    (folder / f"{PREFIX}_info.txt").write_text(
        f"Scan - Enable        = Enable\nScan - ROI Enable = {'Enable' if roi else 'Disable'}\n"
        f"Scan - {size} X = {shape[1]}\nScan - {size} Y      = {shape[0]}\n"
        f"Scan - {other} X = 999\nScan - {other} Y = 999\n"
        f"Specimen Pixel Size X (nanometers) = {pixel_nm}\nSpecimen Pixel Size Y (nanometers) = {pixel_nm}\n"
        "Camera Position Status =\n"
    )


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("rsciio", reason="needs the extra io")
    return tmp_path


def padded(values, width):
    assert len(values) % width == 0
    return values.reshape(-1, width)


@pytest.mark.parametrize("layout", ["line", "column", "block", "grid", "grid, zeros elsewhere"])
def test_every_layout_of_a_virtual_image(folder, layout):
    n = len(VALUES) - len(VALUES) % 6
    rows, cols, values = ROWS[:n], COLS[:n], VALUES[:n]
    mask = np.zeros(SHAPE, bool)
    mask[rows, cols] = True
    image = {
        "line": values,
        "column": values[:, None],
        "block": padded(values, 6),
        "grid": FRAME,
        "grid, zeros elsewhere": np.where(mask, FRAME, 0),
    }[layout]
    save_mrc(folder / NAME, image)
    save_coordinates(folder, rows, cols)
    same(read(folder / NAME, shape=SHAPE), mask)


def test_grid_of_the_image_when_the_last_rows_were_not_visited(folder):
    inside = (ROWS < 20) & (COLS < 30)
    save_mrc(folder / NAME, FRAME)
    save_coordinates(folder, ROWS[inside], COLS[inside])
    mask = MASK.copy()
    mask[20:] = mask[:, 30:] = False
    same(read(folder / NAME), mask)


def test_a_full_scan_in_random_order_lies_on_the_grid(folder):
    """As the public ROI_Random_Scan files show it: the sum image is on the grid, the movie in visiting order."""
    order = RNG.permutation(FRAME.size)
    rows, cols = np.unravel_index(order, SHAPE)
    save_mrc(folder / NAME, FRAME)
    save_coordinates(folder, rows, cols)
    same(read(folder / NAME), np.ones(SHAPE, bool))


def test_x_comes_first(folder):
    save_mrc(folder / NAME, np.arange(1.0, 5))
    save_coordinates(folder, rows=np.array([0, 8, 3, 9]), cols=np.array([11, 2, 0, 1]))
    measurement = read(folder / NAME)
    assert measurement.shape == (10, 12)
    assert [measurement.values[at] for at in [(0, 11), (8, 2), (3, 0), (9, 1)]] == [1, 2, 3, 4]


@pytest.mark.parametrize("roi", [False, True])
def test_info_file_gives_the_grid_and_the_pixel_size(folder, roi):
    save_mrc(folder / NAME, VALUES, angstrom=9.0)
    save_coordinates(folder, extra=",17.5")
    save_info(folder, (40, 50), roi=roi, pixel_nm=0.25)
    measurement = read(folder / NAME)
    assert measurement.shape == (40, 50)
    assert measurement.pixel_size_nm == 0.25
    np.testing.assert_array_equal(measurement.mask[:24, :32], MASK)
    assert read(folder / NAME, shape=(30, 40)).shape == (30, 40)


def test_unknown_pixel_size_in_the_info_file(folder):
    save_mrc(folder / NAME, VALUES)
    save_coordinates(folder)
    save_info(folder, SHAPE)
    assert read(folder / NAME).pixel_size_nm is None


def test_coordinates_given_by_hand(folder):
    save_mrc(folder / "values.mrc", VALUES)
    table = save_coordinates(folder, name="visits.csv")
    same(read(folder / "values.mrc", coordinates=table))
    np.save(folder / "values.npy", VALUES)
    same(read(folder / "values.npy", coordinates=str(table)))
    (folder / "named.csv").write_text("y,x\n" + "\n".join(f"{y},{x}" for y, x in zip(ROWS, COLS, strict=True)))
    same(read(folder / "values.mrc", coordinates=folder / "named.csv"))


def test_repeated_coordinates(folder):
    twice = np.concatenate([VALUES, VALUES[:40] + 2])
    save_mrc(folder / NAME, twice)
    save_coordinates(folder, np.append(ROWS, ROWS[:40]), np.append(COLS, COLS[:40]))
    measurement = read(folder / NAME)
    np.testing.assert_array_equal(measurement.values[ROWS[:40], COLS[:40]], VALUES[:40] + 1)
    np.testing.assert_array_equal(measurement.exposure[ROWS[:40], COLS[:40]], 2)
    save_mrc(folder / NAME, FRAME)  # on the grid nothing says what became of the second visit
    assert "sum, mean or last value" in message_of(folder / NAME)
    save_mrc(folder / NAME, FRAME)
    save_coordinates(folder, np.tile(ROWS, 2), np.tile(COLS, 2))
    same(read(folder / NAME))


def test_only_the_coordinates_of_the_same_acquisition_are_taken(folder):
    save_mrc(folder / "20250429_066889_x.mrc", FRAME)
    save_coordinates(folder)
    assert read(folder / "20250429_066889_x.mrc").mask.all()
    save_mrc(folder / NAME, FRAME)
    same(read(folder / NAME, mask=MASK))


def test_files_that_do_not_belong_together(folder):
    save_mrc(folder / NAME, FRAME[:9, :9])
    save_coordinates(folder)
    message = message_of(folder / NAME)
    assert "holds 81 values" in message
    assert f"{len(ROWS)} scan coordinates" in message


def test_a_movie_of_detector_frames_is_refused(folder):
    np.save(folder / "movie.npy", RNG.random((len(ROWS), 9, 9)))
    table = save_coordinates(folder)
    assert "4D-STEM movie" in message_of(folder / "movie.npy", coordinates=table)


@pytest.mark.parametrize(
    ("text", "says"),
    [("1\n2\n", "expected x,y for each visit"), ("1,2\n-1,2\n", "x is -1 in sample 2"),
     ("1,2\n3\n", "table of numbers"), ("", "is empty")],
)  # fmt: skip
def test_bad_coordinates(folder, text, says):
    save_mrc(folder / "a.mrc", FRAME)
    (folder / "xy.csv").write_text(text)
    message = message_of(folder / "a.mrc", coordinates=folder / "xy.csv")
    assert "xy.csv: " in message
    assert says in message


def test_options_that_contradict(folder):
    save_mrc(folder / "a.mrc", FRAME)
    table = save_coordinates(folder)
    assert "expected one of them" in message_of(folder / "a.mrc", coordinates=table, mask=MASK)
    assert "no coordinates= for it" in message_of(table, coordinates=table)
    assert "no such file" in message_of(folder / "a.mrc", coordinates=folder / "none.csv")
