"""A frame reconstructed by tiles is the frame reconstructed at once."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cs_recon.batch import make_batch
from cs_recon.learned import load_network
from cs_recon.tiles import run_tiled, spans, window
from simulate import InputError, Measurement, measure, scan_path

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scan():
    """Different brightness and dose from left to right, so that tiles normalised alone would disagree."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:272, :400]
    frame = 0.1 + cols / 150 + np.sin(rows / 7) * np.sin(cols / 5) * (0.3 + cols / 400)
    frame = frame + rng.normal(0, 0.02, frame.shape)
    return measure(frame - frame.min(), scan_path("random", frame.shape, 0.2, rng=1), peak_counts=40, rng=2)


@pytest.fixture(scope="module")
def network():
    return load_network("unrolled-ista").network


def test_tiles_give_what_the_whole_frame_gives(scan, network):
    multiple = network.config.multiple
    with torch.inference_mode():
        batch = make_batch([scan], multiple=multiple).with_smooth()
        whole = network(batch)
        image, log_sigma = run_tiled(network, batch, tile=128, halo=64, multiple=multiple, whole_pixels=0)
    extent = float(whole.image.max() - whole.image.min())
    assert float((image - whole.image).abs().max()) < 2e-3 * extent
    assert float((log_sigma - whole.log_sigma).abs().max()) < 0.02


def test_there_is_no_seam(scan, network):
    """The difference to the whole frame is no larger across the seams than elsewhere, and far below the noise."""
    with torch.inference_mode():
        batch = make_batch([scan], multiple=16).with_smooth()
        whole = network(batch).image[0, 0]
        tiled = run_tiled(network, batch, tile=128, halo=32, multiple=16, whole_pixels=0)[0][0, 0]
    steps = (tiled - whole).diff(dim=1).square().mean(0)
    seams = [int(span.fade_out) for span in spans(400, 128, 32, 16) if span.fade_out is not None]
    at_seams = torch.stack([steps[seam - 17 : seam + 17].mean() for seam in seams]).mean()
    assert len(seams) >= 2
    assert float(at_seams) < 1e-4 * float(whole.diff(dim=1).square().mean())


def test_windows_as_wide_as_a_filter_are_exact_and_batches_too(scan):
    kernel = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))

    def blur(batch):
        seen = torch.cat([batch.y, batch.x0, batch.sigma * batch.scan.mask], 1)
        return SimpleNamespace(image=F.conv2d(seen, kernel, padding=4), log_sigma=batch.sigma + batch.noise)

    other = Measurement(scan.values[::-1] * 3 + 2, scan.mask[::-1])
    batch = make_batch([scan, other], multiple=16)
    image, log_sigma = run_tiled(blur, batch, tile=48, halo=16, whole_pixels=0)
    torch.testing.assert_close(image, blur(batch).image, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_sigma, blur(batch).log_sigma, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("side", [8, 64, 65, 128, 200, 333, 1000])
@pytest.mark.parametrize(("tile", "halo", "multiple"), [(16, 16, 16), (64, 16, 1), (128, 64, 16), (512, 64, 16)])
def test_weights_of_spans_sum_to_one_and_vanish_at_cut_edges(side, tile, halo, multiple):
    side = -(-side // multiple) * multiple
    total = torch.zeros(side, dtype=torch.float64)
    found = spans(side, tile, halo, multiple)
    for span in found:
        weight = span.weight(halo)
        total[span.start : span.stop] += weight
        assert span.start % multiple == 0
        assert span.stop - span.start == found[0].stop - found[0].start <= tile + 2 * halo
        if span.start > 0:
            assert float(weight[: halo // 2].abs().max()) < 1e-12
        if span.stop < side:
            assert float(weight[-(halo // 2) :].abs().max()) < 1e-12
    torch.testing.assert_close(total, torch.ones(side, dtype=torch.float64))


def test_small_frames_run_at_once(scan):
    seen = []

    def network(batch):
        seen.append(batch.shape)
        return SimpleNamespace(image=batch.x0, log_sigma=batch.sigma)

    run_tiled(network, make_batch([scan], multiple=16))
    assert seen == [scan.shape]
    run_tiled(network, make_batch([scan], multiple=16), tile=128, halo=16, whole_pixels=400)
    assert set(seen[1:]) == {(160, 160)}


def test_a_window_carries_everything_and_the_whole_frames_normalisation(scan):
    weighted = Measurement(scan.values, scan.mask, counts_per_unit=3.0, exposure=1.0 + scan.mask * scan.values)
    batch = make_batch([weighted], multiple=16)
    part = window(batch, slice(16, 96), slice(32, 64))
    assert part.shape == (80, 32)
    for name in ("y", "x0", "sigma"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[..., 16:96, 32:64])
    assert torch.equal(part.scan.weights, batch.scan.weights[..., 16:96, 32:64])
    for name in ("noise", "offset", "scale"):
        assert torch.equal(getattr(part, name), getattr(batch, name))


@pytest.mark.parametrize("options", [{"tile": 100}, {"halo": 10}, {"halo": 0}, {"tile": -16}, {"tile": 64.5}])
def test_bad_tiles_are_refused(scan, options):
    with pytest.raises(InputError, match=next(iter(options))):
        run_tiled(lambda batch: batch, make_batch([scan], multiple=16), **options)


def test_memory_is_bounded_by_the_window():
    """By windows of 256 + 2 x 16 pixels, a 1152 x 1152 frame takes less than half the memory that it takes at once."""
    code = """
import torch
from cs_recon.batch import make_batch
from cs_recon.bench.memory import measured
from cs_recon.tiles import run_tiled
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate import Measurement
import numpy as np
network = UnrolledISTA(UnrolledConfig(steps=2, widths=(32, 32), levels=2))
rng = np.random.default_rng(0)
scan = Measurement(rng.random((1152, 1152)), rng.random((1152, 1152)) < 0.1, counts_per_unit=20.0)
with torch.inference_mode():
    batch = make_batch([scan])
    for side in (288, 1152):
        with measured(torch.device("cpu")) as cost:
            run_tiled(network, batch, tile=256, halo=16, whole_pixels=side * side)
        print(cost.peak_mb)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    tiled, beyond = map(float, run.stdout.split())
    assert tiled < beyond


@pytest.mark.parametrize(("side", "tile", "halo"), [(256, 16, 64), (336, 64, 64), (704, 128, 32), (96, 512, 64)])
def test_windows_weigh_one_together_however_close_their_seams(side, tile, halo):
    total = torch.zeros(side, dtype=torch.float64)
    for span in spans(side, tile, halo, 16):
        total[span.start : span.stop] += span.weight(halo)
    torch.testing.assert_close(total, torch.ones_like(total))
