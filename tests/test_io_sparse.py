"""Reading sparse scans: masks, NaN, and lists of samples."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from io_files import message_of
from PIL import Image

from cs_recon.io import read, read_frames

SHAPE = (24, 32)
RNG = np.random.default_rng(11)
FRAME = RNG.integers(0, 200, SHAPE)
MASK = RNG.random(SHAPE) < 0.3
MASK[-1, -1] = True  # so that the largest indices give the shape
FRAME[MASK & (RNG.random(SHAPE) < 0.2)] = 0  # sampled zeros


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


def test_masks_of_a_stack_beside_its_values_in_npz(tmp_path):
    stack, masks = np.stack([FRAME, 2 * FRAME]), np.stack([MASK, ~MASK])
    np.save(tmp_path / "movie.npy", stack)
    np.savez(tmp_path / "scans.npz", values=stack, mask=masks)
    found = read_frames(tmp_path / "movie.npy", mask=tmp_path / "scans.npz")
    np.testing.assert_array_equal([one.mask for one in found], masks)


def test_bilevel_tiff_mask_is_not_inverted(tmp_path):
    np.save(tmp_path / "frame.npy", FRAME)
    for photometric in ("minisblack", "miniswhite"):
        stored = MASK if photometric == "minisblack" else ~MASK
        tifffile.imwrite(tmp_path / "mask.tif", stored, photometric=photometric, software="another program")
        same(read(tmp_path / "frame.npy", mask=tmp_path / "mask.tif"))
    tifffile.imwrite(tmp_path / "mask.tif", MASK)  # as it is, in spite of the tag
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


def test_a_remark_above_a_list_is_no_header(tmp_path):
    (tmp_path / "a.csv").write_text("# sparse gold scan\n# by us\n0,9,1\n9,2,5\n")
    assert read(tmp_path / "a.csv").values[9, 2] == 5


@pytest.mark.parametrize("name", ["exposure", "visits", "dwell", "dwell_us", "Dwell_Time"])
def test_exposure_column_weights_the_visits(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"row,col,value,{name}\n0,0,1,3\n0,0,5,1\n9,9,7,2\n")
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
        ("1.5,2,3\n", "row is 1.5 at position 1; expected a pixel index"),
        ("9,9,3\n1,-2,3\n", "col is -2 at position 2"),
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


@pytest.mark.parametrize(
    "header",
    ["# x y value (unit: counts)", "# columns: x y value", "# x [px] y [px] value [counts]", "x (px) y (px) value"],
)
def test_units_and_a_word_before_the_column_names_do_not_hide_them(tmp_path, header):
    lines = [header, "# shape: 9 12", "5 2 7.5", "0 3 1.5", "1 1 2.5"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    found = read(tmp_path / "list.csv")
    assert found.shape == (9, 12)
    assert found.values[2, 5] == 7.5


def test_a_stack_with_a_mask_and_exposures_of_each_frame_in_one_file(tmp_path):
    stack, masks = np.stack([FRAME, FRAME + 1]), np.stack([MASK, ~MASK])
    exposures = np.stack([np.where(MASK, 2.0, 0), np.where(MASK, 0, 3.0)])
    np.savez(tmp_path / "a.npz", values=stack, mask=masks, exposure=exposures)
    for measurement, mask, frame, exposure in zip(read(tmp_path / "a.npz"), masks, stack, exposures, strict=True):
        same(measurement, mask, frame)
        np.testing.assert_array_equal(measurement.exposure, exposure)
    np.savez(tmp_path / "b.npz", values=np.stack([*stack, FRAME]), mask=masks)
    assert "mask has" in message_of(tmp_path / "b.npz")


def test_decimal_commas_between_semicolons_are_read_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("row;col;value\n0;0;0,5\n1;2;-1,25e1\n9;8;7\n", encoding="utf-8")
    scan = read(path)
    assert scan.shape == (10, 9)
    assert [float(scan.values[at]) for at in ((0, 0), (1, 2), (9, 8))] == [0.5, -12.5, 7.0]
