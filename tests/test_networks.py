"""The family of segmentation networks, every member by the same tests."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from cs_recon.batch import make_batch
from cs_recon.checkpoint import load_weights
from cs_recon.learned import load_network
from cs_recon.training import LoopConfig
from segmentation import Instances, average_precision, segment
from segmentation.frame_pool import turned
from segmentation.learned import load_segmenter
from segmentation.mapping import MAPPINGS, entry_of, map_frames, moved
from segmentation.models import regions
from segmentation.models.family import ARCHITECTURES, make_network
from segmentation.operating_point import POINTS, choose_operating_point
from segmentation.paste import paste
from segmentation.split import depth_map, split
from segmentation.train_segment import TRAININGS, make_model, save_segmenter, train_segment
from segmentation.training_data import LabelledScenes, SceneData, target
from simulate import InputError, SceneConfig, make_scene, measure, scan_path

CPU = torch.device("cpu")
SIZES = {"widths": (8, 8, 8, 8)}
SCENE = make_scene(SceneConfig(shape=(64, 96), n_particles=4, diameter_nm=8), rng=5)
SCAN = measure(SCENE.frame, scan_path("random", (64, 96), 0.3, rng=1), peak_counts=50, rng=2)


def small(method, mapping="reconstruct", **loop):
    kind = TRAININGS[method]
    network = kind.__dataclass_fields__["network"].default_factory(**SIZES, mapping=mapping)
    config = LoopConfig(**{"steps": 2, "batch_size": 2, "warmup_steps": 1, "save_every": 2, "average": 0.5, **loop})
    return kind(network=network, data=SceneData(size=64, real_share=0.0, recon="linear"), loop=config)


@pytest.mark.parametrize("method", ARCHITECTURES)
class TestEveryNetwork:
    @pytest.mark.parametrize("mapping", MAPPINGS)
    def test_it_is_trained_saved_and_used_by_every_mapping(self, method, mapping, tmp_path):
        config = small(method, mapping)
        _, averaged = train_segment(config, tmp_path, device=CPU, workers=0)
        file = tmp_path / "weights.safetensors"
        save_segmenter(file, averaged, config, 0.3)
        loaded = load_segmenter(method, weights=str(file), mapping=mapping)
        assert loaded.network.config == replace(config.network, operating_point=0.3)
        found = segment(SCAN if mapping != "reconstruct" else SCENE.frame, method, weights=str(file))
        assert found.labels.shape == (64, 96)
        assert found.info["mapping"] == mapping
        assert found.info["min_score"] == 0.3
        with pytest.raises(InputError, match="was trained with mapping"):
            segment(SCAN, method, weights=str(file), mapping=next(name for name in MAPPINGS if name != mapping))
        other = next(name for name in ARCHITECTURES if name != method)
        with pytest.raises(InputError, match=f"holds weights of {method}; expected {other}"):
            segment(SCENE.frame, other, weights=str(file))

    def test_it_learns_one_frame_by_heart(self, method):
        torch.manual_seed(0)
        labels = np.zeros((64, 64), np.int32)
        y, x = np.mgrid[:64, :64]
        for label, (row, col, radius) in enumerate([(18, 20, 10), (40, 44, 13)], start=1):
            labels[np.hypot(y - row, x - col) < radius] = label
        maps = torch.from_numpy(np.stack([labels > 0, labels < 0]).astype(np.float32))[None]
        network = make_network(method, {**SIZES} | ({"pyramid": 32} if method != "u-net" else {})).train()
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(120):
            optimiser.zero_grad()
            sum(network(maps.repeat(2, 1, 1, 1), [target(labels, depth=True)] * 2)[1].values()).backward()
            optimiser.step()
        network.eval()
        with torch.inference_mode():
            found = {name: value.numpy() for name, value in network(maps)[0][0].items()}
        if ARCHITECTURES[method].regions:
            best = [found[name][:2] for name in ("boxes", "scores", "masks")]
            instances = paste((64, 64), *best)
        else:
            instances = split(found["particle"], found["depth"])
        assert average_precision(labels, instances, 0.5) == 1

    def test_a_frame_without_particles_still_trains(self, method):
        network = make_network(method, SIZES).train()
        losses = network(torch.randn(2, 2, 64, 64), [target(np.zeros((64, 64), np.int32), depth=True)] * 2)[1]
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())

    def test_a_frame_that_is_all_one_particle_trains(self, method):
        network = make_network(method, SIZES).train()
        losses = network(torch.randn(2, 2, 64, 64), [target(np.ones((64, 64), np.int32), depth=True)] * 2)[1]
        assert all(torch.isfinite(loss) for loss in losses.values())

    def test_it_runs_at_native_scale(self, method):
        """The maps are not resized: a network moved by its coarsest stride finds the same, moved."""
        torch.manual_seed(0)
        network = make_network(method, SIZES).eval()
        maps = torch.zeros(1, 2, 192, 192)
        maps[..., 80:100, 70:90] = 3
        with torch.inference_mode():
            levels = [network.stages()[0](x) for x in (maps, maps.roll((32, 32), (2, 3)))]
        torch.testing.assert_close(levels[0][..., 10:70, 10:70], levels[1][..., 26:86, 26:86])
        assert levels[0].shape[-1] == 96

    def test_impossible_settings_are_refused(self, method):
        with pytest.raises(InputError, match="did you mean 'features'"):
            make_network(method, {"mapping": "feature"})


def test_an_unknown_network_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'mask-fpn'"):
        make_network("mask_fpn", {})


def test_entries_of_the_mappings():
    assert [entry_of(name, 40).stride for name in MAPPINGS] == [1, 2, 1]


def test_a_joint_run_trains_the_reconstructor_and_ships_it(tmp_path):
    config = replace(small("u-net", "features", learning_rate=1e-3), joint=True)
    model, averaged = train_segment(config, tmp_path, device=CPU, workers=0)
    shipped = load_network("unrolled-ista").network.state_dict()
    own = model.reconstructor.state_dict()
    moved = [name for name in shipped if not torch.equal(shipped[name], own[name])]
    assert any(name.startswith("steps.0") for name in moved)
    assert any(name.startswith("sigma_head") for name in moved)
    file = tmp_path / "joint.safetensors"
    save_segmenter(file, averaged, config, 0.5)
    loaded = load_segmenter("u-net", weights=str(file))
    assert loaded.reconstructor is not None
    assert len(segment(SCAN, "u-net", weights=str(file)).labels) == 64


def test_a_frozen_reconstructor_stays_and_is_not_shipped(tmp_path):
    config = small("u-net", "features", learning_rate=1e-2)
    model, averaged = train_segment(config, tmp_path, device=CPU, workers=0)
    shipped = load_network("unrolled-ista").network.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in model.reconstructor.state_dict().items())
    file = tmp_path / "own.safetensors"
    save_segmenter(file, averaged, config, 0.5)
    assert not any(name.startswith("reconstructor") for name in load_weights(file, "u-net").tensors)


def test_gradients_reach_the_reconstructor_through_the_features():
    model = make_model(replace(small("u-net", "features"), joint=True)).train()
    batch = make_batch([SCAN, SCAN], multiple=32)
    losses = model(batch, [target(SCENE.labels, depth=True)] * 2)
    sum(losses.values()).backward()
    assert model.reconstructor.steps[0].refine.inlet.weight.grad.abs().sum() > 0


def test_the_operating_point_is_one_of_the_candidates(tmp_path):
    config = small("mask-fpn")
    model = make_model(config)
    point, value = choose_operating_point(model, config, frames=3, device=CPU)
    assert point in POINTS
    assert 0 <= value <= 1


def test_false_particles_on_frames_without_any_cost_the_operating_point(monkeypatch):
    """One frame with a particle found at 0.95, one blank with a false one at 0.65: only from there on is all right."""
    disk = np.hypot(*np.indices((32, 32)) - 16) < 6
    frames = [(disk.astype(np.int32), [0.95]), (np.zeros((32, 32), np.int32), [0.65])]
    scores = iter(scores for _, scores in frames)
    samples = [
        SimpleNamespace(target={"label_map": torch.from_numpy(one)}, seen=torch.zeros(2, 32, 32)) for one, _ in frames
    ]
    monkeypatch.setattr("segmentation.operating_point.LabelledScenes", lambda *_, **__: samples)

    def found(*_, **__):
        one = torch.tensor(next(scores))
        return [{"boxes": torch.tensor([[10.0, 10, 23, 23]]), "scores": one, "masks": torch.ones(1, 28, 28)}]

    monkeypatch.setattr("segmentation.operating_point.run_views", found)
    config = small("mask-rcnn")
    point, value = choose_operating_point(make_model(config), config, frames=2, device=CPU)
    assert (point, value) == (0.7, 1.0)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_samples_hold_what_the_mapping_needs(mapping):
    scenes = LabelledScenes(SceneData(size=64, real_share=0.0, recon="linear"), 3, 9, mapping=mapping, depth=True)
    samples = [scenes[index] for index in range(6)]
    for sample in samples:
        assert isinstance(sample.seen, torch.Tensor) == (mapping == "reconstruct")
        np.testing.assert_array_equal(sample.target["depth"], depth_map(sample.target["label_map"].numpy()))
    if mapping != "reconstruct":
        assert len({sample.seen.ratio for sample in samples}) > 1, "full and sparse scans"


def pooled(folder, **changes):
    return LabelledScenes(replace(POOLED, **changes), 3, 90, pool=folder)


POOLED = SceneData(size=64, real_share=0.0, recon="linear", distinct=2)


def test_pooled_images_come_again_turned_and_are_drawn_once(tmp_path, monkeypatch):
    fresh = LabelledScenes(POOLED, 3, 90)
    first = [pooled(tmp_path)[index] for index in range(2)]
    for index in range(2):
        torch.testing.assert_close(first[index].seen, fresh[index].seen, atol=2e-3, rtol=1e-3)
        assert torch.equal(first[index].target["label_map"], fresh[index].target["label_map"])
    monkeypatch.delattr(LabelledScenes, "_labelled_scan")
    seen = set()
    for index in range(2, 60):
        sample, source = pooled(tmp_path)[index], first[index % 2]
        labels = sample.target["label_map"].numpy()
        positions = [k for k in range(8) if np.array_equal(turned(source.target["label_map"].numpy(), k), labels)]
        assert len(positions) == 1
        np.testing.assert_array_equal(sample.seen, turned(source.seen.numpy(), positions[0]))
        seen |= set(positions)
    assert seen == set(range(8))


@pytest.mark.usefixtures("single_precision")
def test_pooled_features_are_those_of_the_scan_and_come_again_turned(tmp_path):
    fresh = LabelledScenes(POOLED, 3, 90, mapping="features")[1]
    kept = LabelledScenes(POOLED, 3, 90, mapping="features", pool=tmp_path)
    (mapped,) = map_frames([fresh.seen], "features", multiple=32, device=torch.device("cpu"))
    maps = mapped.window(slice(0, 64), slice(0, 64))[0]
    torch.testing.assert_close(kept[1].seen, maps, atol=5e-3, rtol=5e-3)
    labels, positions = fresh.target["label_map"].numpy(), set()
    for index in range(3, 40, 2):
        again = kept[index].target["label_map"].numpy()
        position = next(k for k in range(8) if np.array_equal(turned(labels, k), again))
        turn = lambda x, k=position: torch.from_numpy(turned(x.numpy(), k))  # noqa: E731
        assert torch.equal(kept[index].seen, moved(kept[1].seen[None], "features", turn)[0])
        positions.add(position)
    assert len(positions) > 4


def test_a_pool_serves_one_configuration_and_mends_a_damaged_image(tmp_path):
    first = pooled(tmp_path)[0]
    other = pooled(tmp_path, min_ratio=0.5, noisy_share=0.0, sparse_share=1.0)[0]
    assert not torch.equal(first.seen, other.seen)
    folders = list(tmp_path.iterdir())
    assert len(folders) == 2
    for file in tmp_path.glob("*/*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(pooled(tmp_path)[0].target["label_map"], first.target["label_map"])


def test_a_detection_is_as_sure_as_its_mask_allows():
    boxes, scores = torch.arange(8.0).reshape(2, 4), torch.tensor([0.9, 0.8])
    masks = torch.zeros(2, 28, 28)
    masks[0], masks[1, :, :14], masks[1, :, 14:] = 0.6, 1.0, 0.0
    plain = regions.scored_detections(boxes, scores, masks, mask_scoring=False)
    assert torch.equal(plain["boxes"], boxes)
    assert torch.equal(plain["scores"], scores)
    found = regions.scored_detections(boxes, scores, masks, mask_scoring=True)
    torch.testing.assert_close(found["scores"], torch.tensor([0.8, 0.54]))
    assert torch.equal(found["boxes"], boxes.flip(0)), "the surer outline is first now"
    assert torch.equal(found["masks"], masks.flip(0))
    assert regions.expected_iou(torch.full((1, 28, 28), 0.3)).item() == 0, "nothing is left of it at a half"


@pytest.mark.parametrize("method", ["mask-rcnn", "mask-rpn"])
def test_both_detectors_score_by_their_masks(method):
    maps = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    network = make_network(method, {"min_score": 0.0, "mask_scoring": True}).eval()
    plain = make_network(method, {"min_score": 0.0, "mask_scoring": False}).eval()
    plain.load_state_dict(network.state_dict())
    with torch.inference_mode():
        (scored,), _ = network(maps)
        (before,), _ = plain(maps)
    expected = (before["scores"] * regions.expected_iou(before["masks"])).sort(descending=True).values
    assert len(expected) > 3
    torch.testing.assert_close(scored["scores"], expected)


@pytest.mark.parametrize("method", ["u-net", "mask-fpn"])
def test_a_network_of_more_stages_takes_frames_of_any_multiple_of_32(method):
    config = ARCHITECTURES[method].config(widths=(8, 8, 8, 8, 8))
    network = make_network(method, config).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 2, 96, 160))[0][0]["depth"].shape == (96, 160)


def test_overlaps_of_many_boxes_equal_torchvision(monkeypatch):
    monkeypatch.setattr(regions, "OVERLAP_CHUNK", 100)
    rng = torch.Generator().manual_seed(1)
    first, second = (torch.rand((n, 4), generator=rng).cumsum(1) for n in (7, 230))
    assert torch.equal(regions.box_overlap(first, second), box_iou(first, second))
    assert regions.box_overlap(first[:0], second).shape == (0, 230)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 100}, "multiple of 32"),
        ({"noisy_share": 0.7, "sparse_share": 0.6}, "sum to at most 1"),
        ({"min_ratio": 0.0}, "min_ratio"),
        ({"blur_share": 1.5}, "blur_share"),
        ({"distinct": -1}, "distinct"),
        ({"fast_share": 2.0}, "fast_share"),
        ({"target_snr": -1.0}, "target_snr"),
        ({"outline_snr": float("nan")}, "outline_snr"),
        ({"fewest_samples": 1.5}, "fewest_samples is 1.5; expected a whole number"),
    ],
)
def test_impossible_data(fields, message):
    with pytest.raises(InputError, match=message):
        SceneData(**fields)


def test_shipped_weights_that_do_not_exist_are_named():
    with pytest.raises(InputError, match=r"no weights 'mask-fpn-sparse' are shipped.*mask-rcnn"):
        load_segmenter("mask-fpn", mapping="sparse")


def test_an_empty_frame_has_a_table_of_its_columns():
    from segmentation import measure as measure_particles

    found = segment(np.full((64, 64), 3.0), "mask-rcnn")
    assert isinstance(found, Instances)
    table = measure_particles(found)
    assert len(table) == 0
    assert "equivalent_diameter_px" in table
