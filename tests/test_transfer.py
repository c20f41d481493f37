"""Transfer learning: what is copied, what stays frozen, and COCO's weights."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from cs_recon.checkpoint import save_weights
from cs_recon.training import LoopConfig
from segmentation.models.dense import UNet
from segmentation.models.mask_rcnn import MaskRCNN
from segmentation.models.mask_rpn import MaskRPN
from segmentation.models.settings import MaskRCNNConfig, MaskRPNConfig, UNetConfig
from segmentation.train_segment import MaskRCNNTraining, UNetTraining, train_segment
from segmentation.training_data import SceneData, target
from segmentation.transfer import Freezing, freeze, renamed_from_torchvision, start_from
from simulate import InputError

SIZES = {"widths": (8, 8, 8, 8)}
SMALL = MaskRCNNConfig(**SIZES, pyramid=8)
DATA = SceneData(size=64, real_share=0.0, sparse_share=0.0)


def learn(model, steps=3):
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 20:44] = 1
    for _ in range(steps):
        optimiser.zero_grad()
        sum(model(torch.randn(2, 2, 64, 64) + 1, [target(labels, depth=True)] * 2)[1].values()).backward()
        optimiser.step()


@pytest.mark.parametrize("make", [lambda: MaskRCNN(SMALL), lambda: UNet(UNetConfig(**SIZES))])
@pytest.mark.parametrize("trained", [1, 3])
def test_frozen_stages_stay_to_the_bit_running_means_included(make, trained):
    torch.manual_seed(0)
    model = make().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    freeze(model, trained)
    learn(model)
    kept = {id(p) for stage in model.stages()[:-trained] for p in (*stage.parameters(), *stage.buffers())}
    frozen, moved = 0, 0
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        same = torch.equal(value, before[name])
        if id(value) in kept:
            assert same, name
            frozen += 1
        else:
            moved += not same
    assert frozen > 5
    assert moved > 1


def test_all_stages_together_are_the_whole_network():
    for model in (MaskRCNN(SMALL), MaskRPN(MaskRPNConfig(**SIZES, pyramid=8)), UNet(UNetConfig(**SIZES))):
        parts = [p for stage in model.stages() for p in stage.parameters()]
        assert len({id(p) for p in parts}) == len(parts) == len(list(model.parameters()))


def test_stages_thaw_one_after_the_other():
    schedule = Freezing(train_last=2, unfreeze_every=10)
    assert [schedule.trained_at(step, 5) for step in (0, 9, 10, 20, 99)] == [2, 2, 3, 4, 5]
    assert Freezing().trained_at(0, 5) == 5
    model = MaskRCNN(SMALL).train()
    freeze(model, 1)
    assert not model.backbone.stem[0][0].weight.requires_grad
    freeze(model, len(model.stages()))
    assert model.backbone.stem[0][0].weight.requires_grad
    assert model.backbone.stem[0][1].training


def test_a_training_run_keeps_what_is_frozen(tmp_path):
    torch.manual_seed(0)
    loop = LoopConfig(steps=4, batch_size=2, warmup_steps=1, save_every=4, average=0.5)
    config = MaskRCNNTraining(network=SMALL, data=DATA, loop=loop, freezing=Freezing(1, 3), held_share=0.0)
    model, _ = train_segment(config, tmp_path / "a", device=torch.device("cpu"), workers=0)
    torch.manual_seed(loop.seed)
    fresh = MaskRCNN(SMALL).state_dict()
    state = model.network.state_dict()
    same = [name for name in fresh if torch.equal(fresh[name], state[name])]
    assert "backbone.stem.0.0.weight" in same
    assert "backbone.stem.0.1.running_mean" in same
    assert not any(name.startswith("rpn.") for name in same), "thawed after three steps"


@pytest.mark.parametrize(("share", "held"), [(0.0, False), (0.5, True), (1.0, True)])
def test_statistics_are_held_in_the_last_steps_while_weights_go_on_learning(share, held, tmp_path, monkeypatch):
    seen = []
    forward = MaskRCNN.forward

    def watched(self, maps, targets=None):
        norm = self.backbone.stem[0][1]
        seen.append((norm.running_mean.clone(), norm.weight.detach().clone()))
        return forward(self, maps, targets)

    monkeypatch.setattr(MaskRCNN, "forward", watched)
    loop = LoopConfig(steps=4, batch_size=2, warmup_steps=1, save_every=4)
    config = MaskRCNNTraining(network=SMALL, data=DATA, loop=loop, held_share=share)
    train_segment(config, tmp_path, device=torch.device("cpu"), workers=0)
    means, weights = zip(*seen, strict=True)
    assert torch.equal(means[2], means[3]) == held
    assert torch.equal(means[0], means[1]) == (share == 1)
    assert not torch.equal(weights[2], weights[3])


def test_a_run_starts_from_the_weights_that_fit(tmp_path):
    torch.manual_seed(1)
    given = MaskRCNN(SMALL)
    save_weights(tmp_path / "first.safetensors", given.state_dict(), "mask-rcnn", SMALL.as_dict())
    other = MaskRPN(MaskRPNConfig(**SIZES, pyramid=8))
    copied = start_from(other, tmp_path / "first.safetensors")
    assert any(name.startswith("backbone.") for name in copied)
    assert any(name.startswith("rpn.") for name in copied)
    weight = given.backbone.stages[0][0].conv1.weight
    torch.testing.assert_close(other.backbone.stages[0][0].conv1.weight, weight, atol=2e-3, rtol=2e-3)
    features = MaskRCNN(MaskRCNNConfig(**SIZES, pyramid=8, mapping="features"))
    copied = start_from(features, tmp_path / "first.safetensors")
    assert "heads.box_head.fc6.weight" in copied


@pytest.mark.parametrize("kind", [(MaskRCNN, MaskRCNNConfig), (UNet, UNetConfig)])
def test_a_network_of_features_starts_as_that_of_the_image(kind, tmp_path):
    make, settings = kind
    torch.manual_seed(2)
    given = make(settings(**SIZES))
    for module in given.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    save_weights(tmp_path / "first.safetensors", given.state_dict(), "mask-rcnn", {})
    network = make(settings(**SIZES, mapping="features"))
    assert set(start_from(network, tmp_path / "first.safetensors")) == set(network.state_dict())
    image, features = torch.randn(1, 2, 64, 96), torch.randn(1, 32, 32, 48)
    stems = [getattr(one, "backbone", one).stem.eval() for one in (given, network)]
    seen = torch.cat([torch.nn.functional.pixel_unshuffle(image, 2), features], 1)
    torch.testing.assert_close(stems[0](image), stems[1](seen), atol=5e-3, rtol=5e-3)
    maps = seen.clone().requires_grad_()
    stems[1].train()(maps).sum().backward()
    assert stems[1][0][0].weight.grad[:, 8:].abs().sum() > 0, "what looks at the features learns"


def test_weights_that_do_not_fit_are_refused(tmp_path):
    save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(3)}, "u-net", {})
    with pytest.raises(InputError, match="shares no tensor"):
        start_from(MaskRCNN(SMALL), tmp_path / "a.safetensors")
    save_weights(tmp_path / "b.safetensors", {"x": torch.zeros(3)}, "inpainting", {})
    with pytest.raises(InputError, match="holds weights of inpainting; expected mask-rcnn or"):
        start_from(MaskRCNN(SMALL), tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="no weights file"):
        start_from(MaskRCNN(SMALL), tmp_path / "c.safetensors")


class TestCOCO:
    @pytest.fixture
    def network(self):
        return MaskRCNN(MaskRCNNConfig(backbone="resnet50", pyramid=256))

    def test_torchvisions_backbone_arrives_whole(self, network, monkeypatch):
        torch.manual_seed(3)
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *_, **__: theirs.state_dict())
        start_from(network, "coco")
        theirs.eval()
        network.eval()
        grey = torch.rand(1, 1, 64, 96)
        with torch.inference_mode():
            expected = theirs.backbone(grey.expand(-1, 3, -1, -1))
            found = network.backbone(torch.cat([grey, torch.rand(1, 1, 64, 96)], 1))
        for index, level in enumerate(found.values()):
            torch.testing.assert_close(level, expected[str(index)], atol=1e-4, rtol=1e-3)

    def test_coco_s_weights_arrive_under_the_names_they_were_written_by(self, network, monkeypatch):
        """The file is older than the blocks of torchvision's pyramid: `FeaturePyramidNetwork` reads both."""
        torch.manual_seed(4)
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
        blocks = r"(fpn\.(?:inner|layer)_blocks\.\d)\.0|(rpn\.head\.conv)\.0\.0"
        written = {re.sub(blocks, r"\1\2", name): value for name, value in theirs.items()}
        assert "backbone.fpn.inner_blocks.0.weight" in written
        monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *_, **__: written)
        copied = set(start_from(network, "coco"))
        assert {name for name in network.state_dict() if name.startswith(("backbone.", "rpn.head.conv."))} <= copied
        torch.testing.assert_close(
            network.backbone.fpn.layer_blocks[2][0].weight, theirs["backbone.fpn.layer_blocks.2.0.weight"]
        )

    def test_its_batch_normalisation_is_frozen(self, network):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.backbone.modules())

    def test_without_a_network_the_error_says_what_to_do(self, network, monkeypatch):
        def fail(*_, **__):
            raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

        monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", fail)
        with pytest.raises(InputError, match=r"cannot get COCO's weights .*--init FILE"):
            start_from(network, "coco")

    def test_a_compact_network_has_nothing_in_common(self):
        theirs = {"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}
        assert list(renamed_from_torchvision(theirs, MaskRCNN(SMALL))) == ["backbone.body.conv1.weight"]


@pytest.mark.parametrize("fields", [{"train_last": -1}, {"unfreeze_every": -5}, {"unfreeze_every": 200}])
def test_impossible_schedules(fields):
    with pytest.raises(InputError):
        Freezing(**fields)


def test_more_stages_than_there_are(tmp_path):
    config = UNetTraining(network=UNetConfig(**SIZES), data=DATA, loop=LoopConfig(steps=1), freezing=Freezing(7))
    model, _ = train_segment(config, tmp_path, device=torch.device("cpu"), workers=0)
    assert all(p.requires_grad for p in model.network.parameters())
    with pytest.raises(InputError, match="train_last is 99; expected at most 7"):
        train_segment(replace(config, freezing=Freezing(99)), tmp_path / "more", device=torch.device("cpu"), workers=0)
    with pytest.raises(InputError, match="expected 1 to"):
        freeze(model.network, 0)
