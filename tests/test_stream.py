"""Streams of scans: each as it is alone, in their order, in bounded memory, up to the first that fails."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from segmentation import InputError, run, stream
from segmentation.pipeline import find_in_each
from simulate import SceneConfig, make_scene, measure, scan_path

QUICK = {"recon": "linear", "segment": "threshold"}


def scan_of(seed, shape=(96, 96), ratio=0.5):
    frame = make_scene(SceneConfig(shape=shape, n_particles=4, diameter_nm=9), rng=seed).frame
    return measure(frame, scan_path("random", shape, ratio, rng=seed), peak_counts=100, rng=seed, name=f"frame {seed}")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_gives_what_each_scan_gives_alone(workers):
    """In the order of the scans, which differ in shape, whatever the batches."""
    scans = [scan_of(seed, shape) for seed, shape in enumerate([(96, 96), (80, 112), (96, 96), (96, 96), (80, 112)])]
    found = list(stream(iter(scans), batch_size=2, workers=workers, **QUICK))
    assert [one.scan.name for one in found] == [f"frame {seed}" for seed in range(5)]
    for one, scan in zip(found, scans, strict=True):
        alone = run(scan, **QUICK)
        np.testing.assert_array_equal(one.instances.labels, alone.instances.labels)
        np.testing.assert_array_equal(one.reconstruction.image, alone.reconstruction.image)
        assert one.instances.name == scan.name


@pytest.mark.parametrize("mapping", ["reconstruct", "features", "sparse"])
def test_networks_stream_by_every_mapping(mapping):
    options = {"mapping": mapping, "scale": 1, "views": 1}
    (one, two) = stream([scan_of(0), scan_of(1)], segment_options=options)
    for found in (one, two):
        alone = run(found.scan, segment_options=options)
        np.testing.assert_allclose(found.reconstruction.image, alone.reconstruction.image, rtol=1e-3, atol=0.1)
        assert np.mean(found.instances.labels != alone.instances.labels) < 2e-3
        assert found.instances.labels.max() > 0
        np.testing.assert_array_equal(found.instances.intensity, found.reconstruction.image)


def test_scans_are_taken_as_there_is_room_for_them_and_not_kept():
    taken = []

    def scans():
        for _ in range(40):
            scan = scan_of(0)
            taken.append(weakref.ref(scan))
            yield scan

    frames = stream(scans(), batch_size=2, workers=2, **QUICK)
    assert taken == []
    for number, _found in enumerate(frames, start=1):
        # The batch that is being told, two under way and one that waits.
        assert len(taken) <= number + 8
    del _found
    gc.collect()
    assert sum(scan() is not None for scan in taken) == 0


def test_what_comes_before_a_scan_that_fails_is_told_first():
    frames = stream([scan_of(0), scan_of(1), scan_of(2), "a.tif", scan_of(4)], batch_size=8, **QUICK)
    found = []
    with pytest.raises(InputError, match="scan 3 of the stream: got str to reconstruct"):
        found.extend(one.scan.name for one in frames)
    assert found == ["frame 0", "frame 1", "frame 2"]


def test_what_was_read_before_reading_fails_is_told_first():
    def scans():
        yield scan_of(0)
        yield scan_of(1)
        raise OSError("the disk is gone")

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(one.scan.name for one in stream(scans(), batch_size=8, **QUICK))
    assert found == ["frame 0", "frame 1"]


def test_another_error_tells_the_batch_in_which_it_came(monkeypatch):
    def full(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr("segmentation.streaming.find_in_each", full)
    with pytest.raises(MemoryError) as caught:
        list(stream([scan_of(0)] * 3, batch_size=2, **QUICK))
    assert caught.value.__notes__ == ["at scans 0 to 1"]


def test_what_is_done_is_told_before_more_is_read(monkeypatch):
    """A source that waits for the third frame until the first has been told."""
    done, told = threading.Event(), threading.Event()

    def find(*args, **options):
        found = find_in_each(*args, **options)
        done.set()
        return found

    monkeypatch.setattr("segmentation.streaming.find_in_each", find)

    def scans():
        yield scan_of(0)
        assert done.wait(60)
        time.sleep(0.5)  # what is found is handed over meanwhile
        yield scan_of(1)
        assert told.wait(60)
        yield scan_of(2)

    frames = stream(scans(), batch_size=1, workers=3, **QUICK)
    assert next(frames).scan.name == "frame 0"
    told.set()
    assert [one.scan.name for one in frames] == ["frame 1", "frame 2"]


def test_a_stream_may_be_left_early():
    frames = stream((scan_of(0) for _ in range(1000)), batch_size=2, workers=2, **QUICK)
    next(frames)
    frames.close()
    assert list(stream([], **QUICK)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"recon": "linaer"}, "did you mean 'linear'"),
        ({"segment": "mask-rcn"}, "did you mean 'mask-rcnn'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"segment_options": {"batch_size": 2}}, "has no option 'batch_size'"),
        ({"segment_options": {"device": "cpu"}}, "has no option 'device'"),
        ({"segment_options": {2: 2}}, "has no option 2"),
        ({"segment": "u-net", "segment_options": {"mapping": "sparse"}}, "no weights"),
        ({"recon": "unrolled-ista", "recon_options": {"weights": "nowhere"}}, "no weights file"),
        ({"recon_options": {2: 2}}, "has no option 2"),
        ({"batch_size": 10**30}, "batch_size is 1e.30; expected at most"),
        ({"recon_options": "fast"}, "recon_options is 'fast'; expected a dictionary of options"),
        ({"recon_options": {"presett": "fast"}}, "has no option 'presett'"),
        ({"segment_options": {"polarty": "dark"}}, "has no option 'polarty'"),
    ],
)
def test_what_cannot_be_is_refused_before_a_scan_is_taken(options, message):
    def scans():
        raise AssertionError("a scan was asked for")
        yield

    with pytest.raises(InputError, match=message):
        stream(scans(), **{**QUICK, **options})


def test_several_scans_are_no_run():
    with pytest.raises(InputError, match="got a list to run; expected one Measurement"):
        run([scan_of(0)], **QUICK)


def test_one_scan_is_no_stream():
    with pytest.raises(InputError, match="got a Measurement to stream; expected several scans"):
        stream(scan_of(0))
