"""What the benchmark commands share: their options, and their tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.cli.words import say
from segmentation.output import write_csv
from simulate.atomic import atomic_path, make_folder

if TYPE_CHECKING:
    import pandas as pd


def names(text: str) -> tuple[str, ...]:
    """Return the names of an option, split at commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of an option, split at commas."""
    return tuple(float(number) for number in names(text))


def bench_options(parser: argparse.ArgumentParser, *, real: bool = True) -> None:
    """Add what every benchmark takes; the folder of real images if it looks at some."""
    if real:
        parser.add_argument("--real-folder", default="", metavar="DIR", help="labelled real images: their test split")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write rows (CSV) and table (Markdown) here")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")


def publish(options: argparse.Namespace, name: str, title: str, *, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Say a table, and write it and its rows where the options say."""
    text = markdown(table)
    say(f"\n{title}\n{text}")
    if options.out:
        make_folder(options.out)
        write_csv(options.out / f"{name}.csv", rows)
        with atomic_path(options.out / f"{name}.md") as temporary:
            temporary.write_text(f"{title}\n\n{text}\n", encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """Return a table, with its index as first column, as Markdown."""
    header = [str(table.index.name or ""), *map(str, table.columns)]
    body = [
        [str(index), *(_cell(value) for value in row)] for index, row in zip(table.index, table.values, strict=True)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *body])


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def log(text: str) -> None:
    """Say a line of progress, past any progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
