"""Every torch method computes the same in batches as alone, and on a CUDA device as on the CPU."""

import inspect

import numpy as np
import pytest
import torch

from cs_recon import reconstruct, reconstructors
from cs_recon.bench import gpu as speed
from cs_recon.bench.gpu import network_runner
from cs_recon.learned import scan_batch
from cs_recon.replay import record
from simulate import SceneConfig, make_scene, measure, scan_path

TORCH_METHODS = [
    name
    for name in reconstructors.names
    if next(iter(inspect.signature(reconstructors[name]).parameters)) == "measurements"
]
FRAMES = [make_scene(SceneConfig(shape=(45, 52), n_particles=6, diameter_nm=8), rng=seed).frame for seed in range(3)]


def scans():
    """Scans of one shape that differ in everything else: frame, unit, ratio, dose."""
    asked = ((1.0, 0.2, 100.0), (1e3, 0.35, 30.0), (-1e-2, 0.5, None))
    made = []
    for frame, (unit, ratio, counts) in zip(FRAMES, asked, strict=True):
        path = scan_path("random", frame.shape, ratio, rng=1)
        made.append(measure(unit * frame + max(0.0, -unit), path, peak_counts=counts, rng=2))
    return made


def largest_difference(one, two):
    return max(float(np.abs(a.image - b.image).max() / np.ptp(a.image)) for a, b in zip(one, two, strict=True))


def typical_difference(one, two):
    pairs = zip(one, two, strict=True)
    return max(float(np.sqrt(np.mean((a.image - b.image) ** 2)) / np.ptp(a.image)) for a, b in pairs)


def difference_of(method):
    """Return how images are compared: learnt dictionaries magnify rounding, so that single pixels may differ."""
    return typical_difference if method in ("bpfa", "ksvd") else largest_difference


@pytest.mark.parametrize("method", TORCH_METHODS)
def test_a_batch_gives_what_each_scan_gives_alone(method):
    """No scan of a batch may see another, nor stop the other's iterations."""
    difference = difference_of(method)
    together = reconstruct(scans(), method, device="cpu", batch_size=3)
    alone = [reconstruct(scan, method, device="cpu") for scan in scans()]
    assert difference(together, alone) < 0.01
    backwards = reconstruct(scans()[::-1], method, device="cpu", batch_size=2)[::-1]
    assert difference(backwards, alone) < 0.01


@pytest.mark.parametrize("method", ["unrolled-ista", "inpainting"])
def test_a_cpu_takes_no_more_pixels_at_once_than_it_has_room_for(method, monkeypatch):
    taken = []

    def batch(measurements, loaded, **options):
        taken.append(len(measurements))
        return scan_batch(measurements, loaded, **options)

    monkeypatch.setattr("cs_recon.learned.scan_batch", batch)
    expected = reconstruct(scans(), method, device="cpu", batch_size=3)
    assert taken == [3]
    monkeypatch.setattr("cs_recon.learned.CPU_PIXELS", 2 * 45 * 52)
    found = reconstruct(scans(), method, device="cpu", batch_size=3)
    assert taken == [3, 2, 1]
    assert largest_difference(found, expected) < 0.01


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("method", TORCH_METHODS)
def test_cuda_agrees_with_the_cpu(method):
    one, two = (reconstruct(scans(), method, device=device) for device in ("cpu", "cuda"))
    assert difference_of(method)(one, two) < 0.02


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("method", TORCH_METHODS)
def test_a_batch_on_cuda_gives_what_each_scan_gives_alone(method):
    together = reconstruct(scans(), method, device="cuda", batch_size=3)
    alone = [reconstruct(scan, method, device="cuda") for scan in scans()]
    assert difference_of(method)(together, alone) < 0.02


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("preset", list(speed.presets()))
def test_the_network_alone_gives_what_the_method_gives(preset, monkeypatch):
    """Its first guess is made before, once: neither what is timed nor what a CUDA graph could hold."""
    run = network_runner(preset, scans(), "cpu")
    monkeypatch.setattr("cs_recon.batch.linear_estimate", None)
    with torch.no_grad():
        image = run()[0]
    monkeypatch.undo()
    options = speed.presets()[preset]
    for one, scan in zip(image, scans(), strict=True):
        expected = reconstruct(scan, speed.NETWORK, device="cpu", **options).image
        found = one[0, : scan.shape[0], : scan.shape[1]].double().numpy() * scan.samples.std() + scan.samples.mean()
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.ptp(expected))


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("preset", list(speed.presets()))
def test_a_cuda_graph_gives_what_its_kernels_give(preset):
    with torch.no_grad():
        run = network_runner(preset, scans())
        replay = record(run)
        expected, found = run()[0].clone(), replay()[0]
        torch.cuda.synchronize()
    assert float((expected - found).abs().max()) < 1e-3


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("preset", list(speed.presets()))
def test_replayed_kernels_give_what_launched_ones_give(preset):
    options = speed.presets()[preset]
    launched, replayed = (
        [reconstruct(scan, device="cuda", graph=graph, **options) for scan in scans()] for graph in (False, True)
    )
    assert largest_difference(launched, replayed) < 0.01


@pytest.mark.gpu
@gpu
def test_the_speed_table_tells_of_the_card():
    table = speed.bench_speed(side=64, large_side=0, batch_size=4, repeats=1)
    assert torch.cuda.get_device_name() in table.attrs["title"]
    shares = table[(table.unit == "TFLOP/s") & table.note.str.contains("of the measured peak")]
    assert len(shares)
    assert (shares.value > 0).all()
