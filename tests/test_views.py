"""Mirrored views: what comes back lies where it lay, and what only one of them sees counts less."""

import numpy as np
import pytest
import torch

from cs_recon.views import MIRRORS
from segmentation import segment
from segmentation.mapping import entry_of, moved
from segmentation.models.family import make_network
from segmentation.models.settings import NetworkSettings
from segmentation.views import merged_detections, run_views
from simulate import InputError, SceneConfig, make_scene

MAPS = torch.zeros(1, 2, 64, 96)
MAPS[0, 0, 5:15, 20:44] = 1.0


class Network:
    """A network of the ``reconstruct`` mapping that does what it is told."""

    config, entry = NetworkSettings(), entry_of("reconstruct", 0)

    def __init__(self, found):
        self.found = found

    def __call__(self, maps):
        """Return what a network does: what it found of each frame, and no losses."""
        return [self.found(one[None]) for one in maps], {}


def spotter(maps):
    """Find the box of all bright pixels; its mask is bright in the corner where the frame's second map says."""
    rows, cols = torch.nonzero(maps[0, 0], as_tuple=True)
    box = torch.tensor([[cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]], dtype=torch.float32)
    mask = torch.nn.functional.interpolate(maps[:1, :1], (28, 28), mode="bilinear", align_corners=True)[0]
    return {"boxes": box, "scores": torch.tensor([0.8]), "masks": mask}


@pytest.mark.parametrize("views", range(1, len(MIRRORS) + 1))
def test_detections_come_back_to_their_place(views):
    (found,) = run_views(Network(spotter), MAPS, views, regions=True)
    torch.testing.assert_close(found["boxes"], torch.tensor([[20.0, 5.0, 44.0, 15.0]]))
    assert found["scores"].tolist() == pytest.approx([0.8])
    torch.testing.assert_close(found["masks"], spotter(MAPS)["masks"])


@pytest.mark.parametrize("views", range(1, len(MIRRORS) + 1))
def test_maps_come_back_to_their_place(views):
    (found,) = run_views(Network(lambda maps: {"particle": maps[0, 0] + 0.1}), MAPS, views, regions=False)
    torch.testing.assert_close(found["particle"], MAPS[0, 0] + 0.1)


@pytest.mark.parametrize("regions", [True, False])
def test_frames_together_give_what_each_gives_alone(regions):
    network = Network(spotter if regions else lambda maps: {"particle": maps[0, 0]})
    other = torch.zeros_like(MAPS)
    other[0, 0, 30:60, 1:9] = 1.0
    together = run_views(network, torch.cat([MAPS, other]), 3, regions=regions)
    alone = [run_views(network, maps, 3, regions=regions)[0] for maps in (MAPS, other)]
    torch.testing.assert_close(together, alone)


def test_every_view_is_another_one():
    seen = []
    run_views(Network(lambda maps: seen.append(maps.clone()) or {"particle": maps[0, 0]}), MAPS, 4, regions=False)
    assert len({one.numpy().tobytes() for one in seen}) == 4


def detections(boxes, scores):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "masks": torch.ones(len(scores), 28, 28) * torch.arange(1, len(scores) + 1)[:, None, None] / 10,
    }


def test_what_one_view_alone_sees_counts_half():
    first = detections([[0, 0, 10, 10], [40, 40, 50, 50]], [0.9, 0.6])
    second = detections([[80, 0, 90, 10], [0, 0, 10, 12]], [0.5, 0.3])
    found = merged_detections([first, second])
    assert found["scores"].tolist() == pytest.approx([0.6, 0.3, 0.25])
    assert found["boxes"][0].tolist() == pytest.approx([0, 0, 10, 10.5])
    assert found["masks"][0, 0, 0].item() == pytest.approx((0.9 * 0.1 + 0.3 * 0.2) / 1.2)
    assert merged_detections([second, first])["scores"].tolist() == pytest.approx([0.6, 0.3, 0.25])


def test_neighbours_stay_two_and_nothing_stays_nothing():
    side_by_side = detections([[0, 0, 10, 10], [9, 0, 19, 10]], [0.9, 0.8])
    assert merged_detections([side_by_side, side_by_side, side_by_side])["scores"].tolist() == pytest.approx([0.9, 0.8])
    none = detections([], [])
    assert len(merged_detections([none, none])["scores"]) == 0
    assert merged_detections([none, side_by_side])["scores"].tolist() == pytest.approx([0.45, 0.4])


@pytest.mark.parametrize("mapping", ["reconstruct", "features"])
@pytest.mark.parametrize("method", ["mask-rcnn", "mask-fpn"])
def test_a_mirrored_frame_gives_the_mirrored_particles(method, mapping):
    """With all four views, mirroring the frame only changes their order."""
    torch.manual_seed(0)
    network = make_network(method, {"mapping": mapping}).eval()
    stride = network.entry.stride
    maps = torch.randn(1, network.entry.channels, 64 // stride, 96 // stride)
    mirrored = moved(maps, mapping, lambda x: x.flip(-1))
    with torch.inference_mode():
        (here,), (there,) = (run_views(network, one, 4, regions=method == "mask-rcnn") for one in (maps, mirrored))
    if method == "mask-fpn":
        torch.testing.assert_close(here["particle"], there["particle"].flip(-1), atol=1e-5, rtol=1e-4)
    else:
        np.testing.assert_allclose(here["scores"][:5], there["scores"][:5], rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "views is 0; expected a whole number from 1 to 4"),
        ({"views": 5}, "views is 5"),
    ],
)
def test_impossible_views(options, message):
    scene = make_scene(SceneConfig(shape=(64, 64), n_particles=3), rng=0)
    with pytest.raises(InputError, match=message):
        segment(scene.frame, "mask-rcnn", device="cpu", **options)


def test_the_record_tells_how_often_it_looked():
    scene = make_scene(SceneConfig(shape=(64, 64), n_particles=3), rng=0)
    assert segment(scene.frame, "mask-rcnn", device="cpu").info["views"] == 2
    assert segment(scene.frame, "mask-rcnn", device="cpu", views=1).info["views"] == 1
    assert segment(scene.frame, "mask-rcnn", device="cpu", mapping="features", views=3).info["views"] == 3
