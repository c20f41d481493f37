"""The Gibbs sampler of beta-process factor analysis, on patches of a batch of scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

FIRST_USE = 0.01
"""Least share of the patches that an atom is taken to serve at first, so that each has its chance."""

VAGUE = 1e-6
"""Shape and rate of the gamma priors of both precisions."""


class BetaProcessFactors:
    r"""State of the sampler: atoms, coefficients, how often each atom is used, and precisions.

    Parameters
    ----------
    data, weights : Tensor, shape (B, N, P)
        N patches of P pixels for each scan; weights are the inverse variance of the noise, 0 off the samples.
    atoms : Tensor, shape (B, K, P)
        The dictionary to start from.
    coefficients : Tensor, shape (B, N, K)
        The coefficients to start from. From zeros, the sampler may take dozens of sweeps to use any atom at all.
    seed : int
        Of all that is drawn.
    unknown_noise : Tensor of bool, shape (B,)
        Whether to infer a common factor of the weights, too.

    Attributes
    ----------
    atoms : Tensor, shape (B, K, P)
    coefficients : Tensor, shape (B, N, K)
        :math:`z \odot s`: 0 where an atom is not used.
    use : Tensor, shape (B, K)
        :math:`\pi`.
    precision, coefficient_precision : Tensor, shape (B,)
        The common factor of the weights, and :math:`\gamma_s`.
    """

    def __init__(
        self, data: Tensor, weights: Tensor, atoms: Tensor, coefficients: Tensor, *, seed: int, unknown_noise: Tensor
    ) -> None:
        self.shape = (*data.shape, atoms.shape[1])
        self.weights = weights.reshape(-1, data.shape[2])
        # The weighted residual of all patches, kept up to date: every conditional needs it and nothing else.
        self.residuals = (weights * (data - torch.bmm(coefficients, atoms))).reshape(-1, data.shape[2])
        self.atoms = atoms.clone()
        self.coefficients = coefficients.clone()
        self.means = torch.zeros_like(self.coefficients)
        self.use = (coefficients != 0).to(data).mean(dim=1).clamp(FIRST_USE, 1 - FIRST_USE)
        self.precision = data.new_ones(len(data))
        self.coefficient_precision = data.new_ones(len(data))
        self.unknown_noise = unknown_noise
        self.scan = torch.arange(len(data), device=data.device).repeat_interleave(data.shape[1])
        self.seen = (weights > 0).sum(dim=(1, 2))
        self._generator = torch.Generator().manual_seed(seed % 2**63)
        self._rngs = [np.random.default_rng(seed) for _ in data]
        self._draw_precisions()

    def sweep(self) -> None:
        """Draw every variable once from its conditional posterior."""
        scans, patches, pixels, atoms = self.shape
        weights = self.weights.reshape(scans, patches, pixels)
        energies = torch.bmm(weights, self.atoms.square().transpose(1, 2)) * self.precision[:, None, None]
        for k in range(atoms):
            old = self.coefficients[..., k].flatten()
            new = self._draw_coefficients(k, energies[..., k]).flatten()
            rows = ((old != 0) | (new != 0)).nonzero()[:, 0]
            self.residuals[rows] -= self.weights[rows] * ((new - old)[rows, None] * self.atoms[:, k][self.scan[rows]])
            self._draw_atom(k, rows, new[rows])
            self.coefficients[..., k] = new.reshape(scans, patches)
        self._draw_use()
        self._draw_precisions()

    def expected(self) -> Tensor:
        """Return the patches (B, N, P) of the coefficients expected given all else as last drawn."""
        return torch.bmm(self.means, self.atoms)

    def drawn(self) -> Tensor:
        """Return the patches (B, N, P) of the coefficients last drawn."""
        return torch.bmm(self.coefficients, self.atoms)

    def residual(self) -> Tensor:
        """Return the mean squared residual (B,) of the samples, in units of the noise as given."""
        return self._squares() / self.seen

    def _draw_coefficients(self, k: int, energy: Tensor) -> Tensor:
        """Draw the coefficients (B, N) of atom k: whether it is used with its size integrated out, then its size."""
        scans, patches, pixels, _ = self.shape
        residuals = self.residuals.reshape(scans, patches, pixels)
        match = torch.bmm(residuals, self.atoms[:, k, :, None])[..., 0] * self.precision[:, None]
        match = match + self.coefficients[..., k] * energy
        prior = self.coefficient_precision[:, None]
        posterior = prior + energy
        odds = torch.logit(self.use[:, k, None]) + 0.5 * torch.log(prior / posterior) + 0.5 * match**2 / posterior
        self.means[..., k] = torch.sigmoid(odds) * match / posterior
        chosen = torch.logit(self._uniform(patches), eps=1e-7) < odds
        return torch.where(chosen, match / posterior + self._normal(patches) * posterior.rsqrt(), 0.0)

    def _draw_atom(self, k: int, rows: Tensor, sizes: Tensor) -> None:
        """Draw atom k from the patches `rows` that use it by `sizes`, and bring their residuals up to date."""
        old, scan = self.atoms[:, k].clone(), self.scan[rows]
        weights = self.weights[rows]
        fit = torch.zeros_like(old).index_add_(0, scan, sizes[:, None] * self.residuals[rows])
        energy = torch.zeros_like(old).index_add_(0, scan, sizes[:, None] ** 2 * weights)
        precision = self.precision[:, None]
        posterior = self.shape[2] + precision * energy
        new = precision * (fit + energy * old) / posterior + self._normal(1, self.shape[2]) * posterior.rsqrt()
        self.atoms[:, k] = new
        self.residuals[rows] -= weights * (sizes[:, None] * (new - old)[scan])

    def _draw_use(self) -> None:
        _, patches, _, atoms = self.shape
        counts = (self.coefficients != 0).sum(dim=1).cpu().numpy()
        drawn = [
            rng.beta(1 / atoms + count, (atoms - 1) / atoms + patches - count)
            for rng, count in zip(self._rngs, counts, strict=True)
        ]
        # An atom that is never used stays within reach.
        self.use = torch.from_numpy(np.clip(drawn, 1e-6, 1 - 1e-6)).to(self.use)

    def _draw_precisions(self) -> None:
        used = (self.coefficients != 0).sum(dim=(1, 2))
        self.coefficient_precision = self._gamma(used, self.coefficients.square().sum(dim=(1, 2)))
        drawn = self._gamma(self.seen, self._squares())
        self.precision = torch.where(self.unknown_noise, drawn, self.precision)

    def _gamma(self, counts: Tensor, squares: Tensor) -> Tensor:
        """Draw the precision (B,) of `counts` normal values whose squares sum to `squares`."""
        pairs = zip(self._rngs, counts.tolist(), squares.tolist(), strict=True)
        drawn = [rng.gamma(VAGUE + count / 2) / (VAGUE + square / 2) for rng, count, square in pairs]
        return torch.tensor(drawn).to(squares).clamp(1e-6, 1e6)

    def _squares(self) -> Tensor:
        squares = self.residuals.square() / self.weights.clamp(min=1e-12)
        return squares.reshape(self.shape[0], -1).sum(dim=1)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator).to(self.weights)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator).to(self.weights)
