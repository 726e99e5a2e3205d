r"""WAE-GAN (AAE): a deterministic autoencoder whose codes are matched to N(0, I) by a critic.

    critic       λ [BCE(T(z'), 1) + BCE(T(z), 0)]           z' ~ N(0, I); no gradient reaches the encoder
    autoencoder  ρ ⟨Σ_d (x − x̂)²⟩ + λ BCE(T(z), 1)         non-saturating; no gradient reaches the critic

T gives one logit; BCE is the mean over the batch, in nats. One step of the autoencoder, then one of the critic, each with its own Adam
(β₁ = 0.5 for both). With `p_trick` log p(z) = −‖z‖²/2 is added to the logit. `reconstruction` is the summed squared error before ρ,
`adversarial` and `critic` are before λ; with an undecided critic they are log 2 and 2 log 2.

Source: Makhzani et al., arXiv 1511.05644; Tolstikhin et al., arXiv 1711.01558, whose code has the critic's size,
ρ = 0.05 and λ for MNIST and CelebA. λ = 1 for all other data is our choice: at 10 the critic holds the codes of `sprites` so firmly that
nothing is reconstructed within 720 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.build import NetworkAutoencoder
from .critic import critic_network, standard_normal_like
from .objective import Objective, Setup, option, reconstruction_error

__all__ = ["WaeGan"]

BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class Options:
    """Options of the WAE-GAN."""

    weight: float = option(1.0, "Weight λ of the adversarial term; 10 for MNIST, 100 for CelebA.", low=0)
    reconstruction: float = option(0.05, "Weight ρ of the summed squared error.", low=0)
    units: int = option(512, "Units of each of the critic's four hidden layers.", low=1, high=65_536)
    critic_lr: float = option(5e-4, "Learning rate of the critic.", low=0, high=1)
    p_trick: bool = option(False, "Add the log density of the prior to the critic's logit.")


class WaeGan(Objective):
    """The WAE-GAN objective with its critic.

    Arguments:
        latent_dim: L.
        weight, reconstruction: λ and ρ.
        units: width of the critic.
        critic_lr: its learning rate.
        p_trick: see the module.
    """

    summary_line = "deterministic autoencoder whose codes are matched to N(0, I) by a critic"
    paper = "Makhzani et al., arXiv 1511.05644"
    prefix = "gan"
    Options = Options
    table = MappingProxyType({"mnist": {"weight": 10.0}, "celeba": {"weight": 100.0, "units": 1024, "p_trick": True}})
    stochastic = False

    def __init__(
        self, latent_dim: int, *, weight: float, reconstruction: float, units: int = 512, critic_lr: float = 5e-4, p_trick: bool = False
    ) -> None:
        super().__init__()
        self.weight, self.reconstruction, self.critic_lr, self.p_trick = weight, reconstruction, critic_lr, p_trick
        self.critic = critic_network(latent_dim, units)

    @classmethod
    def made_for(cls, setup: Setup) -> WaeGan:
        options = setup.options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.settings["seed"])
            return cls(
                setup.latent_dim,
                weight=options.weight,
                reconstruction=options.reconstruction,
                units=options.units,
                critic_lr=options.critic_lr,
                p_trick=options.p_trick,
            )

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(model.parameters(), lr=lr, betas=BETAS, **options),
            torch.optim.Adam(self.critic.parameters(), lr=self.critic_lr, betas=BETAS, **options),
        ]

    def logits(self, z: Tensor) -> Tensor:
        """T(z) with shape (N,): positive where z looks drawn from the prior."""
        found = self.critic(z)[:, 0]
        return found - 0.5 * z.square().sum(dim=1) if self.p_trick else found

    def critic_loss(self, z: Tensor, prior: Tensor) -> Tensor:
        """BCE(T(z'), 1) + BCE(T(z), 0) in nats for codes and draws from the prior, both (N, L)."""
        return nn.functional.softplus(-self.logits(prior)).mean() + nn.functional.softplus(self.logits(z)).mean()

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        z = model.encode(x).mean
        error, mse = reconstruction_error(model, z, x, "gaussian")
        adversarial = nn.functional.softplus(-self.logits(z)).mean()
        loss = self.reconstruction * error + self.weight * adversarial
        with torch.no_grad():
            critic = self.critic_loss(z, standard_normal_like(z, generator))
        return {"loss": loss, "reconstruction": error, "adversarial": adversarial, "critic": critic, "mse": mse}

    def step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimisers: list[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        autoencoder, critic = optimisers
        autoencoder.zero_grad(set_to_none=True)
        self.critic.requires_grad_(False)
        terms = self.losses(model, x, generator)
        terms["loss"].backward()
        autoencoder.step()
        self.critic.requires_grad_(True)
        with torch.no_grad():
            z = model.encode(x).mean
        critic.zero_grad(set_to_none=True)
        (self.weight * self.critic_loss(z, standard_normal_like(z, generator))).backward()
        critic.step()
        return {name: value.detach() for name, value in terms.items()}
