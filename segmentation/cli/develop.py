"""The commands that make the networks: train and adapt."""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cs_recon.device import pick_device
from segmentation.cli.inputs import frames_of
from segmentation.cli.options import noise_options
from segmentation.cli.words import count, say
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Iterable


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    train = commands.add_parser("train", help="train a network; a killed run goes on where it stopped")
    kinds = train.add_subparsers(title="networks", metavar="NETWORK", required=True)
    for name, func, text in (
        ("recon", _train_recon, "a reconstruction network"),
        ("segment", _train_segment, "a segmentation network"),
    ):
        parser = kinds.add_parser(name, help=text)
        parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG.toml", help="default: the shipped preset")
        parser.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="checkpoint, log and weights go here"
        )
        parser.add_argument(
            "--real-folder", action="append", metavar="DIR", help="labelled real images; without them, simulation alone"
        )
        parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps, in place of the configuration's")
        parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
        parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")
        if name == "recon":
            parser.add_argument(
                "--method", default="unrolled-ista", metavar="NAME", help="unrolled-ista (default) or inpainting"
            )
        else:
            parser.add_argument(
                "--method", default="mask-rcnn", metavar="NAME", help="mask-rcnn (default), mask-rpn, mask-fpn or u-net"
            )
            parser.add_argument(
                "--mapping",
                metavar="NAME",
                help="what it sees: reconstruct, features or sparse (default: the configuration's)",
            )
            parser.add_argument(
                "--train-last", type=int, metavar="N", help="train only the last N stages, the others stay frozen"
            )
            parser.add_argument(
                "--unfreeze-every", type=int, metavar="N", help="steps after which one more stage is trained"
            )
            parser.add_argument(
                "--pool", default="", metavar="DIR", help="where to keep the images, to share them between networks"
            )
        parser.add_argument(
            "--init",
            default="",
            metavar="FILE",
            help="weights to start from, as far as they fit" + ("" if name == "recon" else "; 'coco' for COCO's"),
        )
        parser.set_defaults(func=func)

    parser = commands.add_parser(
        "adapt", help="fine-tune a reconstruction network on your own sparse scans, without ground truth"
    )
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="sparse scans, as for 'reconstruct'")
    parser.add_argument("--mask", type=Path, metavar="MASK", help="image or array, non-zero where scanned")
    parser.add_argument("--coordinates", type=Path, metavar="CSV", help="scan coordinates of a list of values (.mrc)")
    noise_options(parser)
    parser.add_argument("--pixel-size-nm", type=float, metavar="X", help="pixel size in nm, in place of the file's own")
    parser.add_argument("--signal", metavar="NAME", help="which image of a file with several: its title or number")
    parser.add_argument("--grey", action="store_true", help="convert a colour image by luminance")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint, log and weights go here")
    parser.add_argument(
        "--method", default="unrolled-ista", metavar="NAME", help="unrolled-ista (default) or inpainting"
    )
    parser.add_argument("--init", default="", metavar="FILE", help="weights to start from (default: the shipped ones)")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="optimiser steps at most (default 400)")
    parser.add_argument(
        "--learning-rate", type=float, default=3e-4, metavar="X", help="peak learning rate (default 3e-4)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="seed of crops and held-out samples (default 1)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")
    parser.set_defaults(func=_adapt)


def _train_recon(options: argparse.Namespace) -> None:
    from cs_recon import distributed
    from cs_recon.config import load_config
    from cs_recon.release import release
    from cs_recon.train_recon import TRAININGS, train_recon

    _check_network(options.method, TRAININGS)
    with distributed.process_group(_setup(options)) as device:
        with as_file(files("cs_recon") / "configs" / f"{options.method}.toml") as preset:
            config = load_config(options.config or preset, TRAININGS[options.method])
        config = _with_options(config, options)
        network, averaged = train_recon(config, options.out, device=device, init=options.init)
        if distributed.rank() == 0:
            file = options.out / f"{options.method}.safetensors"
            digest = release(network, averaged, config, file, device=device)
            say(f"Weights: {file} (sha256 of the tensors {digest[:12]}...)")


def _train_segment(options: argparse.Namespace) -> None:
    from cs_recon import distributed
    from cs_recon.config import load_config
    from segmentation.operating_point import choose_operating_point
    from segmentation.shipped import shipped_name
    from segmentation.train_segment import TRAININGS, save_segmenter, train_segment

    _check_network(options.method, TRAININGS)
    with distributed.process_group(_setup(options)) as device:
        with as_file(files("segmentation") / "configs" / f"{options.method}.toml") as preset:
            config = load_config(options.config or preset, TRAININGS[options.method])
        config = _with_options(config, options)
        if options.mapping is not None:
            config = replace(config, network=replace(config.network, mapping=options.mapping))
        freezing = {name: getattr(options, name) for name in ("train_last", "unfreeze_every")}
        freezing = {name: value for name, value in freezing.items() if value is not None}
        config = replace(config, freezing=replace(config.freezing, **freezing))
        model, averaged = train_segment(config, options.out, device=device, init=options.init, pool=options.pool)
        if distributed.rank() == 0:
            model.load_state_dict(averaged)
            point, value = choose_operating_point(model, config, device=device)
            file = options.out / f"{shipped_name(options.method, config.network.mapping)}.safetensors"
            digest = save_segmenter(file, averaged, config, point)
            say(f"Score from which on a detection counts: {point:g} (F1 {value:.3f} on validation frames)")
            say(f"Weights: {file} (sha256 of the tensors {digest[:12]}...)")


def _adapt(options: argparse.Namespace) -> None:
    from cs_recon.adapt import AdaptConfig, adapt
    from cs_recon.learned import NETWORKS

    _check_network(options.method, NETWORKS)
    config = AdaptConfig(steps=options.steps, learning_rate=options.learning_rate, seed=options.seed)
    _setup(options)
    scans = [scan for source in options.scans for scan in frames_of(source, options)]
    adapted = adapt(
        scans, options.out, method=options.method, weights=options.init, config=config, device=options.device
    )
    if adapted.best_step == 0:
        say(f"After {adapted.steps} steps no surely better weights were found: they stay as they were")
    else:
        say(
            f"Held-out samples of {count(len(scans), 'scan')}: weighted error {adapted.before:.3f} before, "
            f"{adapted.after:.3f} after {count(adapted.best_step, 'step')}; sigma x {adapted.sigma_factor:.3f}"
        )
    say(f"Weights: {adapted.weights} (sha256 of the tensors {adapted.sha256[:12]}...)")
    say(f"Use them: cs-stem reconstruct SCAN --recon {options.method} --recon-weights {adapted.weights}")


def _check_network(method: str, known: Iterable[str]) -> None:
    """Refuse an unknown network before any file is read."""
    if method not in known:
        raise InputError(f"unknown network {method!r}{nearest_name(method, known)}; expected {' or '.join(known)}")


def _setup(options: argparse.Namespace) -> torch.device:
    device = pick_device(options.device)
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; expected 1 or more")
        torch.set_num_threads(options.threads)
    return device


def _with_options(config: Any, options: argparse.Namespace) -> Any:
    """Return a training configuration with the command line's folder and steps."""
    folders = options.real_folder or []
    if folders and hasattr(config.data, "real_folders"):
        config = replace(config, data=replace(config.data, real_folders=tuple(folders)))
    elif len(folders) > 1:
        raise InputError(f"--real-folder is given {len(folders)} times; expected one folder for this network")
    elif folders:
        config = replace(config, data=replace(config.data, real_folder=folders[0]))
    return config if options.steps is None else replace(config, loop=replace(config.loop, steps=options.steps))
