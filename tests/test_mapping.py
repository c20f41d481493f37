"""The ways from a scan into a network: what each hands over, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cs_recon import reconstruct
from cs_recon.batch import make_batch
from cs_recon.learned import denormalised, load_network, scan_batch
from segmentation.mapping import MAPPINGS, entry_of, image_maps, map_frames, moved, trainable_maps
from segmentation.preprocess import level_and_spread
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

CPU = torch.device("cpu")
SCENE = make_scene(SceneConfig(shape=(70, 85), n_particles=6, diameter_nm=8), rng=5)
SCAN = measure(SCENE.frame, scan_path("random", (70, 85), 0.2, rng=1), peak_counts=30, rng=2)
FULL = measure(SCENE.frame, scan_path("raster", (70, 85)), peak_counts=30, rng=2)
FOUND = reconstruct(SCAN)


def map_frame(frame, mapping, **options):
    (mapped,) = map_frames([frame], mapping, multiple=32, device=CPU, **options)
    return mapped


def whole(mapped):
    rows, cols = mapped.padded
    return mapped.window(slice(0, rows), slice(0, cols))


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("frame", [FULL, FULL.values], ids=["scan", "image"])
def test_every_mapping_takes_full_frames(mapping, frame):
    mapped = map_frame(frame, mapping)
    maps, entry = whole(mapped), entry_of(mapping, 40)
    assert mapped.padded == (96, 96)
    assert maps.shape == (1, entry.channels, 96 // entry.stride, 96 // entry.stride)
    assert mapped.image.shape == (70, 85)
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("mapping", ["features", "sparse"])
@pytest.mark.parametrize(("gain", "offset"), [(1e-5, 0.0), (3e4, -20.0)])
def test_the_unit_of_a_scan_does_not_matter(mapping, gain, offset):
    values = np.where(SCAN.mask, gain * SCAN.values + offset, 0)
    other = Measurement(values, SCAN.mask)
    base = Measurement(SCAN.values, SCAN.mask)
    maps = [whole(map_frame(scan, mapping)) for scan in (base, other)]
    torch.testing.assert_close(*maps, atol=2e-3, rtol=1e-3)


def test_image_maps_tell_image_and_uncertainty_in_its_own_spread():
    rng = np.random.default_rng(0)
    image = rng.gamma(2.0, size=(64, 64))
    sigma = np.full(image.shape, 0.1)
    base, scaled = image_maps(image, sigma), image_maps(50 * image - 7, 50 * sigma)
    np.testing.assert_allclose(base, scaled, atol=1e-5)
    surer = image_maps(image, 0.01 * sigma)
    np.testing.assert_array_equal(base[0], surer[0])
    assert (surer[1] < base[1] - 0.3).all()


@pytest.mark.parametrize("shape", [(70, 85), (9, 64)])
def test_images_go_on_mirrored_beyond_their_edges(shape):
    image = np.random.default_rng(0).random(shape)
    padded = whole(map_frame(image, "reconstruct"))[0].numpy()
    rows, cols = shape
    np.testing.assert_array_equal(padded[:, :rows, :cols], image_maps(image))
    n = min(rows, padded.shape[1] - rows)
    np.testing.assert_array_equal(padded[:, rows : rows + n], padded[:, rows - n : rows][:, ::-1])
    n = min(cols, padded.shape[2] - cols)
    np.testing.assert_array_equal(padded[..., cols : cols + n], padded[..., cols - n : cols][..., ::-1])


def test_an_image_without_sigma_gets_that_of_its_noise():
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0, 8, 64), np.linspace(0, 8, 64))
    noisy = smooth + rng.normal(0, 0.5, (64, 64))
    told, estimated = image_maps(noisy, np.full((64, 64), 0.5)), image_maps(noisy)
    np.testing.assert_allclose(told[1], estimated[1], atol=0.05)


def test_sparse_maps_hold_the_samples_and_nothing_else():
    maps = whole(map_frame(SCAN, "sparse"))[0]
    batch = make_batch([SCAN], multiple=32)
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[:70, :85] = torch.from_numpy(SCAN.mask)
    assert torch.equal(maps[1].bool(), mask)
    assert (maps[0][~mask] == 0).all()
    values = batch.denormalise(maps[0][None, None])[0, 0].numpy()
    np.testing.assert_allclose(values[SCAN.mask], SCAN.values[SCAN.mask], rtol=1e-5, atol=1e-4)


def by_the_network(scan, multiple):
    """Return a scan's reconstruction from the first guess that the mapping takes."""
    loaded = load_network("unrolled-ista")
    with torch.no_grad():
        batch = scan_batch([scan], loaded, multiple=multiple, preset="fast")
        return denormalised([scan], batch, loaded.network(batch), loaded)[0]


@pytest.mark.usefixtures("single_precision")
def test_features_of_a_scan_are_those_of_its_reconstruction():
    scan = measure(SCENE.frame[:64, :64], scan_path("random", (64, 64), 0.2, rng=1), peak_counts=30, rng=2)
    mapped, same = map_frame(scan, "features"), by_the_network(scan, 32)
    np.testing.assert_allclose(mapped.image, same.image, rtol=1e-5)
    torch.testing.assert_close(whole(mapped), whole(map_frame(same, "features")))
    found = reconstruct(scan)
    assert np.sqrt(np.mean(np.square((mapped.image - found.image) / found.sigma))) < 0.15


def test_a_reconstruction_that_is_padded_less_shows_the_same():
    mapped, stored = (whole(map_frame(frame, "features")) for frame in (SCAN, by_the_network(SCAN, 16)))
    assert mapped.shape == stored.shape
    # What lies beyond the edge reaches far into the features, not into the image.
    torch.testing.assert_close(mapped[:, :8, :16], stored[:, :8, :16], atol=0.03, rtol=0)


@pytest.mark.parametrize("shape", [(70, 85), (9, 64), (64, 96)])
def test_features_hold_all_that_the_image_shows_and_the_last_features(shape):
    scan = measure(
        np.random.default_rng(0).random(shape), scan_path("random", shape, 0.4, rng=1), peak_counts=30, rng=2
    )
    found = reconstruct(scan)
    image = whole(map_frame(found, "reconstruct"))
    features = whole(map_frame(found, "features"))
    assert torch.equal(torch.nn.functional.pixel_shuffle(features[:, :8], 2), image)
    last, stride = found.features["last"]
    assert stride == 2
    assert torch.equal(features[:, 8:, : last.shape[2], : last.shape[3]], last)


@pytest.mark.usefixtures("single_precision")
def test_features_to_train_through_are_those_in_use_but_for_the_calibration():
    scene = make_scene(SceneConfig(shape=(64, 96), n_particles=5), rng=3).frame
    scan = measure(scene, scan_path("random", (64, 96), 0.3, rng=1), peak_counts=50, rng=2)
    network = load_network("unrolled-ista").network
    with torch.inference_mode():
        trained = trainable_maps(network(make_batch([scan], multiple=32).with_smooth(fast=True)))
    used = whole(map_frame(scan, "features"))
    torch.testing.assert_close(trained[:, :4], used[:, :4], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained[:, 8:], used[:, 8:])
    # Sigma: a factor, which becomes a difference of logarithms where the 0.01 hardly counts.
    difference = (trained - used)[:, 4:8]
    assert difference.std() < 0.02
    assert difference.abs().max() < 0.3


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)])
def test_moved_features_are_those_of_the_moved_image(axes):
    image, features = torch.rand(1, 2, 8, 12), torch.rand(1, 3, 4, 6)
    maps = torch.cat([torch.nn.functional.pixel_unshuffle(image, 2), features], 1)
    expected = torch.cat([torch.nn.functional.pixel_unshuffle(image.flip(axes), 2), features.flip(axes)], 1)
    assert torch.equal(moved(maps, "features", lambda x: x.flip(axes)), expected)
    assert torch.equal(moved(image, "reconstruct", lambda x: x.flip(axes)), image.flip(axes))


@pytest.mark.parametrize(
    ("frame", "mapping", "message"),
    [
        (SCAN, "reconstruct", "reconstruct it first"),
        (reconstruct(SCAN, "linear"), "sparse", "takes the scan itself"),
        (reconstruct(SCAN, "linear"), "features", "has none"),
        (reconstruct(SCAN, preset="fast"), "features", "preset 'fast'"),
        (reconstruct(SCAN, "inpainting"), "features", "by 'inpainting', has none"),
        (replace(FOUND, info={**FOUND.info, "weights_sha256": "0"}), "features", "and the shipped weights"),
        (FOUND, "sparse", "takes the scan itself"),
        (SCAN, "featurs", "did you mean 'features'"),
    ],
)
def test_a_mapping_refuses_what_it_cannot_use(frame, mapping, message):
    with pytest.raises(InputError, match=message):
        map_frame(frame, mapping)


def test_features_of_another_frame_are_refused():
    found = FOUND
    foreign = replace(found, image=np.zeros((140, 90), np.float32), sigma=None)
    with pytest.raises(InputError, match="expected features of this very frame"):
        map_frame(foreign, "features")
    with pytest.raises(InputError, match="bring a reconstructor of their own"):
        map_frame(found, "features", reconstructor=load_network("unrolled-ista"))


@pytest.mark.usefixtures("single_precision")
def test_windows_of_a_large_frame_give_the_maps_of_the_whole(monkeypatch):
    monkeypatch.setattr("segmentation.mapping.WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr("cs_recon.tiles.WHOLE_PIXELS", 1024 * 1024)
    scene = make_scene(SceneConfig(shape=(160, 192), n_particles=6), rng=5).frame
    # Noisier than its counts tell: what that adds to sigma is not shown.
    scan = measure(scene, scan_path("random", (160, 192), 0.3, rng=1), peak_counts=20, rng=2)
    scan = replace(scan, counts_per_unit=10 * scan.counts_per_unit)
    assert reconstruct(scan).info["sigma_widened"] > 1.4
    mapped = map_frame(scan, "features")
    monkeypatch.undo()
    expected = map_frame(scan, "features")
    got = mapped.window(slice(0, 160), slice(0, 128))
    want = expected.window(slice(0, 160), slice(0, 128))
    # Away from the cut at column 128, the network sees the same.
    torch.testing.assert_close(got[..., :20], want[..., :20], atol=0.02, rtol=0.02)
    np.testing.assert_allclose(mapped.image, expected.image, atol=2e-3 * np.ptp(expected.image))


@pytest.mark.parametrize("side", [1000, 1024, 999])
def test_one_bright_column_does_not_set_the_scale(side):
    """Every n-th pixel of a frame whose side shares a factor with n would be some columns again and again."""
    image = np.random.default_rng(0).normal(1, 0.1, (side, side))
    image[200:300, 200:300] += 1
    plain = level_and_spread(image)
    image[:, 0] += 20
    assert level_and_spread(image) == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_frames_together_are_mapped_as_each_alone(mapping):
    """Of different doses and ratios, in an order in which reconstructions stand between scans."""
    denser = measure(SCENE.frame, scan_path("random", (70, 85), 0.5, rng=3), peak_counts=300, rng=4)
    frames = {"reconstruct": [FULL, FOUND, FULL.values], "features": [SCAN, FOUND, denser], "sparse": [SCAN, denser]}
    together = map_frames(frames[mapping], mapping, multiple=32, device=CPU)
    for frame, mapped in zip(frames[mapping], together, strict=True):
        alone = map_frame(frame, mapping)
        torch.testing.assert_close(whole(mapped), whole(alone), atol=0.02, rtol=0.02)
        np.testing.assert_allclose(mapped.image, alone.image, atol=1e-3 * np.ptp(alone.image))


@pytest.mark.parametrize("mapping", ["reconstruct", "features"])
def test_detectors_see_sigma_as_the_network_tells_it(mapping):
    """What the samples add to it is a scan's own, of which training knew nothing."""
    scan = replace(FULL, values=4 * FULL.values)  # noisier than its counts tell
    found = reconstruct(scan)
    assert found.widened_by > 0.5 * found.own_sigma.mean()
    plain = replace(found, sigma=found.own_sigma, widened_by=0.0)
    seen, expected, wrong = (
        map_frames([one], mapping, multiple=32, device=CPU) for one in (found, plain, replace(found, widened_by=0.0))
    )
    for part, size in ((seen[0], 1.0), (seen[0].reduced(0.5), 0.5)):
        other, worse = (one if size == 1 else one.reduced(size) for one in (expected[0], wrong[0]))
        rows, cols = (slice(0, side) for side in part.padded)
        torch.testing.assert_close(part.window(rows, cols), other.window(rows, cols), rtol=1e-5, atol=1e-5)
        assert (part.window(rows, cols) - worse.window(rows, cols)).abs().max() > 0.1
