"""The options that the commands of daily use share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def frame_options(parser: argparse.ArgumentParser) -> None:
    """Add the file to read, how to read it, and where to write."""
    parser.add_argument(
        "frame",
        type=Path,
        metavar="FRAME",
        help="TIFF, PNG, NPY, NPZ, CSV, DM3/DM4, EMD, MRC, ..., or a folder of them",
    )
    parser.add_argument("--pixel-size-nm", type=float, metavar="X", help="pixel size in nm, in place of the file's own")
    parser.add_argument("--signal", metavar="NAME", help="which image of a file with several: its title or number")
    parser.add_argument("--grey", action="store_true", help="convert a colour image by luminance")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("cs-stem-output"),
        metavar="DIR",
        help="where to write (default cs-stem-output)",
    )
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")


def noise_options(parser: argparse.ArgumentParser) -> None:
    """Add what is known of the noise of a file's values; see `simulate.Measurement`."""
    parser.add_argument(
        "--counts-per-unit",
        type=float,
        metavar="X",
        help="detected electrons per unit of the values: 1 for counted electrons (default: the noise is estimated)",
    )
    parser.add_argument("--black-level", type=float, metavar="X", help="value that no electron gives (default 0)")
    parser.add_argument("--read-noise", type=float, metavar="X", help="standard deviation of the detector's own noise")


def scan_options(parser: argparse.ArgumentParser) -> None:
    """Add what is known of the noise, and what makes a scan of a frame: a mask, coordinates, a ratio with new noise."""
    noise_options(parser)
    parser.add_argument("--mask", type=Path, metavar="MASK", help="image or array, non-zero where FRAME was scanned")
    parser.add_argument("--coordinates", type=Path, metavar="CSV", help="scan coordinates of a list of values (.mrc)")
    parser.add_argument("--ratio", type=float, metavar="R", help="sub-sample a full frame to this share of its pixels")
    parser.add_argument("--scheme", metavar="NAME", help="scan scheme for --ratio (default random)")
    parser.add_argument(
        "--peak-counts", type=float, metavar="N", help="add counting noise: electrons in the brightest pixel"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of scan and noise (default 0)")


def recon_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the reconstruction."""
    parser.add_argument(
        "--recon",
        default="unrolled-ista",
        metavar="METHOD",
        help="reconstruction, see 'cs-stem methods' (default unrolled-ista)",
    )
    parser.add_argument("--recon-weights", default="", metavar="FILE", help="weights of your own training")
    parser.add_argument(
        "--recon-option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method; repeatable"
    )


def segment_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the segmentation."""
    parser.add_argument(
        "--segment",
        default="mask-rcnn",
        metavar="METHOD",
        help="segmentation, see 'cs-stem methods' (default mask-rcnn)",
    )
    parser.add_argument(
        "--mapping", default="", metavar="NAME", help="what a network sees: reconstruct (default), features or sparse"
    )
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="keep surer detections only, 0 to 1 (default: the weights' own)"
    )
    parser.add_argument(
        "--min-snr", type=float, metavar="N", help="drop particles of less contrast, in standard errors (default 1)"
    )
    parser.add_argument(
        "--views", type=int, metavar="N", help="how often a network looks at the frame, mirrored: 1 to 4 (default 2)"
    )
    parser.add_argument(
        "--scale",
        type=float,
        metavar="R",
        help="share of its sides at which a network sees the frame, up to 1 (default: where it is surest)",
    )
    parser.add_argument("--segment-weights", default="", metavar="FILE", help="weights of your own training")


def analysis_option(parser: argparse.ArgumentParser) -> None:
    """Add whether sizes and arrangement are analysed."""
    parser.add_argument(
        "--analysis", action="store_true", help="write statistics and figures of sizes and arrangement too"
    )
