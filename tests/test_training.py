"""Training resumes exactly, data never mix, weights and checkpoints are checked, configurations are strict."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from cs_recon.calibrate import sigma_temperature
from cs_recon.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from cs_recon.config import load_config
from cs_recon.real_images import labelled_images, split_of
from cs_recon.train_recon import ReconTraining, train_recon, validation_pairs
from cs_recon.training import LoopConfig
from cs_recon.training_data import PairConfig, ScanPairs
from cs_recon.unrolled import UnrolledConfig
from simulate import InputError

SPLITS = ("train", "validation", "test")
CPU = torch.device("cpu")
TINY = ReconTraining(
    network=UnrolledConfig(steps=1, widths=(4, 4), levels=1),
    data=PairConfig(size=32, real_share=0.0),
    loop=LoopConfig(steps=6, batch_size=2, warmup_steps=2, save_every=2),
)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    _, whole = train_recon(TINY, tmp_path / "whole", device=CPU, workers=0)

    class KilledError(Exception):
        pass

    def kill_after(n, save=save_checkpoint, calls=[]):  # noqa: B006
        def saving(*arguments):
            save(*arguments)
            calls.append(1)
            if len(calls) == n:
                raise KilledError

        return saving

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cs_recon.training.save_checkpoint", kill_after(2))
        with pytest.raises(KilledError):
            train_recon(TINY, tmp_path / "killed", device=CPU, workers=0)
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] == 4
    _, resumed = train_recon(TINY, tmp_path / "killed", device=CPU, workers=0)
    assert same(whole, resumed)
    rows = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4", "6"]


def test_another_seed_gives_other_weights(tmp_path):
    _, first = train_recon(TINY, tmp_path / "a", device=CPU, workers=0)
    other = dataclasses.replace(TINY, loop=dataclasses.replace(TINY.loop, seed=2))
    _, second = train_recon(other, tmp_path / "b", device=CPU, workers=0)
    assert not same(first, second)


def test_training_lowers_the_loss(tmp_path):
    config = dataclasses.replace(
        TINY, loop=LoopConfig(steps=60, batch_size=4, warmup_steps=5, learning_rate=5e-3, save_every=15)
    )
    train_recon(config, tmp_path, device=CPU, workers=0)
    losses = [float(row.split(",")[2]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.97 * losses[0]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train_recon(TINY, tmp_path, device=CPU, workers=0)
    wider = dataclasses.replace(TINY, network=UnrolledConfig(steps=1, widths=(8, 4), levels=1))
    with pytest.raises(InputError, match="another network"):
        train_recon(wider, tmp_path, device=CPU, workers=0)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1})

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1})
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_checkpoint(file)
    torch.save({"version": 0}, file)
    with pytest.raises(InputError, match="version 0"):
        load_checkpoint(file)
    torch.save({"version": 1, "code": Image.Image}, file)
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_checkpoint(file)


def test_weights_round_trip_and_every_kind_of_damage(tmp_path):
    file = tmp_path / "weights.safetensors"
    state = {"a": torch.randn(3, 4), "count": torch.tensor(7)}
    digest = save_weights(file, state, "net", {"steps": 2})
    loaded = load_weights(file, "net")
    assert (loaded.sha256, loaded.config) == (digest, {"steps": 2})
    torch.testing.assert_close(loaded.tensors["a"].float(), state["a"], atol=2e-3, rtol=1e-3)
    assert loaded.tensors["count"] == 7
    with pytest.raises(InputError, match="expected other"):
        load_weights(file, "other")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="has hash"):
        load_weights(file, "net")
    for damaged in (whole[:-3], whole[:5], b"", b"not weights at all"):
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            load_weights(file, "net")


def test_items_depend_on_seed_and_index_alone():
    config = PairConfig(size=32, real_share=0.0)
    first, again, other = (ScanPairs(config, seed, 10)[3] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0].values, again[0].values)
    assert not np.array_equal(first[1], other[1])


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
    train = ScanPairs(PairConfig(size=32, real_folder=str(real_folder), real_share=1.0, lattice_share=0.0), 1, 5)
    assert len(train.real) == len(names["train"])
    assert train[0][1].shape == (32, 32)
    held_out = next(iter(validation_pairs(dataclasses.replace(TINY, data=train.config))))
    assert held_out[1].shape == (32, 32)


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


def test_sigma_temperature_is_the_factor_that_covers(tmp_path):
    network, _ = train_recon(TINY, tmp_path, device=CPU, workers=0)
    network.eval()
    pairs = list(validation_pairs(TINY, 6))
    factor = sigma_temperature(network, pairs)
    with torch.no_grad():
        network.sigma_head.bias += float(np.log(2.0))
    assert sigma_temperature(network, pairs) == pytest.approx(factor / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loop]\nstps = 3", "unknown key 'stps' \\(did you mean 'steps'"),
        ("[lop]\nsteps = 3", "did you mean 'loop'"),
        ("[loop]\nsteps = 'many'", "expected int"),
        ("[loop]\nsteps = 0", "at least 1"),
        ("loop = 3", "expected a table"),
        ("[loop", "not valid TOML"),
        ("[network]\nwidths = 3", "expected a list"),
        ("[data]\nreal_share = 2.0", "at most 1"),
    ],
)
def test_bad_configurations_are_one_line(tmp_path, text, message):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(file, ReconTraining)
    assert "\n" not in str(caught.value)


def test_a_good_configuration(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[loop]\nsteps = 3\nlearning_rate = 1\n[network]\nwidths = [4, 8]")
    config = load_config(file, ReconTraining)
    assert (config.loop.steps, config.loop.learning_rate, config.network.widths) == (3, 1.0, (4, 8))
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path / "missing.toml", ReconTraining)
