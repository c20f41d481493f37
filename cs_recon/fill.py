"""A first guess of the full image from scattered samples: normalised convolution over a pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor


def pyramid_fill(y: Tensor, mask: Tensor, prior: float = 0.3) -> Tensor:
    r"""Return a full image (B, 1, H, W) from samples `y` (zero outside `mask`).

    Samples and their weights are summed over cells of 2, 4, 8, ... pixels ("pull"); then, from coarse to fine, each
    cell takes the weighted mean of its own samples and the coarser estimate :math:`c` ("push"):

    .. math:: x = \frac{\sum_i y_i + p\,c}{n + p}

    with :math:`n` samples in the cell and the prior weight :math:`p`. A pixel far from any sample thus takes the mean
    of the smallest cells that hold some, at any sampling ratio.

    Parameters
    ----------
    y, mask : Tensor, shape (B, 1, H, W)
        Samples and weights (0 where nothing was scanned), sides of at least one pixel.
    prior : float
        How many samples the coarser estimate is worth; more smooths more.

    References
    ----------
    Knutsson, Westin, "Normalized and differential convolution", CVPR 1993, https://doi.org/10.1109/CVPR.1993.341081;
    the pyramid is the pull-push algorithm of Gortler et al., "The lumigraph", SIGGRAPH 1996,
    https://doi.org/10.1145/237170.237200.
    """
    sums, counts = [mask * y], [mask]
    while max(sums[-1].shape[-2:]) > 1:
        sums.append(_halve(sums[-1]))
        counts.append(_halve(counts[-1]))
    coarse = sums[-1] / counts[-1].clamp(min=1e-12)
    for total, count in zip(reversed(sums[:-1]), reversed(counts[:-1]), strict=True):
        rows, cols = total.shape[-2:]
        upsampled = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :rows, :cols]
        coarse = (total + prior * upsampled) / (count + prior)
    return coarse


def _halve(x: Tensor) -> Tensor:
    """Sum over cells of 2 x 2 pixels; an odd side is padded with zeros."""
    rows, cols = x.shape[-2] % 2, x.shape[-1] % 2
    return 4 * F.avg_pool2d(F.pad(x, (0, cols, 0, rows)), 2)
