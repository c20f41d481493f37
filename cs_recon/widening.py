r"""How much further off an image is than its sigma says, told by the samples themselves.

A network is calibrated on the frames of its validation. On a frame that differs from them (a micrograph with a texture,
or noise of its own, that the network takes for noise of the scan) its intervals are too narrow, and the samples show
it: they lie further from the image than counting noise explains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cs_recon.batch import ScanBatch


def widened(batch: ScanBatch, image: Tensor, sigma: Tensor, told: Sequence[bool] = (True,)) -> tuple[Tensor, Tensor]:
    """Return sigma (B, 1, H, W) with what is unexplained added to its square, and the root of what was added (B,).

    Nothing is added for scans whose noise was not told: an estimate would come from the very differences that are to be
    explained.
    """
    chosen = torch.tensor(told, device=sigma.device)
    more = torch.where(chosen, unexplained_variance(batch, image, sigma), 0)
    return (sigma.square() + more.reshape(-1, 1, 1, 1)).sqrt(), more.sqrt()


def unexplained_variance(batch: ScanBatch, image: Tensor, sigma: Tensor) -> Tensor:
    r"""Return by how much the square errors of images are in the mean larger than their sigma says (B,), at least 0.

    By Stein's lemma the mean square error of an image :math:`\hat x` at samples :math:`y` of noise :math:`n` is, in
    expectation,

    .. math:: \tau^2 = \overline{(y - \hat x)^2} - \overline{n^2} + 2\,\overline{n^2\, \partial \hat x / \partial y}.

    Where the image is a posterior mean and sigma its standard deviation, :math:`n^2\, \partial \hat x / \partial y` is
    :math:`\sigma^2`; it is no more than :math:`n^2`, since no image follows a sample further than it moves. What
    :math:`\sigma^2` leaves unexplained is therefore

    .. math:: \overline{(y - \hat x)^2} - \overline{n^2} + 2\,\overline{\min(\sigma^2, n^2)} - \overline{\sigma^2},

    0 where sigma is right; one standard error of it is taken off, so that chance widens little. What is between samples
    of little noise they cannot tell.

    Parameters
    ----------
    batch : ScanBatch
        The scans, with the noise of their samples as it was told.
    image, sigma : Tensor, shape (B, 1, H, W)
        What a network made of them, normalised as the batch is.

    References
    ----------
    Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Statist. 9, 1135 (1981),
    https://doi.org/10.1214/aos/1176345632; Miyasawa, "An empirical Bayes estimator of the mean of a normal population",
    Bull. Inst. Internat. Statist. 38, 181 (1961) (the derivative of a posterior mean).
    """
    scanned = batch.scan.mask > 0
    n = scanned.sum((1, 2, 3))
    noise, variance = batch.sigma.double().square(), sigma.double().square()
    excess = (batch.y - image).double().square() - noise + 2 * torch.minimum(variance, noise) - variance

    def mean(x: Tensor) -> Tensor:
        return torch.where(scanned, x, 0).sum((1, 2, 3)) / n

    return (mean(excess) - (2 * mean(noise.square()) / n).sqrt()).clamp(min=0)
