import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segmentation.instances import Instances
from segmentation.measure import measure
from segmentation.output import decode_rle, encode_rle, write_coco, write_table
from simulate import InputError


def labels(seed=0, shape=(17, 23)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, shape) * (rng.random(shape) < 0.5) * 3


def test_the_table_comes_back_from_both_files(tmp_path):
    table = measure(Instances(labels(), pixel_size_nm=0.25, scores=np.linspace(0.1, 0.9, 5)))
    csv, parquet = write_table(tmp_path / "new" / "ratio_0.1", table)
    assert (csv.name, parquet.name) == ("ratio_0.1.csv", "ratio_0.1.parquet")
    assert "equivalent_diameter_nm" in csv.read_text().splitlines()[0]
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
    pd.testing.assert_frame_equal(pd.read_csv(csv), table, check_dtype=False)
    assert sorted(path.name for path in csv.parent.iterdir()) == [csv.name, parquet.name]


def test_a_folder_whose_name_reads_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = measure(labels())
    _, parquet = write_table(Path("s3:scans") / "one", table)
    assert (tmp_path / "s3:scans" / "one.parquet").is_file()
    pd.testing.assert_frame_equal(pd.read_parquet(parquet.absolute()), table)


@pytest.mark.parametrize("name", ["a\0b", "a\udcffb"])
def test_folders_of_no_readable_name(tmp_path, name):
    with pytest.raises(InputError, match="no readable name; choose another one"):
        write_table(tmp_path / name / "one", measure(labels()))


def test_an_empty_table_is_written_with_its_columns(tmp_path):
    table = measure(np.zeros((9, 9), int))
    csv, parquet = write_table(tmp_path / "empty", table)
    assert list(pd.read_csv(csv).columns) == list(table.columns)
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    table = measure(labels())
    csv, _ = write_table(tmp_path / "sizes", table)
    before = csv.read_text()

    def fail(self, path, **_):
        path.write_text("half a li")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(tmp_path / "sizes", table)
    assert csv.read_text() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_round_trip(seed):
    mask = np.random.default_rng(seed).random((7, 5)) < seed / 19
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert sum(rle["counts"]) == mask.size
    # Only the first run, of zeros, may be empty: that is what readers of the format expect.
    assert all(count > 0 for count in rle["counts"][1:])


def test_run_lengths_go_down_the_columns():
    mask = np.array([[True, False], [True, True], [False, True]])
    assert encode_rle(mask) == {"counts": [0, 2, 2, 2], "size": [3, 2]}
    framed = np.zeros((6, 9), dtype=bool)
    framed[2:5, 4:6] = mask
    assert encode_rle(mask, (6, 9), (2, 4)) == encode_rle(framed)


def test_coco_annotations_hold_every_particle(tmp_path):
    first = Instances(labels(0), pixel_size_nm=(0.5, 0.25), scores=[0.5, 0.6, 0.7, 0.8, 0.9], name="a.tif")
    frames = [first, Instances(labels(1)), Instances(np.zeros((4, 5), int))]
    content = json.loads(write_coco(tmp_path / "particles.json", frames).read_text())
    assert [category["name"] for category in content["categories"]] == ["particle"]
    assert [(image["id"], image["height"], image["width"]) for image in content["images"]] == [
        (1, 17, 23),
        (2, 17, 23),
        (3, 4, 5),
    ]
    assert content["images"][0]["file_name"] == "a.tif"
    assert content["images"][0]["pixel_size_nm"] == [0.5, 0.25]
    assert [annotation["id"] for annotation in content["annotations"]] == list(range(1, 11))
    for annotation in content["annotations"]:
        frame = frames[annotation["image_id"] - 1]
        mask = decode_rle(annotation["segmentation"])
        np.testing.assert_array_equal(mask, frame.labels == annotation["label"])
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert annotation["bbox"] == [cols[0], rows[0], cols[-1] + 1 - cols[0], rows[-1] + 1 - rows[0]]
        assert annotation["area"] == mask.sum()
        assert (annotation["iscrowd"], annotation["category_id"]) == (0, 1)
    assert [annotation["score"] for annotation in content["annotations"][:5]] == [0.5, 0.6, 0.7, 0.8, 0.9]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(InputError, match="no frame"):
        write_coco(tmp_path / "none.json", [])
    with pytest.raises(InputError, match="compressed"):
        decode_rle({"counts": "abc", "size": [2, 2]})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="add up to 3"):
        decode_rle({"counts": [1, 2], "size": [2, 2]})
