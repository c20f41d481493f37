"""Networks that look at a scan more than once, mirrored and turned, and average what they see.

No position is special to a microscope, but a trained network is not quite equivariant: its errors differ from view to
view, and their mean is smaller (self-ensemble: Timofte, Rothe, Van Gool, "Seven ways to improve example-based single
image super resolution", CVPR 2016, https://doi.org/10.1109/CVPR.2016.206).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch

from cs_recon.networks import NetworkOutput
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cs_recon.batch import ScanBatch

    Run = Callable[[ScanBatch], NetworkOutput]

MIRRORS = ((), (-2, -1), (-1,), (-2,))
"""The axes that are mirrored: half a turn moves most of what a network may see differently."""
POSITIONS = tuple(product((False, True), MIRRORS))
"""Each view: whether rows and columns change places, and the axes that are mirrored after that."""
LARGEST_GAIN = 0.5
"""The largest share of a pixel's variance that averaging is believed to take away."""


def check_views(views: object, most: int = len(POSITIONS)) -> None:
    """Raise `InputError` if a network cannot look so often."""
    if type(views) is not int or not 1 <= views <= most:
        raise InputError(f"views is {views!r}; expected a whole number from 1 to {most}")


def mean_of_views(run: Run, views: int) -> Run:
    """Return `run` on the first `views` of the eight mirrored and turned views of a batch, averaged.

    Parameters
    ----------
    run : callable
        From a `ScanBatch` to a `NetworkOutput`.
    views : int
        1 to 8; with 1, `run` itself.

    Returns
    -------
    callable
        Images are averaged. The square error of a mean is the mean square error less the variance of what is averaged
        (Krogh, Vedelsby, "Neural network ensembles, cross validation, and active learning", NIPS 1994), and so is the
        square of its sigma. The features are those of the scan as it is.
    """
    check_views(views)
    if views == 1:
        return run

    def mean(batch: ScanBatch) -> NetworkOutput:
        first = run(batch)
        images, variances = [first.image], [torch.exp(2 * first.log_sigma)]
        for swap, axes in POSITIONS[1:views]:
            seen = run(_moved(batch, swap, axes))
            images.append(_back(seen.image, swap, axes))
            variances.append(_back(torch.exp(2 * seen.log_sigma), swap, axes))
        each, variance = torch.stack(images), torch.stack(variances).mean(0)
        less = torch.minimum(each.var(0, correction=0), LARGEST_GAIN * variance)
        return NetworkOutput(each.mean(0), torch.log(variance - less) / 2, first.features)

    return mean


def _moved(batch: ScanBatch, swap: bool, axes: tuple[int, ...]) -> ScanBatch:
    """Return a batch as it would be of frames lying so."""
    rows, cols = batch.shape
    return batch.moved(lambda x: (x.mT if swap else x).flip(axes), (cols, rows) if swap else (rows, cols))


def _back(x: Tensor, swap: bool, axes: tuple[int, ...]) -> Tensor:
    x = x.flip(axes)
    return x.mT if swap else x
