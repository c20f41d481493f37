"""Training resumes exactly, data never mix, weights and checkpoints are checked, configurations are strict."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from cs_recon.calibrate import CASES, Z90, calibrate_sigma
from cs_recon.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from cs_recon.config import load_config
from cs_recon.train_recon import UnrolledTraining, _Collate, sigma_loss, train_recon, validation_pairs
from cs_recon.training import LoopConfig, train
from cs_recon.training_data import SCHEMES, PairConfig, ScanPairs
from cs_recon.training_log import TrainingLog, draw_curve
from cs_recon.unrolled import UnrolledConfig
from simulate import InputError, schemes

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TINY = UnrolledTraining(
    network=UnrolledConfig(steps=1, widths=(4, 4), levels=1, fast_steps=1),
    data=PairConfig(size=32, real_share=0.0),
    loop=LoopConfig(steps=6, batch_size=2, warmup_steps=2, save_every=2),
)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    _, whole = train_recon(TINY, tmp_path / "whole", device=CPU, workers=0)

    class KilledError(Exception):
        pass

    def kill_after(n, save=save_checkpoint, calls=[]):  # noqa: B006
        def saving(*arguments):
            save(*arguments)
            calls.append(1)
            if len(calls) == n:
                raise KilledError

        return saving

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cs_recon.training.save_checkpoint", kill_after(2))
        with pytest.raises(KilledError):
            train_recon(TINY, tmp_path / "killed", device=CPU, workers=0)
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] == 4
    _, resumed = train_recon(TINY, tmp_path / "killed", device=CPU, workers=0)
    assert same(whole, resumed)
    rows = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4", "6"]


# Trains the same run in a process of its own, for a signal that no code can catch.
RUN = """
import sys
from cs_recon.training import LoopConfig, train
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 400), nn.Tanh(), nn.Linear(400, 4))
config = LoopConfig(steps=600, batch_size=1, save_every=10)

def batches(start):
    for step in range(start, config.steps):
        yield torch.randn(64, 4, generator=torch.Generator().manual_seed(step))

losses = lambda x: {"fit": (model(x) - x.roll(1, 1) ** 2).square().mean()}
train(model, losses, batches, config, sys.argv[1], device=torch.device("cpu"))
"""


def test_a_run_killed_at_any_moment_ends_bit_identically(tmp_path):
    """SIGKILL, wherever it strikes (in a step, in a write): the end is that of an undisturbed run."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path / name)], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL
        )

    process, log = start("killed"), tmp_path / "killed" / "log.csv"
    while process.poll() is None and not (log.exists() and "\n50," in log.read_text()):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9, "the run was over before it could be killed"
    whole = start("whole")
    assert start("killed").wait() == whole.wait() == 0
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("killed", "whole")]
    killed, undisturbed = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("killed", "whole"))
    assert logs[0] == logs[1]
    assert killed["step"] == undisturbed["step"] == 600
    assert same(killed["model"], undisturbed["model"])
    assert same(killed["averaged"], undisturbed["averaged"])
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert {"checkpoint.pt", "log.csv", "log.png"} <= left


def test_rows_of_a_damaged_log_and_rows_after_the_checkpoint_are_dropped(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("step,learning_rate,fit\n2,0.1,3.00000\n4,0.1,2.00000\n6,0.1,1.00000\n1")
    log = TrainingLog(file, 4)
    log.add({"fit": torch.tensor(1.5)})
    log.add({"fit": torch.tensor(2.5)})
    assert log.write(6, 0.1, {"validation": 0.25}) == "fit 2.00000 validation 0.25000"
    assert file.read_text().split() == [
        "step,learning_rate,fit,validation",
        "2,0.1,3.00000,",
        "4,0.1,2.00000,",
        "6,0.1,2.00000,0.25000",
    ]


def test_a_foreign_log_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("time,value\n1,2\n")
    with pytest.raises(InputError, match="no log of a training run"):
        TrainingLog(tmp_path / "log.csv", 3)


def toy(folder, *, steps=6, losses=None, check=None):
    """Train a tiny model; returns it, and its averaged weights."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    config = LoopConfig(steps=steps, batch_size=1, save_every=2)
    default = lambda step: {"fit": (model(torch.ones(2)) - step).square().mean()}  # noqa: E731
    run = losses(model) if losses else default
    return model, train(model, run, lambda start: range(start, steps), config, folder, device=CPU, check=check)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_says_so_and_keeps_the_last_good_checkpoint(tmp_path, value):
    def losses(model):
        return lambda step: {"fit": model(torch.ones(2)).square().mean() + (value if step == 5 else 0)}

    with pytest.raises(
        InputError, match=f"the loss is {value} at step 5; the last good checkpoint, of step 4"
    ) as caught:
        toy(tmp_path, losses=losses)
    assert "\n" not in str(caught.value)
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept["step"] == 4
    assert all(bool(tensor.isfinite().all()) for tensor in kept["model"].values())
    with pytest.raises(InputError, match="of step 4, stays"):
        toy(tmp_path, losses=losses)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    def losses(model):
        # The root's slope at zero is infinite; the loss itself is fine.
        return lambda step: {"fit": (model.weight * (0 if step == 3 else 1)).square().sum().sqrt()}

    with pytest.raises(InputError, match="the gradient's norm is nan at step 3; the last good checkpoint, of step 2"):
        toy(tmp_path, losses=losses)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file\ndata/0: many\nlines"),
    ],
)
def test_a_disk_that_fills_up_during_training_is_one_line(tmp_path, monkeypatch, error):
    toy(tmp_path, steps=4)

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(InputError, match="the last good checkpoint, of step 4, stays: make room") as caught:
            toy(tmp_path, steps=6)
    assert "\n" not in str(caught.value)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 4
    assert not list(tmp_path.glob(".*part*"))
    toy(tmp_path, steps=6)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 6


def test_checks_are_logged_and_batches_that_end_end_the_run(tmp_path):
    seen = []

    def check(step, averaged):
        seen.append((step, averaged["weight"].clone()))
        return {"validation": step / 8}

    _, averaged = toy(tmp_path, check=check)
    assert [step for step, _ in seen] == [2, 4, 6]
    assert torch.equal(seen[-1][1], averaged["weight"])
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == "step,learning_rate,fit,validation"
    assert [row.split(",")[-1] for row in rows[1:]] == ["0.25000", "0.50000", "0.75000"]
    model = torch.nn.Linear(2, 2)
    loop = LoopConfig(steps=10, batch_size=1, save_every=2)
    train(
        model,
        lambda x: {"fit": model(torch.ones(2)).sum() * x},
        lambda start: [1, 2, 3],
        loop,
        tmp_path / "b",
        device=CPU,
    )
    assert load_checkpoint(tmp_path / "b" / "checkpoint.pt")["step"] == 2


def test_the_curve_shows_every_column_over_the_steps(tmp_path, monkeypatch):
    toy(tmp_path, check=lambda step, averaged: {"validation": 1 / step})
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: (drawn.append(figure), path.write_bytes(b"png")))
    draw_curve(tmp_path / "log.csv", tmp_path / "again.png")
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["fit", "validation", "learning rate"]
    steps, values = drawn[0].axes[1].lines[0].get_data()
    np.testing.assert_allclose(steps, [2, 4, 6])
    np.testing.assert_allclose(values, [1 / 2, 1 / 4, 1 / 6], atol=1e-5)
    with Image.open(tmp_path / "log.png") as picture:
        assert picture.size[0] == 640


def test_another_seed_gives_other_weights(tmp_path):
    _, first = train_recon(TINY, tmp_path / "a", device=CPU, workers=0)
    other = dataclasses.replace(TINY, loop=dataclasses.replace(TINY.loop, seed=2))
    _, second = train_recon(other, tmp_path / "b", device=CPU, workers=0)
    assert not same(first, second)


def test_training_lowers_the_loss(tmp_path):
    config = dataclasses.replace(
        TINY, loop=LoopConfig(steps=60, batch_size=4, warmup_steps=5, learning_rate=5e-3, save_every=15)
    )
    train_recon(config, tmp_path, device=CPU, workers=0)
    losses = [float(row.split(",")[2]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.97 * losses[0]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train_recon(TINY, tmp_path, device=CPU, workers=0)
    wider = dataclasses.replace(TINY, network=UnrolledConfig(steps=1, widths=(8, 4), levels=1, fast_steps=1))
    with pytest.raises(InputError, match="another network"):
        train_recon(wider, tmp_path, device=CPU, workers=0)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1})

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1})
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_checkpoint(file)
    torch.save({"version": 0}, file)
    with pytest.raises(InputError, match="version 0"):
        load_checkpoint(file)
    torch.save({"version": 1, "code": Image.Image}, file)
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_checkpoint(file)


def test_weights_round_trip_and_every_kind_of_damage(tmp_path):
    file = tmp_path / "weights.safetensors"
    state = {"a": torch.randn(3, 4), "count": torch.tensor(7)}
    digest = save_weights(file, state, "net", {"steps": 2})
    loaded = load_weights(file, "net")
    assert (loaded.sha256, loaded.config) == (digest, {"steps": 2})
    torch.testing.assert_close(loaded.tensors["a"].float(), state["a"], atol=2e-3, rtol=1e-3)
    assert loaded.tensors["count"] == 7
    with pytest.raises(InputError, match="expected other"):
        load_weights(file, "other")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="has hash"):
        load_weights(file, "net")
    for damaged in (whole[:-3], whole[:5], b"", b"not weights at all"):
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            load_weights(file, "net")


def test_the_loss_of_sigma_is_least_where_nine_of_ten_errors_lie_within():
    """Errors of two kinds, one of them with long tails, each with a sigma of its own."""
    draw = torch.Generator().manual_seed(0)
    normal, laplace = torch.randn(20_000, generator=draw), torch.randn(20_000, generator=draw)
    errors = torch.stack([normal, 0.02 * laplace * laplace.abs() ** 2])
    log_sigma = torch.zeros(2, 1, requires_grad=True)
    optimiser = torch.optim.Adam([log_sigma], lr=0.05)
    for step in range(400):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        optimiser.zero_grad()
        sigma_loss(errors, log_sigma.expand(2, 20_000)).backward()
        optimiser.step()
    within = (errors.abs() <= Z90 * log_sigma.detach().exp()).float().mean(1)
    torch.testing.assert_close(within, torch.full((2,), 0.9), atol=0.01, rtol=0)


def test_items_depend_on_seed_and_index_alone():
    config = PairConfig(size=32, real_share=0.0)
    first, again, other = (ScanPairs(config, seed, 10)[3] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.scan.values, again.scan.values)
    assert not np.array_equal(first.clean, other.clean)


def test_sigma_calibration_is_the_factor_that_covers(tmp_path):
    network, _ = train_recon(TINY, tmp_path, device=CPU, workers=0)
    network.eval()
    multiple = network.config.multiple
    known = calibrate_sigma(network, lambda ratio: validation_pairs(TINY, ratio, 3), multiple=multiple)
    with torch.no_grad():
        network.sigma_head.bias += float(np.log(2.0))
    again = calibrate_sigma(network, lambda ratio: validation_pairs(TINY, ratio, 3), multiple=multiple)
    for case in CASES:
        assert getattr(again, case) == pytest.approx([factor / 2 for factor in getattr(known, case)], rel=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loop]\nstps = 3", "unknown key 'stps' \\(did you mean 'steps'"),
        ("[lop]\nsteps = 3", "did you mean 'loop'"),
        ("[loop]\nsteps = 'many'", "expected int"),
        ("[loop]\nsteps = 0", "at least 1"),
        ("loop = 3", "expected a table"),
        ("[loop", "not valid TOML"),
        ("[network]\nwidths = 3", "expected a list"),
        ("[network]\nwidths = ['a']", "widths\\[0\\] is 'a'; expected int"),
        ("[network]\nwidths = [4.5]", "expected int"),
        ("[network]\nlevels = 40", "levels is 40"),
        ("[network]\nfinest = -1", "finest is -1"),
        ("[data]\nreal_share = 2.0", "from 0 to 1"),
        ("[data]\nreal_share = nan", "real_share is nan"),
        ("[data]\nreal_share = 0.7\ncrystal_share = 0.7", "at most 1"),
        ("[data]\nmin_counts = 0.0", "min_counts is 0"),
        ("[data]\nmin_counts = 9.0\nmax_counts = 8.0", "min_counts is 9.0 and max_counts 8.0"),
        ("[data]\nmax_counts = inf", "max_counts is inf"),
        ("[loop]\nseed = -1", "seed is -1"),
    ],
)
def test_bad_configurations_are_one_line(tmp_path, text, message):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(file, UnrolledTraining)
    assert "\n" not in str(caught.value)


def test_a_good_configuration(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[loop]\nsteps = 3\nlearning_rate = 1\n[network]\nwidths = [4, 8]")
    config = load_config(file, UnrolledTraining)
    assert (config.loop.steps, config.loop.learning_rate, config.network.widths) == (3, 1.0, (4, 8))
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path / "missing.toml", UnrolledTraining)


def test_every_scan_scheme_has_its_share_of_the_training_pairs():
    assert set(SCHEMES) == set(schemes.names)
    assert sum(SCHEMES.values()) == pytest.approx(1)


def test_training_in_this_process_leaves_its_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        config = PairConfig(size=16, real_share=0, crystal_share=0)
        item = _Collate(16, smooth=False)([ScanPairs(config, 0, 1)[0]])
        assert item.clean.shape == (1, 1, 16, 16)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
