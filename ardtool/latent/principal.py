r"""How many directions the decoder uses, whatever the basis of the latent space.

    A = Rᵀ G R,   Σ = R Rᵀ,   G = mean_i J_iᵀ J_i                   with shape (r, r); tr A = Σ of the scores where Σ is diagonal
    A v_k = λ_k v_k,   u_k = R v_k                                  directions in latent coordinates
    c_ik = ‖J_i u_k‖²,   mean_i c_ik = λ_k                          contributions of samples

R is a root of Σ with as many columns r as Σ has rank; the eigenvalues of A are those of Σ^½ G Σ^½ that are not zero, whichever root it
is. Σ is the covariance of the codes (or, for the variance kind of an ARD prior, their second moment about zero). λ_k is the mean squared
change of the output, to first order, for one standard deviation along u_k. A rotation of the latent space, undone by the decoder,
leaves every λ_k unchanged, while it spreads the scores over the axes; the count is of λ what the number of active axes is of scores.

Two routes, both without bias beyond that of taking N samples (a random projection of the outputs would concentrate the spectrum):

- `exact`: J_i R of a few samples at a time, added up to A in float64; the tangents are the r columns of R.
- `krylov`: for many axes or outputs. Products v ↦ A v (forward, then reverse mode) at the same fixed samples span a block Krylov
  space, topped up with random vectors until the trace is accounted for. Sums of leading Rayleigh–Ritz values in it are never above the
  true ones, so they make no count too low. The trace outside the found directions V comes from vector–Jacobian products with signs
  s: E‖(I − V Vᵀ) Rᵀ J_iᵀ s‖² is exactly that trace, and it is small. One product costs about four decoder passes, one tangent one.

Source: the axis-wise score of Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 19-20, freed of its basis; block Krylov: Musco, Musco,
arXiv 1504.05477; splitting the trace: Meyer et al., "Hutch++", arXiv 2010.09649.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from .chunks import MEMORY_BUDGET
from .derivatives import COLUMN_MODES, FixedDecoder, Mode, NotDifferentiable, first_right
from .jacobian import inference_mode
from .relevance import active_count
from .whitening import WhitenedDecoder, descending, root_of

__all__ = ["PrincipalDirections", "principal_directions"]

Route = Literal["exact", "krylov"]
EXACT_AXES = 512
KEPT_SHARE = 0.9999
BLOCK = 16
RESIDUAL = 1e-4
EIGENVALUE_FLOOR = 1e-10
RITZ_FLOOR = 1e-6
TRACE_FLOOR = 1e-5


@dataclass(frozen=True)
class PrincipalDirections:
    """The K leading directions of an L-dimensional latent space, by descending eigenvalue.

    Attributes:
        eigenvalues: λ with shape (K,), float64, in squared output units, > 0.
        directions: u with shape (L, K), one standard deviation of the codes along each, in latent units.
        readout: with shape (K, L); `readout @ (z − centre)` are uncorrelated coordinates of unit variance, `readout @ directions` is I.
        contributions: of each sample to each eigenvalue with shape (N, K), ≥ 0; resample rows to bootstrap with directions held fixed.
        remainder: of each sample to the trace outside the K directions with shape (N,), ≥ 0; an unbiased estimate on the Krylov route.
        route: `exact` or `krylov`.
        rank: r, the number of directions in which the codes vary, ≤ L.
        mode: how derivatives were found, as for column norms.
    """

    eigenvalues: Tensor
    directions: Tensor
    readout: Tensor
    contributions: Tensor
    remainder: Tensor
    route: Route
    rank: int
    mode: str = "forward"

    @property
    def total(self) -> float:
        """tr A, the sum of all r eigenvalues."""
        return float(self.eigenvalues.sum() + self.remainder.mean())

    @property
    def spread(self) -> Tensor:
        """Contributions with shape (N, r): the K directions, then the remainder in r − K equal parts. Counts of ≤ K are exact in it."""
        rest = self.rank - len(self.eigenvalues)
        return torch.cat([self.contributions, (self.remainder / max(rest, 1))[:, None].expand(-1, rest)], dim=1)

    def count(self, threshold: float) -> int:
        """The smallest number of directions whose share of the trace exceeds the threshold, in (0, 1]."""
        return int(active_count(self.spread.mean(dim=0), threshold))


def principal_directions(
    model: Autoencoder,
    codes: Posterior,
    covariance: Tensor | None = None,
    *,
    deviations: Tensor | None = None,
    generator: torch.Generator,
    threshold: float = 0.99,
    route: Route | Literal["auto"] = "auto",
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> PrincipalDirections:
    """Principal directions of the decoder at the means of N codes, enough of them to count at the threshold.

    Arguments:
        model: its `decode` is differentiated in inference mode and float32.
        codes: N posteriors on L axes; contexts go with their samples.
        covariance: Σ with shape (L, L), symmetric and positive semi-definite, singular or not.
        deviations: in its place, n codes less their centre with shape (n, L): Σ = deviationsᵀ deviations / n, never built where n < L.
        generator: source of the Krylov route's start and signs; the exact route does not use it.
        threshold: the largest share that will be counted, in (0, 1]; the Krylov route stops soon after it.
        route: `auto` is exact where Σ has a rank up to 512 and the Jacobian of one sample along it fits into `memory`.
        memory: bytes that the intermediate values of one chunk may take.

    Raises:
        ConfigError: Σ is given twice or not at all, has the wrong shape or is not finite; the Krylov route with a threshold above 99.99 %.
        ArdtoolError: the decoder cannot decode, cannot be differentiated, or does not fit into memory.
    """
    root, inverse = root_of(codes.mean.shape[1], covariance, deviations, device)
    with inference_mode(model):
        decoder = FixedDecoder.at(model, codes, codes.mean, device, memory)
        if route == "auto":
            route = "exact" if root.shape[1] <= EXACT_AXES and 12 * root.shape[1] * decoder.outputs <= memory else "krylov"
        if route == "krylov":
            _check(threshold)
        state = generator.get_state()

        def find(mode: Mode) -> PrincipalDirections:
            generator.set_state(state)
            space = WhitenedDecoder(decoder, root, mode)
            if route == "exact":
                values, vectors, outside = _exact(space, threshold)
            else:
                values, vectors, outside = _krylov(space, threshold, generator)
            contributions = space.squared_norms(vectors)
            remainder = outside(vectors, contributions)
            return PrincipalDirections(
                values.cpu(),
                (root @ vectors).cpu(),
                (vectors.T @ inverse).cpu(),
                contributions.cpu(),
                remainder.cpu(),
                route,
                root.shape[1],
                mode,
            )

        def finite(found: PrincipalDirections) -> Tensor:
            return torch.full((decoder.axes,), 1 + found.total)  # directions say nothing of single axes but whether all is finite

        modes = COLUMN_MODES if route == "exact" else COLUMN_MODES[:-1]  # products need reverse mode too
        return first_right(decoder, modes, find, finite)[1]


def _check(threshold: float) -> None:
    if threshold > KEPT_SHARE:
        raise ConfigError(
            f"The Krylov route counts at thresholds up to {KEPT_SHARE:.2%}, not {threshold:.2%}.",
            "Lower the threshold, or allow more memory so that the exact route fits.",
        )


# what lies outside K orthonormal vectors (r, K) of the whitened space, given the contributions inside (N, K): shape (N,)
_Remainder = Callable[[Tensor, Tensor], Tensor]


def _exact(space: WhitenedDecoder, threshold: float) -> tuple[Tensor, Tensor, _Remainder]:
    gram, whole = space.gram()
    values, vectors = descending(gram / len(space.decoder))
    values = torch.where(values > EIGENVALUE_FLOOR * values[0], values, 0).clamp(min=0)
    kept = int(active_count(values, max(threshold, KEPT_SHARE)))

    def outside(_: Tensor, inside: Tensor) -> Tensor:
        rest = whole - inside.sum(dim=1)
        return torch.where(rest > TRACE_FLOOR * whole, rest, 0)

    return values[:kept], vectors[:, :kept], outside


def _krylov(space: WhitenedDecoder, threshold: float, generator: torch.Generator) -> tuple[Tensor, Tensor, _Remainder]:
    if not space.decoder.agrees("reverse"):
        raise NotDifferentiable("its derivative in reverse mode is not that of its output")
    signed = space.signed(generator)

    def outside(vectors: Tensor, _: Tensor | None = None) -> Tensor:
        return (signed - (signed @ vectors) @ vectors.T).square().sum(dim=1)

    basis = image = space.root.new_zeros(space.size, 0)
    block = _fresh(basis, basis, generator)
    while True:
        new = space.product(block)
        basis, image = torch.cat([basis, block], dim=1), torch.cat([image, new], dim=1)
        values, small = descending(basis.T @ image)
        vectors = basis @ small
        settled = ((image @ small - vectors * values).norm(dim=0) <= RESIDUAL * values[0]) & (values > RITZ_FLOOR * values[0])
        kept = int(settled.long().cumprod(dim=0).sum())
        total = values.clamp(min=0).sum() + outside(basis).mean()
        block = _fresh(basis, new, generator)
        if block.shape[1] == 0:  # the whole space: nothing is left to settle, whatever the rounding of the products
            kept = int((values > RITZ_FLOOR * values[0]).sum())
        if values[:kept].sum() >= (1 + threshold) / 2 * total or block.shape[1] == 0:
            return values[:kept], vectors[:, :kept], outside


def _fresh(basis: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Up to `BLOCK` orthonormal vectors, orthogonal to the basis: what `wanted` adds to it, then random ones."""
    width = min(BLOCK, len(basis) - basis.shape[1])
    found = _outside(wanted, basis)[:, :width]
    random = torch.randn(len(basis), BLOCK, generator=generator, device=generator.device, dtype=basis.dtype).to(basis.device)
    return torch.cat([found, _outside(random, torch.cat([basis, found], dim=1))], dim=1)[:, :width]


def _outside(vectors: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal basis of the part of the vectors that is orthogonal to the basis, without what is float32 noise."""
    if vectors.shape[1] == 0:
        return vectors
    size = torch.linalg.matrix_norm(vectors, 2)
    for _ in range(2):
        vectors = vectors - basis @ (basis.T @ vectors)
    left, sizes, _ = torch.linalg.svd(vectors, full_matrices=False)
    found = left[:, sizes > 1e-6 * size]
    return torch.linalg.qr(found - basis @ (basis.T @ found)).Q
