"""Bad and extreme options and scans: one clear line, or an image that is finite."""

import json
from importlib import import_module
from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cs_recon import InputError, Measurement, reconstruct, reconstruct_movie, reconstructors
from cs_recon.bench.ablation import ablation
from cs_recon.bench.adaptation import adaptation_table
from cs_recon.bench.rows import read_rows
from cs_recon.classical.kernels import most_likely
from cs_recon.noise_models import generalised_anscombe, inverse_generalised_anscombe
from simulate import measure, scan_path

SHAPE = (24, 24)
FRAME = 1 + np.sin(np.mgrid[:24, :24][1] / 3) * np.cos(np.mgrid[:24, :24][0] / 4)
SCAN = measure(FRAME, scan_path("random", SHAPE, 0.3, rng=0), peak_counts=50, rng=1)


@pytest.mark.parametrize("method", ["ista", "fista"])
@pytest.mark.parametrize("step", [100, 1e300])
@pytest.mark.parametrize("threshold", [None, 0.1])
def test_a_step_far_too_large_gives_no_image_worse_than_a_flat_one(method, step, threshold):
    with pytest.warns(UserWarning, match=f"{method} diverged on scan"):
        result = reconstruct(SCAN, method, step=step, threshold=threshold, device="cpu")
    assert result.info["diverged"] is True
    assert len(result.trace["objective"]) == result.info["iterations"]
    flat = np.sqrt(np.mean((SCAN.samples.mean() - SCAN.samples) ** 2))
    assert np.sqrt(np.mean((result.image[SCAN.mask] - SCAN.samples) ** 2)) <= 1.01 * flat


def test_a_smoothness_beyond_single_precision_gives_a_finite_image():
    image = reconstruct(SCAN, "cls", smoothness=1e30, device="cpu").image
    assert np.isfinite(image).all()
    assert SCAN.samples.min() < image.min() <= image.max() < SCAN.samples.max()


@pytest.mark.parametrize("method", ["cls", "admm-dct", "fista", "iht", "gp", "pnp", "full-scan"])
def test_noise_beyond_single_precision_gives_a_finite_image(method):
    scan = Measurement(FRAME, SCAN.mask, read_noise=1e20)
    assert np.isfinite(reconstruct(scan, method, device="cpu").image).all()


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("nearest", {"smooth_px": 1e30}, "smooth_px is 1e\\+30; expected a finite number from 0 to 24"),
        ("linear", {"smooth_px": 1e6}, "smooth_px is 1000000.0; expected"),
        ("pnp", {"sigmas": 0.2}, "sigmas is 0.2; expected two numbers"),
        ("pnp", {"sigmas": 0}, "sigmas is 0; expected two numbers"),
        ("pnp", {"sigmas": (0.2,)}, "expected two numbers"),
        ("pnp", {"sigmas": (0.2, "a")}, "sigmas is 'a'; expected a number"),
        ("pnp", {"sigmas": (1e-30, 1e-30)}, "sigmas is 1e-30; expected a finite number from 1e-06"),
        ("pnp", {"trust": 1e300}, "trust is 1e\\+300; expected a finite number from 1e-06"),
        ("tv", {"weight": 1e-50}, "weight is 1e-50; expected a finite number from 1e-30"),
        ("admm-dct", {"threshold": 1e-50}, "threshold is 1e-50; expected a finite number from 1e-30"),
        ("gp", {"tolerance": 2.5}, "tolerance is 2.5; expected a finite number from 0 to 0.5"),
        ("bpfa", {"stride": 100}, "stride is 100, more than the patches' side of 8"),
        ("bpfa", {"atoms": 1e30}, "atoms is 1e\\+30; expected"),
        ("ksvd", {"atoms": 10**6}, "atoms is 1000000; expected"),
        ("fista", {"wavelet": 3}, "wavelet is 3; expected a str"),
        ("iht", {"wavelet": None}, "wavelet is None; expected a str"),
        ("unrolled-ista", {"weights": 5}, "weights is 5; expected the path"),
        ("inpainting", {"weights": True}, "weights is True; expected the path"),
        ("inpainting", {"weights": "x" * 5000}, "no weights file at"),
    ],
)
def test_bad_options(method, options, match):
    with pytest.raises(InputError, match=match) as caught:
        reconstruct(SCAN, method, device="cpu", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("cls", {"iterations": 3.0}),
        ("fista", {"iterations": 1e30}),
        ("pnp", {"iterations": np.float32(2)}),
        ("gp", {"samples": 2.0, "iterations": 5.0, "seed": np.int64(2)}),
        ("gp", {"seed": 2**64}),
        ("bpfa", {"side": 4.0, "stride": 2.0, "atoms": 8.0, "sweeps": 1.0, "samples": 1.0, "seed": np.int64(2)}),
        ("ksvd", {"side": 4.0, "atoms": 8.0, "sparsity": 2.0, "iterations": 1.0}),
    ],
)
def test_whole_numbers_of_any_type(method, options):
    assert np.isfinite(reconstruct(SCAN, method, device="cpu", **options).image).all()


@pytest.mark.parametrize("scans", [None, 5, SCAN, [], [1, SCAN]])
def test_no_movie(scans):
    with pytest.raises(InputError, match="expected a movie's measurements"):
        reconstruct_movie(scans)


def test_a_movie_by_a_batch_size_of_another_type():
    assert len(list(reconstruct_movie([SCAN, SCAN, SCAN], batch_size=2.0, device="cpu"))) == 3  # pyright: ignore[reportArgumentType]


def test_rows_that_are_no_text(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="holds other columns"):
        read_rows(file)


@pytest.mark.parametrize("bench", [adaptation_table, ablation])
@pytest.mark.parametrize("frames", [0, -1])
def test_no_frames_to_judge_on(bench, frames, tmp_path):
    with pytest.raises(InputError, match="number of frames is"):
        bench(tmp_path, frames=frames, steps=1)
    assert not any(tmp_path.iterdir())


def test_the_seed_draws_the_clusters_of_a_gaussian_process(monkeypatch):
    seeds = []

    def noted(*args, seed, **options):
        seeds.append(seed)
        return most_likely(*args, seed=seed, **options)

    module = import_module("cs_recon.classical.gaussian_process")  # the package shows the function of that name
    monkeypatch.setattr(module, "most_likely", noted)
    reconstruct(SCAN, "gp", samples=0, seed=5, device="cpu")
    assert seeds == [5]


def test_read_noise_of_many_counts_takes_no_table():
    """Whose size grows with the read noise: minutes and gigabytes from some hundreds of counts on."""
    signal, read_noise = torch.tensor([0.0, 5.0, 200.0, 3000.0], dtype=torch.float64), 40.0
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(signal.expand(200_000, 4), generator=generator)
    noisy = counts + read_noise * torch.randn(counts.shape, generator=generator, dtype=torch.float64)
    mean = generalised_anscombe(noisy, 1.0, 0.0, read_noise).mean(dim=0)
    assert (inverse_generalised_anscombe(mean, 1.0, 0.0, read_noise) - signal).abs().max() < 0.5
    scan = Measurement(1e4 * FRAME, np.ones(SHAPE, bool), counts_per_unit=20.0, read_noise=1000.0)
    assert np.isfinite(reconstruct(scan, "full-scan", device="cpu").image).all()


@pytest.mark.parametrize("method", ["gp", "pnp"])
def test_a_batch_with_hardly_any_samples_in_one_scan(method):
    few = np.zeros(SHAPE, bool)
    few.flat[np.random.default_rng(0).choice(few.size, 20, replace=False)] = True
    scans = [SCAN, Measurement(FRAME, few, read_noise=0.1)]
    together = reconstruct(scans, method, device="cpu")
    for scan, one in zip(scans, together, strict=True):
        alone = reconstruct(scan, method, device="cpu")
        np.testing.assert_allclose(one.image, alone.image, atol=1e-3 * np.ptp(FRAME))


@pytest.mark.parametrize("counts", [8.0, None])
def test_the_full_scan_route_knows_that_exposure_lowers_the_noise(counts):
    """The same physics told twice: by an exposure of 16, and by 16 times the counts and a quarter of the read noise."""
    noisy = FRAME + np.random.default_rng(0).normal(0, 0.2, SHAPE)
    told = Measurement(noisy, noisy > -9, counts_per_unit=counts, read_noise=0.4, exposure=np.full(SHAPE, 16.0))
    plain = Measurement(noisy, noisy > -9, counts_per_unit=counts and 16 * counts, read_noise=0.1)
    images = [reconstruct(scan, "full-scan", device="cpu").image for scan in (told, plain)]
    np.testing.assert_allclose(*images, rtol=1e-4)


def test_the_full_scan_route_says_its_noise_in_the_unit_that_it_takes():
    scan = Measurement(1000 * FRAME + np.random.default_rng(0).normal(0, 90, SHAPE), FRAME > -9)
    found = reconstruct(scan, "full-scan", device="cpu")
    again = reconstruct(scan, "full-scan", noise=found.info["noise"], device="cpu")
    np.testing.assert_allclose(again.image, found.image, rtol=1e-5)
    assert 40 < found.info["noise"] < 180


@pytest.mark.parametrize("method", reconstructors.names)
def test_a_single_count_of_nothing_is_a_dark_image(method):
    mask = np.zeros((12, 20), bool)
    mask[3, 4] = True
    scan = Measurement(np.zeros(1), mask, counts_per_unit=1.0)
    image = reconstruct(scan, method, device="cpu").image
    assert np.isfinite(image).all()
    assert np.abs(image).max() < 2


@pytest.mark.parametrize("method", ["unrolled-ista", "inpainting", "tv"])
@pytest.mark.parametrize("noise", [{"read_noise": 1e18}, {"read_noise": 1e29}, {"counts_per_unit": 1e-300}])
def test_unbounded_noise_gives_a_finite_image(method, noise):
    scan = Measurement(FRAME, SCAN.mask, **noise)
    assert np.isfinite(reconstruct(scan, method, device="cpu").image).all()


@pytest.mark.parametrize("name", ["read_noise", "black_level"])
def test_noise_that_no_number_holds_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is 1e\\+160"):
        Measurement(FRAME, SCAN.mask, **{name: 1e160})


def factors(ratios, each):
    return {"ratios": ratios, **dict.fromkeys(("untold", "told", "widened"), each)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"config": None}, "no settings of its network"),
        ({"config": "{bad"}, "no settings of its network"),
        ({"sigma_full": factors([0.01, 1], [1, float("nan")])}, "as many factors from 1e-06 to 1e.06"),
        ({"sigma_full": factors([1], [1e300])}, "as many factors from 1e-06 to 1e.06"),
        ({"sigma_full": factors([1], [10**400])}, "expected its ratios and the factors untold, told, widened"),
        ({"sigma_full": factors([1, 0.01], [1, 1])}, "rising positive ratios"),
        ({"sigma_full": {"ratios": [1], "factors": [1]}}, "expected its ratios and the factors untold, told, widened"),
    ],
)
def test_weights_whose_settings_were_altered(tmp_path, change, match):
    with safe_open(files("cs_recon") / "weights" / "inpainting.safetensors", "pt") as file:
        metadata, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "config" in change:
        metadata = {**metadata, **change}
        metadata = {name: text for name, text in metadata.items() if text is not None}
    else:
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | change)
    save_file(tensors, tmp_path / "altered.safetensors", metadata)
    with pytest.raises(InputError, match=match):
        reconstruct(SCAN, "inpainting", weights=str(tmp_path / "altered.safetensors"), device="cpu")


@pytest.mark.parametrize("kind", ["matern12", "matern32", "matern52", "gaussian"])
def test_a_correlation_length_of_nothing_leaves_the_samples_alone(kind):
    result = reconstruct(SCAN, "gp", kind=kind, length_px=1e-30, samples=0, device="cpu")
    assert np.isfinite(result.image).all()
    np.testing.assert_allclose(result.image[~SCAN.mask], SCAN.samples.mean(), rtol=1e-3)
