"""The command that writes the report of a study: report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentation.cli.words import say

if TYPE_CHECKING:
    import argparse


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("report", help="one HTML file of a study: curves, equal cost, examples, tables")
    parser.add_argument("study", type=Path, metavar="DIR", help="folder of a study, finished or not")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: the study's folder)")
    parser.add_argument("--no-examples", action="store_true", help="do not scan a frame again for pictures")
    parser.set_defaults(func=_report)


def _report(options: argparse.Namespace) -> None:
    from segmentation.study.report import write_report

    say(f"Report: {write_report(options.study, options.out, examples=not options.no_examples)}")
