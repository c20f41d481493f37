"""What ``cs-stem run`` and ``segment`` do with frames of different places: one by one, then all together."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from segmentation.cli.inputs import results_stem
from segmentation.cli.words import count, describe, remark_on_pixels, remark_on_scales, say
from segmentation.fields import FieldOfView, join_fields, save_fields
from segmentation.output import analysis_paths
from segmentation.pipeline import file_stem, frame_digest, means
from simulate.atomic import sole_writer
from simulate.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from simulate.measurement import Measurement

_ELSEWHERE = ("func", "frame", "out")
"""Arguments that change no result: where frames come from, and where results go."""


def run_fields(
    scans: Iterable[Measurement],
    failed: dict[str, str],
    options: argparse.Namespace,
    work: Callable[[Measurement, Callable[[str], object], dict[str, object]], pd.DataFrame],
    recon_choices: dict[str, Any],
    segment_choices: dict[str, Any],
) -> None:
    """Process frames one by one, keep those that are done already, and write what they tell together.

    Parameters
    ----------
    scans : iterable of Measurement
        The frames, taken as they are needed.
    failed : dict of str to str
        What could not be read, by name, as it is found out; frames that cannot be processed are added.
    options : argparse.Namespace
        Of the command.
    work : callable
        Processes and writes a frame, tells its stages, takes further fields for its provenance; returns its table.
    recon_choices, segment_choices : dict
        Options of the methods.
    """
    told = {name: value for name, value in vars(options).items() if name not in _ELSEWHERE}
    told |= means(getattr(options, "recon", None), options.segment, recon_choices, segment_choices)
    settings = json.dumps(told, default=str, sort_keys=True)
    fields: list[FieldOfView] = []
    scales: list[object] = []
    together = results_stem(options.frame)
    stems: set[str] = set()
    with sole_writer(options.out), tqdm(unit="frame", leave=False) as bar:
        for scan in scans:
            stem = file_stem(scan.name)
            key = hashlib.sha256((settings + frame_digest(scan)).encode()).hexdigest()
            try:
                if stem in stems:
                    raise InputError("another frame's results have its name; expected names that differ")
                stems.add(stem)
                if stem == f"{together}_all":
                    raise InputError("its results would have the names of those of all frames; expected another name")
                table = _done(options, stem, key)
                if table is None:
                    table = work(scan, bar.set_description, {"fingerprint": key})
            except InputError as error:
                failed[scan.name] = str(error)
                continue
            scales.append(_record(options.out, stem).get("segmentation", {}).get("scale"))
            fields.append(FieldOfView(scan.name, scan.shape, scan.pixel_size_nm, table))
            bar.update()
            bar.write(f"{scan.name}: {describe(table)}")
    if fields:
        _say_together(fields, together, options)
        remark_on_scales(options.segment, scales, asked=options.scale is not None)
    if failed:
        name, reason = next(iter(failed.items()))
        if len(set(failed.values())) == 1 and not fields:
            raise InputError(reason)  # one frame, or what is wrong with the options
        for left_out in failed:
            say(f"{left_out}: left out, {failed[left_out]}")
        raise InputError(
            f"{count(len(failed), 'frame')} of {len(failed) + len(fields)} left out, the first {name}: {reason}"
            + ("; the others' results are written" if fields else "")
        )


def _done(options: argparse.Namespace, stem: str, key: str) -> pd.DataFrame | None:
    """Return the table of a frame that an earlier run has finished, from the same scan by the same means."""
    # Absolute: a folder "s3:scans" would be taken for an address.
    out = options.out.absolute()
    try:
        record = _record(out, stem)
        files = [out / name for name in record["files"].values()]
        # The analysis is written last: a run may have been killed before it.
        files += analysis_paths(out, stem).values() if options.analysis else []
        whole = record["fingerprint"] == key and all(file.is_file() for file in files)
        return pd.read_parquet(out / f"{stem}_particles.parquet") if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # there is none, or a damaged one: computed again


def _record(out: Path, stem: str) -> dict[str, Any]:
    """Return the provenance of a frame that is done."""
    return json.loads((out / f"{stem}_provenance.json").read_text(encoding="utf-8"))


def _say_together(fields: list[FieldOfView], stem: str, options: argparse.Namespace) -> None:
    together, paths = save_fields(fields, options.out, stem, analysis=options.analysis)
    table = join_fields(fields)
    if {"equivalent_diameter_nm", "equivalent_diameter_px"} <= set(table):
        say(f"{count(len(table), 'particle')} in all; some frames tell no pixel size, so that sizes are not one column")
    else:
        together_of = f"All {len(fields)} frames together" if len(fields) > 1 else "The frame"
        say(f"{together_of}: {describe(table)}")
        remark_on_pixels(table)
    if together is not None and together.sizes.size:
        median, low, high = together.statistics.loc["d50"].to_numpy(dtype=float)
        say(
            f"Whole particles, freed of the border's bias: median {median:.3g} {together.unit} ({low:.3g} to "
            f"{high:.3g}), {together.number_density:.3g} a {together.unit}2\nSizes: {paths['population_figure']}"
        )
    elif options.analysis and together is None:
        say("Frames of different shape or pixel size are no one population: their analyses stand apart")
    say(f"\nTable:  {paths['particles']}\nFrames: {paths['frames']}")
