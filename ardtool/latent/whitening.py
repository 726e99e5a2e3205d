r"""A decoder seen from whitened codes: coordinates in which the codes have unit variance, only as many as they have.

    Σ = R Rᵀ,   R with shape (L, r),   R⁺ R = I,   r = rank Σ
    z = centre + R v,   v = R⁺ (z − centre)
    Rᵀ G R,   G = mean_i J_iᵀ J_i                         with shape (r, r); its eigenvalues are those of Σ^½ G Σ^½ that are not zero

Σ is given as a matrix, or as n deviations X of codes with Σ = Xᵀ X / n. For n < L nothing of size L × L is built then:
X Xᵀ / n = U Λ Uᵀ gives R = Xᵀ U / √n and R⁺ = Λ⁻¹ Rᵀ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from .chunks import ChunkCost, in_chunks
from .derivatives import FixedDecoder, Mode, NotDifferentiable, pulled_back, puller, rademacher

__all__ = ["WhitenedDecoder", "descending", "root_of"]

COVARIANCE_FLOOR = 1e-12


def descending(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of a symmetric matrix by descending size, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.flip(0), vectors.flip(1)


def root_of(axes: int, covariance: Tensor | None, deviations: Tensor | None, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """R with shape (L, r) and R⁺ with shape (r, L), float64, without directions in which the codes do not vary; r ≥ 1.

    Raises:
        ConfigError: Σ is given twice or not at all, has the wrong shape, or is not finite.
    """
    if (covariance is None) == (deviations is None):
        raise ConfigError("Principal directions need either a covariance or deviations.", "Give one of the two.")
    if covariance is not None:
        if covariance.shape != (axes, axes) or not covariance.isfinite().all():
            found = f"shape {tuple(covariance.shape)}"
            raise ConfigError(f"The covariance of {axes} axes must be finite with shape {(axes, axes)}; found {found}.")
        return _root(covariance.to(device).double())
    assert deviations is not None
    if deviations.ndim != 2 or deviations.shape[1] != axes or len(deviations) == 0 or not deviations.isfinite().all():
        found = f"shape {tuple(deviations.shape)}"
        raise ConfigError(f"Deviations of codes on {axes} axes must be finite with shape (n, {axes}); found {found}.")
    scaled = deviations.to(device).double() / len(deviations) ** 0.5
    if len(scaled) >= axes:
        return _root(scaled.T @ scaled)
    values, vectors = _positive(scaled @ scaled.T)
    root = scaled.T @ vectors
    return root, torch.where(values > 0, 1 / values, 0)[:, None] * root.T


def _root(covariance: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = _positive(covariance)
    return vectors * values.sqrt(), (vectors * torch.where(values > 0, values.rsqrt(), 0)).T


def _positive(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues above rounding, at least one, and their eigenvectors."""
    values, vectors = descending(matrix)
    values = torch.where(values > COVARIANCE_FLOOR * values[0], values, 0)
    rank = max(1, int((values > 0).sum()))
    return values[:rank].clamp(min=0), vectors[:, :rank]


@dataclass(frozen=True)
class WhitenedDecoder:
    """What the Jacobians at N fixed codes do to vectors v of the whitened space, within its memory budget.

    Attributes:
        decoder: the decoder at its codes; use it in `inference_mode`.
        root: R with shape (L, r), float64.
        mode: how derivatives are found.
    """

    decoder: FixedDecoder
    root: Tensor
    mode: Mode

    @property
    def size(self) -> int:
        """r."""
        return self.root.shape[1]

    def gram(self) -> tuple[Tensor, Tensor]:
        """Σ_i Rᵀ J_iᵀ J_i R with shape (r, r), and the trace of each term with shape (N,); float64."""
        gram, traces = self.root.new_zeros(self.size, self.size), []
        table = ChunkCost(16 * self.size * self.decoder.outputs, device=self.root.device)

        def terms(part: slice, _: slice) -> tuple[Tensor, Tensor]:
            images = self._image_table(part, self.decoder.memory // 2)
            own = torch.linalg.vector_norm(images, dim=(1, 2), dtype=torch.float64).square()
            flat = images.transpose(0, 1).flatten(1).double()
            return flat @ flat.T, own

        for _, _, (added, own) in in_chunks(len(self.decoder), 1, table, self.decoder.memory // 2, terms):
            gram += added
            traces.append(own)
        if not gram.isfinite().all():
            raise NotDifferentiable("its derivatives are not finite")
        return gram, torch.cat(traces)

    def _image_table(self, part: slice, memory: int) -> Tensor:
        """J_i R of some codes with shape (n, r, D), a few columns at a time."""
        count = part.stop - part.start
        table = self.decoder.z.new_empty(count, self.size, self.decoder.outputs)

        def images(some: slice, columns: slice) -> Tensor:
            rows = slice(part.start + some.start, part.start + some.stop)
            return self.decoder.images(self.mode, rows, self.root[:, columns].T)

        for some, columns, found in in_chunks(count, self.size, self.decoder.cost(self.mode), memory, images):
            table[some, columns] = found
        return table

    def squared_norms(self, vectors: Tensor) -> Tensor:
        """‖J_i R v_k‖² with shape (N, K), float64, for vectors v (r, K)."""
        count, width = len(self.decoder), vectors.shape[1]
        norms = self.root.new_zeros(count, width)
        if width == 0:
            return norms
        tangents = (self.root @ vectors).T

        def squares(part: slice, some: slice) -> Tensor:
            return torch.linalg.vector_norm(self.decoder.images(self.mode, part, tangents[some]), dim=2).double().square()

        for part, some, found in in_chunks(count, width, self.decoder.cost(self.mode), self.decoder.memory, squares):
            norms[part, some] = found
        return norms

    def product(self, vectors: Tensor) -> Tensor:
        """Rᵀ G R v with shape (r, k) for vectors v (r, k): forward, then reverse mode at the same codes."""
        tangents = (self.root @ vectors).T
        total = torch.zeros_like(tangents)
        forward, reverse = self.decoder.cost(self.mode), self.decoder.reverse_cost
        cost = ChunkCost(forward.pair + 8 * self.decoder.outputs, reverse.pair, self.root.device)

        def products(part: slice, some: slice) -> Tensor:
            images = self.decoder.images(self.mode, part, tangents[some])
            pull = puller(self.decoder.model, *self.decoder.at_rows(part))
            return torch.stack([pull(image).sum(dim=0, dtype=total.dtype) for image in images.unbind(dim=1)])

        for _, some, found in in_chunks(len(self.decoder), vectors.shape[1], cost, self.decoder.memory, products):
            total[some] += found
        return self.root.T @ total.T / len(self.decoder)

    def signed(self, generator: torch.Generator) -> Tensor:
        """Rᵀ J_iᵀ s_i for one vector of signs s at each code: shape (N, r)."""

        def product(part: slice, _: slice) -> Tensor:
            z, context = self.decoder.at_rows(part)
            signs = rademacher((len(z), 1, self.decoder.outputs), generator, z.device)
            return pulled_back(self.decoder.model, z, context, signs)[:, 0].to(self.root.dtype) @ self.root

        chunks = in_chunks(len(self.decoder), 1, self.decoder.reverse_cost, self.decoder.memory, product, generator=generator)
        return torch.cat([found for _, _, found in chunks])
