"""Movies reconstructed with the samples of neighbouring frames, carried along with what moved."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from cs_recon import InputError, Measurement, Reconstruction, psnr, reconstruct, reconstruct_movie
from cs_recon.batch import make_batch, neighbour_batch
from cs_recon.motion import CARRIED_EXPOSURE, with_neighbours
from cs_recon.noise import estimate_noise
from simulate import Movie, MovieConfig, SceneConfig, measure, measure_movie, movie_paths, scan_path

METHODS = ["unrolled-ista", "inpainting"]


def filmed(diffusion_nm2_per_s, n_frames=5, ratio=0.08, seed=0):
    scene = SceneConfig(shape=(64, 64), n_particles=6, diameter_nm=9)
    movie = Movie(MovieConfig(scene=scene, n_frames=n_frames, diffusion_nm2_per_s=diffusion_nm2_per_s), rng=seed)
    paths = movie_paths("random", (64, 64), ratio, n_frames, rng=seed)
    return [frame.frame for frame in movie], list(measure_movie(movie, paths, peak_counts=20, rng=1))


@pytest.fixture(scope="module")
def film():
    return filmed(0.05)


def gains(frames, scans, method):
    alone = [psnr(f, r.image) for f, r in zip(frames, reconstruct(scans, method), strict=True)]
    together = [psnr(f, r.image) for f, r in zip(frames, reconstruct_movie(scans, method), strict=True)]
    return np.subtract(together, alone)


@pytest.mark.parametrize("method", METHODS)
class TestMovies:
    @pytest.mark.parametrize("factor", [1.3, 10.0])
    def test_a_frame_of_another_brightness_does_no_harm(self, film, method, factor):
        frames, scans = film
        frames, scans = list(frames), list(scans)
        frames[2], scans[2] = factor * frames[2], replace(scans[2], values=factor * scans[2].values)
        assert gains(frames, scans, method).min() > -0.6

    def test_black_levels_that_differ_do_not_matter(self, film, method):
        frames, scans = film
        lifted = [
            replace(scan, values=scan.values + level, black_level=level)
            for scan, level in zip(scans[:3], (0.0, 100.0, 50.0), strict=True)
        ]
        plain, others = (reconstruct_movie(which, method) for which in (scans[:3], lifted))
        for one, other, level in zip(plain, others, (0.0, 100.0, 50.0), strict=True):
            assert other.scan.ratio == pytest.approx(one.scan.ratio, rel=0.05)
            np.testing.assert_allclose(other.image - level, one.image, atol=0.05 * np.ptp(frames[0]))

    def test_neighbours_help_where_little_moves(self, film, method):
        assert gains(*film, method).mean() > 0.3

    def test_batches_do_not_matter(self, film, method):
        _, scans = film
        by_one = reconstruct_movie(scans, method, batch_size=1)
        for one, four in zip(by_one, reconstruct_movie(scans, method), strict=True):
            np.testing.assert_allclose(one.image, four.image, atol=5e-3 * np.ptp(one.image))

    @pytest.mark.parametrize("batch_size", [1, 2, 4])
    def test_a_movie_that_breaks_off_gives_what_came_before(self, film, method, batch_size):
        _, scans = film
        other = Measurement(np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool))
        found = []
        with pytest.raises(InputError, match="frame 3 of the movie has shape"):
            found.extend(reconstruct_movie([*scans[:3], other, *scans[3:]], method, batch_size=batch_size))
        assert len(found) == 3

    def test_frames_are_taken_as_they_are_needed(self, film, method):
        taken = []
        frames = reconstruct_movie((taken.append(scan) or scan for scan in film[1]), method, batch_size=2)
        next(frames)
        assert len(taken) == 3, "a batch, and the frame after it"

    def test_a_single_frame_is_an_ordinary_scan(self, film, method):
        _, scans = film
        (only,) = reconstruct_movie(scans[:1], method)
        np.testing.assert_allclose(only.image, reconstruct(scans[0], method).image, rtol=1e-4, atol=1e-5)

    def test_scans_that_are_no_movie(self, film, method):
        _, scans = film
        other = Measurement(np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool))
        with pytest.raises(InputError, match="one shape"):
            list(reconstruct_movie([scans[0], other], method))
        with pytest.raises(InputError, match="got no scans"):
            reconstruct_movie([], method)

    def test_options_are_those_of_the_method(self, film, method):
        _, scans = film
        (kept,) = reconstruct_movie(scans[:1], method, within_noise=0.5)
        assert not np.array_equal(kept.image, next(reconstruct_movie(scans[:1], method)).image)
        with pytest.raises(InputError, match="no option 'within_nose'"):
            reconstruct_movie(scans, method, within_nose=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_help_where_particles_move_by_pixels(method):
    # 0.6 nm^2/s: some three pixels a frame, at which the bare neighbouring scans mislead.
    frames, scans = filmed(0.6, n_frames=6, ratio=0.1)
    assert gains(frames, scans, method).mean() > 0.3


def test_carried_samples_widen_no_sigma(film):
    """Their noise is not what their exposures tell, even where that of each frame is told (here: far too little)."""
    _, scans = film
    noisier = [replace(scan, values=4 * scan.values) for scan in scans[:3]]
    assert all(image.info["sigma_widened"] > 1.1 for image in reconstruct(noisier))
    for movie in (noisier, [replace(scan, counts_per_unit=None) for scan in noisier]):
        found = list(reconstruct_movie(movie))
        assert [image.scan.noise_is_known for image in found] == 3 * [True]
        assert [image.scan.noise_is_told for image in found] == 3 * [False]
        assert [image.info["sigma_widened"] for image in found] == 3 * [1]
    # A frame to which nothing was carried, of itself or since its neighbours show something else, is an ordinary scan.
    strange = replace(noisier[0], values=noisier[0].values[::-1, ::-1].copy(), mask=noisier[0].mask[::-1, ::-1].copy())
    for movie, index in ((noisier[:1], 0), ([strange, noisier[0], strange], 1)):
        alone = list(reconstruct_movie(movie))[index]
        assert alone.scan.ratio == noisier[0].ratio
        assert alone.info["sigma_widened"] == pytest.approx(reconstruct(noisier[0]).info["sigma_widened"], rel=1e-3)


def test_only_some_methods_look_at_neighbours(film):
    with pytest.raises(InputError, match="not by 'tv'; choose one of them"):
        reconstruct_movie(film[1], "tv")


def test_an_absent_neighbour_samples_nothing(film):
    _, scans = film
    batch = make_batch(scans[:2])
    beside = neighbour_batch([None, scans[2]], scans[:2], batch)
    assert float(beside.scan.mask[0].sum()) == 0
    assert float(beside.scan.mask[1].sum()) == scans[2].mask.sum()
    assert torch.equal(beside.scale, batch.scale)


def known(image, sigma=0.01):
    return Reconstruction(image.astype(np.float32), np.full(image.shape, sigma, np.float32), "known")


class TestCarriedSamples:
    """Samples of one frame in another one, between which everything moved by three rows and two columns."""

    MOVED = (3, -2)

    @pytest.fixture
    def pair(self):
        scene = gaussian_filter(np.random.default_rng(4).normal(size=(80, 80)), 4)
        first = (scene - scene.min()) / np.ptp(scene)
        second = shift(first, self.MOVED, order=3, mode="nearest")
        scans = [measure(f, scan_path("random", f.shape, 0.1, rng=n)) for n, f in enumerate((first, second))]
        return first, second, scans

    def test_they_land_where_the_scene_has_moved_them(self, pair):
        first, second, (before, own) = pair
        joined = with_neighbours(own, known(second), [(before, known(first))])
        carried = joined.mask & ~own.mask
        assert carried.sum() > 0.8 * 0.9 * before.mask.sum(), "most arrive, some where the frame has its own"
        inner = np.zeros_like(carried)
        inner[8:-8, 8:-8] = True
        error = (joined.values - second)[carried & inner]
        unmoved = (np.where(before.mask, before.values, np.nan) - second)[before.mask & inner]
        # At the nearest pixel: half a pixel off at most.
        assert np.sqrt(np.mean(error**2)) < 0.25 * np.sqrt(np.nanmean(unmoved**2))

    def test_unknown_noise_is_that_of_the_frame_alone(self, pair):
        """What was carried counts for less, but scatters as it did: the samples together would seem too quiet."""
        first, second, _ = pair
        rng = np.random.default_rng(0)
        before, own = (Measurement(f + rng.normal(0, 0.1, f.shape), rng.random(f.shape) < 0.3) for f in (first, second))
        joined = with_neighbours(own, known(second, 0.1), [(before, known(first, 0.1))])
        assert (joined.mask & ~own.mask).sum() > 0.4 * before.mask.sum()
        assert estimate_noise(own) == pytest.approx(0.1, rel=0.15)
        assert joined.read_noise == estimate_noise(own)

    def test_the_frames_own_samples_stay(self, pair):
        first, second, (before, own) = pair
        joined = with_neighbours(own, known(second), [(before, known(first))])
        alone = own.mask & (joined.exposure == 1)
        assert alone.sum() > 0.8 * own.mask.sum()
        np.testing.assert_array_equal(joined.values[alone], own.values[alone])
        met = own.mask & (joined.exposure > 1)
        assert met.any()
        assert np.allclose(joined.exposure[met] % CARRIED_EXPOSURE, 1 % CARRIED_EXPOSURE)

    def test_exposures_weigh(self, pair):
        first, second, (before, own) = pair
        twice = replace(before, exposure=2.0 * before.mask)
        joined, once = (with_neighbours(own, known(second), [(b, known(first))]) for b in (twice, before))
        carried = once.mask & ~own.mask
        np.testing.assert_allclose(joined.exposure[carried], 2 * once.exposure[carried])

    def test_what_is_not_there_is_left_out(self, pair):
        first, second, (before, own) = pair
        vanished = first.copy()
        vanished[20:36, 30:46] += 2
        joined = with_neighbours(own, known(second), [(before, known(vanished))])
        rows, cols = np.indices(first.shape)
        core = (np.abs(rows - 28 - self.MOVED[0]) < 5) & (np.abs(cols - 38 - self.MOVED[1]) < 5)
        assert before.mask[20:36, 30:46].any()
        assert not (joined.mask & ~own.mask)[core].any()

    def test_another_scene_is_left_out(self, pair):
        _, second, (before, own) = pair
        other = np.random.default_rng(9).permutation(second.ravel()).reshape(second.shape)
        joined = with_neighbours(own, known(second), [(before, known(gaussian_filter(other, 3)))])
        np.testing.assert_array_equal(joined.mask, own.mask)
        np.testing.assert_array_equal(joined.values, own.values)

    def test_another_black_level_and_dose_are_allowed_for(self, pair):
        first, second, (before, own) = pair
        own, before = (replace(scan, counts_per_unit=50.0) for scan in (own, before))
        joined = with_neighbours(own, known(second), [(before, known(first))])
        shifted = replace(before, values=before.values + 3, black_level=3.0, counts_per_unit=100.0)
        found = with_neighbours(own, known(second), [(shifted, known(first + 3))])
        carried = joined.mask & ~own.mask
        np.testing.assert_allclose(found.values[carried], joined.values[carried])
        np.testing.assert_allclose(found.exposure[carried], 2 * joined.exposure[carried])

    @pytest.mark.parametrize("factor", [1e-6, 1e6])
    def test_the_unit_does_not_matter(self, pair, factor):
        first, second, (before, own) = pair
        joined = with_neighbours(own, known(second), [(before, known(first))])
        scaled = with_neighbours(
            replace(own, values=factor * own.values),
            known(factor * second, factor * 0.01),
            [(replace(before, values=factor * before.values), known(factor * first, factor * 0.01))],
        )
        assert (scaled.mask == joined.mask).mean() > 0.999
        both = scaled.mask & joined.mask
        np.testing.assert_allclose(scaled.values[both], factor * joined.values[both], rtol=1e-3, atol=1e-2 * factor)
