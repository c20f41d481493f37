"""Everything that computes on a GPU keeps its tensors there: seen on a device that is none (see `pretend_cuda`)."""

import gc
import weakref
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from operator import attrgetter

import numpy as np
import pytest
import torch
from pretend_cuda import capturing, pretend_cuda, record

from cs_recon import adapt as adaptation
from cs_recon import reconstruct, reconstruct_movie, transforms
from cs_recon.bench import gpu as speed
from cs_recon.learned import _replayed
from cs_recon.reconstruction import reconstructors
from cs_recon.tiles import run_tiled
from cs_recon.transforms import dct2, idct2
from segmentation import run, segment, stream
from segmentation.models.family import ARCHITECTURES
from segmentation.views import run_views
from simulate import InputError, SceneConfig, make_scene, measure, scan_path

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device: the tests marked gpu see more"),
    pytest.mark.usefixtures("single_precision"),
]

FRAME = make_scene(SceneConfig(shape=(45, 52), n_particles=6, diameter_nm=8), rng=0).frame
SCENE = make_scene(SceneConfig(shape=(128, 128), n_particles=6, diameter_nm=12), rng=8).frame
TORCH_METHODS = [name for name in reconstructors.names if name not in ("nearest", "linear", "natural", "biharmonic")]


def scan_of(frame, ratio=0.3, seed=1):
    return measure(frame, scan_path("random", frame.shape, ratio, rng=seed), peak_counts=50, rng=2)


def on_both(call):
    """Return what a call gives on the CPU and on the device that is none."""
    on_cpu = call("cpu")
    with pretend_cuda():
        return on_cpu, call("cuda")


@contextmanager
def rounding(switch, to):
    """Have a GPU's products or convolutions be rounded so; `monkeypatch` cannot: torch's switches are no fields."""
    kept, switch.fp32_precision = switch.fp32_precision, to
    try:
        yield
    finally:
        switch.fp32_precision = kept


def test_the_device_refuses_what_cuda_refuses():
    with pretend_cuda():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert there.device.type == "cuda"
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2, 2, 2]
        assert there[torch.tensor([0, 2])].device.type == "cuda"
        for mixed in (
            lambda: here + there,
            lambda: here[torch.tensor([0], device="cuda")],
            lambda: there.index_put_((torch.tensor([0]),), torch.ones(1)),
            lambda: torch.nn.Linear(3, 3)(there),
            lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="expected"):
                mixed()
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            np.asarray(there)


def test_a_capture_refuses_what_waits_for_the_card():
    with pretend_cuda():
        there = torch.ones(3, device="cuda")
        for waiting in (
            lambda: float(there.sum()),
            lambda: there.cpu(),
            lambda: torch.nonzero(there),
            lambda: there.copy_(torch.ones(3)),
            lambda: torch.ones(3).to("cuda"),
            lambda: torch.tensor([1.0, 2.0], device="cuda"),
        ):
            waiting()
            with capturing(), pytest.raises(RuntimeError, match="when stream is capturing"):
                waiting()
        with capturing():
            assert (there.double() + torch.arange(3, device="cuda")).device.type == "cuda"


@pytest.mark.parametrize("preset", list(speed.presets()))
def test_a_graph_could_hold_the_network(preset):
    scans = [scan_of(FRAME, ratio) for ratio in (0.2, 0.4)]
    with pretend_cuda(), torch.no_grad():
        run = speed.network_runner(preset, scans)
        exact = run()[0].cpu()  # as before a capture: what is kept is there then
        with capturing(), torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            rounded = run()[0]
    assert float((exact - rounded.cpu()).abs().max()) < 0.1


@pytest.fixture
def recorded(monkeypatch):
    """Graphs are recorded on the card that is none; a list of what was."""
    made = []

    def kept(run, device):
        made.append(run)
        return record(run, device)

    monkeypatch.setattr("cs_recon.replay.record", kept)
    _replayed.cache_clear()
    yield made
    _replayed.cache_clear()


@pytest.mark.parametrize("options", [{}, {"preset": "fast"}, {"preset": "fast", "views": 2}], ids=str)
def test_replayed_kernels_give_what_launched_ones_give(options, recorded):
    """Of scans of one shape that differ in all else; what an earlier one gave stays what it was."""
    dwells = scan_path("random", FRAME.shape, 0.3, rng=5, dwell_us=np.linspace(5, 50, round(0.3 * FRAME.size)))
    scans = [scan_of(FRAME), scan_of(FRAME[::-1], 0.6, 3), scan_of(1e4 * FRAME, 0.1, 4)]
    scans.append(measure(FRAME, dwells, peak_counts=50, rng=6))
    expected = [reconstruct(scan, device="cpu", **options) for scan in scans]
    with pretend_cuda():
        found = [reconstruct(scan, device="cuda", graph=True, **options) for scan in scans]
    assert len(recorded) == 2  # one without and one with dwell times
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_allclose(two.image, one.image, atol=1e-3 * np.ptp(one.image))
        np.testing.assert_allclose(two.sigma, one.sigma, rtol=0.02, atol=1e-3 * np.ptp(one.image))
        for name, (maps, _) in one.features.items():
            torch.testing.assert_close(two.features[name][0].cpu(), maps, atol=0.02, rtol=0.02)


def test_shapes_and_noise_have_recordings_of_their_own(recorded):
    noise_free = measure(FRAME, scan_path("random", FRAME.shape, 0.3, rng=1))
    scans = [scan_of(FRAME), noise_free, scan_of(SCENE), [scan_of(FRAME)] * 2, scan_of(FRAME)]
    with pretend_cuda():
        for scan in scans:
            reconstruct(scan, device="cuda", preset="fast", graph=True)
        assert len(recorded) == 4
        reconstruct(
            scan_of(SCENE[:64]), device="cuda", preset="fast", graph=True
        )  # which takes the place of the oldest
        reconstruct(scan_of(FRAME), device="cuda", preset="fast", graph=True)
        assert len(recorded) == 5
        reconstruct(noise_free, device="cuda", preset="fast", graph=True)
    assert len(recorded) == 6


def test_graphs_that_cannot_be_recorded(monkeypatch):
    with pytest.raises(InputError, match="graph is True and the device is 'cpu'; expected a GPU"):
        reconstruct(scan_of(FRAME), device="cpu", graph=True)
    with pretend_cuda(), pytest.raises(InputError, match="views is True"):
        reconstruct(scan_of(FRAME), device="cuda", graph=True, views=True)
    # What is computed are the sides rounded up.
    monkeypatch.setattr("cs_recon.learned.WHOLE_PIXELS", 45 * 52)
    with pretend_cuda(), pytest.raises(InputError, match="45 x 52 pixels, which is computed by tiles"):
        reconstruct(scan_of(FRAME), device="cuda", graph=True)


@pytest.mark.parametrize("flag", ["cudnn.conv", "cuda.matmul"])
def test_other_rounding_has_a_recording_of_its_own(flag, recorded):
    switch = attrgetter(flag)(torch.backends)
    with pretend_cuda():
        reconstruct(scan_of(FRAME), device="cuda", graph=True)
        with rounding(switch, "ieee" if switch.fp32_precision != "ieee" else "tf32"):
            reconstruct(scan_of(FRAME), device="cuda", graph=True)
    assert len(recorded) == 2


def test_what_a_recording_reads_is_kept():
    """Other sizes, however many, do not free the matrices that recorded kernels read."""
    x = torch.zeros((1, 1, 24, 24))
    with pretend_cuda():
        dct2(x.to("cuda"))
        matrix = weakref.ref(transforms._matrix(24, torch.float32, torch.device("cuda", 0)))
        for side in range(8, 58, 2):
            dct2(torch.zeros((1, 1, side, side + 1), device="cuda"))
    gc.collect()
    assert matrix() is not None


@pytest.mark.parametrize("method", TORCH_METHODS)
def test_methods_stay_on_their_device(method):
    one, two = on_both(lambda device: reconstruct(scan_of(FRAME), method, device=device))
    np.testing.assert_allclose(two.image, one.image, atol=1e-3 * np.ptp(FRAME))
    if one.sigma is not None:
        np.testing.assert_allclose(two.sigma, one.sigma, rtol=0.02, atol=1e-3 * np.ptp(FRAME))


@pytest.mark.parametrize(
    "options", [{"preset": "fast"}, {"views": 2}, {"within_noise": 1.0}], ids=["fast", "views", "within_noise"]
)
def test_options_of_networks_stay_on_their_device(options):
    one, two = on_both(lambda device: reconstruct(scan_of(FRAME), device=device, **options))
    np.testing.assert_allclose(two.image, one.image, atol=1e-3 * np.ptp(FRAME))


def test_tiles_stay_on_their_device(monkeypatch):
    monkeypatch.setattr("cs_recon.learned.WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr("cs_recon.learned.run_tiled", partial(run_tiled, tile=64, halo=32, whole_pixels=0))
    one, two = on_both(lambda device: reconstruct(scan_of(SCENE), preset="fast", device=device))
    np.testing.assert_allclose(two.image, one.image, atol=1e-3 * np.ptp(SCENE))


def test_movies_stay_on_their_device():
    scans = [scan_of(np.roll(SCENE, 2 * k, axis=1), seed=k) for k in range(3)]
    one, two = on_both(lambda device: [each.image for each in reconstruct_movie(scans, device=device)])
    np.testing.assert_allclose(two, one, atol=1e-3 * np.ptp(SCENE))


@pytest.mark.parametrize("method", ARCHITECTURES)
def test_detectors_stay_on_their_device(method):
    one, two = on_both(lambda device: segment(SCENE, method, device=device).labels)
    assert one.max() > 0
    np.testing.assert_array_equal(two, one)


@pytest.mark.parametrize("mapping", ["reconstruct", "features", "sparse"])
def test_mappings_stay_on_their_device(mapping):
    options = {"segment_options": {"mapping": mapping}}
    one, two = on_both(lambda device: run(scan_of(SCENE), device=device, **options).instances.labels)
    assert one.max() > 0
    # Their reconstructions differ by rounding, which may move an outline by a pixel.
    assert (two != one).mean() < 3e-4


@pytest.mark.parametrize("method", ARCHITECTURES)
def test_frames_are_looked_at_together(method, monkeypatch):
    """All views of three frames in one call a scale, and each frame's particles are those that it has alone."""
    calls = []

    def seen(network, maps, views, **options):
        calls.append(len(maps))
        return run_views(network, maps, views, **options)

    monkeypatch.setattr("segmentation.learned.run_views", seen)
    frames = [SCENE, np.roll(SCENE, 40, axis=0)[::-1], 5 - 3 * SCENE]
    alone = [segment(frame, method, device="cpu", scale=1) for frame in frames]
    calls.clear()
    with pretend_cuda():
        together = segment(frames, method, device="cuda", scale=1, batch_size=3)
    assert calls == [3]
    for one, two in zip(alone, together, strict=True):
        assert len(one) > 0
        assert np.mean(one.labels != two.labels) < 1e-3
        np.testing.assert_allclose(two.scores, one.scores, atol=1e-3)


def test_scans_give_features_together():
    scans = [scan_of(SCENE, ratio, seed) for seed, ratio in enumerate((0.2, 0.4, 0.6))]
    alone = [segment(scan, mapping="features", device="cpu").labels for scan in scans]
    with pretend_cuda():
        together = segment(scans, mapping="features", device="cuda")
    for one, two in zip(alone, together, strict=True):
        assert one.max() > 0
        assert np.mean(one != two.labels) < 1e-3


class Inline(Executor):
    """Computes where it is told to, since another thread has no pretended card."""

    def __init__(self, workers):
        self.workers = workers

    def submit(self, call, *args):
        done = Future()
        done.set_result(call(*args))
        return done


@pytest.mark.parametrize("mapping", ["reconstruct", "features", "sparse"])
def test_streams_stay_on_their_device(mapping, monkeypatch):
    monkeypatch.setattr("segmentation.streaming.ThreadPoolExecutor", Inline)
    scans = [scan_of(SCENE, ratio, seed) for seed, ratio in enumerate((0.2, 0.4, 0.6))]
    options = {"recon_options": {"preset": "fast"}, "segment_options": {"mapping": mapping}}
    one, two = on_both(lambda device: list(stream(scans, device=device, batch_size=2, **options)))
    for here, there in zip(one, two, strict=True):
        assert here.instances.labels.max() > 0
        assert np.mean(here.instances.labels != there.instances.labels) < 2e-3


def test_adapting_stays_on_its_device(tmp_path):
    config = adaptation.AdaptConfig(steps=2, batch_size=1, crop=32, check_every=1, validation_crops=1)

    def adapted(device):
        adaptation.adapt([scan_of(FRAME)], tmp_path / device, config=config, device=device)
        return np.genfromtxt(tmp_path / device / "log.csv", delimiter=",", skip_header=1)

    one, two = on_both(adapted)
    assert np.isfinite(one).all()
    np.testing.assert_allclose(two, one, rtol=0.01)


def test_gpus_transform_by_matrices():
    x = torch.randn((2, 1, 33, 40), generator=torch.Generator().manual_seed(0))
    for transform in (dct2, idct2):
        one, two = on_both(lambda device, transform=transform: transform(x.to(device)).cpu())
        torch.testing.assert_close(two, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("asked", "told"), [("tf32", "tf32"), ("ieee", "float32")])
def test_the_record_tells_what_convolutions_are_rounded_to(asked, told, monkeypatch):
    monkeypatch.setattr("cs_recon.device.has_bfloat16", lambda device: device.type == "cuda")
    with rounding(torch.backends.cudnn.conv, asked):
        one, two = on_both(lambda device: reconstruct(scan_of(FRAME), device=device).info["precision"])
    assert (one, two) == ("float32", told)


def test_transforms_are_exact_where_products_may_be_rounded(monkeypatch):
    """They go by the FFT then."""
    x = torch.randn((1, 1, 24, 24), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("cs_recon.transforms._matrix", None)
    with rounding(torch.backends.cuda.matmul, "tf32"):
        one, two = on_both(lambda device: dct2(x.to(device)).cpu())
    torch.testing.assert_close(two, one, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("recorded")
def test_the_speed_table_of_a_card(monkeypatch):
    """A crash there would be seen after minutes on a card only."""
    monkeypatch.setattr("cs_recon.bench.gpu.card_peaks", lambda: speed.CardPeaks(1.0, 1.0))
    monkeypatch.setattr("cs_recon.bench.gpu.record", lambda run: run)
    monkeypatch.setattr("cs_recon.bench.gpu.count_work", lambda run: speed.Work(1, 1))
    monkeypatch.setattr("torch.compile", lambda run: run)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a card")
    monkeypatch.setattr("cs_recon.bench.gpu.batched_methods", lambda: ["cls"])
    with pretend_cuda():
        table = speed.bench_speed(side=32, large_side=0, batch_size=2, repeats=1)
    assert "a card" in table.attrs["title"]
    assert not table.note.str.contains("failed").any()
    told = table[table.device == "cuda"].index
    for row in (
        "first guess (fast), one frame",
        "network alone (fast), 2 frames, bfloat16, CUDA graph",
        "cls, 1 frames",
    ):
        assert row in told
