"""The report of a study: one HTML file that needs nothing else, its figures as PNG and SVG, its tables as CSV."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from cs_recon.config import from_table
from segmentation.study.cases import expand
from segmentation.study.config import StudyConfig
from segmentation.study.curves import equal_cost, falls, findings
from segmentation.study.evaluate import run_example
from segmentation.study.report_figures import (
    draw_curves,
    draw_equal_cost,
    draw_examples,
    draw_smallest,
    panel_schemes,
    way_name,
)
from segmentation.study.smallest import smallest_found
from segmentation.study.store import read_rows
from segmentation.study.sweep import PROVENANCE
from simulate.atomic import atomic_path, make_folder
from simulate.errors import InputError
from simulate.figures import canvas

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from segmentation.study.cases import Case

T = TypeVar("T")
ACCURACY, LABEL = "average_precision@0.5", "AP at IoU 0.5"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d8dee4; padding-bottom: .2rem; }
nav a { margin-right: 1rem; } a { color: #0059a8; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #57606a; font-size: .9rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e4e8ec; }
th { position: sticky; top: 0; background: #f6f8fa; } td:first-child, th:first-child { text-align: left; }
.scroll { max-height: 26rem; overflow: auto; border: 1px solid #e4e8ec; }
pre { background: #f6f8fa; padding: .8rem; overflow: auto; font-size: .8rem; max-height: 24rem; }
"""


def write_report(
    folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, examples: bool = True
) -> Path:
    """Write ``report.html`` with curves, equal-cost comparison, smallest particles, examples, tables and provenance.

    Parameters
    ----------
    folder : path
        Of a study, finished or not.
    out : path, optional
        Where to write; into the study's folder by default. Figures go to ``figures/`` beside the report, tables to
        ``tables/``.
    examples : bool
        Whether to scan one frame again for pictures; that needs the methods and weights of the study.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        If there are no rows of a study in the folder, or none of the one that its provenance tells of.

    Examples
    --------
    >>> write_report("cs-stem-study")  # doctest: +SKIP
    """
    source = Path(folder)
    every = read_rows(source)
    record = _record(source / PROVENANCE)
    # The folder may hold rows of other studies, and of the same one by other weights.
    keys = record.get("keys")
    rows: Any = every[every["key"].isin(keys)].reset_index(drop=True) if isinstance(keys, list) else every
    if rows.empty:
        raise InputError(f"none of the {len(every)} rows in {source} is of the study of its {PROVENANCE}; run it again")
    target = make_folder(out or source)
    page = _Page(make_folder(target / "figures"), make_folder(target / "tables"))
    good: Any = rows[rows["error"] == ""]
    page.say(
        f"{len(rows)} cases on {rows['frame'].nunique()} frames, {len(rows) - len(good)} of them failed. Means are "
        "over frames, bands are 95 % bootstraps over frames."
    )
    if len(rows) < len(every):
        page.say(f"{len(every) - len(rows)} rows in the folder are of other studies or other weights: left out.")
    _accuracy(page, good)
    _costs(page, rows)
    _small(page, good)
    if examples:
        _examples(page, record, good)
    _tables(page, rows)
    _provenance(page, record)
    report = target / "report.html"
    with atomic_path(report) as temporary:
        temporary.write_text(page.html("Sampling-ratio study"), encoding="utf-8")
    return report


class _Page:
    """Sections of HTML, and the figures and tables among them."""

    def __init__(self, figures: Path, tables: Path) -> None:
        self.figures, self.tables, self.parts, self.sections = figures, tables, [], []

    def section(self, title: str) -> None:
        name = title.lower().replace(" ", "-")
        self.sections.append((name, title))
        self.parts.append(f'<h2 id="{name}">{html.escape(title)}</h2>')

    def say(self, text: str) -> None:
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def list(self, texts: Sequence[str]) -> None:
        self.parts.append("<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>")

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as CSV, with all digits, and put it into the page."""
        with atomic_path(self.tables / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
        written = table.to_html(index=False, float_format=lambda value: f"{value:.4g}", border=0, na_rep="")
        self.parts.append(f'<div class="scroll">{written}</div>')

    def figure(self, name: str, size: tuple[float, float], caption: str, draw: Callable[[Figure], T]) -> T:
        """Draw a figure into PNG and SVG, put the first into the page, and return what `draw` does."""
        png = self.figures / f"{name}.png"
        with canvas(size, png) as figure, atomic_path(png.with_suffix(".svg")) as vector:
            drawn = draw(figure)
            figure.savefig(vector)
        data = base64.b64encode(png.read_bytes()).decode()
        text = html.escape(caption)
        self.parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'
        )
        return drawn

    def html(self, title: str) -> str:
        links = "".join(f'<a href="#{name}">{html.escape(text)}</a>' for name, text in self.sections)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
            f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1><nav>{links}</nav>"
            f"{''.join(self.parts)}</body></html>\n"
        )


def _accuracy(page: _Page, good: Any) -> None:
    page.section("Accuracy against sampling ratio")
    plain = good[good["pairing"] == ""]
    if plain.empty:
        page.say("No case has succeeded yet: there is nothing to draw.")
        return
    n_schemes, n_doses = len(panel_schemes(plain)), plain["peak_counts"].nunique()
    size = (2.2 + 2.8 * n_doses, 1.6 + 2.2 * n_schemes)
    caption = f"{LABEL} against sampling ratio."
    table: Any = page.figure("accuracy", size, caption, lambda f: draw_curves(f, plain, ACCURACY, LABEL))
    page.table("accuracy", table)
    imaged: Any = plain[plain["psnr_db"].notna()]
    if len(imaged):
        # Whoever looks at a reconstruction, it is the same one: each is drawn once, by its own name.
        way = ["segmenter", "mapping"]
        imaged = imaged[(imaged[way] == imaged.groupby("recon")[way].transform("first")).all(axis=1)].assign(model="")
        caption = "PSNR of the reconstruction against sampling ratio."
        page.figure("psnr", size, caption, lambda f: draw_curves(f, imaged, "psnr_db", "PSNR (dB)"))
    told = falls(_to_the_full_scan(table), "ratio", ["scheme", "peak_counts", "recon", "model"])
    if not told:
        page.say("Every curve rises within its bands.")
        return
    page.say(
        "Curves that fall by more than their bands allow, which more frames may or may not confirm: a network that has "
        "seen few frames of one kind, or grain that a dense scan shows and a sparse one smooths away, is a usual cause."
    )
    page.list(told)


def _to_the_full_scan(table: Any) -> Any:
    """Return the curves of sparse scans, each of which ends at the full scan, the same for all schemes."""
    sparse, full = table[table["ratio"] < 1], table[table["ratio"] == 1]
    ends = [full.assign(scheme=scheme) for scheme in sparse["scheme"].unique()]
    return pd.concat([sparse, *ends], ignore_index=True)


def _costs(page: _Page, rows: pd.DataFrame) -> None:
    page.section("Equal cost")
    compared: Any = equal_cost(rows, ACCURACY)
    if compared.empty:
        page.say("The study has no fast full scans beside its sparse ones (equal_cost), or none has run yet.")
        return
    page.say(
        "Each sparse scan beside a full scan of the same total dose or frame time, denoised by BM3D or by the network "
        "that reconstructs the sparse one, whichever is better in the mean. A difference counts where "
        "the 95 % interval of the mean difference, frame by frame, leaves 0 out. A scan that failed, or that cannot be "
        "made so cheaply, counts as 0."
    )
    page.list(findings(compared))
    segmenter, recon = compared["segmenter"].iloc[0], compared["recon"].iloc[0]
    chosen = compared[(compared["segmenter"] == segmenter) & (compared["recon"] == recon)]
    n_schemes, n_pairings = chosen["paired_scheme"].nunique(), chosen["pairing"].nunique()
    page.figure(
        "equal-cost", (2.2 + 2.8 * n_schemes, 1.9 + 2.4 * n_pairings),
        f"{LABEL} of sparse scans ({recon}) and full scans of the same cost, {segmenter}; the band is that of their "
        "difference, about the full scan's line: where the sparse one lies outside, they differ.",
        lambda f: draw_equal_cost(f, chosen, LABEL),
    )  # fmt: skip
    page.table("equal-cost", compared)


def _small(page: _Page, good: Any) -> None:
    page.section("Smallest particle")
    plain = good[(good["pairing"] == "") & (good["n_true"] > 0)]
    if plain.empty:
        page.say("No case with particles has succeeded yet.")
        return
    table: Any = smallest_found(plain, ["scheme", "ratio", "peak_counts", "recon", "model"])
    first = table[(table["model"] == table["model"].iloc[0]) & (table["recon"] == table["recon"].iloc[0])]
    name = way_name(first["recon"].iloc[0], first["model"].iloc[0])
    size = (2.2 + 2.8 * len(panel_schemes(first)), 3.6)
    caption = f"Diameter from which on half of the particles are found ({name}); open: beyond the sizes there were."
    page.figure("smallest", size, caption, lambda f: draw_smallest(f, first))
    page.table("smallest", table)


def _examples(page: _Page, record: dict[str, Any], good: Any) -> None:
    page.section("Examples")
    cases = _example_cases(record, good)
    if not cases:
        page.say("No case of this study is at hand to be shown.")
        return
    shown = [(_scan_name(case), run_example(case)) for case in cases]
    way = way_name("" if cases[0].recon is None else cases[0].recon.label, cases[0].model)
    page.figure("examples", (9.6, 2.6 * len(shown)), f"One frame by {way}.", lambda f: draw_examples(f, shown))


def _example_cases(record: dict[str, Any], good: Any) -> list[Case]:
    """Return the cases of one frame and way at the middle dose and up to three ratios."""
    if not isinstance(record.get("study"), dict):
        return []
    try:
        cases = expand(from_table(record["study"], StudyConfig, PROVENANCE))
    except InputError:
        return []  # its folder of frames, or its weights, are not here
    done = [case for case in cases if case.key in set(good["key"]) and not case.scan.pairing and case.recon is not None]
    if not done:
        return []
    first = done[-1]
    doses = sorted({case.scan.peak_counts for case in done})
    way = (first.frame, first.recon, first.segment, first.mapping)
    alike = [case for case in done if (case.frame, case.recon, case.segment, case.mapping) == way]
    alike = [case for case in alike if case.scan.peak_counts == doses[len(doses) // 2]]
    by_ratio = {case.scan.ratio: case for case in alike}
    ratios = sorted(by_ratio)
    return [by_ratio[ratios[index]] for index in sorted({0, len(ratios) // 2, len(ratios) - 1})] if ratios else []


def _tables(page: _Page, rows: pd.DataFrame) -> None:
    page.section("Table")
    untyped: Any = rows
    good = untyped[untyped["error"] == ""]
    columns = [
        ACCURACY, "f1@0.5", "panoptic_quality@0.5", "count_error", "diameter_bias", "size_wasserstein_relative",
        "psnr_db", "ssim", "relative_dose", "dose_e_per_A2", "frame_time_ms", "seconds_reconstruct", "seconds_segment",
    ]  # fmt: skip
    by = ["pairing", "paired_scheme", "paired_ratio", "peak_counts", "recon", "model"]
    if len(good):
        page.table("means", good.groupby(by, sort=False)[columns].mean().reset_index())
    failed = untyped[untyped["error"] != ""]
    if len(failed):
        page.section("Failed cases")
        page.table("failed", failed.groupby("error", sort=False).size().rename("cases").reset_index())


def _provenance(page: _Page, record: dict[str, Any]) -> None:
    page.section("Provenance")
    shown = {name: value for name, value in record.items() if name != "keys"}
    page.parts.append(f"<pre>{html.escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>")


def _record(file: Path) -> dict[str, Any]:
    """Return a study's provenance; empty if it is not there or cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _scan_name(case: Case) -> str:
    plan = case.scan
    return f"{plan.scheme}, {100 * plan.ratio:.3g} %, {plan.peak_counts:g} counts"
