"""Folders of labelled real images: their splits never mix, and images are read as they are, or refused."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cs_recon.real_images import labelled_images, split_of
from cs_recon.train_recon import UnrolledTraining, validation_pairs
from cs_recon.training_data import PairConfig, ScanPairs
from simulate import InputError

SPLITS = ("train", "validation", "test")


@pytest.fixture
def real_folder(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(40):
        Image.fromarray(rng.integers(0, 255, (48, 64), dtype=np.uint8)).save(tmp_path / "images" / f"i{index}.png")
        labels = np.zeros((48, 64), np.uint16)
        labels[5:20, 8:30] = 1
        labels[25:40, 30:50] = 300
        Image.fromarray(labels).save(tmp_path / "labels" / f"i{index}.png")
    return tmp_path


def test_splits_never_mix_and_cover_everything(real_folder):
    names = {split: {item.name for item in labelled_images(real_folder, split)} for split in SPLITS}
    assert sum(map(len, names.values())) == len(set.union(*names.values())) == 40
    assert min(map(len, names.values())) > 0
    assert all(split_of(name) == split for split, found in names.items() for name in found)
    train = ScanPairs(PairConfig(size=32, real_folder=str(real_folder), real_share=1.0, crystal_share=0.0), 1, 5)
    assert len(train.real) == len(names["train"])
    assert train[0].clean.shape == (32, 32)
    held_out = next(iter(validation_pairs(UnrolledTraining(data=train.config), 0.2)))
    assert held_out.clean.shape == (32, 32)


def test_the_split_is_the_one_that_shipped_weights_were_trained_on():
    """Another split would test them on images that they have seen."""
    assert split_of("03a1d18cc6") == split_of("07330c8ea1") == "test"
    found = Counter(split_of(f"i{index}") for index in range(1000))
    assert found == {"train": 794, "validation": 101, "test": 105}


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_images_of_more_bits_are_stretched_and_hidden_files_skipped(real_folder, kind):
    name = next(f"i{index}" for index in range(40) if split_of(f"i{index}") == "train")
    (real_folder / "images" / f"{name}.png").unlink()
    (real_folder / "images" / ".DS_Store").write_bytes(b"x")
    deep = np.linspace(6000, 34000, 48 * 64).reshape(48, 64).astype(kind)
    Image.fromarray(deep).save(real_folder / "images" / f"{name}.tif")
    found = next(item for item in labelled_images(real_folder, "train") if item.name == name)
    assert found.image.dtype == np.uint8
    np.testing.assert_allclose(found.image, 255 * (deep - 6000.0) / 28000, atol=0.6)
    if kind == np.float32:
        deep[3, 4] = np.nan
        Image.fromarray(deep).save(real_folder / "images" / f"{name}.tif")
        with pytest.raises(InputError, match="no finite numbers"):
            labelled_images(real_folder, "train")


def test_labels_are_read_as_they_are_and_checked(real_folder):
    item = labelled_images(real_folder, "train")[0]
    assert set(np.unique(item.labels)) == {0, 1, 300}
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(real_folder / "labels" / f"{item.name}.png")
    with pytest.raises(InputError, match="labels of"):
        labelled_images(real_folder, "train")
    (real_folder / "labels" / f"{item.name}.png").unlink()
    with pytest.raises(InputError, match="no labels"):
        labelled_images(real_folder, "train")
    with pytest.raises(InputError, match="no images"):
        labelled_images(real_folder / "nowhere", "train")
