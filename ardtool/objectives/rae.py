r"""RAE and AE: deterministic autoencoders with a regularised decoder, sampled by a density fitted to their codes afterwards.

    loss = mean_d (x − x̂)² + β mean_l z_l² + R          minimised; all three are means over the batch, z = E(x)
    l2      R = λ Σ w²                           over the kernels of the decoder's (transposed) convolutions, or dense layers
    gp      R = λ mean_l (∂ Σ_d x̂_d² / ∂z_l)²    the form of the authors' code: one vector-Jacobian product of the squared output
            R = λ ‖Jᵀ r‖²,  r ~ N(0, I)          with penalty=hutchinson: unbiased for ‖J‖²_F, the form of the article up to ½
    sn      R = 0; the decoder's weights are divided by their largest singular value (one power iteration a step)
    plain   R = 0
    ae      β = 0, R = 0

All is in the mean-mean units of the authors' code, in which supp. Table 6 gives β and λ. In units of the summed squared error β is D/L
times and λ D times as much. `reconstruction` is mean squared error, `embedding` mean z², `penalty` R / λ; none is negative.

Source: Ghosh et al., "From variational to deterministic autoencoders", arXiv 1903.12436; constants of sn and plain from their code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import parametrizations, parametrize

from ..networks.build import NetworkAutoencoder
from ..networks.initialise import ADAM_EPS
from .decoder_penalty import decoded_with_penalty, kernel_norm, weighted_layers
from .objective import Objective, Setup, option

__all__ = ["Ae", "Rae"]

Variant = Literal["l2", "gp", "sn", "plain"]
# by data set: β of l2 and gp, λ of l2, λ of gp, β of sn, β of plain; supp. Table 6, the last three from the authors' code
TABLE_6 = {
    "mnist": (1e-4, 1e-7, 0.5e-7, 0.009, 5e-4),
    "celeba": (1e-4, 1e-7, 1e-7, 2.4e-3, 1e-4),
    "cifar10": (1e-3, 1e-6, 0.0, 0.03, 1e-2),
    "imagenet32": (1e-3, 1e-6, 0.0, 0.03, 1e-2),
    "dsprites": (1e-4, 1e-6, 1e-7, 2.4e-3, 1e-4),
    "shapes3d": (1e-4, 1e-6, 1e-7, 2.4e-3, 1e-4),
    "": (1e-4, 1e-7, 1e-7, 2.4e-3, 1e-4),
}
FURTHER_POWER_ITERATIONS = 100


@dataclass(frozen=True)
class Options:
    """Options of the RAE; a weight that is left out is that of the variant and the data set."""

    variant: Variant = option("l2", "How the decoder is kept smooth: l2, gp, sn or plain.")
    beta: float | None = option(None, "Weight of the mean squared code; else by data and variant.", low=0)
    decoder_weight: float | None = option(None, "Weight of the decoder's penalty (l2, gp); else by data and variant.", low=0)
    penalty: Literal["squared-output", "hutchinson"] = option("squared-output", "Form of gp: that of the authors' code, or ‖J‖² by probes.")
    table: str = option("", "Data set whose weights are used; else the data's own.")


class Rae(Objective):
    """The RAE objective.

    Arguments:
        beta: weight of the mean squared code.
        decoder_weight: λ.
        variant, penalty: see the module.
        seed: of the vectors that power iterations start from.
    """

    summary_line = "deterministic autoencoder with a regularised decoder"
    paper = "Ghosh et al., arXiv 1903.12436"
    prefix = "rae"
    Options = Options
    table = MappingProxyType({name: {"table": name} for name in TABLE_6})
    stochastic = False
    sampler = "gmm"

    def __init__(
        self, *, beta: float, decoder_weight: float = 0.0, variant: Variant = "plain", penalty: str = "squared-output", seed: int = 0
    ) -> None:
        super().__init__()
        self.beta, self.decoder_weight, self.variant, self.form, self.seed = beta, decoder_weight, variant, penalty, seed
        self.second_derivatives = variant == "gp"

    @classmethod
    def made_for(cls, setup: Setup) -> Rae:
        options = setup.options
        common, l2, gp, sn, plain = TABLE_6.get(options.table, TABLE_6[""])
        beta, weight = {"l2": (common, l2), "gp": (common, gp), "sn": (sn, 0.0), "plain": (plain, 0.0)}[options.variant]
        beta = beta if options.beta is None else options.beta
        weight = weight if options.decoder_weight is None else options.decoder_weight
        return cls(beta=beta, decoder_weight=weight, variant=options.variant, penalty=options.penalty, seed=setup.settings["seed"])

    def prepare(self, model: NetworkAutoencoder) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for layer in weighted_layers(model) if self.variant == "sn" else ():
                parametrizations.spectral_norm(layer, n_power_iterations=1)

    def finished(self, model: NetworkAutoencoder) -> NetworkAutoencoder:
        """The network with its normalised weights as plain ones."""
        if self.variant != "sn":
            return model
        from ..networks.build import build_network

        plain = build_network(model.record).to(next(model.parameters()).device)
        state = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
        with torch.no_grad(), parametrize.cached():
            weights = {f"{path}.weight": layer.weight for path, layer in model.named_modules() if parametrize.is_parametrized(layer)}
            plain.load_state_dict(state | weights)
        return plain.train(model.training)

    def _normalised(self, model: NetworkAutoencoder) -> list[Tensor]:
        """The decoder's weights over their largest singular values, taken before the decoder is run: in float32, whatever it runs in."""
        return [layer.weight for layer in weighted_layers(model)] if self.variant == "sn" else []

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        """One Adam. Its eps is that of a summed squared error divided by D, so that it steps as it would on D times this loss."""
        eps = options.pop("eps", ADAM_EPS) / math.prod(model.input_shape)
        return super().optimisers(model, lr, eps=eps, **options)

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        z = model.encode(x).mean
        penalty = x.new_zeros(())
        if self.variant == "gp" and self.decoder_weight:
            z, decoded, penalty = decoded_with_penalty(model, z, self.form, generator)
        else:
            with parametrize.cached():
                self._normalised(model)
                decoded = model.decode(z)
        mse = (decoded - x).square().mean()
        embedding = z.square().mean()
        if self.variant == "l2":
            penalty = kernel_norm(model)
        loss = mse + self.beta * embedding + self.decoder_weight * penalty
        return {"loss": loss, "reconstruction": mse, "embedding": embedding, "penalty": penalty, "mse": mse.detach()}


class Ae(Rae):
    """A plain autoencoder: mean squared error and nothing else."""

    summary_line = "deterministic autoencoder, squared error alone"
    paper = "Hinton, Salakhutdinov, Science 313, 2006"
    prefix = "ae"
    Options = Objective.Options
    table = MappingProxyType({"": {"lr": 2e-4}})  # nothing holds the codes: at higher rates they run away before the decoder reads them

    @classmethod
    def made_for(cls, setup: Setup) -> Ae:
        return cls(beta=0.0)
