r"""How strongly the decoder responds to each latent axis: column norms of its Jacobian, never storing the Jacobian.

    J^i = ∂x̂/∂z at code i, with shape (D, L)
    paper:         w_l = Σ_d mean_i (J^i_dl)²           (Eq. 19, read as a mean over samples of squares, summed over outputs)
    authors-code:  w_l = Σ_d (mean_i |J^i_dl|)²         (what the authors' program computes; ≤ paper, by Jensen)

Exact by nested forward mode: `vmap` over samples of `vmap` over tangents of `jvp`. The tangents e_1 … e_L are the same for every
sample, so the decoder's affine prefix is differentiated once for all samples, and each tangent is reduced to its squared norm
inside, so that memory is bounded by the chunk and not by L × D × N.

Both conventions are reported as contributions c with shape (N, L) whose mean over samples is w; their spread gives standard errors.
For the paper's convention c_il = Σ_d (J^i_dl)². For the authors' it is the influence c_il = 2 Σ_d m_dl |J^i_dl| − Σ_d m_dl², with
m_dl = mean_i |J^i_dl|, whose mean is w exactly.

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 19.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..autoencoder import Autoencoder, Posterior
from ..errors import ArdtoolError

__all__ = ["Convention", "JacobianNorms", "column_norms", "inference_mode"]

Convention = Literal["paper", "authors-code"]
MEMORY_BUDGET = 256 * 2**20


@dataclass(frozen=True)
class JacobianNorms:
    """Squared column norms of the decoder's Jacobian.

    Attributes:
        contributions: per sample and axis with shape (N, L), float64; their mean over samples is the weight w.
        outputs: D.
        convention: how they were combined.
    """

    contributions: Tensor
    outputs: int
    convention: Convention

    @property
    def weight(self) -> Tensor:
        """w with shape (L,), in squared output units per squared latent unit, ≥ 0."""
        return self.contributions.mean(dim=0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of w over samples with shape (L,); infinite for a single sample."""
        n = len(self.contributions)
        if n < 2:
            return torch.full_like(self.contributions[0], float("inf"))
        return self.contributions.std(dim=0) / n**0.5


def column_norms(
    model: Autoencoder,
    codes: Posterior,
    *,
    convention: Convention = "paper",
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> JacobianNorms:
    """Exact squared column norms of the decoder's Jacobian at N codes.

    Arguments:
        model: its `decode` is differentiated in inference mode and float32.
        codes: N posteriors; the paper's convention works at their means, the authors' at a draw from them.
        convention: `paper` or `authors-code`.
        generator: source of that draw.
        memory: bytes that the intermediate values of one chunk may take, about.

    Raises:
        ArdtoolError: torch cannot differentiate the decoder in forward mode.
    """
    z = (codes.mean if convention == "paper" else codes.sample(generator)).to(device)
    context = None if codes.context is None else codes.context.to(device)
    with inference_mode(model), _differentiable():
        plan, outputs = _plan(model, z, context, memory)
        if convention == "paper":
            contributions = _reduce(model, z, context, plan, lambda tangent: tangent.square().sum())
        else:
            contributions = _influences(model, z, context, plan)
    return JacobianNorms(contributions.cpu().double(), outputs, convention)


@contextmanager
def inference_mode(model: Any) -> Iterator[None]:
    """No gradients, `.eval()`, autocast and TF32 off, and attention by its mathematical form, which alone has a forward derivative.

    Everything is put back afterwards.
    """
    module = model if isinstance(model, nn.Module) else None
    was_training = module.training if module is not None else False
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    had_tf32 = torch.backends.cudnn.allow_tf32
    if module is not None:
        module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.cudnn.allow_tf32 = False  # convolutions round to 10 bits otherwise; matrix products do not unless asked to
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            with sdpa_kernel(SDPBackend.MATH):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
        torch.backends.cudnn.allow_tf32 = had_tf32
        if module is not None and was_training:
            module.train()


@contextmanager
def _differentiable() -> Iterator[None]:
    """Says in one line what torch says in many where a decoder has no forward derivative."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (NotImplementedError, RuntimeError, AttributeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArdtoolError(
            f"The decoder cannot be differentiated in forward mode: {reason}.",
            "It must be made of torch operations, take float32 codes, and have no randomness or data-dependent branches.",
        ) from error


@dataclass(frozen=True)
class _Plan:
    samples: int
    tangents: int


def _reduce(model: Autoencoder, z: Tensor, context: Tensor | None, plan: _Plan, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """`reduce` of every column of J at every code: shape (N, L, *shape of one reduction)."""
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def columns(code: Tensor, row: Tensor | None) -> Tensor:
        def decode(one: Tensor) -> Tensor:
            return model.decode(one[None], None if row is None else row[None])[0].flatten()

        return vmap(lambda tangent: reduce(jvp(decode, (code,), (tangent,))[1]), chunk_size=plan.tangents)(basis)

    return vmap(columns, in_dims=(0, None if context is None else 0), chunk_size=plan.samples)(z, context)


def _influences(model: Autoencoder, z: Tensor, context: Tensor | None, plan: _Plan) -> Tensor:
    """Contributions of the authors' convention: one pass for m = mean |J|, one for the influence of each sample."""
    chunks = [slice(start, start + plan.samples) for start in range(0, len(z), plan.samples)]

    def magnitudes(chunk: slice) -> Tensor:
        return _reduce(model, z[chunk], None if context is None else context[chunk], plan, torch.abs).cpu().double()

    mean = torch.stack([magnitudes(chunk).sum(dim=0) for chunk in chunks]).sum(dim=0) / len(z)
    return torch.cat([2 * (magnitudes(chunk) * mean).sum(dim=2) - mean.square().sum(dim=1) for chunk in chunks])


def _plan(model: Autoencoder, z: Tensor, context: Tensor | None, memory: int) -> tuple[_Plan, int]:
    """How many samples and tangents go through the decoder at once, and its number of outputs."""
    with AllocatedBytes() as allocated:
        outputs = model.decode(z[:1], None if context is None else context[:1]).numel()
    fit = max(1, memory // max(allocated.total, 1))
    latent_dim = z.shape[1]
    return _Plan(samples=max(1, fit // latent_dim), tangents=min(latent_dim, fit)), outputs


class AllocatedBytes(TorchDispatchMode):
    """Adds up the size of every tensor made inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.total += value.numel() * value.element_size()
        return out
