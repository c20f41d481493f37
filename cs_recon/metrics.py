"""How close an image is to the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError, check_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def psnr(truth: ArrayLike, image: ArrayLike) -> float:
    r"""Return the peak signal-to-noise ratio in dB.

    .. math:: 10 \log_{10} \frac{(\max t - \min t)^2}{\mathrm{mean}\,(t - x)^2}

    Parameters
    ----------
    truth : array_like, shape (H, W)
        The clean (noise-free or high-dose) image. Against a noisy image the figure hardly depends on the method.
    image : array_like, shape (H, W)
        The image to judge.

    Examples
    --------
    >>> round(psnr([[0.0, 1.0]], [[0.1, 1.0]]), 2)
    23.01
    """
    reference, test = _pair(truth, image)
    error = float(np.mean((reference - test) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(np.ptp(reference) ** 2 / error))


def ssim(truth: ArrayLike, image: ArrayLike) -> float:
    """Return the mean structural similarity (Gaussian window of sigma 1.5, range of the truth), at most 1.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13, 600 (2004), https://doi.org/10.1109/TIP.2003.819861.
    """
    from skimage.metrics import structural_similarity

    reference, test = _pair(truth, image)
    if min(reference.shape) < 11:
        raise InputError(f"the images are of {reference.shape} pixels; expected 11 x 11 at least, the window's size")
    score: Any = structural_similarity(
        reference, test, data_range=float(np.ptp(reference)), gaussian_weights=True, use_sample_covariance=False
    )
    return float(score)


def _pair(truth: ArrayLike, image: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reference, test = (
        check_numbers(one, name).astype(np.float64) for one, name in ((truth, "truth"), (image, "image"))
    )
    if reference.shape != test.shape:
        raise InputError(f"truth has shape {reference.shape} but the image has {test.shape}; make them equal")
    if not (np.isfinite(reference).all() and np.isfinite(test).all()):
        raise InputError("truth or image has values that are NaN or infinite; expected finite numbers")
    if np.ptp(reference) == 0:
        raise InputError("the truth is constant; expected an image with contrast")
    return reference, test
