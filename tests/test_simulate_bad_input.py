"""What is not what a function asks for is refused in one line that says what was got and what to do."""

import numpy as np
import pytest

from simulate import (
    Crystal,
    CrystalConfig,
    Detector,
    InputError,
    MultisliceConfig,
    ScanPath,
    SceneConfig,
    crystal_frame,
    make_scene,
    measure,
    project_columns,
    read_scan,
    reorder,
    scan_path,
    write_scan,
)

FRAME = np.add.outer(np.arange(32.0), np.arange(32.0)) / 62
PATH = scan_path("random", FRAME.shape, 0.2, rng=0)
MASK = PATH.mask


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure(FRAME, MASK), "the scan is a ndarray; expected a ScanPath"),
        (lambda: measure(FRAME, PATH, beam_current_pA=1, detector=20.0), "the detector is 20.0; expected a Detector"),
        (lambda: measure(FRAME, PATH, distortion=(0, 1)), r"the distortion is \(0, 1\); expected a Distortion"),
        (lambda: reorder(MASK), "the scan is a ndarray; expected a ScanPath"),
        (lambda: PATH.then(MASK), "the scan to go on with is a ndarray; expected a ScanPath"),
        (lambda: ScanPath([[1], [1, 2]], [0, 1], (32, 32)), "scan rows: got lists of different lengths"),
        (lambda: ScanPath([0, 1], [0, 1], (32, 32), [[1], [1, 2]]), "dwell times: got lists of different lengths"),
        (lambda: crystal_frame(SceneConfig()), "expected a CrystalConfig"),
        (lambda: CrystalConfig(zone_axis=(0, (1, 2), 1)), "expected three integers"),
        (lambda: project_columns("GaAs", (8965, -65087, 42597)), "expected indices of at most 1000"),
        (lambda: project_columns("Au", (5_000_000_007, 1, 3)), "expected indices of at most 1000"),
        (lambda: Crystal(np.eye(3), [("Au",)]), r"expected atoms as \(element, \(x, y, z\)\)"),
        (lambda: Crystal(np.eye(3), None), r"expected atoms as \(element, \(x, y, z\)\)"),
        (lambda: Detector(digital="no"), "digital is 'no'; expected True or False"),
        (lambda: MultisliceConfig(detector_mrad=70), "detector_mrad is 70; expected two numbers"),
        (lambda: MultisliceConfig(defocus_nm="far"), "defocus_nm is 'far'; expected a finite number"),
        (lambda: make_scene(SceneConfig(shape=(64, 64), n_particles=1), rng=0).mask(0.5), "expected a whole number"),
    ],
)
def test_what_is_of_another_kind_is_refused(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_wrong_scan_or_shape_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(InputError, match="the scan is a ndarray; expected a ScanPath"):
        write_scan(tmp_path / "scan.csv", MASK)
    file = write_scan(tmp_path / "scan.npy", PATH)
    for shape in (32, "ab", (32, 32, 1)):
        with pytest.raises(InputError, match=r"scan (shape|has)") as caught:
            read_scan(file, shape=shape, dwell_us=1.0)
        assert "damaged" not in str(caught.value)
    with pytest.raises(InputError, match="unknown scan format"):
        write_scan(tmp_path / "scan.csv", PATH, format=["csv"])


def test_a_high_common_factor_is_no_high_index():
    low, high = project_columns("SrTiO3", (1, 0, 2)), project_columns("SrTiO3", (5000, 0, 10_000))
    np.testing.assert_array_equal(low.vectors_nm, high.vectors_nm)
