"""Reading values in visiting order with the scan coordinates of a Direct Electron acquisition."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from io_files import message_of

from cs_recon.io import read

SHAPE = (24, 32)
RNG = np.random.default_rng(11)
FRAME = RNG.integers(0, 200, SHAPE)
MASK = RNG.random(SHAPE) < 0.3
MASK[-1, -1] = True  # so that the largest indices give the shape
FRAME[MASK & (RNG.random(SHAPE) < 0.2)] = 0  # sampled zeros


def same(measurement, mask=MASK, frame=FRAME):
    np.testing.assert_array_equal(measurement.mask, mask)
    np.testing.assert_array_equal(measurement.values, np.where(mask, frame, 0))


def save_mrc(path, image, angstrom=0.0):
    height, width = np.atleast_2d(image).shape
    header = bytearray(1024)
    struct.pack_into("<10i6f3i", header, 0, width, height, 1, 2, 0, 0, 0, width, height, 1,
                     angstrom * width, angstrom * height, angstrom, 90, 90, 90, 1, 2, 3)  # fmt: skip
    path.write_bytes(bytes(header) + np.asarray(image, dtype="<f4").tobytes())


VISITS = (*np.nonzero(MASK), FRAME[MASK])
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
    [("1\n2\n", "expected x,y for each visit"), ("1,2\n-1,2\n", "x is -1 at position 2"),
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
