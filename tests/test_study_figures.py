"""The figures of a row: costs by their closed forms, scores and distances against reference implementations."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cs_recon import reconstruct
from segmentation import Instances, segment
from segmentation.scores import coco_ap, score
from segmentation.study import FrameChoice, ScanChoice, ScanPlan, StudyConfig, expand, pooled_coco_ap, run_case, run_job
from segmentation.study.frames import StudyFrame, frame_specs, load_frame
from segmentation.study.scans import scan_costs, scan_frame
from segmentation.study.scoring import particle_scores, size_distances
from segmentation.study.store import COLUMNS
from simulate import InputError
from simulate.scan import electrons_per_us

(SPEC,) = frame_specs(FrameChoice(n=1, size=64))
FRAME = load_frame(SPEC)
N_PIXELS = 64 * 64


def costs(plan):
    return scan_costs(scan_frame(FRAME, SPEC, plan), plan, FRAME)


def frame_of(labels):
    diameters = np.sqrt(4 * np.bincount(labels.ravel())[1:] / np.pi)
    return StudyFrame(labels.astype(float), labels, diameters, None)


def test_a_sparse_scan_costs_its_share_of_a_full_one():
    how = ScanChoice(dwell_us=4.0, hardware="ideal")
    told = costs(ScanPlan("random", 0.25, 40.0, how=how))
    assert told["n_positions"] == told["realised_ratio"] * N_PIXELS == N_PIXELS / 4
    assert told["relative_dose"] == pytest.approx(0.25)
    assert told["full_scan_counts"] == pytest.approx(10.0)
    assert told["frame_time_ms"] == pytest.approx(N_PIXELS * 1e-3)
    assert (told["dwell_us"], told["visit_counts"]) == (4.0, 40.0)
    assert np.isnan(told["dose_e_per_A2"])


def test_doses_by_a_beam_current_are_dwell_times():
    how = ScanChoice(beam_current_pA=10.0, detected_share=0.2)
    plan = ScanPlan("random", 0.25, 40.0, how=how)
    told = costs(plan)
    electrons = 40.0 / 0.2
    assert told["dwell_us"] == pytest.approx(electrons / electrons_per_us(10.0))
    assert told["dose_e_per_A2"] == pytest.approx(0.25 * electrons / (10 * FRAME.pixel_size_nm) ** 2)
    assert told["relative_dose"] == pytest.approx(0.25)
    assert costs(dataclasses.replace(plan, peak_counts=80.0))["dose_e_per_A2"] == pytest.approx(
        2 * told["dose_e_per_A2"]
    )


@pytest.mark.parametrize("blanked", [True, False])
@pytest.mark.parametrize("scheme", ["random", "hilbert", "adaptive"])
@pytest.mark.parametrize(("pairing", "column"), [("dose", "relative_dose"), ("time", "frame_time_ms")])
def test_the_full_scan_beside_a_sparse_one_costs_the_same(scheme, pairing, column, blanked):
    if scheme == "adaptive" and not (blanked and pairing == "dose"):
        pytest.skip("one is enough: it is slow")
    how = ScanChoice(blanked=blanked, flyback_us=5.0, beam_current_pA=10.0)
    plan = ScanPlan(scheme, 0.25, 40.0, how=how)
    sparse, rival = costs(plan), costs(dataclasses.replace(plan, pairing=pairing))
    assert rival[column] == pytest.approx(sparse[column])
    assert rival["realised_ratio"] == 1.0
    assert rival["visit_counts"] == pytest.approx(40.0 * rival["dwell_us"] / sparse["dwell_us"])
    if pairing == "dose":
        assert rival["dose_e_per_A2"] == pytest.approx(sparse["dose_e_per_A2"])


def test_a_dose_below_the_shortest_dwell_is_had_by_a_dimmer_beam():
    how = ScanChoice(beam_current_pA=20.0, read_noise_counts=1.0)
    plan = ScanPlan("random", 0.05, 10.0, how=how)
    sparse, rival = costs(plan), costs(dataclasses.replace(plan, pairing="dose"))
    shortest_us = how.scan_hardware.shortest_dwell_us
    assert sparse["dwell_us"] * 0.05 < shortest_us
    assert rival["dwell_us"] == pytest.approx(shortest_us)
    assert rival["scan_current_pA"] == pytest.approx(20.0 * 0.05 * sparse["dwell_us"] / shortest_us, rel=0.01)
    for column in ("relative_dose", "full_scan_counts", "dose_e_per_A2"):
        assert rival[column] == pytest.approx(sparse[column])
    assert rival["visit_counts"] == pytest.approx(sparse["realised_ratio"] * 10.0)
    scan = scan_frame(FRAME, SPEC, dataclasses.replace(plan, pairing="dose")).scan
    assert scan.counts_per_unit * FRAME.image.max() == pytest.approx(rival["visit_counts"], rel=1e-3)
    assert scan.read_noise * scan.counts_per_unit == pytest.approx(1.0)


def test_an_unblanked_beam_is_dimmed_for_its_flybacks_too():
    how = ScanChoice(beam_current_pA=20.0, blanked=False, flyback_us=500.0)
    plan = ScanPlan("hilbert", 0.1, 10.0, how=how)
    sparse, rival = costs(plan), costs(dataclasses.replace(plan, pairing="dose"))
    assert rival["dwell_us"] == pytest.approx(how.scan_hardware.shortest_dwell_us)
    assert rival["dose_e_per_A2"] == pytest.approx(sparse["dose_e_per_A2"])
    on_us = 1000 * rival["frame_time_ms"]
    assert rival["scan_current_pA"] == pytest.approx(
        20.0 * sparse["relative_dose"] * N_PIXELS * sparse["dwell_us"] / on_us
    )


def test_few_counts_are_scanned_by_a_dimmer_beam():
    how = ScanChoice(beam_current_pA=1000.0, detected_share=0.5, hardware="slow")
    told = costs(ScanPlan("random", 0.25, 20.0, how=how))
    assert (told["dwell_us"], told["visit_counts"]) == (1.0, 20.0)
    assert told["scan_current_pA"] == pytest.approx(20 / 0.5 / electrons_per_us(1.0))
    assert told["relative_dose"] == pytest.approx(0.25)
    assert told["dose_e_per_A2"] == pytest.approx(0.25 * 40 / (10 * FRAME.pixel_size_nm) ** 2)
    own = dataclasses.replace(how, shortest_dwell_us=2.0)
    assert costs(ScanPlan("random", 0.25, 20.0, how=own))["dwell_us"] == 2.0
    with pytest.raises(InputError, match=r"dwell_us is 0\.5; expected at least 1 µs, the shortest"):
        ScanChoice(dwell_us=0.5, hardware="slow")


def test_no_full_scan_is_as_fast_where_its_dwells_would_be_too_short():
    how = ScanChoice(beam_current_pA=20.0, flyback_us=2.0)
    with pytest.raises(InputError, match=r"shortest dwell time of 0\.1 µs takes .* ms; expected a costlier one"):
        scan_frame(FRAME, SPEC, ScanPlan("line-hop", 0.02, 10.0, "time", how))


def test_no_full_scan_is_as_fast_where_flybacks_take_longer():
    with pytest.raises(InputError, match="no full scan costs as little"):
        scan_frame(FRAME, SPEC, ScanPlan("hilbert", 0.05, 40.0, "time", ScanChoice(flyback_us=1e4)))


def test_counts_of_a_rival_are_poisson_with_its_fewer_counts_and_the_same_read_noise():
    how = ScanChoice(read_noise_counts=2.0)
    plan = ScanPlan("random", 0.25, 40.0, how=how)
    sparse, rival = (
        scan_frame(FRAME, SPEC, dataclasses.replace(plan, pairing=pairing)).scan for pairing in ("", "dose")
    )
    assert rival.counts_per_unit == pytest.approx(0.25 * sparse.counts_per_unit)
    for scan in (sparse, rival):
        assert scan.read_noise * scan.counts_per_unit == pytest.approx(2.0)
        wanted = FRAME.image[scan.mask]
        spread = (scan.samples - wanted) / np.sqrt(wanted / scan.counts_per_unit + scan.read_noise**2)
        assert spread.std() == pytest.approx(1.0, abs=0.1)


def test_doses_share_positions_and_scans_are_the_same_again():
    plans = [ScanPlan("random", 0.25, counts) for counts in (0.0, 20.0, 40.0)]
    scans = [scan_frame(FRAME, SPEC, plan).scan for plan in plans]
    for scan in scans[1:]:
        np.testing.assert_array_equal(scan.mask, scans[0].mask)
    np.testing.assert_array_equal(scan_frame(FRAME, SPEC, plans[1]).scan.values, scans[1].values)
    np.testing.assert_array_equal(scans[0].samples, FRAME.image[scans[0].mask])


@pytest.mark.parametrize("seed", range(5))
def test_size_distances_are_scipys(seed):
    rng = np.random.default_rng(seed)
    true, found = rng.lognormal(2, 0.3, rng.integers(1, 30)), rng.lognormal(2.1, 0.4, rng.integers(1, 30))
    told = size_distances(true, found)
    assert told["size_ks"] == pytest.approx(stats.ks_2samp(true, found, method="asymp").statistic)
    assert told["size_wasserstein_px"] == pytest.approx(stats.wasserstein_distance(true, found))
    assert told["diameter_bias"] == pytest.approx(found.mean() / true.mean() - 1)


def test_size_distances_without_particles():
    assert set(size_distances([], []).values()) == {0.0}
    assert np.isnan(list(size_distances([3.0], []).values())).all()
    assert np.isnan(list(size_distances([], [3.0]).values())).all()
    assert set(size_distances([3.0, 4.0], [4.0, 3.0]).values()) == {0.0}


def random_labels(rng):
    labels = np.zeros((48, 48), np.int32)
    for index in range(rng.integers(0, 7)):
        row, col = rng.integers(0, 38, 2)
        labels[row : row + rng.integers(3, 10), col : col + rng.integers(3, 10)] = index + 1
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def test_pooled_rows_give_cocos_average_precision():
    rng = np.random.default_rng(0)
    pairs, rows = [], []
    for _ in range(12):
        true = random_labels(rng)
        found = np.where(rng.random(true.shape) < 0.9, true, 0) if rng.random() < 0.7 else random_labels(rng)
        found = Instances(found, scores=rng.random(np.unique(found[found > 0]).size))
        pairs.append((true, found))
        rows.append(particle_scores(frame_of(true), found) | {"error": ""})
    table = pd.DataFrame(rows)
    assert 0 < pooled_coco_ap(table) < 1
    assert pooled_coco_ap(table) == pytest.approx(coco_ap(pairs))
    assert pooled_coco_ap(table, (0.75,)) == pytest.approx(coco_ap(pairs, (0.75,)))
    failed = pd.DataFrame([*rows, {"error": "no", "n_true": np.nan}])
    assert pooled_coco_ap(failed) == pytest.approx(coco_ap(pairs))
    assert pooled_coco_ap(table.iloc[:0]) == 1.0


def test_found_particles_are_told_one_by_one():
    true = np.zeros((40, 40), np.int32)
    true[2:8, 2:8], true[20:32, 20:32] = 1, 2
    found = np.where(true == 2, 5, 0)
    row = particle_scores(frame_of(true), Instances(found))
    assert row["true_found"] == [0.0, 1.0]
    np.testing.assert_allclose(row["true_diameters_px"], np.sqrt(4 * np.array([36, 144]) / np.pi))
    np.testing.assert_allclose(row["found_diameters_px"], np.sqrt(4 * 144 / np.pi))
    assert row["found_hits"] == [1023.0]
    assert (row["n_true"], row["n_found"], row["count_error"]) == (2, 1, -1)
    nothing = particle_scores(frame_of(true), Instances(np.zeros_like(true)))
    assert (nothing["average_precision@0.5"], nothing["n_found"], nothing["true_found"]) == (0.0, 0, [0.0, 0.0])


def test_a_row_agrees_with_the_steps_done_by_hand():
    config = StudyConfig(
        ratios=(0.3,),
        doses=(0,),
        reconstructors=("linear",),
        segmenters=("threshold",),
        frames=FrameChoice(n=1, size=64),
    )
    (case,) = expand(config)
    row = run_case(case)
    scan = scan_frame(FRAME, SPEC, case.scan).scan
    image = reconstruct(scan, "linear")
    expected = score(FRAME.labels, segment(image, "threshold").labels, (0.5, 0.75))
    assert expected["average_precision@0.5"] > 0
    row["n_pred"] = row.pop("n_found")
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    row["n_found"] = row.pop("n_pred")
    assert row["error"] == ""
    assert set(row) == set(COLUMNS)


def test_a_reconstruction_is_computed_once_for_all_segmenters(monkeypatch):
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return reconstruct(*args, **options)

    monkeypatch.setattr("segmentation.study.evaluate.reconstruct", counted)
    config = StudyConfig(
        reconstructors=("linear",), segmenters=("threshold", "threshold:level=otsu"), frames=FrameChoice(n=1, size=64)
    )
    rows = run_job(tuple(expand(config)))
    assert len(rows) == 2
    assert len(calls) == 1
    assert rows[0]["psnr_db"] == rows[1]["psnr_db"]


def test_one_segmenter_that_fails_leaves_the_others(monkeypatch):
    config = StudyConfig(
        reconstructors=("linear",), segmenters=("threshold:level=bad", "threshold"), frames=FrameChoice(n=1, size=64)
    )
    bad, good = run_job(tuple(expand(config)))
    assert "InputError" in bad["error"]
    assert bad["relative_dose"] == good["relative_dose"]
    assert good["error"] == ""
    assert good["n_true"] == FRAME.diameters_px.size
