"""Other packages' methods for sparse scans, where they are installed, in the shape of ours.

They are methods of the benchmark alone. The regularisation of each is chosen by the discrepancy principle from a few
values, as a user who knows the counts would; the oracle chooses by the truth among the same.

deepinv: Tachella et al., "DeepInverse: a Python package for solving imaging inverse problems with deep learning", J.
Open Source Softw. 10, 8923 (2025), https://doi.org/10.21105/joss.08923. inpystem: Monier, Oberlin, Brun et al.,
"Reconstruction of partially sampled multiband images: application to STEM-EELS imaging", IEEE Trans. Comput. Imaging 4,
585 (2018), https://doi.org/10.1109/TCI.2018.2866961. scikit-image: van der Walt et al., PeerJ 2, e453 (2014),
https://doi.org/10.7717/peerj.453.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cs_recon.classical.interpolation import linear
from cs_recon.noise import estimate_noise
from cs_recon.reconstruction import Reconstruction, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from simulate.measurement import Measurement

    Solver = Callable[[NDArray[np.float64], NDArray[np.bool_], float], NDArray[np.float64]]

ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Peer:
    """A method of another package.

    Attributes
    ----------
    run : callable
        From a measurement (and the options of a setting) to its reconstruction, on the CPU.
    settings : list of dict
        What an oracle may choose from.
    """

    run: Callable[..., Reconstruction]
    settings: list[dict[str, Any]]


@lru_cache(maxsize=1)
def installed_peers() -> dict[str, Peer]:
    """Return the peers whose packages are installed, by their name in the benchmark."""
    peers = {
        "peer:skimage-tv": _peer("peer:skimage-tv", _skimage_tv, (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)),
        "peer:skimage-nl-means": _peer("peer:skimage-nl-means", _skimage_nl_means, (0.1, 0.2, 0.4, 0.7, 1.0)),
    }
    if find_spec("deepinv") is not None:
        peers["peer:deepinv-tv"] = _peer("peer:deepinv-tv", _deepinv_tv, (0.01, 0.03, 0.1, 0.2, 0.4))
    if find_spec("deepinv") is not None and find_spec("ptwt") is not None:
        peers["peer:deepinv-wavelet"] = _peer("peer:deepinv-wavelet", _deepinv_wavelet, (0.01, 0.03, 0.1, 0.3, 0.6))
    if find_spec("inpystem") is not None:
        peers["peer:inpystem-l1"] = _peer("peer:inpystem-l1", _inpystem_l1, (0.03, 0.1, 0.3, 1.0, 3.0))
        peers["peer:inpystem-itkrmm"] = Peer(_itkrmm, [])
    return peers


def _peer(name: str, solve: Solver, strengths: tuple[float, ...]) -> Peer:
    """Wrap a solver on samples of mean 0 and variance 1 and a strength of regularisation."""

    def run(measurement: Measurement, *, strength: float | None = None) -> Reconstruction:
        offset, scale = float(measurement.samples.mean()), float(measurement.samples.std()) or 1.0
        y = np.where(measurement.mask, (measurement.values - offset) / scale, 0.0)
        if strength is None:
            image, chosen = _by_discrepancy(y, measurement, _noise(measurement) / scale, solve, strengths)
        else:
            image, chosen = solve(y, measurement.mask, strength), strength
        return result(measurement, image * scale + offset, name, info={"strength": chosen})

    return Peer(run, [{"strength": strength} for strength in strengths])


def _by_discrepancy(
    y: NDArray[np.float64], measurement: Measurement, noise: float, solve: Solver, strengths: tuple[float, ...]
) -> tuple[NDArray[np.float64], float]:
    """Return the image of the strongest regularisation whose residual is within the noise, else of the weakest."""
    image, strength = np.empty(0), strengths[0]
    for strength in sorted(strengths, reverse=True):
        image = solve(y, measurement.mask, strength)
        if np.sqrt(np.mean((image - y)[measurement.mask] ** 2)) <= noise:
            break
    return image, strength


def _noise(measurement: Measurement) -> float:
    if not measurement.noise_is_known:
        return estimate_noise(measurement)
    exposure = 1.0 if measurement.exposure is None else measurement.exposure[measurement.mask]
    return float(np.sqrt(np.mean(measurement.noise_sigma(measurement.samples) ** 2 / exposure)))


def _filled(y: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    from simulate.measurement import Measurement

    return linear(Measurement(y, mask), smooth_px=0.0).image.astype(np.float64)


def _skimage_tv(y: NDArray[np.float64], mask: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(_filled(y, mask), weight=strength, max_num_iter=ITERATIONS))


def _skimage_nl_means(y: NDArray[np.float64], mask: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    from skimage.restoration import denoise_nl_means

    return np.asarray(denoise_nl_means(_filled(y, mask), patch_size=5, patch_distance=8, h=strength, fast_mode=True))


def _deepinv_tv(y: NDArray[np.float64], mask: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    prior: Any = __import__("deepinv.optim.prior", fromlist=["TVPrior"])
    return _deepinv(y, mask, prior.TVPrior(n_it_max=20), strength)


def _deepinv_wavelet(y: NDArray[np.float64], mask: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    prior: Any = __import__("deepinv.optim.prior", fromlist=["WaveletPrior"])
    levels = max(1, min(4, int(np.log2(min(y.shape))) - 3))
    return _deepinv(y, mask, prior.WaveletPrior(level=levels, wv="sym4", mode="symmetric"), strength)


def _deepinv(y: NDArray[np.float64], mask: NDArray[np.bool_], prior: Any, strength: float) -> NDArray[np.float64]:
    """Run deepinv's FISTA on its inpainting physics from the linear interpolation."""
    deepinv: Any = __import__("deepinv")
    start = torch.from_numpy(_filled(y, mask))[None, None].float()
    physics = deepinv.physics.Inpainting(img_size=(1, *y.shape), mask=torch.from_numpy(mask)[None].float())
    solver = deepinv.optim.FISTA(
        data_fidelity=deepinv.optim.L2(),
        prior=prior,
        lambda_reg=strength,
        stepsize=1.0,
        max_iter=ITERATIONS,
        early_stop=True,
        thres_conv=1e-4,
        custom_init=lambda data, operator: {"est": (start, start)},
    )
    with torch.no_grad():
        found = solver(torch.from_numpy(y)[None, None].float(), physics)
    return found[0, 0].double().numpy()


def _inpystem_l1(y: NDArray[np.float64], mask: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    module: Any = __import__("inpystem.restore.LS_2D", fromlist=["L1_LS"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, _ = module.L1_LS(y, strength, mask=mask, init=_filled(y, mask), Nit=ITERATIONS, verbose=False)
    return np.asarray(image)


def _itkrmm(measurement: Measurement) -> Reconstruction:
    """Run inpystem's dictionary learning from incomplete patches, iterations cut to a few minutes a frame."""
    module: Any = __import__("inpystem.restore.DL_ITKrMM", fromlist=["ITKrMM"])
    offset, scale = float(measurement.samples.mean()), float(measurement.samples.std()) or 1.0
    y = np.where(measurement.mask, (measurement.values - offset) / scale, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, _ = module.ITKrMM(
            y, mask=measurement.mask, P=8, K=64, L=1, S=8, Nit_lr=3, Nit=10, PCA_transform=False, verbose=False
        )
    return result(measurement, np.asarray(image) * scale + offset, "peer:inpystem-itkrmm")
