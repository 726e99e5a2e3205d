r"""MaskAAE: an adversarial autoencoder with a soft mask on its axes, driven towards 0 or 1.

    α_l = 1 − e^{−m_l},  m_l ≥ 0;   ẑ = α ⊙ z,  p̂ = α ⊙ p,  p ~ N(0, I);   x̂ = Dec(ẑ);   T the critic
    autoencoder  rec + λ_v mean_{b,l} (z − z̄)² e^{−10 α²}                 rec: mean over all outputs, cross-entropy or squared error
    critic       W + λ_g ⟨(‖∇T‖ − 1)²⟩,   W = ⟨T(ẑ)⟩ − ⟨T(p̂)⟩             the gradient at p̂ + t (ẑ − p̂), t ~ U(0, 1)
    encoder      −⟨T(ẑ)⟩
    mask         1000 rec + (1 − W)² + c Σ_l α_l (1 − α_l)                 then m ← max(m, 0)

A step updates the autoencoder, five times the critic, the encoder and the mask, each from a batch of its own and by its own RMSProp; no
update reaches another's parameters. c starts at 2/L and doubles every 4R steps, up to 2048; R = 75 up to 20 axes, else
min(10,000, ⌊112.5 L⌋). After step 5R the autoencoder's and the mask's rates are cut to a fifth: in the authors' program by scaling their
*losses* (`mask.cut=loss`), which RMSProp undoes within some ten steps; `lr` does what was meant. m starts at U(0, 5) with one fixed seed.

`reconstruction` is rec (nats or squared error per output), `variance` the mean before λ_v, `critic` W, `gradient` the mean before λ_g,
`mask` Σ α (1 − α). W has either sign, all others are ≥ 0. In the saved network the mask is folded into the decoder's first layer.

Source: Mondal et al., arXiv 1912.04564, and the authors' MNIST script. TensorFlow's RMSProp starts its mean square at 1, torch's at 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..networks.build import NetworkAutoencoder
from ..networks.initialise import glorot_normal
from .critic import critic_network, gradient_penalty, standard_normal_like
from .gates import fold_scale
from .objective import Objective, OwnCount, Setup, option

__all__ = ["MaskAae", "Options"]

CRITIC_STEPS = 5
MASK_SEED, MASK_RANGE, OPEN = 64, 5.0, 0.1
MOST_POLARISATION, CUT = 2048.0, 0.2


@dataclass(frozen=True)
class Options:
    """Options of the MaskAAE."""

    reconstruction: Literal["auto", "bce", "mse"] = option("auto", "Term of the reconstruction; auto: bce for images in [0, 1].")
    variance: float = option(100.0, "Weight λ_v of the variance of masked axes.", low=0)
    gradient: float = option(10.0, "Weight λ_g of the critic's gradient penalty.", low=0)
    mask_reconstruction: float = option(1000.0, "Weight of the reconstruction in the mask's loss.", low=0)
    interval: int | None = option(None, "R, steps that the schedule is counted in; else from L.", low=1)
    cut: Literal["loss", "lr"] = option("loss", "What is cut to a fifth after 5R steps: losses, as in the authors' program, or rates.")
    units: int = option(1024, "Units of each of the critic's four hidden layers.", low=1, high=65_536)
    critic_lr: float = option(1e-4, "Learning rate of the critic and of the encoder's adversarial step.", low=0, high=1)


class MaskAae(Objective):
    """The MaskAAE objective with its mask m and critic.

    Arguments:
        latent_dim: L.
        options: see `Options`.
    """

    summary_line = "adversarial autoencoder with a soft mask on its axes"
    paper = "Mondal et al., arXiv 1912.04564"
    prefix = "mask"
    Options = Options
    table = MappingProxyType({"": {"batch_size": 64, "lr": 5e-4}, "mnist": {"batch_size": 64, "lr": 5e-4, "epochs": 100}})
    stochastic = False
    plateau = False
    further_batches = CRITIC_STEPS + 2

    def __init__(self, latent_dim: int, options: Options | None = None) -> None:
        super().__init__()
        self.options = options or Options()
        self.m = nn.Parameter(MASK_RANGE * torch.rand(latent_dim, generator=torch.Generator().manual_seed(MASK_SEED)))
        self.critic = critic_network(latent_dim, self.options.units)
        glorot_normal(self.critic)
        self.interval = self.options.interval or (75 if latent_dim <= 20 else min(10_000, math.floor(112.5 * latent_dim)))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @classmethod
    def made_for(cls, setup: Setup) -> MaskAae:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.settings["seed"])
            return cls(setup.latent_dim, setup.options)

    def prepare(self, model: NetworkAutoencoder) -> None:
        if self.options.reconstruction == "bce" and model.record["output"] != "sigmoid":
            raise ConfigError("mask.reconstruction=bce needs images in [0, 1].", "Use mask.reconstruction=mse, or leave it out.")

    @property
    def alpha(self) -> Tensor:
        """α with shape (L,), in [0, 1)."""
        return -torch.expm1(-self.m)

    @property
    def polarisation(self) -> Tensor:
        """c of the step to come, a scalar."""
        doublings = (self.steps / (4 * self.interval)).floor()
        return (2 / len(self.m) * 2**doublings).clamp(max=MOST_POLARISATION).float()

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        slow = self.options.critic_lr
        groups = ((model.parameters(), lr), (self.critic.parameters(), slow), (model.encoder.parameters(), slow), ([self.m], lr))
        return [torch.optim.RMSprop(parameters, lr=rate, alpha=0.9, eps=1e-10) for parameters, rate in groups]

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        z = model.encode(x).mean
        loss, terms = self._autoencoder_loss(model, x, z)
        masked, prior = self.alpha * z, self.alpha * standard_normal_like(z, generator)
        critic = self._difference(masked, prior)
        penalty = gradient_penalty(self.critic, masked.detach(), prior.detach(), _shares(z, generator)).detach()
        return {"loss": loss, **terms, "critic": critic, "gradient": penalty, "mask": self._undecided()}

    def step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimisers: list[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        autoencoder, critic, encoder, mask = optimisers
        own, *critic_batches, encoder_batch, mask_batch = x.chunk(1 + self.further_batches)
        cut = torch.where(self.steps > 5 * self.interval, CUT, 1.0).float()
        scale, share = (cut, None) if self.options.cut == "loss" else (1.0, cut)
        loss, terms = self._autoencoder_loss(model, own, model.encode(own).mean)
        _update(autoencoder, scale * loss, share)
        *_, (difference, penalty) = [self._critic_step(model, batch, generator, critic) for batch in critic_batches]
        _update(encoder, -self.critic(self.alpha * model.encode(encoder_batch).mean).mean())
        _update(mask, scale * self._mask_loss(model, mask_batch, generator), share)
        with torch.no_grad():
            self.m.clamp_(min=0)
        self.steps += 1
        found = {"loss": loss, **terms, "critic": difference, "gradient": penalty, "mask": self._undecided()}
        return {name: value.detach() for name, value in found.items()}

    def _autoencoder_loss(self, model: NetworkAutoencoder, x: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        reconstruction, mse = self._reconstruction(model, x, self.alpha * z)
        variance = ((z - self.batch.mean(z.mean(dim=0))).square() * torch.exp(-10 * self.alpha.square())).mean()
        return reconstruction + self.options.variance * variance, {"reconstruction": reconstruction, "variance": variance, "mse": mse}

    def _reconstruction(self, model: NetworkAutoencoder, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """rec and the mean squared error, both scalars."""
        raw = model.decode_raw(z)
        squared = (model.activate(raw) - x).square().mean()
        kind = self.options.reconstruction
        if kind == "mse" or (kind == "auto" and model.record["output"] != "sigmoid"):
            return squared, squared.detach()
        return nn.functional.binary_cross_entropy_with_logits(raw, x), squared.detach()

    def _critic_step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimiser: torch.optim.Optimizer
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            z = model.encode(x).mean
            masked, prior = self.alpha * z, self.alpha * standard_normal_like(z, generator)
        difference = self._difference(masked, prior)
        penalty = gradient_penalty(self.critic, masked, prior, _shares(z, generator))
        _update(optimiser, difference + self.options.gradient * penalty)
        return difference, penalty

    def _mask_loss(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            z = model.encode(x).mean
        reconstruction, _ = self._reconstruction(model, x, self.alpha * z)
        difference = self._difference(self.alpha * z, self.alpha * standard_normal_like(z, generator))
        return (
            self.options.mask_reconstruction * reconstruction
            + (1 - self.batch.mean(difference)).square()
            + self.polarisation * self._undecided()
        )

    def _difference(self, masked: Tensor, prior: Tensor) -> Tensor:
        """W, a scalar."""
        return self.critic(masked).mean() - self.critic(prior).mean()

    def _undecided(self) -> Tensor:
        return (self.alpha * (1 - self.alpha)).abs().sum()

    def finished(self, model: NetworkAutoencoder) -> NetworkAutoencoder:
        return fold_scale(model, self.alpha.detach())

    def own_count(self) -> OwnCount:
        axes = (self.alpha.detach() >= OPEN).nonzero()[:, 0].tolist()
        return OwnCount(f"axes with a mask of at least {OPEN}", axes, bool(axes), "" if axes else "the mask closed every axis")

    def summary(self) -> dict[str, float]:
        alpha = self.alpha.detach()
        return {"c": float(self.polarisation), "mask_mean": float(alpha.mean()), "mask_open": float((alpha >= OPEN).sum())}


def _update(optimiser: torch.optim.Optimizer, loss: Tensor, share: Tensor | None = None) -> None:
    """One step of the optimiser's own parameters, or a share of it: RMSProp's steps are proportional to the rate, which is a number on the
    host, where a share that depends on the count of steps may stay on the device."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    optimiser.zero_grad(set_to_none=True)
    loss.backward(inputs=parameters)
    before = [] if share is None else [parameter.detach().clone() for parameter in parameters]
    optimiser.step()
    if share is not None:
        with torch.no_grad():
            for parameter, old in zip(parameters, before, strict=True):
                parameter.copy_(old.lerp(parameter, share))


def _shares(z: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(len(z), 1, generator=generator, device=z.device, dtype=z.dtype)
