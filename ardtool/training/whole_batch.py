r"""What is taken over a whole batch where each process has a part of it: sums and BatchNorm, both differentiable as often as one likes, and
random numbers.

Process r has the loss F_r of its own samples, with the weight s_r in F = Σ_r s_r F_r. What it passes back are derivatives of F divided by
s_r: plain derivatives of F_r, where no process needs another. With g_r those at y = Σ_r x_r, which all processes see,

    back to x_q:   (1/s_q) Σ_r s_r g_r,      and back through that, from h_r:   Σ_r h_r

so a derivative inside a loss has to be that of a mean over samples, or all parts as large (`rae.variant=gp` takes that of a sum).

BatchNorm, per channel, of n_r values with mean m_r and variance v_r, in training:

    n = Σ_r n_r,   m = Σ_r n_r m_r / n,   v = Σ_r n_r (v_r + m_r²) / n − m²,   y = w (x − m) / √(v + ε) + b

Where each process has the whole batch (fewer than two samples each), all copies are counted: m and v are the same, and the n / (n − 1) of
the running variance is a little nearer to 1.

Source: Ioffe, Szegedy, arXiv 1502.03167. Sums are in float64, in which v_r + m_r² − m² loses nothing that matters.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..networks.build import NetworkAutoencoder
from .processes import Shard

__all__ = ["WholeBatchNoise", "WholeBatchNorm2d", "over_whole_batches", "summed"]


class WholeBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm2d that takes the moments of whole batches in training."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        variance, mean = (moment.double() for moment in torch.var_mean(x, dim=(0, 2, 3), correction=0))
        own = mean.new_tensor([x.numel() // x.shape[1]])
        n = summed(own, 1.0)
        mean, square = summed(torch.stack([mean, variance + mean.square()]) * own, own / n) / n
        variance = square - mean.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * n / (n - 1)).to(self.running_var), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps).to(self.weight)
        shift = self.bias - mean.to(scale) * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)


class WholeBatchNoise(TorchFunctionMode):
    """Inside, `torch.randn` and `torch.rand` with a generator, asked for as many rows as this process has of a batch, draw them for the
    whole batch and give this process' own. Samples are in the first dimension; in the second of three, where several draws are made."""

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self._samples, self._rows = shard.samples, shard.rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (func is not torch.randn and func is not torch.rand) or kwargs.get("generator") is None:
            return func(*args, **kwargs)
        shape = list(args[0] if args and not isinstance(args[0], int) else args)
        own = self._rows.stop - self._rows.start
        dimension = 1 if len(shape) == 3 else 0
        if not shape or shape[dimension] != own:
            return func(*args, **kwargs)
        shape[dimension] = self._samples
        return func(*shape, **kwargs).narrow(dimension, self._rows.start, own).contiguous()


def over_whole_batches(model: NetworkAutoencoder) -> None:
    """Let every BatchNorm2d of a network work on whole batches."""
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = WholeBatchNorm2d


def summed(x: Tensor, share: Tensor | float) -> Tensor:
    """Σ_r x_r.

    Arguments:
        x: of one shape in all processes.
        share: s_r, which sum to 1 over processes.
    """
    return _Sum.apply(x, share)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Tensor | float) -> Tensor:
        ctx.share = share
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return _WeightedSum.apply(gradients[0], ctx.share), None


class _WeightedSum(torch.autograd.Function):
    """(1/s_q) Σ_r s_r g_r in process q."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, share: Tensor | float) -> Tensor:
        ctx.share = share
        return _all_reduced(g * share) / share

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return _Sum.apply(gradients[0], ctx.share), None


def _all_reduced(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
