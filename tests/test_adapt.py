"""Adaptation learns from held-out samples alone, never sees what it is judged by, and never makes things worse."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import cs_recon
from cs_recon.adapt import AdaptConfig, adapt, held_out_losses
from cs_recon.adapt_choice import Chooser, by_block, sigma_factor
from cs_recon.adapt_data import HeldOutScans
from cs_recon.checkpoint import load_checkpoint, save_weights
from cs_recon.networks import NetworkOutput
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from segmentation.cli.main import main
from simulate import InputError, Measurement, measure, scan_path

TINY = UnrolledConfig(steps=1, widths=(8, 8), levels=1, fast_steps=1, start="pyramid")
QUICK = AdaptConfig(steps=6, batch_size=2, crop=32, check_every=2, validation_crops=4)


def waves(seed, shape=(64, 80)):
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    angle, phase = rng.uniform(0, np.pi, 2)
    return 0.55 + 0.4 * np.sin((np.cos(angle) * rows + np.sin(angle) * cols) * 0.7 + phase)


def scan_of(frame, seed, ratio=0.3, counts=30.0):
    return measure(frame, scan_path("random", frame.shape, ratio, rng=seed), peak_counts=counts, rng=seed + 1)


@pytest.fixture(scope="module")
def first_weights(tmp_path_factory):
    """An untrained network: plain ISTA, with much to learn."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("first") / "first.safetensors"
    save_weights(file, UnrolledISTA(TINY).state_dict(), "unrolled-ista", TINY.as_dict())
    return str(file)


@pytest.fixture(scope="module")
def scans():
    return [scan_of(waves(seed), seed) for seed in range(3)]


def held_out(scans, **options):
    return HeldOutScans(scans, **{"crop": 32, "multiple": 4, "share": 0.2, "seed": 1} | options)


def test_what_is_held_out_is_not_seen_and_is_what_was_measured(scans):
    """A frame whose values name their pixels: no sample is in two of seen, held out and kept for validation."""
    shape = (40, 48)
    numbers = np.arange(40 * 48, dtype=float).reshape(shape)
    scan = Measurement(numbers, np.random.default_rng(0).random(shape) < 0.5, read_noise=1e-6)
    data = held_out([scan], crop=40)
    kept = set(numbers[data.kept[0]])
    assert 0.1 < len(kept) / scan.mask.sum() < 0.3

    def parts(item):
        """Return what was seen, and what judges where nothing and where something was seen."""
        target, mask = torch.zeros_like(item.batch.y), item.batch.scan.mask > 0
        target[item.held] = item.values
        places = ((item.batch.y, mask), (target, item.held & ~mask), (target, item.held & mask))
        values = [(x.double() * item.batch.scale + item.batch.offset)[where] for x, where in places]
        found = [set(value.round(decimals=2).tolist()) for value in values]
        assert set.union(*found) <= set(numbers[scan.mask])
        assert not found[0] & found[1]
        return found

    for step in range(20):
        seen, unseen, again = parts(data.draw(1, (1, 0, step)))
        assert again == seen
        assert not (seen | unseen) & kept, "validation samples leak into training"
    for item in data.validation(4, (1, 2), batch_size=1):
        seen, unseen, again = parts(item)
        assert unseen | again <= kept
        assert len(unseen) > 0 < len(again)
        assert float(item.share.sum()) == pytest.approx(1)
        assert float(item.share.min()) > 0


def test_seen_samples_get_noise_that_does_not_know_what_judges_them():
    """Uncorrelated with the target's, of the variance that is told; a network that copies its input is found out."""
    rng = np.random.default_rng(0)
    scan = Measurement(
        5 + 0.1 * rng.poisson(30.0, (256, 256)), np.ones((256, 256), bool), counts_per_unit=10.0, black_level=5
    )
    item = held_out([scan], crop=256, share=0.01).draw(1, (0,))
    mask = (item.batch.scan.mask > 0) & item.held
    scale = float(item.batch.scale)
    target = torch.zeros_like(item.batch.y)
    target[item.held] = item.values
    seen, judge = ((x[mask] * scale).double() for x in (item.batch.y, target))
    pair = torch.cov(torch.stack([seen, judge]))
    assert float(pair[0, 0]) == pytest.approx(1.25 * 0.3, rel=0.03)
    assert float(pair[1, 1]) == pytest.approx(5 * 0.3, rel=0.03)
    assert abs(float(pair[0, 1])) < 0.02
    assert float((item.batch.sigma[mask] * scale).square().mean()) == pytest.approx(1.25 * 0.3, rel=0.05)


@pytest.mark.parametrize("exposed", [False, True])
def test_the_noise_of_held_out_samples_is_that_of_the_detector(exposed):
    """Against the spread of many noisy scans of one flat-on-average frame, dwell differing by pixel or not."""
    shape, counts = (64, 64), 20.0
    rng = np.random.default_rng(0)
    frame = np.where(np.mgrid[:64, :64][1] < 32, 0.2, 1.0)
    exposure = np.where(np.mgrid[:64, :64][0] < 32, 1.0, 4.0) if exposed else np.ones(shape)
    values = rng.poisson(frame * counts * exposure) / counts / exposure
    scan = Measurement(values, np.ones(shape, bool), counts_per_unit=counts, exposure=exposure if exposed else None)
    item = held_out([scan], crop=64, share=0.5).validation(1, (0,))[0]
    scale = float(item.batch.scale)
    truth = torch.from_numpy((frame - float(item.batch.offset)) / scale)[None, None]
    score = (item.values - truth[item.held]).square() / item.variance
    assert float(score.mean()) == pytest.approx(1, abs=0.12)
    if exposed:
        dwell = torch.from_numpy(exposure)[None, None][item.held]
        assert float(item.variance[dwell == 1].mean() / item.variance[dwell == 4].mean()) == pytest.approx(4, rel=0.15)


def test_the_loss_is_least_for_the_truth(scans):
    """On average over the noise no other image predicts held-out samples better (Noise2Self), however dark it is."""
    frame = gaussian_filter(np.random.default_rng(5).random((128, 128)), 2)
    frame = (frame - frame.min()) / np.ptp(frame) + 0.05
    scan = scan_of(frame, 3, ratio=1.0, counts=10.0)
    item = held_out([scan], crop=128, share=0.5).validation(1, (0,))[0]
    truth = ((torch.from_numpy(frame) - item.batch.offset) / item.batch.scale).float()

    def loss(image):
        def network(batch):
            return NetworkOutput(image, torch.full_like(image, -3.0), {})

        return float(held_out_losses(network, item, 1.0)["image"])

    best = loss(truth)
    for other in (0.7 * truth, truth + 0.3, truth - 0.3, 1.3 * truth, item.batch.x0):
        assert loss(other) > best


def test_sigma_factor_recovers_the_true_one_under_any_noise():
    generator = torch.Generator().manual_seed(0)
    shape = (200_000,)
    spread = 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)
    alone = torch.arange(shape[0])
    # Skewed noise of variance `noise`: exponential, less its mean.
    noise = 0.3 + torch.rand(shape, generator=generator, dtype=torch.float64)
    skewed = noise.sqrt() * (torch.empty(shape, dtype=torch.float64).exponential_(generator=generator) - 1)
    for true in (0.5, 1.0, 2.0):
        error = true * spread * torch.randn(shape, generator=generator, dtype=torch.float64) + skewed
        assert sigma_factor(error.square(), spread.square(), noise, alone) == pytest.approx(true, rel=0.06)
    few = [tensor[:20] for tensor in (0 * noise, spread.square() / 100, noise, alone)]
    assert sigma_factor(*few) > 0.9, "twenty samples say nothing about a sigma far below the noise"
    often = [tensor.repeat(1000) for tensor in few]
    assert sigma_factor(*often) == pytest.approx(sigma_factor(*few)), "nor do they if they are looked at again"
    assert sigma_factor(0 * noise, spread.square(), noise, alone) == 0.25
    assert sigma_factor(1e6 + noise, spread.square(), noise, alone) == 4.0


def test_adapting_helps_on_unseen_frames_of_the_kind(tmp_path, scans, first_weights):
    config = dataclasses.replace(
        QUICK, steps=100, batch_size=4, learning_rate=1e-2, check_every=25, validation_crops=24
    )
    adapted = adapt(scans, tmp_path, weights=first_weights, config=config, device="cpu")
    assert adapted.after < adapted.before
    assert adapted.best_step > 0
    gains = []
    for seed in range(100, 105):
        frame = waves(seed)
        scan = scan_of(frame, seed)
        before, after = (cs_recon.reconstruct(scan, weights=file) for file in (first_weights, str(adapted.weights)))
        gains.append(cs_recon.psnr(frame, after.image) - cs_recon.psnr(frame, before.image))
    assert np.median(gains) > 1
    assert min(gains) > 0


def test_weights_that_are_not_surely_better_are_not_taken(tmp_path, scans, first_weights):
    """A rate that wrecks the network leaves the first weights, bit for bit."""
    config = dataclasses.replace(QUICK, learning_rate=3.0)
    adapted = adapt(scans, tmp_path, weights=first_weights, config=config, device="cpu")
    assert (adapted.best_step, adapted.sigma_factor, adapted.after) == (0, 1.0, adapted.before)
    first = cs_recon.reconstruct(scans[0], weights=first_weights)
    again = cs_recon.reconstruct(scans[0], weights=str(adapted.weights))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.sigma, again.sigma)


def test_a_gain_within_its_error_is_luck(tmp_path, scans):
    network = UnrolledISTA(TINY)
    items = held_out(scans).validation(4, (0,))
    chooser = Chooser(network, items, tmp_path, temperature=1.0, patience=4, identity="a")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["steps.0.step"] -= 1e-7
    chooser.best, chooser.best_step = state, 2
    assert chooser.decide()[0] is chooser.start
    assert chooser.best_step == 0


def test_looking_at_the_same_samples_again_makes_nothing_surer(tmp_path, scans):
    """Gains of the same few blocks, met in ever more crops, are no more observations."""
    data, network, errors = held_out(scans[:1], crop=64), UnrolledISTA(TINY), []
    for n in (2, 32):
        chooser = Chooser(
            network, data.validation(n, (0,)), tmp_path / str(n), temperature=1.0, patience=4, identity="a"
        )
        rng = torch.Generator().manual_seed(0)
        luck = torch.randn(10_000, generator=rng, dtype=torch.float64)[chooser.blocks]
        gain = by_block(chooser.weights * luck, chooser.blocks)
        assert len(gain) <= 2 * (64 // 8) ** 2 * 4
        errors.append(float(gain.std()) * len(gain) ** 0.5 / float(chooser.weights.sum()))
    assert errors[1] > 0.5 * errors[0]


@pytest.mark.parametrize(("told", "factor"), [((True, True, True), 2.0), ((True, False, True), 5.0)])
def test_sigma_starts_from_the_factor_of_told_noise_or_of_others(tmp_path, scans, monkeypatch, told, factor):
    """From that without widening: held-out samples say what is left to do."""
    factors = {"ratios": [1.0], "untold": [5.0], "told": [2.0], "widened": [3.0]}
    file = tmp_path / "first.safetensors"
    save_weights(file, UnrolledISTA(TINY).state_dict(), "unrolled-ista", TINY.as_dict() | {"sigma_full": factors})
    started = []
    monkeypatch.setattr(
        cs_recon.adapt_choice.Chooser, "__init__", lambda *_, temperature, **__: started.append(temperature) or 1 / 0
    )
    given = [
        scan if known else dataclasses.replace(scan, counts_per_unit=None)
        for scan, known in zip(scans, told, strict=True)
    ]
    with pytest.raises(ZeroDivisionError):
        adapt(given, tmp_path, weights=str(file), config=QUICK, device="cpu")
    assert started == [factor]


def test_weights_fall_with_the_noise_and_the_square_of_the_factor_on_sigma(tmp_path, scans):
    """An error's variance is that of the noise, and the network's times the factor squared."""
    network, items = UnrolledISTA(TINY).eval(), held_out(scans).validation(4, (0,))
    share = torch.cat([item.share for item in items]).double() / len(items)
    with torch.inference_mode():
        sigmas = torch.cat([network(item.batch).log_sigma[item.held].exp() for item in items]).double()
    one, two = (
        share / Chooser(network, items, tmp_path / str(t), temperature=t, patience=4, identity="a").weights
        for t in (1.0, 2.0)
    )
    torch.testing.assert_close(two - one, 3 * sigmas.square(), rtol=1e-5, atol=0)


def test_it_stops_when_nothing_gets_better(tmp_path, scans, first_weights):
    config = dataclasses.replace(QUICK, steps=100, learning_rate=3.0, patience=2)
    adapted = adapt(scans, tmp_path, weights=first_weights, config=config, device="cpu")
    assert adapted.steps == 4


def test_a_killed_adaptation_goes_on_to_the_same_weights(tmp_path, scans, first_weights, monkeypatch):
    whole = adapt(scans, tmp_path / "whole", weights=first_weights, config=QUICK, device="cpu")

    class KilledError(Exception):
        pass

    check, calls = Chooser.check, []

    def kill(self, step, averaged):
        found = check(self, step, averaged)  # the best weights are written, the checkpoint not yet
        calls.append(step)
        if len(calls) == 2:
            raise KilledError
        return found

    monkeypatch.setattr(Chooser, "check", kill)
    with pytest.raises(KilledError):
        adapt(scans, tmp_path / "killed", weights=first_weights, config=QUICK, device="cpu")
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] == 2
    resumed = adapt(scans, tmp_path / "killed", weights=first_weights, config=QUICK, device="cpu")
    assert calls == [2, 4, 4, 6]
    again = adapt(scans, tmp_path / "killed", weights=first_weights, config=QUICK, device="cpu")
    assert dataclasses.replace(resumed, weights=whole.weights) == whole
    assert again == resumed
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_a_folder_of_another_run_is_refused(tmp_path, scans, first_weights):
    adapt(scans, tmp_path, weights=first_weights, config=QUICK, device="cpu")
    others = [
        (scans[:2], QUICK),
        (scans, dataclasses.replace(QUICK, crop=24)),
        ([dataclasses.replace(scan, counts_per_unit=0.01) for scan in scans], QUICK),
        ([dataclasses.replace(scan, exposure=2.0 * scan.mask) for scan in scans], QUICK),
    ]
    for chosen, config in others:
        with pytest.raises(InputError, match="holds another run"):
            adapt(chosen, tmp_path, weights=first_weights, config=config, device="cpu")
    (tmp_path / "best.pt").unlink()
    with pytest.raises(InputError, match="holds another run"):
        adapt(scans, tmp_path, weights=first_weights, config=QUICK, device="cpu")


def test_a_run_that_became_infinite_goes_on_at_a_lower_rate(tmp_path, scans, first_weights):
    fast = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(InputError, match="lower the learning rate and resume"):
        adapt(scans, tmp_path, weights=first_weights, config=fast, device="cpu")
    assert adapt(scans, tmp_path, weights=first_weights, config=QUICK, device="cpu").steps == QUICK.steps


def test_scans_of_any_shape_scheme_and_scale_with_or_without_known_noise(tmp_path, first_weights):
    frame = waves(0)
    known = scan_of(frame, 1)
    mixed = [
        dataclasses.replace(known, values=known.values * 1e6, counts_per_unit=known.counts_per_unit / 1e6),
        Measurement(known.values * 1e-6, known.mask),
        Measurement(waves(2, (33, 50)), np.ones((33, 50), bool)),
        measure(waves(3), scan_path("spiral", frame.shape, 0.2, rng=0)),
        measure(waves(4), scan_path("lines", frame.shape, 0.2, rng=0), peak_counts=5, rng=0),
    ]
    adapted = adapt(mixed, tmp_path, weights=first_weights, config=QUICK, device="cpu")
    assert np.isfinite(adapted.after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"validation_share": 0.9}, "validation_share is 0.9"),
        ({"crop": 4}, "crop is 4"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AdaptConfig(**change)


def test_bad_scans_networks_and_torchrun_are_refused(tmp_path, scans, first_weights, monkeypatch):
    few = Measurement(np.arange(256.0).reshape(16, 16), np.arange(256).reshape(16, 16) < 50)
    sparse = measure(waves(0, (256, 256)), scan_path("random", (256, 256), 0.002, rng=0))
    for bad, message in (
        ([], "no scan to adapt to"),
        ([few], "has 50 samples; expected at least 100"),
        ([sparse], "no crop of 16 x 16 pixels"),
        (["scan.npy"], "got str to adapt to"),
    ):
        with pytest.raises(InputError, match=message):
            adapt(bad, tmp_path, weights=first_weights, config=dataclasses.replace(QUICK, crop=16), device="cpu")
    with pytest.raises(InputError, match=r"unknown network 'unroled-ista' \(did you mean 'unrolled-ista'"):
        adapt(scans, tmp_path, method="unroled-ista", device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        adapt(scans, tmp_path, weights=first_weights, device="cpu")


def test_the_command_writes_weights_that_reconstruct_takes(tmp_path, scans, first_weights, capsys):
    for index, scan in enumerate(scans):
        np.savez(tmp_path / f"{index}.npz", values=scan.values, mask=scan.mask)
    files = [str(tmp_path / f"{index}.npz") for index in range(3)]
    out = tmp_path / "mine"
    assert main(["adapt", *files, "--out", str(out), "--init", first_weights, "--steps", "2", "--device", "cpu"]) == 0
    weights = out / "unrolled-ista.safetensors"
    assert str(weights) in capsys.readouterr().out
    arguments = ["--recon-weights", str(weights), "--out", str(tmp_path / "image"), "--device", "cpu"]
    assert main(["reconstruct", files[0], *arguments]) == 0
    assert (tmp_path / "image" / "0_reconstruction.tif").exists()
    assert main(["adapt", *files, "--out", str(out), "--method", "inpaint"]) == 2
    assert main(["adapt", files[0], "--out", str(out), "--init", first_weights, "--device", "cpu"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "cs-stem: error" in line]
    assert "did you mean 'inpainting'" in errors[0]
    assert "holds another run" in errors[-1]
