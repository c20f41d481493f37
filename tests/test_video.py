"""Videos of pictures: decoded again, they show the pictures in their order."""

import sys

import numpy as np
import pytest
from PIL import Image

from segmentation.movie import MovieOptions, process_movie
from segmentation.video import write_video
from simulate import InputError, SceneConfig, make_scene, measure, scan_path


@pytest.fixture
def pictures(tmp_path):
    """Five pictures of odd sides, each of one grey with a bright block that moves."""
    files = []
    for number in range(5):
        array = np.full((47, 65, 3), 30 * number, dtype=np.uint8)
        array[10:30, 10 * number : 10 * number + 20] = 255
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(array).save(files[-1])
    return files


def decoded(file):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    reader = ffmpeg.read_frames(str(file))
    width, height = next(reader)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


# imageio-ffmpeg leaves the pipes to its process to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_mp4_shows_every_picture(pictures, tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    frames = decoded(write_video(iter(pictures), tmp_path / "a.mp4"))
    assert len(frames) == 5
    for number, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        assert frame.shape == (48, 66, 3), "sides are even"
        wanted = np.asarray(Image.open(picture)).astype(float)
        assert np.abs(frame[:47, :65] - wanted).mean() < 8, number


def test_a_gif_shows_every_picture(pictures, tmp_path):
    with Image.open(write_video(iter(pictures), tmp_path / "a.gif")) as video:
        assert (video.n_frames, video.size) == (5, (65, 47))
        video.seek(3)
        assert abs(int(np.asarray(video.convert("L"))[40, 5]) - 90) < 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_picture_that_is_missing_leaves_no_video(pictures, tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    pictures[3].unlink()
    for name in ("a.mp4", "a.gif"):
        with pytest.raises(FileNotFoundError):
            write_video(iter(pictures), tmp_path / name)
        assert not list(tmp_path.glob("*a*"))


def test_a_run_that_goes_on_may_ask_for_another_video(tmp_path, monkeypatch):
    frame = make_scene(SceneConfig(shape=(48, 48), n_particles=2, diameter_nm=6), rng=1).frame
    scans = [measure(frame, scan_path("random", (48, 48), 0.5, rng=seed)) for seed in range(2)]
    options = MovieOptions(recon="linear", segment="threshold")
    first = process_movie(iter(scans), tmp_path, options=options, video="none")
    assert "video" not in first.paths
    again = process_movie(iter(scans), tmp_path, options=options)
    assert again.paths["video"].name == "movie_movie.gif"
    with pytest.raises(InputError, match=r"video is 'mp5' \(did you mean 'mp4'"):
        process_movie(iter(scans), tmp_path, options=options, video="mp5")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'cs-stem\[video\]'"):
        process_movie(iter(scans), tmp_path, options=options, video="mp4")
