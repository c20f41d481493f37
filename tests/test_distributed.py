"""Two processes started by torchrun train as one would, and one of them writes."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cs_recon import distributed
from cs_recon.checkpoint import load_checkpoint
from cs_recon.training import LoopConfig, train
from simulate import InputError

ROOT = Path(__file__).parents[1]
LOOP = LoopConfig(steps=6, batch_size=4, warmup_steps=2, save_every=2, learning_rate=1e-2)

# The worker: a small network on seeded items, its share of them. Run alone, it is the reference.
WORKER = """
import sys, torch
from torch import nn
from cs_recon import distributed
from cs_recon.training import LoopConfig, train
import cs_recon.device

cs_recon.device.has_bfloat16 = lambda device: False  # in bfloat16, the order of sums shows
folder, steps, poison = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# The decay is so late that the rate does not depend on the length: runs of other lengths agree.
config = LoopConfig(steps=steps, batch_size=4, warmup_steps=2, save_every=2, learning_rate=1e-2, decay_share=0.01)
torch.manual_seed(3)
model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
model[1].eval()
model.train = lambda mode=True: model  # frozen statistics: those of a share are not those of the whole
model.unused = nn.Parameter(torch.ones(2))

def item(index):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(1, 8, 8, generator=generator)

def batches(start):
    order = distributed.share(config.batch_size, start, config.steps)
    size = distributed.share_size(config.batch_size)
    for first in range(0, len(order), size):
        part = order[first : first + size]
        with open(f"{folder}.rank{distributed.rank()}", "a") as file:
            file.write("".join(f"{index} " for index in part))
        yield torch.stack([item(index) for index in part]) * (float("nan") if poison in part else 1)

def losses(x):
    return {"a": (model(x) - x.flip(-1)).square().mean(), "b": 0.1 * model(x).abs().mean()}

train(model, losses, batches, config, folder, device=torch.device("cpu"))
"""


def launch(folder, *, steps=6, poison=-1, check=True):
    """Run the worker in two processes."""
    script = folder.with_suffix(".py")
    script.write_text(WORKER)
    # The workers talk on this machine, wherever its name leads.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [str(script), str(folder), str(steps), str(poison)]
    run = subprocess.run(
        [*torchrun, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300
    )
    if check:
        assert run.returncode == 0, run.stderr[-2000:]
    return run


def run_here(monkeypatch, folder, *, steps):
    """Run the worker in this process, as the only one."""
    monkeypatch.setattr("cs_recon.device.has_bfloat16", None)  # put back afterwards what the worker sets
    monkeypatch.setattr(sys, "argv", ["worker", str(folder), str(steps), "-1"])
    exec(compile(WORKER, "worker", "exec"), {})


def items_of(folder, rank):
    return [int(text) for text in folder.with_suffix(f".rank{rank}").read_text().split()]


def test_two_processes_go_on_as_one_would(tmp_path, monkeypatch):
    """The reference runs here, to the end; the two processes take a run over at step 2."""
    run_here(monkeypatch, tmp_path / "one", steps=6)
    run_here(monkeypatch, tmp_path / "two", steps=2)
    launch(tmp_path / "two", steps=6)
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for part in ("model", "averaged"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-5, atol=1e-6, msg=f"{part} {name}")
    assert torch.equal(one["model"]["unused"], torch.ones(2)), "what no process uses decays in none"
    assert two["step"] == 6
    rows = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("one", "two")]
    assert rows[0][0] == rows[1][0] == "step,learning_rate,a,b"
    for first, second in zip(rows[0][1:], rows[1][1:], strict=True):
        assert [float(x) for x in first.split(",")] == pytest.approx([float(x) for x in second.split(",")], abs=2e-5)
    # Each drew its half of each step's items, and together all that one process drew.
    alone = items_of(tmp_path / "one", 0)
    assert alone == list(range(24))
    shares = [items_of(tmp_path / "two", rank) for rank in (0, 1)]
    assert shares[0][:8] == alone[:8]
    assert [shares[0][8:], shares[1]] == [[4 * s + i for s in range(2, 6) for i in part] for part in ((0, 1), (2, 3))]


def test_a_nan_in_one_process_stops_all_and_keeps_the_checkpoint(tmp_path):
    run = launch(tmp_path / "run", poison=4 * 4 + 3, check=False)
    assert run.returncode != 0
    assert run.stderr.count("the loss is nan at step 4") >= 2
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 4


def test_one_process_has_everything_and_changes_nothing():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.share(3, 2, 4) == list(range(6, 12))
    x = torch.tensor(2.0, requires_grad=True)
    assert distributed.mean_over_processes(x) is x
    assert distributed.from_first("value", torch.device("cpu")) == "value"
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.ones(2, 2)
    distributed.average_gradients(layer.parameters())
    assert layer.bias.grad is None
    with distributed.process_group(torch.device("cpu")) as device:
        assert device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WORLD_SIZE", "many", "WORLD_SIZE is 'many'"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0'"),
        ("RANK", "-1", "RANK is '-1'"),
        ("RANK", "5", "RANK is 5"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_line(monkeypatch, tmp_path, name, value, message):
    for variable, good in (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(variable, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message) as caught:
        train(nn.Linear(1, 1), lambda x: {}, lambda start: [], LOOP, tmp_path, device=torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_a_network_on_another_device_than_its_process_is_refused(monkeypatch, tmp_path):
    second = torch.device("cuda", 1)
    monkeypatch.setattr(distributed, "process_group", lambda device: contextlib.nullcontext(second))
    with pytest.raises(InputError, match="the network is on cpu and this process trains on cuda:1") as caught:
        train(nn.Linear(1, 1), lambda x: {}, lambda start: [], LOOP, tmp_path / "run", device=torch.device("cuda"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_torchrun_is_missed_and_uneven_shares_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="MASTER_ADDR"):
        train(nn.Linear(1, 1), lambda x: {}, lambda start: [], LOOP, tmp_path, device=torch.device("cpu"))
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(InputError, match="batch_size is 4 and 3 processes"):
        distributed.share_size(dataclasses.replace(LOOP).batch_size)
