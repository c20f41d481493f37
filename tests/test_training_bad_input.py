"""Training on odd images, full disks and odd files: one line that says what to do, and no run hangs or is lost."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image

from cs_recon import training_data
from cs_recon.checkpoint import load_any_weights, load_checkpoint, save_checkpoint, save_weights
from cs_recon.real_images import split_of
from cs_recon.training import LoopConfig, train
from cs_recon.training_data import PairConfig, ScanPairs
from cs_recon.training_log import TrainingLog
from segmentation.frame_pool import FramePool
from segmentation.models.settings import MaskRCNNConfig
from segmentation.train_segment import MaskRCNNTraining, _Collate, make_model, train_segment
from segmentation.training_data import LabelledScenes, SceneData
from simulate import InputError

CPU = torch.device("cpu")
SMALL = MaskRCNNConfig(widths=(8, 8, 8, 8), pyramid=8)
PLAIN = SceneData(size=64, real_share=0.0, noisy_share=0.0, sparse_share=0.0)
LOOP = LoopConfig(steps=2, batch_size=1, warmup_steps=1, save_every=1)


def labelled_folder(folder, split, value=None):
    """Write images of one split alone: blank ones of a value, or noise."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    names = [name for name in map(str, range(60)) if split_of(name) == split][:2]
    for name in names:
        image = (
            np.random.default_rng(int(name)).integers(0, 255, (80, 80)) if value is None else np.full((80, 80), value)
        )
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(np.zeros((80, 80), np.uint8)).save(folder / "labels" / f"{name}.png")
    return str(folder)


def run(folder, steps=2, save_every=1):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)

    def batches(start):
        return (torch.ones(1, 2) for _ in range(start, steps))

    config = LoopConfig(steps=steps, batch_size=1, save_every=save_every)
    return train(model, lambda x: {"fit": model(x).square().mean()}, batches, config, folder, device=CPU)


def test_images_of_which_none_can_be_taken_end_the_run_instead_of_hanging_it(tmp_path, monkeypatch):
    monkeypatch.setattr(training_data, "MOST_DRAWS", 9)
    blank = labelled_folder(tmp_path, "train", 0)
    pairs = ScanPairs(PairConfig(size=32, real_folder=blank, real_share=1.0, crystal_share=0.0), 1, 2)
    scenes = LabelledScenes(SceneData(size=32, real_folders=(blank,), real_share=1.0), 1, 2, mapping="sparse")
    for data in (pairs, scenes):
        with pytest.raises(InputError, match="9 training images in a row could not be made, the last because all"):
            data[0]


def test_a_folder_without_training_images_is_refused(tmp_path):
    folder = labelled_folder(tmp_path, "test")
    with pytest.raises(InputError, match=r"none of the images of .* belongs to the training split"):
        ScanPairs(PairConfig(real_folder=folder), 1, 2)
    assert ScanPairs(PairConfig(real_folder=folder, real_share=0.0), 1, 2).real == []
    assert ScanPairs(PairConfig(real_folder=folder), 1, 2, split="validation").real == []


def test_crystals_keep_their_share_where_there_are_no_real_images(monkeypatch):
    drawn = []
    for kind in ("crystal", "scene"):
        monkeypatch.setattr(training_data, f"{kind}_frames", lambda *_, kind=kind: drawn.append(kind))
    pairs = ScanPairs(PairConfig(real_share=0.4, crystal_share=0.1), 1, 2)
    for seed in range(400):
        pairs._frames(np.random.default_rng(seed))
    assert drawn.count("crystal") / len(drawn) == pytest.approx(0.1, abs=0.04)


def test_what_a_loaders_process_refuses_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(training_data, "MOST_DRAWS", 2)
    blank = labelled_folder(tmp_path / "blank", "train", 7)
    data = SceneData(size=64, real_folders=(blank,), real_share=1.0)
    config = MaskRCNNTraining(network=SMALL, data=data, loop=LOOP)
    with pytest.raises(InputError, match=r"^2 training images in a row .* under \[data\]$") as caught:
        train_segment(config, tmp_path / "run", device=CPU, workers=1)
    assert "\n" not in str(caught.value)


def test_segmentation_in_this_process_leaves_its_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        _Collate(smooth=False)([LabelledScenes(PLAIN, 1, 1, mapping="sparse")[0]])
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


class TestPool:
    MAPS = np.zeros((2, 64, 64), np.float32)

    def pool(self, folder):
        return FramePool(folder, SceneData(size=64, distinct=2), 1)

    def test_labels_beyond_16_bits_come_again_as_they_were(self, tmp_path):
        labels = np.zeros((64, 64), np.int32)
        labels[:8], labels[20:40] = 65536, 70001
        pool = self.pool(tmp_path)
        for draw in (lambda _: (self.MAPS, labels), lambda _: pytest.fail("it is drawn once")):
            np.testing.assert_array_equal(pool.frame(0, draw)[1], labels)

    def test_it_mends_a_frame_whatever_byte_of_it_is_lost(self, tmp_path):
        pool, labels = self.pool(tmp_path), np.ones((64, 64), np.int32)
        pool.frame(0, lambda _: (self.MAPS, labels))
        file = pool.folder / "000000.npz"
        good = file.read_bytes()
        header = good.index(b"{'descr'")
        for place, value in ((4, 99), (8, 0x63), (header, 0), (header + 60, ord("(")), (len(good) - 6, 255)):
            file.write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
            np.testing.assert_array_equal(pool.frame(0, lambda _: (self.MAPS, labels))[1], labels)

    def test_a_folder_that_can_not_be_is_told_before_anything_is_drawn(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(InputError, match="cannot make the output folder"):
            self.pool(tmp_path / "file")

    def test_a_full_disk_is_one_line(self, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        pool = self.pool(tmp_path)
        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(InputError, match=r"cannot write .*000000.npz \(No space left on device\); expected room"):
            pool.frame(0, lambda _: (self.MAPS, np.ones((64, 64), np.int32)))
        assert list(pool.folder.iterdir()) == []


@pytest.mark.parametrize(("what", "kept"), [("write", "checkpoint, of step 1"), ("draw", "checkpoint, of step 2")])
def test_a_disk_too_full_for_the_log_says_what_is_kept_and_the_run_goes_on(tmp_path, monkeypatch, what, kept):
    whole, calls, real = run(tmp_path / "whole"), [], getattr(TrainingLog, what)

    def full_at_the_second(*arguments, **named):
        calls.append(what)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(TrainingLog, what, full_at_the_second)
    with pytest.raises(InputError, match=rf"cannot write .*log.* \(No space left .*; the last good {kept}"):
        run(tmp_path / "full")
    again = run(tmp_path / "full")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_column_that_came_late_does_not_stop_a_run_that_goes_on_from_before(tmp_path):
    (tmp_path / "log.csv").write_text("step,learning_rate,fit,late\n2,0.1,3.0,\n4,0.1,2.0,\n6,0.1,2.0,1.0\n")
    log = TrainingLog(tmp_path / "log.csv", 4)
    log.add({"fit": torch.tensor(1.0)})
    log.write(6, 0.1, {})
    log.draw(now=True)
    assert (tmp_path / "log.png").exists()


@pytest.mark.parametrize("missing", ["averaged", "step", "model", "optimiser"])
def test_a_checkpoint_that_lacks_something_is_one_line(tmp_path, missing):
    run(tmp_path)
    file = tmp_path / "checkpoint.pt"
    state = load_checkpoint(file)
    for odd in ({}, {missing: None}):
        save_checkpoint(file, {**{name: value for name, value in state.items() if name != missing}, **odd})
        with pytest.raises(InputError, match="is of another network"):
            run(tmp_path, steps=3)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_not_written(tmp_path, value):
    with pytest.raises(InputError, match=r"1 of the 2 numbers of the weights 'b' are NaN or infinite; expected finite"):
        save_weights(tmp_path / "w.safetensors", {"a": torch.ones(2), "b": torch.tensor([1.0, value])}, "u-net", {})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_half_precision_cannot_hold_are_written_as_they_are(tmp_path):
    file = tmp_path / "w.safetensors"
    given = {"a": torch.tensor([1.0, 0.1]), "b": torch.tensor([1.0, 7.1e4]), "n": torch.tensor(3)}
    save_weights(file, given, "u-net", {})
    kept = load_any_weights(file, ["u-net"]).tensors
    assert torch.equal(kept["b"], given["b"])
    assert kept["a"].dtype == torch.half
    assert kept["n"] == 3


def test_others_may_read_weights_as_they_may_other_files(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"a": torch.ones(3)}, "inpainting", {"k": 1})
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert load_any_weights(tmp_path / "w.safetensors", ["inpainting"]).config == {"k": 1}


@pytest.mark.parametrize("config", [[1, 2], 3, "text", None])
def test_weights_whose_settings_are_no_table_are_refused(tmp_path, config):
    save_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)}, "u-net", config)
    with pytest.raises(InputError, match="holds no settings of its network that can be read"):
        load_any_weights(tmp_path / "w.safetensors", ["u-net"])


def test_a_reconstructor_of_other_features_is_one_line(tmp_path):
    network = MaskRCNNConfig(widths=(8, 8, 8, 8), pyramid=8, mapping="features", feature_channels=24)
    with pytest.raises(InputError, match=r"feature_channels is 24; expected 40.*under \[network\]"):
        make_model(MaskRCNNTraining(network=network))


@pytest.mark.parametrize("fields", [{"joint": True}, {"reconstructor": "mine.safetensors"}])
def test_a_reconstructor_that_nothing_would_see_is_refused(fields):
    with pytest.raises(InputError, match="with mapping 'reconstruct'; expected them with mapping 'features' alone"):
        make_model(MaskRCNNTraining(network=SMALL, **fields))


def test_a_warm_up_of_fewer_than_no_steps_is_refused():
    with pytest.raises(InputError, match="warmup_steps is -5"):
        LoopConfig(warmup_steps=-5)
