"""What the learned methods share: weights, presets, calibrated sigma, samples kept within their noise."""

import os
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

from cs_recon import InputError, Measurement, load_network, psnr, reconstruct, widening
from cs_recon.batch import make_batch
from cs_recon.calibrate import CASES, coverage
from cs_recon.checkpoint import save_weights
from cs_recon.inpainting import InpaintingConfig, InpaintingUNet
from cs_recon.noise_levels import with_noise
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate import make_scene, measure, random_config, scan_path

METHODS = ["unrolled-ista", "inpainting"]


def scan_of(seed, ratio=0.2, shape=(96, 96), peak_counts=50.0):
    rng = np.random.default_rng(77_000 + seed)
    frame = make_scene(random_config(rng, shape), rng=rng).frame
    return frame, measure(frame, scan_path("random", shape, ratio, rng=rng), peak_counts=peak_counts, rng=rng)


@pytest.mark.parametrize("method", METHODS)
class TestEveryNetwork:
    def test_shipped_weights_are_whole(self, method):
        network = load_network(method).network
        assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
        assert not network.training

    def test_weights_first_asked_for_in_inference_serve_training_too(self, method, tmp_path):
        copied = tmp_path / f"{method}.safetensors"
        copied.write_bytes((files("cs_recon") / "weights" / copied.name).read_bytes())
        with torch.inference_mode():
            network = load_network(method, str(copied)).network
        assert not any(parameter.is_inference() for parameter in network.parameters())

    @pytest.mark.parametrize("ratio", [0.1, 0.5])
    def test_sigma_covers_nine_tenths_on_unseen_scenes(self, method, ratio):
        covered = []
        for seed in range(12):
            frame, scan = scan_of(seed, ratio)
            result = reconstruct(scan, method)
            assert (result.sigma > 0).all()
            covered.append(coverage(frame, result.image, result.sigma))
        assert 0.8 < np.mean(covered) < 0.97

    def test_it_beats_linear_interpolation_on_every_frame(self, method):
        for seed in range(8):
            frame, scan = scan_of(seed, 0.1, peak_counts=20)
            linear = reconstruct(scan, "linear", smooth_px=1.0)
            assert psnr(frame, reconstruct(scan, method).image) > psnr(frame, linear.image)

    def test_samples_are_kept_within_their_noise(self, method):
        _, scan = scan_of(3, peak_counts=5)
        free, kept = (reconstruct(scan, method, within_noise=reach) for reach in (None, 0.5))
        batch = make_batch([scan])
        rows, cols = scan.shape
        reach = 0.5 * (batch.sigma * batch.scale)[0, 0, :rows, :cols].numpy()
        away = np.abs(kept.image - scan.values)[scan.mask]
        assert (away <= reach[scan.mask] * (1 + 1e-4)).all()
        assert (np.abs(free.image - scan.values)[scan.mask] > reach[scan.mask]).mean() > 0.1
        np.testing.assert_array_equal(kept.image[~scan.mask], free.image[~scan.mask])

    @pytest.mark.parametrize("reach", [0.0, -1.0, float("nan")])
    def test_a_reach_that_is_none(self, method, reach):
        with pytest.raises(InputError, match="within_noise"):
            reconstruct(scan_of(0)[1], method, within_noise=reach)

    def test_scans_together_are_as_scans_alone(self, method):
        scans = [scan_of(seed, 0.1 + 0.2 * seed)[1] for seed in range(3)]
        for together, scan in zip(reconstruct(scans, method), scans, strict=True):
            alone = reconstruct(scan, method)
            np.testing.assert_allclose(together.image, alone.image, atol=2e-3 * np.ptp(alone.image))
            for name, (maps, stride) in together.features.items():
                assert maps.shape == alone.features[name][0].shape
                assert stride == alone.features[name][1]

    def test_weights_of_your_own_that_are_not_there(self, method):
        scan = Measurement(np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool))
        with pytest.raises(InputError, match="no weights file"):
            reconstruct(scan, method, weights="nowhere.safetensors")


def test_bfloat16_rounds_the_fast_preset_alone(monkeypatch):
    """``full`` is alike on every processor; the rounding of ``fast`` is far below the noise."""
    frame, scan = scan_of(0, 0.1, peak_counts=20)
    found = {}
    for native in (True, False):
        monkeypatch.setattr("cs_recon.device.has_bfloat16", lambda device, native=native: native)
        found[native] = {preset: reconstruct(scan, device="cpu", preset=preset) for preset in ("full", "fast")}
    np.testing.assert_array_equal(found[True]["full"].image, found[False]["full"].image)
    assert 0 < np.abs(found[True]["fast"].image - found[False]["fast"].image).max() < 0.02 * np.ptp(frame)
    precisions = {preset: one.info["precision"] for preset, one in found[True].items()}
    assert precisions == {"full": "float32", "fast": "bfloat16"}
    assert found[False]["fast"].info["precision"] == "float32"
    assert found[True]["fast"].features["last"][0].dtype == torch.float32


def test_the_fast_preset_stops_early_and_loses_little():
    psnrs = []
    for seed in range(16):
        frame, scan = scan_of(seed, 0.1, peak_counts=20)
        results = [reconstruct(scan, "unrolled-ista", preset=preset) for preset in ("full", "fast")]
        psnrs.append([psnr(frame, one.image) for one in results])
    full_db, fast_db = np.mean(psnrs, axis=0)
    assert full_db - 1.0 < fast_db < full_db
    assert np.abs(results[0].sigma - results[1].sigma).max() > 0
    with pytest.raises(InputError, match=r"preset is 'fats'.*fast"):
        reconstruct(scan, "unrolled-ista", preset="fats")


def test_each_preset_has_its_own_factors_on_sigma(tmp_path):
    torch.manual_seed(0)
    config = UnrolledConfig(steps=2, widths=(4, 4), levels=1, fast_steps=1, start="pyramid")
    state = UnrolledISTA(config).state_dict()

    def factors(first, last):
        return {"ratios": [0.1, 1.0], **{key: [first, last] for key in ("untold", "told", "widened")}}

    _, scan = scan_of(0, shape=(32, 32))
    scan = replace(scan, counts_per_unit=None)  # nothing is added to what the factors make of sigma
    sigmas = []
    for times in (1.0, 2.0):
        file = tmp_path / f"{times}.safetensors"
        told = config.as_dict() | {"sigma_full": factors(1.5, 1.2), "sigma_fast": factors(times * 0.9, times * 0.8)}
        save_weights(file, state, "unrolled-ista", told)
        results = [reconstruct(scan, "unrolled-ista", preset=preset, weights=str(file)) for preset in ("full", "fast")]
        sigmas.append([result.sigma for result in results])
    (full, fast), (same, doubled) = sigmas
    np.testing.assert_array_equal(same, full)
    np.testing.assert_allclose(doubled, 2 * fast, rtol=1e-6)


def test_a_switch_is_on_or_off():
    with pytest.raises(InputError, match="graph is 'yes'; expected a bool"):
        reconstruct(scan_of(0)[1], graph="yes")


def test_scans_of_told_noise_and_others_have_their_own_factors(tmp_path, monkeypatch):
    torch.manual_seed(0)
    config = UnrolledConfig(steps=2, widths=(4, 4), levels=1, fast_steps=1, start="pyramid")
    state = UnrolledISTA(config).state_dict()
    monkeypatch.setattr(widening, "unexplained_variance", lambda batch, image, sigma: batch.y.new_zeros(len(batch.y)))
    told = scan_of(0, shape=(32, 32))[1]
    scans = [told, replace(told, counts_per_unit=None), with_noise(replace(told, counts_per_unit=None))]
    sigmas = []
    for case in ("none", "untold", "told", "widened"):
        factors = {"ratios": [1.0], **{key: [3.0 if key == case else 1.0] for key in CASES}}
        save_weights(tmp_path / case, state, "unrolled-ista", config.as_dict() | {"sigma_full": factors})
        sigmas.append([one.sigma.mean() for one in reconstruct(scans, weights=str(tmp_path / case))])
    plain, *others = np.array(sigmas)
    np.testing.assert_allclose(others / plain, [[1, 3, 3], [1, 1, 1], [3, 1, 1]], rtol=1e-6)


def test_an_untrained_inpainting_network_returns_the_first_guess():
    _, scan = scan_of(0)
    batch = make_batch([scan])
    with torch.inference_mode():
        image = InpaintingUNet(InpaintingConfig(widths=(8, 12)))(batch).image
    kept = torch.sigmoid(torch.tensor(-2.0)) * batch.scan.mask * (batch.y - batch.x0)
    assert torch.allclose(image, batch.x0 + kept)


@pytest.mark.parametrize("start", ["pyramid", "smooth"])
def test_a_second_pass_corrects_what_the_first_one_made(start):
    """With the first pass's outlet, it does what the network does from a first guess that is the first pass's image."""
    torch.manual_seed(0)
    config = {"widths": (8, 12), "start": start, "finest": 1}
    once = InpaintingUNet(InpaintingConfig(**config)).eval()
    torch.nn.init.normal_(once.outlet.weight, std=0.05)
    twice = InpaintingUNet(InpaintingConfig(**config, passes=2)).eval()
    twice.load_state_dict(once.state_dict(), strict=False)
    batch = make_batch([scan_of(0)[1]]).with_smooth()
    with torch.inference_mode():
        first = once(batch)
        untrained = twice(batch)
        twice.again[0].outlet.load_state_dict(once.outlet.state_dict())
        second = twice(batch)
        told = {"x0" if start == "pyramid" else "smooth": first.image}
        expected = once(replace(batch, **told))
        trained = twice.train()(batch)
    left = torch.sigmoid(torch.tensor(-6.0)) * batch.scan.mask * (batch.y - first.image)
    torch.testing.assert_close(untrained.image, first.image + left)
    torch.testing.assert_close(untrained.log_sigma, first.log_sigma)
    torch.testing.assert_close(second.image, expected.image)
    torch.testing.assert_close(second.log_sigma, first.log_sigma + expected.log_sigma + 1.5)
    assert (second.image - first.image).abs().max() > 0.01
    torch.testing.assert_close(trained.fast[0], first.image)


@pytest.mark.parametrize("field", [{"finest": -1}, {"passes": 0}, {"passes": 1.5}])
def test_an_inpainting_network_of_no_passes(field):
    with pytest.raises(InputError, match=next(iter(field))):
        InpaintingConfig(**field)


def test_exposure_of_a_batch_is_of_each_scan():
    """A scan with dwell weights beside one without keeps its own."""
    _, plain = scan_of(1)
    weighted = replace(plain, exposure=np.where(plain.mask, 2.0, 0.0))
    batch = make_batch([plain, weighted])
    assert batch.scan.weights is not None
    assert float(batch.noise[0] / batch.noise[1]) == pytest.approx(2**0.5, rel=1e-4)


def test_weights_replaced_under_the_same_name_and_time_are_read_anew(tmp_path):
    file = tmp_path / "own.safetensors"
    hashes = []
    for value in (0.0, 1.0):
        network = InpaintingUNet(InpaintingConfig(widths=(4, 4)))
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, value)
        save_weights(file, network.state_dict(), "inpainting", network.config.as_dict())
        os.utime(file, (1e9, 1e9))
        hashes.append(load_network("inpainting", str(file)).info["weights_sha256"])
    assert hashes[0] != hashes[1]
