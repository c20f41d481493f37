"""Sparse reconstruction: few coefficients of a transform explain the samples."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

import torch

from cs_recon.admm import admm
from cs_recon.classical.driver import Plan, depth, log_grid, reconstruct_by
from cs_recon.classical.iterate import Solver, misfit
from cs_recon.ista import fista, ista, shrink
from cs_recon.reconstruction import Reconstruction, reconstructors
from cs_recon.stationary import StationaryWavelet
from cs_recon.transforms import dct2, idct2
from cs_recon.wavelets import OrthogonalWavelet, soft_threshold
from simulate.errors import check_kind, check_positive, check_within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from cs_recon.classical.iterate import State
    from cs_recon.operator import MaskedScan
    from simulate.measurement import Measurement

_MOST_LEVELS = 5
_MARGIN = 16
_RHO = 3.0
"""ADMM's penalty parameter in multiples of the threshold."""


@reconstructors.register("fista", "l1 norm of an orthogonal wavelet by FISTA (accelerated ISTA)")
def fista_wavelet(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    wavelet: str = "sym4",
    threshold: float | None = None,
    rule: str = "auto",
    decay: float = 1.0,
    step: float = 1.0,
    iterations: int = 150,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \lambda \sum_j 2^{-d (j - 1)} \|\Psi_j x\|_1` by FISTA.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    wavelet : str
        An orthogonal wavelet of PyWavelets.
    threshold : float, optional
        :math:`\lambda` in units of the samples' standard deviation. Chosen by `rule` if None.
    rule : {"auto", "discrepancy", "held-out"}
        How to choose, see `automatic`.
    decay : float
        :math:`d`: by how many powers of two the threshold falls from a level to the coarser one, whose coefficients
        are larger. 0 treats all alike.
    step : float
        Step size; `ista` converges below 2, `fista`, whose momentum needs shorter ones, up to 1.
    iterations : int
        At most this many at the final threshold.
    tolerance : float
        Stop when an iteration changes the image by less than this share of its norm.

    Returns
    -------
    list of Reconstruction
        With the objective of every iteration at the final threshold in ``trace["objective"]``.

    References
    ----------
    Beck, Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), https://doi.org/10.1137/080716542.
    """
    return _orthogonal(measurements, "fista", device, wavelet, threshold, rule, decay, step, iterations, tolerance)


@reconstructors.register("ista", "l1 norm of an orthogonal wavelet by ISTA (iterative soft thresholding)")
def ista_wavelet(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    wavelet: str = "sym4",
    threshold: float | None = None,
    rule: str = "auto",
    decay: float = 1.0,
    step: float = 1.0,
    iterations: int = 300,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Minimise what `fista_wavelet` does by ISTA, which is slower: the step that `unrolled-ista` unrolls.

    Parameters are those of `fista_wavelet`.

    References
    ----------
    Daubechies, Defrise, De Mol, Comm. Pure Appl. Math. 57, 1413 (2004), https://doi.org/10.1002/cpa.20042.
    """
    return _orthogonal(measurements, "ista", device, wavelet, threshold, rule, decay, step, iterations, tolerance)


@reconstructors.register("admm-wavelet", "l1 norm of the stationary (translation-invariant) wavelet frame by ADMM")
def admm_wavelet(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    wavelet: str = "sym4",
    threshold: float | None = None,
    rule: str = "auto",
    weighting: str = "exposure",
    decay: float = 1.0,
    iterations: int = 100,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \lambda \sum_j 2^{-j - d (j - 1)} \|\Psi_j x\|_1` by ADMM.

    :math:`\Psi` is a `StationaryWavelet`: the average of the orthogonal transform over all its translations, which has
    no blocking artefacts.

    Parameters
    ----------
    measurements, device, wavelet, threshold, rule, decay, iterations, tolerance
        As in `fista_wavelet`.
    weighting : {"exposure", "variance"}
        Weigh samples by their exposure, or by one over their variance, which the counts tell.

    References
    ----------
    Afonso, Bioucas-Dias, Figueiredo, "Fast image recovery using variable splitting and constrained optimization", IEEE
    TIP 19, 2345 (2010), https://doi.org/10.1109/TIP.2010.2047910.
    Coifman, Donoho, "Translation-invariant de-noising", 1995, https://doi.org/10.1007/978-1-4612-2544-7_9.
    """
    check_kind(wavelet, "wavelet", str)
    check_within(decay, "decay", 0, 8)
    frame = StationaryWavelet(wavelet, depth(_shape(measurements), _MOST_LEVELS))
    plan = Plan("admm-wavelet", "threshold", log_grid(20.0, 1e-3, 13), "discrepancy", margin=_MARGIN)
    return reconstruct_by(
        plan, frame_solver(frame, decay), measurements, device=device, value=threshold, rule=rule,
        iterations=iterations, tolerance=tolerance, weighting=weighting, info={"wavelet": wavelet},
    )  # fmt: skip


@reconstructors.register("admm-dct", "l1 norm of the discrete cosine transform by ADMM")
def admm_dct(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    threshold: float | None = None,
    rule: str = "auto",
    decay: float = 1.0,
    iterations: int = 100,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \lambda \sum_k w_k |(C x)_k|` with the 2-D DCT :math:`C`, by ADMM.

    :math:`w_k = (|k| / k_{max})^{d}` grows with the spatial frequency, since images have little there; the mean is
    free.

    Parameters
    ----------
    measurements, device, threshold, rule, iterations, tolerance
        As in `fista_wavelet`.
    decay : float
        :math:`d`; 0 treats all frequencies alike.

    References
    ----------
    Afonso, Bioucas-Dias, Figueiredo, IEEE TIP 19, 2345 (2010), https://doi.org/10.1109/TIP.2010.2047910.
    """
    check_within(decay, "decay", 0, 8)

    def solver(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
        rows, cols = (torch.arange(side, device=y.device, dtype=y.dtype) / side for side in y.shape[-2:])
        weights = parameter * ((rows[:, None] ** 2 + cols**2) / 2) ** (decay / 2)
        weights[..., 0, 0] = 0
        rho = _RHO * parameter
        return _tight_admm(scan, y, start, dct2, idct2, weights, rho)

    plan = Plan("admm-dct", "threshold", log_grid(20.0, 1e-3, 13), "discrepancy")
    return reconstruct_by(
        plan, solver, measurements, device=device, value=threshold, rule=rule, iterations=iterations,
        tolerance=tolerance,
    )  # fmt: skip


@reconstructors.register("iht", "few coefficients of the stationary wavelet frame by iterative hard thresholding")
def iht(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    wavelet: str = "sym4",
    threshold: float | None = None,
    rule: str = "auto",
    decay: float = 0.5,
    iterations: int = 60,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Iterate :math:`x \leftarrow \Psi^T H_\lambda(\Psi(x + A^T W (y - A x)))` while the threshold falls.

    :math:`H` sets coefficients below :math:`2^{-j - d (j - 1)} \lambda` to zero and keeps the others as they are. There
    is no global minimum to reach: the falling threshold decides which of the many local ones.

    Parameters
    ----------
    measurements, device, wavelet, threshold, rule, decay, iterations, tolerance
        As in `admm_wavelet`.

    Returns
    -------
    list of Reconstruction
        With the misfit of every iteration at the final threshold in ``trace["objective"]``.

    References
    ----------
    Blumensath, Davies, "Iterative hard thresholding for compressed sensing", Appl. Comput. Harmon. Anal. 27, 265
    (2009), https://doi.org/10.1016/j.acha.2009.04.002; with a falling threshold: Elad, Starck, Querre, Donoho,
    "Simultaneous cartoon and texture image inpainting using morphological component analysis", ibid. 19, 340 (2005),
    https://doi.org/10.1016/j.acha.2005.03.005.
    """
    check_kind(wavelet, "wavelet", str)
    check_within(decay, "decay", 0, 8)
    frame = StationaryWavelet(wavelet, depth(_shape(measurements), _MOST_LEVELS))

    def solver(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
        limits = parameter * _frame_weights(frame, y, decay)
        x = start[0]
        while True:
            coefficients = frame.analysis(x - scan.gradient(x, y))
            x = frame.synthesis(torch.where(coefficients.abs() > limits, coefficients, 0.0))
            yield (x,), misfit(scan, x, y)

    plan = Plan("iht", "threshold", log_grid(10.0, 1e-3, 12), "discrepancy", margin=_MARGIN)
    return reconstruct_by(
        plan, solver, measurements, device=device, value=threshold, rule=rule, iterations=iterations,
        tolerance=tolerance, info={"wavelet": wavelet},
    )  # fmt: skip


def frame_solver(frame: StationaryWavelet, decay: float) -> Solver:
    """Return the solver of `admm_wavelet` for a frame."""

    def solver(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
        weights = parameter * _frame_weights(frame, y, decay)
        return _tight_admm(scan, y, start, frame.analysis, frame.synthesis, weights, _RHO * parameter)

    return solver


def orthogonal_solver(transform: OrthogonalWavelet, decay: float, step: float, *, accelerated: bool) -> Solver:
    """Return the solver of `fista_wavelet`, or of `ista_wavelet`, for a transform."""

    def solver(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
        thresholds = [parameter * 2.0 ** (-decay * (level - 1)) for level in range(transform.levels, 0, -1)]
        prox = shrink(transform, [step * threshold for threshold in thresholds])

        def gradient(x: Tensor) -> Tensor:
            return scan.gradient(x, y)

        steps = fista(start[0], gradient, prox, step) if accelerated else ista(start[0], gradient, repeat(prox), step)
        for x in steps:
            details = transform.analysis(x)[1:]
            penalty = sum((t * d.abs()).sum(dim=(1, 2, 3)) for t, d in zip(thresholds, details, strict=True))
            yield (x,), misfit(scan, x, y) + penalty

    return solver


def _orthogonal(
    measurements, name, device, wavelet, threshold, rule, decay, step, iterations, tolerance
) -> list[Reconstruction]:
    check_kind(wavelet, "wavelet", str)
    check_within(decay, "decay", 0, 8)
    check_positive(step, "step")
    levels = depth(_shape(measurements), _MOST_LEVELS)
    solver = orthogonal_solver(OrthogonalWavelet(wavelet, levels), decay, step, accelerated=name == "fista")
    plan = Plan(name, "threshold", log_grid(20.0, 1e-3, 13), "discrepancy", multiple=2**levels)
    return reconstruct_by(
        plan, solver, measurements, device=device, value=threshold, rule=rule, iterations=iterations,
        tolerance=tolerance, info={"wavelet": wavelet},
    )  # fmt: skip


def _tight_admm(scan, y, start, analysis, synthesis, weights, rho) -> Iterator[tuple[State, Tensor]]:
    """ADMM for a weighted l1 norm of the coefficients of a tight frame (B, ...)."""
    iterates = admm(
        start,
        analysis,
        lambda q: scan.prox_l2(synthesis(q), y, 1 / rho),
        lambda z: soft_threshold(z, weights / rho),
        rho,
    )
    for state, coefficients in iterates:
        yield state, misfit(scan, state[0], y) + (weights * coefficients.abs()).sum(dim=(1, 2, 3))


def _frame_weights(frame: StationaryWavelet, like: Tensor, decay: float) -> Tensor:
    base = frame.level_weights(like)
    return base * (2 * base) ** decay


def _shape(measurements: Sequence[Measurement]) -> tuple[int, int]:
    return measurements[0].shape
