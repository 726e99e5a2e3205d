r"""How many directions the decoder uses, whatever the basis of the latent space.

    A = Σ^½ G Σ^½,   G = mean_i J_iᵀ J_i                            with shape (L, L); tr A = Σ of the scores where Σ is diagonal
    A v_k = λ_k v_k,   u_k = Σ^½ v_k                                directions in latent coordinates
    c_ik = ‖J_i u_k‖²,   mean_i c_ik = λ_k                          contributions of samples

Σ is the covariance of the codes (or, for the variance kind of an ARD prior, their second moment about zero). λ_k is the mean squared
change of the output, to first order, for one standard deviation along u_k. A rotation of the latent space, undone by the decoder,
leaves every λ_k unchanged, while it spreads the scores over the axes; the count is of λ what the number of active axes is of scores.

Two routes, both without bias beyond that of taking N samples (a random projection of the outputs would concentrate the spectrum):

- `exact`: Jacobians of a few samples at a time by nested forward mode, added up to G in float64.
- `krylov`: for many axes or outputs. Products v ↦ A v (forward, then reverse mode) at the same fixed samples span a block Krylov
  space, topped up with random vectors until the trace is accounted for. Sums of leading Rayleigh–Ritz values in it are never above the
  true ones, so they make no count too low. The trace outside the found directions V comes from vector–Jacobian products with signs
  r: E‖(I − V Vᵀ) Σ^½ J_iᵀ r‖² is exactly that trace, and it is small. One product costs about four decoder passes, one tangent one.

Source: the axis-wise score of Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 19-20, freed of its basis; block Krylov: Musco, Musco,
arXiv 1504.05477; splitting the trace: Meyer et al., "Hutch++", arXiv 2010.09649.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from .jacobian import MEMORY_BUDGET, inference_mode
from .relevance import active_count
from .sketch import decode_footprint, pulled_back, rademacher

__all__ = ["PrincipalDirections", "gram_matrix", "principal_directions"]

Route = Literal["exact", "krylov"]
EXACT_AXES = 512
KEPT_SHARE = 0.9999
BLOCK = 16
RESIDUAL = 1e-4
EIGENVALUE_FLOOR = 1e-10
RITZ_FLOOR = 1e-6
TRACE_FLOOR = 1e-5
COVARIANCE_FLOOR = 1e-12


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
    """

    eigenvalues: Tensor
    directions: Tensor
    readout: Tensor
    contributions: Tensor
    remainder: Tensor
    route: Route

    @property
    def total(self) -> float:
        """tr A, the sum of all L eigenvalues."""
        return float(self.eigenvalues.sum() + self.remainder.mean())

    @property
    def spread(self) -> Tensor:
        """Contributions with shape (N, L): the K directions, then the remainder in L − K equal parts. Counts of ≤ K are exact in it."""
        rest = len(self.directions) - len(self.eigenvalues)
        return torch.cat([self.contributions, (self.remainder / max(rest, 1))[:, None].expand(-1, rest)], dim=1)

    def count(self, threshold: float) -> int:
        """The smallest number of directions whose share of the trace exceeds the threshold, in (0, 1]."""
        return int(active_count(self.spread.mean(dim=0), threshold))


def principal_directions(
    model: Autoencoder,
    codes: Posterior,
    covariance: Tensor,
    *,
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
        generator: source of the Krylov route's start and signs; the exact route does not use it.
        threshold: the largest share that will be counted, in (0, 1]; the Krylov route stops soon after it.
        route: `auto` is exact up to 512 axes where the Jacobian of one sample fits into `memory`.
        memory: bytes that the intermediate values of one chunk may take, about.

    Raises:
        ConfigError: for a covariance of the wrong shape or not finite, or the Krylov route with a threshold above 99.99 %.
    """
    z = codes.mean.to(device)
    latent_dim = z.shape[1]
    if covariance.shape != (latent_dim, latent_dim) or not covariance.isfinite().all():
        found = f"shape {tuple(covariance.shape)}"
        raise ConfigError(f"The covariance of {latent_dim} axes must be finite with shape {(latent_dim, latent_dim)}; found {found}.")
    context = None if codes.context is None else codes.context.to(device)
    root, inverse = _roots(covariance.to(device).double())
    with inference_mode(model):
        row, outputs = decode_footprint(model, z, context)
        if route == "auto":
            route = "exact" if latent_dim <= EXACT_AXES and 12 * latent_dim * outputs <= memory else "krylov"
        decoder = _Decoder(model, z, context, row, outputs, memory)
        if route == "exact":
            values, vectors, trace = _exact(decoder, root, threshold)
        else:
            values, vectors, trace = _krylov(decoder, root, threshold, generator)
        directions = root @ vectors
        contributions = decoder.squared_norms(directions)
        remainder = trace(vectors, contributions)
    return PrincipalDirections(values.cpu(), directions.cpu(), (vectors.T @ inverse).cpu(), contributions.cpu(), remainder.cpu(), route)


def gram_matrix(model: Autoencoder, codes: Posterior, *, device: torch.device | str = "cpu", memory: int = MEMORY_BUDGET) -> Tensor:
    """G = mean_i J_iᵀ J_i at the means of N codes with shape (L, L), float64, on the CPU; costs N L tangents."""
    z = codes.mean.to(device)
    context = None if codes.context is None else codes.context.to(device)
    with inference_mode(model):
        decoder = _Decoder(model, z, context, *decode_footprint(model, z, context), memory)
        return (torch.stack([grams.sum(dim=0) for grams in decoder.grams()]).sum(dim=0) / len(z)).cpu()


@dataclass(frozen=True)
class _Decoder:
    """The decoder at N fixed codes and what its Jacobians do to vectors, within a memory budget."""

    model: Autoencoder
    z: Tensor
    context: Tensor | None
    row: int
    outputs: int
    memory: int

    def parts(self, bytes_per_sample: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Codes and contexts, as many at a time as fit."""
        size = max(1, self.memory // bytes_per_sample)
        for start in range(0, len(self.z), size):
            yield self.z[start : start + size], None if self.context is None else self.context[start : start + size]

    def images(
        self, z: Tensor, context: Tensor | None, tangents: Tensor, reduce: Callable[[Tensor], Tensor] = torch.Tensor.float
    ) -> Tensor:
        """`reduce` of J_i t for codes (n, L) and tangents (k, L): shape (n, k, *shape of one reduction)."""
        fit = max(1, self.memory // (2 * self.row + 8 * self.outputs))  # values and their tangents

        def one(code: Tensor, own: Tensor | None) -> Tensor:
            def decode(inputs: Tensor) -> Tensor:
                return self.model.decode(inputs[None], None if own is None else own[None])[0].flatten()

            return vmap(lambda tangent: reduce(jvp(decode, (code,), (tangent,))[1]), chunk_size=min(fit, len(tangents)))(tangents)

        chunk = max(1, fit // len(tangents))
        return vmap(one, in_dims=(0, None if context is None else 0), chunk_size=chunk)(z, context)

    def grams(self) -> Iterator[Tensor]:
        """J_iᵀ J_i of some samples at a time with shape (n, L, L), float64."""
        latent_dim = self.z.shape[1]
        basis = torch.eye(latent_dim, dtype=self.z.dtype, device=self.z.device)
        for z, context in self.parts(latent_dim * (2 * self.row + 12 * self.outputs + 8 * latent_dim)):
            columns = self.images(z, context, basis).double()
            yield columns @ columns.mT

    def squared_norms(self, vectors: Tensor) -> Tensor:
        """‖J_i u_k‖² with shape (N, K) for vectors u (L, K)."""
        if vectors.shape[1] == 0:
            return vectors.new_zeros(len(self.z), 0)
        tangents = vectors.T.to(self.z.dtype)
        parts = self.parts(vectors.shape[1] * (2 * self.row + 8 * self.outputs))
        found = [self.images(z, context, tangents, lambda image: image.square().sum()) for z, context in parts]
        return torch.cat(found).double()

    def product(self, vectors: Tensor) -> Tensor:
        """G u with shape (L, k) for vectors u (L, k)."""
        cost = 5 * self.row + 12 * self.outputs
        width = max(1, min(vectors.shape[1], self.memory // cost))
        return torch.cat([self._product(block, cost * width) for block in vectors.split(width, dim=1)], dim=1)

    def _product(self, vectors: Tensor, bytes_per_sample: int) -> Tensor:
        tangents = vectors.T.to(self.z.dtype)
        total = torch.zeros_like(vectors.T)
        for z, context in self.parts(bytes_per_sample):
            images = self.images(z, context, tangents)
            pull = vjp(lambda inputs, own=context: self.model.decode(inputs, own).flatten(1), z)[1]
            total += vmap(lambda image, pull=pull: pull(image)[0])(images.transpose(0, 1)).sum(dim=1, dtype=total.dtype)
        return total.T / len(self.z)

    def signed(self, generator: torch.Generator) -> Tensor:
        """J_iᵀ r_i for one vector of signs at each code: shape (N, L)."""
        found = []
        for z, context in self.parts(3 * self.row + 12 * self.outputs):
            signs = rademacher((len(z), 1, self.outputs), generator, z.device)
            found.append(pulled_back(self.model, z, context, signs)[:, 0])
        return torch.cat(found).double()


# what lies outside K orthonormal vectors (L, K) of the whitened space, given the contributions inside (N, K): shape (N,)
_Remainder = Callable[[Tensor, Tensor], Tensor]


def _exact(decoder: _Decoder, root: Tensor, threshold: float) -> tuple[Tensor, Tensor, _Remainder]:
    gram, traces = torch.zeros_like(root), []
    for grams in decoder.grams():
        gram += grams.sum(dim=0)
        traces.append((grams * (root @ root)).sum(dim=(1, 2)))
    values, vectors = _descending(root @ gram @ root / len(decoder.z))
    values = torch.where(values > EIGENVALUE_FLOOR * values[0], values, 0).clamp(min=0)
    kept = int(active_count(values, max(threshold, KEPT_SHARE)))
    whole = torch.cat(traces)

    def outside(_: Tensor, inside: Tensor) -> Tensor:
        rest = whole - inside.sum(dim=1)
        return torch.where(rest > TRACE_FLOOR * whole, rest, 0)

    return values[:kept], vectors[:, :kept], outside


def _krylov(decoder: _Decoder, root: Tensor, threshold: float, generator: torch.Generator) -> tuple[Tensor, Tensor, _Remainder]:
    if threshold > KEPT_SHARE:
        raise ConfigError(
            f"The Krylov route counts at thresholds up to {KEPT_SHARE:.2%}, not {threshold:.2%}.",
            "Lower the threshold, or allow more memory so that the exact route fits.",
        )
    signed = decoder.signed(generator) @ root

    def outside(vectors: Tensor, _: Tensor | None = None) -> Tensor:
        return (signed - (signed @ vectors) @ vectors.T).square().sum(dim=1)

    basis, image = root[:, :0], root[:, :0]
    block = _fresh(root, basis, basis, generator)
    while True:
        new = root @ decoder.product(root @ block)
        basis, image = torch.cat([basis, block], dim=1), torch.cat([image, new], dim=1)
        values, small = _descending(basis.T @ image)
        vectors = basis @ small
        settled = ((image @ small - vectors * values).norm(dim=0) <= RESIDUAL * values[0]) & (values > RITZ_FLOOR * values[0])
        kept = int(settled.long().cumprod(dim=0).sum())
        total = values.clamp(min=0).sum() + outside(basis).mean()
        block = _fresh(root, basis, new, generator)
        if values[:kept].sum() >= (1 + threshold) / 2 * total or block.shape[1] == 0:
            return values[:kept], vectors[:, :kept], outside


def _fresh(root: Tensor, basis: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Up to `BLOCK` orthonormal vectors, orthogonal to the basis: what `wanted` adds to it, then random ones in the range of Σ^½."""
    width = min(BLOCK, len(root) - basis.shape[1])
    found = _outside(wanted, basis)[:, :width]
    random = torch.randn(len(root), BLOCK, generator=generator, device=generator.device, dtype=root.dtype).to(root.device)
    return torch.cat([found, _outside(root @ random, torch.cat([basis, found], dim=1))], dim=1)[:, :width]


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


def _descending(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.flip(0), vectors.flip(1)


def _roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Σ^½ and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    sizes = torch.where(values > COVARIANCE_FLOOR * values[-1], values, 0).clamp(min=0).sqrt()
    inverse = torch.where(sizes > 0, 1 / sizes, 0)
    return (vectors * sizes) @ vectors.T, (vectors * inverse) @ vectors.T
