"""The detector's parts against brute force, and that it learns."""

import numpy as np
import pytest
import torch

from cs_recon.training import LoopConfig
from segmentation import average_precision, load_segmenter, measure, segment, training_data
from segmentation.mapping import image_maps
from segmentation.models.mask_rcnn import MaskRCNN
from segmentation.models.regions import MASK_SIZE, mask_targets
from segmentation.models.settings import MaskFPNConfig, MaskRCNNConfig, MaskRPNConfig
from segmentation.outlines import mask_areas
from segmentation.paste import paste
from segmentation.train_segment import MaskRCNNTraining, train_segment
from segmentation.training_data import LabelledScenes, SceneData, target
from simulate import InputError, SceneConfig, Support, make_scene

TINY = MaskRCNNConfig(widths=(8, 8, 8, 8), pyramid=8)


def test_mask_targets_are_the_share_of_each_cell():
    labels = torch.zeros((80, 90), dtype=torch.int32)
    labels[10:38, 20:48] = 3
    labels[10:24, 20:34] = 5
    boxes = torch.tensor([[20.0, 10.0, 48.0, 38.0], [20.0, 10.0, 48.0, 38.0], [13.0, 10.0, 41.0, 38.0]])
    got = mask_targets(labels, boxes, torch.tensor([3, 5, 5]))
    expected = (labels[10:38, 20:48] == 3).float()
    torch.testing.assert_close(got[0], expected)
    torch.testing.assert_close(got[1], 1 - expected)
    torch.testing.assert_close(got[2], (labels[10:38, 13:41] == 5).float())
    assert mask_targets(labels, boxes[:0], torch.zeros(0)).shape == (0, MASK_SIZE, MASK_SIZE)


def test_mask_targets_of_a_large_box_average_its_pixels():
    labels = torch.zeros((112, 112), dtype=torch.int32)
    labels[:, :2] = 1  # half of the first column of cells, which are 4 pixels wide
    got = mask_targets(labels, torch.tensor([[0.0, 0.0, 112.0, 112.0]]), torch.tensor([1]))[0]
    torch.testing.assert_close(got[:, 0], torch.full((MASK_SIZE,), 0.5))
    assert got[:, 1:].abs().max() == 0


def test_pasted_masks_are_the_drawn_disks():
    y, x = np.mgrid[:MASK_SIZE, :MASK_SIZE] + 0.5
    soft = np.clip(14.5 - np.hypot(x - 14, y - 14), 0, 1).astype(np.float32)
    boxes = np.array([[10, 20, 50, 60], [-10, -10, 10, 10]], np.float32)
    found = paste((80, 100), boxes, np.array([0.9, 0.8], np.float32), np.stack([soft, soft]))
    rows, cols = np.mgrid[:80, :100] + 0.5
    disk = np.hypot(cols - 30, rows - 40) < 20
    assert (found.labels == 1).sum() == pytest.approx(disk.sum(), rel=0.03)
    assert average_precision(disk * 1, (found.labels == 1) * 1, 0.95) == 1
    assert (found.labels == 2).sum() == pytest.approx(np.pi * 100 / 4, rel=0.1)


def test_no_pixel_is_drawn_outside_its_box():
    """Boxes end between pixels: one whose centre is beyond the edge is none of the particle."""
    full = np.ones((1, MASK_SIZE, MASK_SIZE), np.float32)
    found = paste((20, 24), np.array([[3.6, 4.4, 9.6, 12.4]], np.float32), np.ones(1, np.float32), full)
    rows, cols, inside = found.crop(1)
    assert (rows, cols) == (slice(4, 12), slice(4, 10))
    assert inside.all()
    area = float(mask_areas(found)[0])
    assert area == pytest.approx(6 * 8, rel=0.03), "the outline at sub-pixel precision is that of the box too"
    border = paste((20, 24), np.array([[0, 0, 6, 8]], np.float32), np.ones(1, np.float32), full)
    assert float(mask_areas(border)[0]) == pytest.approx(6 * 8, rel=0.02), "the frame's edge, where it goes on"


def turned_box(box, side, turns):
    """Return a box (x0, y0, x1, y1) of a square frame after 0 to 3 mirrorings and swaps of its axes."""
    corners = np.array(box, dtype=np.float32).reshape(2, 2)
    corners = side - corners[::-1] if turns >= 2 else corners
    return (corners[:, ::-1] if turns % 2 else corners).reshape(1, 4)


@pytest.mark.parametrize("turns", range(4))
def test_what_the_frame_cuts_ends_there(turns):
    """A disk that the frame mirrored beyond its edge makes whole: map, outline, area and box end with the frame."""
    disk = np.clip(0.5 + 7 * (0.95 - np.hypot(*np.mgrid[-13.5:14, -13.5:14]) / 14), 0, 1).astype(np.float32)
    found = paste((40, 40), turned_box([35, 14, 45, 24], 40, turns), np.ones(1, np.float32), disk[None])
    half = np.pi * 4.75**2 / 2
    assert found.boxes.tolist() == turned_box([35, 14, 40, 24], 40, turns).tolist()
    assert measure(found)["touches_border"].all()
    assert float(mask_areas(found)[0]) == pytest.approx(half, rel=0.03)
    assert np.count_nonzero(found.labels) == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(("gap", "cut"), [(0.0, True), (0.4, True), (0.6, True), (1.0, False)])
def test_a_box_that_ends_at_the_frames_edge_is_cut_by_it(gap, cut, turns):
    full = np.ones((1, 28, 28), np.float32)
    found = paste((40, 40), turned_box([25, 14, 40 - gap, 24], 40, turns), np.ones(1, np.float32), full)
    assert bool(measure(found)["touches_border"].iloc[0]) is cut
    assert np.count_nonzero(found.labels) == (150 if cut else 140)


def test_found_spheres_are_as_round_as_they_are():
    """Masks used to be drawn up to a pixel beyond their boxes, which gave disks four flat noses."""
    scene = make_scene(SceneConfig((192, 192), n_particles=20, shapes=("sphere",), diameter_nm=11), rng=4)
    found, true = measure(segment(scene.frame)), measure(scene.labels)
    whole = [table[~table["touches_border"]] for table in (found, true)]
    for name, within in (("feret_max_px", 0.03), ("feret_min_px", 0.04), ("equivalent_diameter_px", 0.02)):
        assert whole[0][name].median() == pytest.approx(whole[1][name].median(), rel=within), name
    assert whole[0]["roundness"].median() > 0.96


def test_the_surest_is_on_top_and_duplicates_are_dropped():
    full = np.ones((3, MASK_SIZE, MASK_SIZE), np.float32)
    boxes = np.array([[10, 10, 30, 30], [12, 10, 32, 30], [25, 10, 45, 30]], np.float32)
    found = paste((64, 64), boxes, np.array([0.9, 0.8, 0.7], np.float32), full)
    assert len(found) == 2, "the second keeps a tenth of its pixels: it is the first one again"
    assert (found.labels[15, 10:30] == 1).all()
    assert (found.labels[15, 30:45] == 2).all()
    np.testing.assert_allclose(found.scores, [0.9, 0.7])


def test_no_detection_is_an_empty_frame():
    nothing = paste((20, 30), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 28, 28), np.float32))
    assert len(nothing) == 0
    assert nothing.labels.shape == (20, 30)


def test_targets_leave_out_slivers_and_hidden_particles():
    labels = np.zeros((40, 40), np.int32)
    labels[0:20, 0:2] = 1  # a sliver
    labels[5:8, 10:14] = 2  # 12 pixels
    labels[10:20, 20:30] = 7
    wanted = target(labels)
    assert wanted["ids"].tolist() == [7]
    assert wanted["boxes"].tolist() == [[20.0, 10.0, 30.0, 20.0]]
    assert target(np.zeros((8, 8), np.int32))["boxes"].shape == (0, 4)


def test_normalisation_forgets_gain_and_offset():
    image = np.random.default_rng(0).gamma(2, size=(64, 64))
    np.testing.assert_allclose(image_maps(image * 1e4 - 77)[0], image_maps(image)[0], atol=1e-4)
    assert np.isfinite(image_maps(np.eye(64))).all()


def test_the_limits_leave_room_for_a_dense_frame():
    network = MaskRCNN(TINY).eval()
    assert network.heads.detections_per_img >= 1500
    assert network.rpn.post_nms_top_n() >= 1500


@pytest.mark.parametrize("shape", [(64, 64), (45, 77)])
def test_an_untrained_network_runs_at_native_scale(shape):
    torch.manual_seed(0)
    network = MaskRCNN(TINY).eval()
    with torch.inference_mode():
        found, losses = network(torch.randn(1, 2, 64, 96))
    assert losses == {}
    boxes = found[0]["boxes"]
    assert (boxes[:, 2] <= 96).all()
    assert (boxes[:, 3] <= 64).all()


def test_an_image_without_particles_still_trains():
    network = MaskRCNN(TINY)
    empty = target(np.zeros((64, 64), np.int32))
    losses = network(torch.randn(1, 2, 64, 64), [empty])[1]
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)


@pytest.mark.parametrize("training", [True, False])
def test_proposals_are_in_single_precision_under_autocast(training):
    """In bfloat16 a corner at 200 pixels would be known to a whole pixel."""
    torch.manual_seed(0)
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 20:40] = 1
    network, kinds = MaskRCNN(TINY).train(training), []
    network.rpn.register_forward_hook(lambda module, given, out: kinds.extend(boxes.dtype for boxes in out[0]))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 2, 64, 64), [target(labels)] if training else None)
    assert kinds == [torch.float32]


@pytest.mark.slow
def test_training_lowers_the_loss_and_resumes_exactly(tmp_path):
    config = MaskRCNNTraining(
        network=TINY,
        data=SceneData(size=64, real_share=0.0, sparse_share=0.0),
        loop=LoopConfig(steps=24, batch_size=2, warmup_steps=2, learning_rate=3e-3, save_every=12, average=0.9),
    )
    cpu = torch.device("cpu")
    _, whole = train_segment(config, tmp_path / "whole", device=cpu, workers=0)
    rows = [row.split(",") for row in (tmp_path / "whole" / "log.csv").read_text().splitlines()[1:]]
    assert sum(map(float, rows[-1][2:])) < sum(map(float, rows[0][2:]))

    import dataclasses

    import cs_recon.training

    class KilledError(Exception):
        pass

    def save_and_die(*arguments, save=cs_recon.training.save_checkpoint):
        save(*arguments)
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cs_recon.training.save_checkpoint", save_and_die)
        with pytest.raises(KilledError):
            train_segment(config, tmp_path / "killed", device=cpu, workers=0)
    _, resumed = train_segment(config, tmp_path / "killed", device=cpu, workers=0)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert dataclasses.asdict(config)["loop"]["steps"] == 24


def test_items_depend_on_seed_and_index_alone():
    config = SceneData(size=64, real_share=0.0)
    first, again, other = (LabelledScenes(config, seed, 9)[4] for seed in (1, 1, 2))
    assert torch.equal(first.seen, again.seen)
    assert torch.equal(first.target["label_map"], again.target["label_map"])
    assert not torch.equal(first.seen, other.seen)


def test_the_shipped_detector_finds_bright_and_dark_particles():
    config = SceneConfig(
        shape=(192, 192),
        n_particles=12,
        diameter_nm=12,
        shapes=("sphere", "ellipsoid"),
        support=Support(thickness_nm=100, texture=0.02),
    )
    for mode in ("haadf", "bf"):
        import dataclasses

        scene = make_scene(dataclasses.replace(config, mode=mode), rng=8)
        found = segment(scene.frame, "mask-rcnn")
        assert average_precision(scene.labels, found.labels, 0.5) > 0.7
        assert found.masks is not None
        assert found.scores.min() >= 0.5


def test_shipped_weights_are_whole():
    network = load_segmenter("mask-rcnn").network
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert not network.training


def test_a_batch_without_particles_and_proposals_trains_on():
    """Blank film before a network that knows it: no proposal is left, and a mean over none is no number."""
    torch.manual_seed(0)
    model = MaskRCNN(TINY).train()
    torch.nn.init.constant_(model.rpn.head.cls_logits.bias, -9.0)
    blank = target(np.zeros((64, 64), np.int32))
    _, losses = model(torch.randn(2, 2, 64, 64), [blank, blank])
    assert losses["classifier"] == losses["box"] == losses["mask"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.rpn.head.cls_logits.bias.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"widths": (8, 8)},
        {"widths": (), "anchors_px": ()},
        {"anchors_px": ((8,),)},
        {"anchors_px": ((8, 14), (22,), (56, 90), (140, 220))},
        {"anchors_px": ((), (), (), ())},
        {"roi_samples": 0},
        {"roi_positive_share": 1.5},
        {"feature_channels": 0},
    ],
)
def test_impossible_networks_are_refused(fields):
    with pytest.raises(InputError, match="expected"):
        MaskRCNNConfig(**fields)


def test_impossible_networks_of_other_kinds_are_refused():
    for make in (lambda: MaskRPNConfig(masks_per_image=0), lambda: MaskFPNConfig(pyramid=0)):
        with pytest.raises(InputError, match="expected a whole number of at least 1"):
            make()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    scene = make_scene(SceneConfig(shape=(128, 128), n_particles=6, diameter_nm=12), rng=8)
    on_cpu, on_gpu = (segment(scene.frame, "mask-rcnn", device=device).labels for device in ("cpu", "cuda"))
    assert average_precision(on_cpu, on_gpu, 0.8) == 1


def test_labels_are_judged_on_the_frame_that_is_scanned(monkeypatch):
    """Blurred or inverted, a particle may be one that no scan shows: what is judged is what is scanned."""
    scanned, judged = [], []
    real_measure, real_visible = training_data.measure, training_data.visible
    monkeypatch.setattr(training_data, "measure", lambda f, *a, **k: scanned.append(f) or real_measure(f, *a, **k))
    monkeypatch.setattr(training_data, "visible", lambda n, f, **k: judged.append(f) or real_visible(n, f, **k))
    data = SceneData(size=64, inverted_share=1.0, blur_share=1.0, noisy_share=1.0, sparse_share=0.0, recon="linear")
    LabelledScenes(data, seed=1, length=2)[0]
    assert len(judged) == 1
    np.testing.assert_array_equal(scanned[-1], judged[0])


def test_a_folder_without_training_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training_data, "labelled_images", lambda folder, split: [])
    with pytest.raises(InputError, match="belongs to the training split"):
        LabelledScenes(SceneData(real_folders=("mine",)), seed=1, length=2)
