"""Large frames by tiles: a network runs on overlapping windows of one normalised scan, whose results blend seamlessly.

The scan is normalised once, and first guess and noise come from the whole frame, so that windows agree in everything
but what lies beyond their edges. The outer part of each overlap, which those edges disturb, is thrown away; across the
inner part one window fades into the next. Memory beyond a few maps of the frame's size is that of one window.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch

from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cs_recon.batch import ScanBatch

WHOLE_PIXELS = 1024 * 1024
"""Frames of at most so many pixels are reconstructed at once."""


class ImageAndSigma(Protocol):
    """What a network gives: an image and its log standard deviation, (B, 1, H, W), normalised."""

    @property
    def image(self) -> Tensor: ...  # noqa: D102
    @property
    def log_sigma(self) -> Tensor: ...  # noqa: D102


def run_tiled(
    network: Callable[[ScanBatch], ImageAndSigma],
    batch: ScanBatch,
    *,
    tile: int = 512,
    halo: int = 64,
    multiple: int = 16,
    whole_pixels: int = WHOLE_PIXELS,
) -> tuple[Tensor, Tensor]:
    """Run a network on a frame of any size by windows of about `tile` pixels and `halo` pixels around.

    Parameters
    ----------
    network : callable
        From a `ScanBatch` to something with `image` and `log_sigma` of its shape.
    batch : ScanBatch
        The whole frame's, with sides that are multiples of `multiple`.
    tile : int
        Side of a window without its halo, in pixels.
    halo : int
        How far a window reaches beyond, in pixels: half of it is thrown away, over the rest windows blend.
    multiple : int
        What corners and sides of windows are multiples of; that of the network, so that its grids agree.
    whole_pixels : int
        Frames of at most so many pixels (H x W) are not cut.

    Returns
    -------
    image, log_sigma : Tensor of float32, shape (B, 1, H, W)
        Normalised, with the batch's padding.

    Raises
    ------
    InputError
        If `tile` or `halo` is no multiple of `multiple`, or below it.
    """
    for name, value in (("tile", tile), ("halo", halo)):
        check_count(value, name, multiple)
        if value % multiple:
            raise InputError(f"{name} is {value}; expected a multiple of {multiple}")
    rows, cols = batch.y.shape[-2:]
    if rows * cols <= whole_pixels:
        out = network(batch)
        return out.image.float(), out.log_sigma.float()
    row_spans, col_spans = (spans(side, tile, halo, multiple) for side in (rows, cols))
    image, log_sigma = (torch.zeros_like(batch.y, dtype=torch.float32) for _ in range(2))
    for row in row_spans:
        for col in col_spans:
            out = network(window(batch, slice(row.start, row.stop), slice(col.start, col.stop)))
            weight = row.weight(halo).to(image)[:, None] * col.weight(halo).to(image)
            place = (..., slice(row.start, row.stop), slice(col.start, col.stop))
            image[place] += weight * out.image.float()
            log_sigma[place] += weight * out.log_sigma.float()
    return image, log_sigma


@dataclass(frozen=True)
class Span:
    """The rows (or columns) of a window from `start` to `stop`, and the seams at which it fades in and out."""

    start: int
    stop: int
    fade_in: float | None = None
    fade_out: float | None = None

    def weight(self, halo: int) -> Tensor:
        """Return the weight of each of its rows (float64): those of all spans sum to 1 everywhere."""
        position = torch.arange(self.start, self.stop, dtype=torch.float64) + 0.5
        # A difference, not a product: what one window gives up the next takes, even where seams are closer than a ramp.
        entered = torch.ones_like(position) if self.fade_in is None else _ramp((position - self.fade_in) / halo)
        return entered if self.fade_out is None else entered - _ramp((position - self.fade_out) / halo)


def spans(side: int, tile: int, halo: int, multiple: int = 1) -> list[Span]:
    """Return equally long spans that cover `side`, of at most ``tile + 2 * halo``, overlapping by at least 2 `halo`.

    Examples
    --------
    >>> [(span.start, span.stop, span.fade_out) for span in spans(100, 48, 8)]
    [(0, 64, 50.0), (36, 100, None)]
    """
    length = min(side, tile + 2 * halo)
    number = 1 + max(0, -((length - side) // tile))
    last = side - length
    starts = [round(index * last / max(1, number - 1) / multiple) * multiple for index in range(number)]
    seams = [(after + before + length) / 2 for before, after in pairwise(starts)]
    ends = zip([None, *seams], [*seams, None], strict=True)
    return [Span(start, start + length, *seam) for start, seam in zip(starts, ends, strict=True)]


def window(batch: ScanBatch, rows: slice, cols: slice) -> ScanBatch:
    """Return the part of a batch in a window, normalised as the whole is."""
    return batch.moved(lambda x: x[..., rows, cols].contiguous(), (rows.stop - rows.start, cols.stop - cols.start))


def _ramp(t: Tensor) -> Tensor:
    r"""Return :math:`\tfrac12 (1 + \sin \pi t)` within :math:`|t| \le \tfrac12`, 0 before and 1 after."""
    return 0.5 + 0.5 * torch.sin(torch.pi * t.clamp(-0.5, 0.5))
