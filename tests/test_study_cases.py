"""What a study sweeps over: every combination that makes sense once, and every mistake refused before any work."""

import dataclasses
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from segmentation.bench.frames import simulated_frames
from segmentation.study import FrameChoice, ScanChoice, StudyConfig, expand, jobs_of, load_study, preset
from segmentation.study.frames import frame_specs, load_frame
from simulate import InputError

ONE = FrameChoice(n=1, size=64)
SMALL = StudyConfig(reconstructors=("linear",), segmenters=("threshold",), frames=ONE)


def combinations(cases):
    return [
        (case.scan.scheme, case.scan.ratio, case.scan.peak_counts, case.scan.pairing,
         case.recon.label if case.recon else "", case.segment.label, case.mapping)
        for case in cases
    ]  # fmt: skip


def with_weights(monkeypatch, joint=False):
    """Let every network have weights, without loading any."""
    monkeypatch.setattr("segmentation.study.cases.segmenter_weights", lambda method, mapping: ("abc", joint))
    monkeypatch.setattr("segmentation.study.cases.reconstructor_weights", lambda method: "def")


def test_every_combination_is_there_once():
    config = dataclasses.replace(
        SMALL,
        schemes=("random", "hilbert"),
        ratios=(0.1, 0.2),
        doses=(10, 0, 10.0),
        reconstructors=("linear", "gp"),
    )
    found = combinations(expand(config))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2
    assert ("hilbert", 0.2, 0.0, "", "gp", "threshold", "reconstruct") in found


def test_a_full_scan_is_one_whatever_the_schemes_and_has_no_rival():
    config = dataclasses.replace(SMALL, schemes=("random", "hilbert"), ratios=(0.1, 1.0), equal_cost=("dose", "time"))
    found = [(scheme, ratio, pairing, recon) for scheme, ratio, _, pairing, recon, *_ in combinations(expand(config))]
    assert sorted(found) == sorted(
        [("raster", 1.0, "", "linear")]
        + [(scheme, 0.1, "", "linear") for scheme in ("random", "hilbert")]
        + [(scheme, 0.1, cost, "full-scan") for scheme in ("random", "hilbert") for cost in ("dose", "time")]
    )


def test_full_scans_are_denoised_by_the_network_of_the_sparse_ones_too():
    config = dataclasses.replace(SMALL, ratios=(0.1,), equal_cost=("dose",), reconstructors=("linear", "unrolled-ista"))
    rivals = [case.recon.label for case in expand(config) if case.scan.pairing]
    assert sorted(rivals) == ["full-scan", "unrolled-ista"]


def test_noise_free_scans_have_no_rival():
    assert {case.scan.pairing for case in expand(dataclasses.replace(SMALL, doses=(0,), equal_cost=("dose",)))} == {""}


def test_features_and_sparse_are_there_once_whatever_the_reconstructors(monkeypatch):
    with_weights(monkeypatch)
    config = dataclasses.replace(
        SMALL, reconstructors=("linear", "tv"), segmenters=("threshold", "u-net"),
        mappings=("reconstruct", "features", "sparse"),
    )  # fmt: skip
    found = {way[4:] for way in combinations(expand(config))}
    assert found == {
        ("linear", "threshold", "reconstruct"), ("tv", "threshold", "reconstruct"),
        ("linear", "u-net", "reconstruct"), ("tv", "u-net", "reconstruct"),
        ("unrolled-ista", "u-net", "features"), ("", "u-net", "sparse"),
    }  # fmt: skip
    with_weights(monkeypatch, joint=True)
    assert ("", "u-net", "features") in {way[4:] for way in combinations(expand(config))}


def test_cases_that_share_a_reconstruction_are_one_job(monkeypatch):
    with_weights(monkeypatch)
    config = dataclasses.replace(
        SMALL, reconstructors=("linear", "unrolled-ista"), segmenters=("mask-rcnn", "threshold", "u-net"),
        mappings=("features", "reconstruct"), frames=FrameChoice(n=2, size=64),
    )  # fmt: skip
    cases = expand(config)
    jobs = jobs_of(cases)
    assert [case for job in jobs for case in job] == cases
    assert [len({(case.frame, case.scan, case.recon) for case in job}) for job in jobs] == [1] * len(jobs)
    assert [len(job) for job in jobs] == [5, 3] * 2


def test_keys_tell_cases_apart_and_stay(monkeypatch):
    with_weights(monkeypatch)
    config = dataclasses.replace(
        SMALL, segmenters=("mask-rcnn", "threshold:level=otsu"), doses=(5, 10), ratios=(0.1, 0.2)
    )
    cases = expand(config)
    keys = [case.key for case in cases]
    assert len(set(keys)) == len(keys)
    assert [case.key for case in pickle.loads(pickle.dumps(expand(config)))] == keys
    other = [
        dataclasses.replace(config, scan=ScanChoice(read_noise_counts=1.0)),
        dataclasses.replace(config, scan=ScanChoice(flyback_us=3.0)),
        dataclasses.replace(config, frames=FrameChoice(n=1, first=1, size=64)),
        dataclasses.replace(config, frames=FrameChoice(n=1, generator="hard", size=64)),
    ]
    for changed in other:
        assert not set(keys) & {case.key for case in expand(changed)}
    monkeypatch.setattr("segmentation.study.cases.segmenter_weights", lambda method, mapping: ("other", False))
    assert [case.key for case in expand(config) if case.segment.is_network] != [
        case.key for case in cases if case.segment.is_network
    ]


@pytest.mark.parametrize("generator", ["ordinary", "hard"])
def test_frames_are_those_of_the_benchmark(generator):
    (spec,) = frame_specs(FrameChoice(generator=generator, n=1, first=2, size=64))
    *_, expected = simulated_frames(3, size=64, generator=generator)
    np.testing.assert_array_equal(load_frame(spec).image, expected.image)
    np.testing.assert_array_equal(load_frame(spec).labels, expected.labels)


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / "real" / part).mkdir(parents=True)
    labels = np.zeros((80, 90), np.uint16)
    labels[10:40, 10:36], labels[50:70, 40:80] = 1, 2
    for index, name in enumerate("abc"):
        Image.fromarray((60 + index + 120 * (labels > 0)).astype(np.uint8)).save(tmp_path / f"real/images/{name}.png")
        Image.fromarray(labels).save(tmp_path / f"real/labels/{name}.png")
    return tmp_path / "real"


def test_a_folder_gives_its_frames_wherever_it_lies(folder):
    choice = FrameChoice(n=0, folders=(str(folder),), limit=2)
    config = dataclasses.replace(SMALL, frames=choice)
    cases = expand(config)
    assert [case.frame.name for case in cases] == ["a", "b"]
    assert load_frame(cases[0].frame).diameters_px.size == 2
    moved = folder.rename(folder.with_name("moved"))
    again = expand(dataclasses.replace(config, frames=dataclasses.replace(choice, folders=(str(moved),))))
    assert [case.key for case in again] == [case.key for case in cases]


def test_files_of_one_name_in_two_folders_are_two_frames(folder):
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    for file in (other / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    specs = frame_specs(FrameChoice(n=0, folders=(str(folder), str(other))))
    assert len({spec.name for spec in specs}) == 6
    assert {spec.name.split("-")[0] for spec in specs} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: [file.unlink() for file in (root / "images").iterdir()], "no images in"),
        (lambda root: (root / "labels" / "b.png").unlink(), "b.png has no labels"),
        (lambda root: (root / "images" / "b.png").write_text("text"), "cannot be read"),
        (
            lambda root: Image.fromarray(np.zeros((8, 9), np.uint8)).save(root / "labels" / "b.png"),
            "labels of b.png have shape",
        ),
    ],
)
def test_folders_that_cannot_be_used_are_refused(folder, break_it, message):
    break_it(folder)
    with pytest.raises(InputError, match=message):
        expand(dataclasses.replace(SMALL, frames=FrameChoice(n=0, folders=(str(folder),))))


def test_an_empty_split_is_refused(folder):
    with pytest.raises(InputError, match=r"no image .* is of the split 'test'; choose"):
        expand(dataclasses.replace(SMALL, frames=FrameChoice(n=0, folders=(str(folder),), split="test")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rations = [0.1]", "unknown key 'rations' \\(did you mean 'ratios'"),
        ("[frames]\nsizes = 64", "unknown key 'sizes' \\(did you mean 'size'"),
        ("[scan]\nhardwear = 'slow'", "unknown key 'hardwear' \\(did you mean 'hardware'"),
        ("schemes = ['randm']", "unknown scan scheme 'randm' \\(did you mean 'random'"),
        ("reconstructors = ['liner']", "unknown reconstruction method 'liner' \\(did you mean 'linear'"),
        ("reconstructors = ['unrolled-ista:presett=fast']", "no option 'presett' \\(did you mean 'preset'"),
        ("reconstructors = ['unrolled-ista:fast']", "expected OPTION=VALUE"),
        ("segmenters = ['mask-rccn']", "unknown segmentation method 'mask-rccn' \\(did you mean 'mask-rcnn'"),
        ("segmenters = ['mask-rcnn:mapping=sparse']", "no option 'mapping'"),
        ("mappings = ['feature']", "mapping is 'feature' \\(did you mean 'features'"),
        ("equal_cost = ['does']", "equal_cost is 'does' \\(did you mean 'dose'"),
        ("segmenters = ['threshold']\nmappings = ['sparse']", "no segmenter is a network"),
        ("mappings = ['sparse']\nequal_cost = ['dose']", "mappings has no 'reconstruct'"),
        ("ratios = [0.1, 1.5]", "sampling ratio is 1.5"),
        ("ratios = []", "ratios is empty"),
        ("ratios = 0.1", "expected a list"),
        ("doses = [-1]", "a dose is -1"),
        ("doses = [nan]", "a dose is nan"),
        ("doses = ['many']", r"doses\[0\] is 'many'; expected float"),
        ("schemes = [1]", r"schemes\[0\] is 1; expected str"),
        ("segmenters = [1]", r"segmenters\[0\] is 1; expected str"),
        ("device = 'tpu'", "device is 'tpu'"),
        ("[frames]\ngenerator = 'easy'", "generator is 'easy'"),
        ("[frames]\nn = 0", "no frames"),
        ("[frames]\nsize = 8", "size is 8"),
        ("[frames.scene]\nn_particles = 3", "a scene is given and generator is 'ordinary'"),
        ("[frames]\nsplit = 'tests'", "did you mean 'test'"),
        ("[scan]\nhardware = 'fast'", "unknown scan hardware 'fast'"),
        ("[scan]\ndwell_us = 0", "dwell_us is 0"),
        ("[scan]\ndetected_share = 2", "detected_share is 2"),
        ("[scan]\nread_noise_counts = -1", "read_noise_counts is -1"),
        ("schemes = [", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file_are_refused(tmp_path, text, message):
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_study(tmp_path / "study.toml")


def test_a_network_without_weights_is_refused_or_left_out():
    missing = dataclasses.replace(SMALL, segmenters=("threshold", "u-net:weights=nowhere.safetensors"))
    with pytest.raises(InputError, match=r"nowhere.*, or set skip_missing = true"):
        expand(missing)
    notes = []
    cases = expand(dataclasses.replace(missing, skip_missing=True), notes.append)
    assert {case.segment.name for case in cases} == {"threshold"}
    assert len(notes) == 1
    with pytest.raises(InputError, match="no way from scan to particles is left"):
        expand(dataclasses.replace(missing, segmenters=missing.segmenters[1:], skip_missing=True))


def test_presets_are_there_and_what_they_say():
    quick, paper = preset("quick"), preset("paper")
    assert set(paper.mappings) == {"reconstruct", "features", "sparse"}
    assert set(paper.segmenters) == {"mask-rcnn", "mask-rpn", "mask-fpn", "u-net"}
    assert set(paper.equal_cost) == {"dose", "time"}
    assert len(expand(quick)) <= 100
    with pytest.raises(InputError, match="did you mean 'quick'"):
        preset("quik")


def test_an_adaptive_scan_is_told_apart_by_the_network_that_guides_it(monkeypatch):
    config = dataclasses.replace(SMALL, schemes=("random", "adaptive"), ratios=(0.1, 1.0))
    keys = []
    for weights in ("abc", "def"):
        monkeypatch.setattr(
            "segmentation.study.cases.reconstructor_weights",
            lambda method, weights=weights: weights if method.name == "unrolled-ista" else "",
        )
        keys.append({(case.scan.scheme, case.scan.ratio): case.key for case in expand(config)})
    assert {scan for scan in keys[0] if keys[0][scan] != keys[1][scan]} == {("adaptive", 0.1)}


def test_keys_of_cases_are_those_of_earlier_versions():
    """Whoever changes them throws away the rows of every study so far."""
    config = dataclasses.replace(SMALL, ratios=(0.1, 1.0), scan=ScanChoice(beam_current_pA=20.0))
    assert [case.key for case in expand(config)] == ["5bc4ae86fa9ced61b87b", "56f070aa3d8c675b117a"]


def test_whole_numbers_give_the_keys_of_the_floats_they_equal():
    whole = ScanChoice(
        dwell_us=8, beam_current_pA=20, detected_share=1, settling_us=1, flyback_us=3, read_noise_counts=2
    )
    real = ScanChoice(8.0, 20.0, 1.0, settling_us=1.0, flyback_us=3.0, read_noise_counts=2.0)
    assert whole == real
    first, second = (expand(dataclasses.replace(SMALL, scan=how))[0].key for how in (whole, real))
    assert first == second
