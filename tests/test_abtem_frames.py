"""Multislice frames: blocks against the projected cell, and abTEM (where installed) against the incoherent model."""

import sys

import numpy as np
import pytest

from simulate.abtem_frames import MultisliceConfig, abtem_frame, crystal_block
from simulate.crystal_config import CrystalConfig
from simulate.crystal_frames import crystal_frame
from simulate.errors import InputError
from simulate.projection import project_columns

A_NM = 0.3905
BLOCK = crystal_block("SrTiO3", (0, 0, 1), width_nm=2 * A_NM, height_nm=2 * A_NM, thickness_nm=4 * A_NM)


@pytest.mark.parametrize(("name", "zone_axis"), [("Au", (1, 1, 0)), ("TiO2", (1, 0, 2)), ("graphene", (0, 0, 1))])
def test_a_blocks_atoms_lie_on_the_projected_columns(name, zone_axis):
    elements, positions = crystal_block(name, zone_axis, width_nm=2, height_nm=3, thickness_nm=4)
    cell = project_columns(name, zone_axis)
    fractions = (positions[:, None, :2] - cell.positions_nm) @ np.linalg.inv(cell.vectors_nm)
    miss = np.linalg.norm((fractions - fractions.round()) @ cell.vectors_nm, axis=2).min(axis=1)
    assert miss.max() < 0.01
    density = cell.atoms_per_nm.sum() / cell.area_nm2
    assert len(elements) == len(positions) == pytest.approx(2 * 3 * 4 * density, rel=0.15)


def test_a_commensurate_block_is_whole_cells():
    elements, positions = BLOCK
    assert [elements.count(element) for element in ("Sr", "Ti", "O")] == [16, 16, 48]
    assert positions.min() == pytest.approx(0, abs=1e-9)
    assert positions.max() == pytest.approx(3.5 * A_NM)


def test_the_wavelength_is_the_textbooks():
    for energy_kev, picometres in ((60, 4.866), (100, 3.701), (200, 2.508), (300, 1.969)):
        config = MultisliceConfig(energy_kev=energy_kev, detector_mrad=(50, 100))
        assert config.wavelength_nm * 1e3 == pytest.approx(picometres, abs=2e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"energy_kev": 0}, "energy_kev"),
        ({"n_phonons": -1}, "n_phonons is -1"),
        ({"detector_mrad": (80.0, 300.0)}, "at most 167.2 mrad"),
        ({"detector_mrad": (80.0, 60.0)}, "inner angle below"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        MultisliceConfig(**fields)


def test_without_abtem_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "abtem", None)
    with pytest.raises(InputError, match=r"pip install 'cs-stem\[abtem\]'"):
        abtem_frame(BLOCK, pixel_size_nm=0.02, shape=(8, 8))


def periodic():
    """Return four layers of 2 x 2 cells of SrTiO3 in a box that continues them."""
    ase = pytest.importorskip("ase")
    elements, positions = BLOCK
    return ase.Atoms(list(elements), positions=10 * positions, cell=10 * A_NM * np.array([2, 2, 4]), pbc=True)


def peak(frame, row, col, reach):
    """Return the centre of mass (x, y) above the border's level, and the sum, of a window."""
    row, col = round(row), round(col)
    patch = frame[row - reach : row + reach + 1, col - reach : col + reach + 1].astype(np.float64)
    border = np.concatenate([patch[0], patch[-1], patch[1:-1, 0], patch[1:-1, -1]])
    patch = np.maximum(patch - np.median(border), 0)
    y, x = np.indices(patch.shape)
    return np.array([(patch * x).sum(), (patch * y).sum()]) / patch.sum() + [col - reach, row - reach], patch.sum()


@pytest.mark.filterwarnings("default")
def test_multislice_and_the_incoherent_model_agree_on_strontium_titanate():
    pytest.importorskip("abtem")
    step = A_NM / 16
    config = MultisliceConfig(slice_nm=A_NM / 2, sampling_nm=0.006, detector_mrad=(60.0, 130.0))
    # From a quarter of a cell before a strontium column to a quarter after the next titanium one.
    frame = abtem_frame(
        periodic(), pixel_size_nm=step, shape=(17, 17), start_nm=(0.75 * A_NM, 0.75 * A_NM), config=config, rng=0
    )
    seen = {"Sr": peak(frame, 4, 4, 3), "Ti-O": peak(frame, 12, 12, 3), "O": peak(frame, 4, 12, 3)}
    model = crystal_frame(
        CrystalConfig("SrTiO3", shape=(64, 64), pixel_size_nm=step, thickness_nm=4 * A_NM, background=0), rng=0
    )
    columns = model.columns
    middle = np.hypot(columns["x"] - 30, columns["y"] - 30)
    strontium = columns[np.where(columns["element"] == "Sr", middle, np.inf).argmin()]
    for kind in ("Ti-O", "O"):
        gap = seen[kind][0] - seen["Sr"][0]
        gaps = np.stack([columns["x"] - strontium["x"], columns["y"] - strontium["y"]], axis=1)
        miss = np.linalg.norm(gaps - gap, axis=1)
        at = np.where(columns["element"] == kind, miss, np.inf).argmin()
        assert miss[at] * step < 0.003, kind
        ratio = seen[kind][1] / seen["Sr"][1]
        # Channelling makes heavy columns brighter than their sum of Z^1.7: the ratios agree in size, not in detail.
        assert 0.3 < ratio / (columns["intensity"][at] / strontium["intensity"]) < 1.2, kind
    assert seen["Sr"][1] > seen["Ti-O"][1] > seen["O"][1]


@pytest.mark.filterwarnings("default")
def test_a_single_atom_is_seen_where_it_is():
    pytest.importorskip("abtem")
    config = MultisliceConfig(sampling_nm=0.01, detector_mrad=(40.0, 80.0))
    block = (("Au",), np.array([[0.15, 0.05, 0.1]]))
    frame = abtem_frame(block, pixel_size_nm=0.05, shape=(5, 6), start_nm=(0.0, 0.0), config=config)
    assert np.unravel_index(frame.argmax(), frame.shape) == (1, 3)


@pytest.mark.filterwarnings("default")
def test_frozen_phonons_are_seeded_and_scans_outside_the_box_are_refused():
    pytest.importorskip("abtem")
    config = MultisliceConfig(
        slice_nm=A_NM / 2, sampling_nm=0.01, detector_mrad=(40.0, 80.0), n_phonons=2, thermal_rms_nm=0.01
    )
    first, second, other = (
        abtem_frame(periodic(), pixel_size_nm=0.1, shape=(3, 4), config=config, rng=seed) for seed in (1, 1, 2)
    )
    assert first.shape == (3, 4)
    assert first.tobytes() == second.tobytes() != other.tobytes()
    with pytest.raises(InputError, match=r"within the box of 0\.781 x 0\.781 nm"):
        abtem_frame(periodic(), pixel_size_nm=0.1, shape=(3, 9), config=config)
