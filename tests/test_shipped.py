"""Weights that hold only what they do not share with shipped ones, and the shipped detector of features."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors import safe_open

from cs_recon import reconstruct
from cs_recon.checkpoint import load_weights, save_weights
from segmentation import segment
from segmentation.learned import load_segmenter
from segmentation.models.family import make_network
from segmentation.shipped import read_weights, save_difference, shipped_file
from segmentation.transfer import carry_over, start_from
from simulate import InputError, SceneConfig, make_scene, measure, scan_path

METHOD = "mask-rcnn"
SCENE = make_scene(SceneConfig(shape=(128, 160), n_particles=10, diameter_nm=8), rng=3)


@pytest.fixture
def whole():
    with shipped_file(METHOD) as file:
        return load_weights(file, METHOD)


def test_only_what_differs_is_stored_and_all_comes_back(whole, tmp_path):
    changed = {**whole.tensors, "rpn.head.cls_logits.bias": whole.tensors["rpn.head.cls_logits.bias"] + 1}
    file = tmp_path / "a.safetensors"
    digest = save_difference(file, changed, METHOD, whole.config, METHOD)
    with safe_open(file, framework="pt") as opened:
        assert list(opened.keys()) == ["rpn.head.cls_logits.bias"]
    found = read_weights(file, (METHOD,))
    assert found.config == whole.config
    assert found.sha256 == digest != whole.sha256
    assert found.tensors.keys() == changed.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in changed.items())
    network = load_segmenter(METHOD, weights=str(file)).network
    assert start_from(network, file) == sorted(changed)
    torch.testing.assert_close(network.rpn.head.cls_logits.bias.data, changed["rpn.head.cls_logits.bias"].float())


@pytest.mark.parametrize("package", ["cs_recon", "segmentation"])
def test_shipped_weights_are_finite(package):
    shipped = [file for file in (files(package) / "weights").iterdir() if file.name.endswith(".safetensors")]
    assert shipped
    for file in shipped:
        with safe_open(str(file), framework="pt") as opened:
            assert all(torch.isfinite(opened.get_tensor(name)).all() for name in opened.keys()), file.name  # noqa: SIM118


def test_a_file_that_differs_from_another_version_is_refused(whole, tmp_path):
    config = {**whole.config, "base": METHOD, "base_sha256": "0" * 64}
    save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, METHOD, config)
    with pytest.raises(InputError, match="differs from the weights 'mask-rcnn' of another version"):
        load_segmenter(METHOD, weights=str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("base", ["../weights/mask-rcnn", "resnet", "", 3])
def test_the_base_is_one_of_the_shipped_weights_and_no_path(base, whole, tmp_path):
    save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, METHOD, {**whole.config, "base": base})
    with pytest.raises(InputError, match=r"no weights .* are shipped; .* choose one of mask-fpn, mask-rcnn"):
        load_segmenter(METHOD, weights=str(tmp_path / "a.safetensors"))


def test_a_base_of_another_network_is_refused(whole, tmp_path):
    with pytest.raises(InputError, match="the weights lack"):
        save_difference(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, METHOD, whole.config, METHOD)
    with pytest.raises(InputError, match="holds weights of mask-rcnn; expected u-net"):
        save_difference(tmp_path / "a.safetensors", dict(whole.tensors), "u-net", whole.config, METHOD)


def test_the_shipped_detector_of_features_is_that_of_images_carried_over(tmp_path):
    shipped = load_segmenter(METHOD, mapping="features").network
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    carry_over(tmp_path / "a.safetensors", METHOD, shipped.config.operating_point)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = load_segmenter(METHOD, weights=str(tmp_path / "a.safetensors"), mapping="features").network
    assert again.config == shipped.config
    for name, value in again.state_dict().items():
        assert torch.equal(value, shipped.state_dict()[name]), name
    scan = measure(SCENE.frame, scan_path("random", SCENE.frame.shape, 0.2, rng=1), peak_counts=100, rng=2)
    image = reconstruct(scan)
    point = shipped.config.operating_point
    by_image = segment(image, METHOD, min_score=point)
    of_image, of_scan = (segment(seen, METHOD, mapping="features", min_score=point) for seen in (image, scan))
    np.testing.assert_array_equal(of_image.labels, by_image.labels)
    # From a first guess of fewer iterations: scores that are alike to a hundredth may change places.
    assert len(of_scan) == len(by_image) > 5
    assert ((of_scan.labels > 0) != (by_image.labels > 0)).mean() < 0.002
    file = files("segmentation") / "weights" / "mask-rcnn-features.safetensors"
    assert len(file.read_bytes()) < 100_000


def test_weights_of_other_features_are_refused(whole, tmp_path):
    network = make_network(METHOD, {**whole.config, "mapping": "features", "feature_channels": 36})
    save_weights(tmp_path / "a.safetensors", network.state_dict(), METHOD, network.config.as_dict())
    scan = measure(SCENE.frame, scan_path("random", SCENE.frame.shape, 0.2, rng=1), peak_counts=100, rng=2)
    with pytest.raises(InputError, match="takes 36 maps and mapping 'features' gives 40"):
        segment(scan, METHOD, weights=str(tmp_path / "a.safetensors"))
