"""SCVI and LinearSCVI as an `Autoencoder`.

    q(z | x, s) = N(μ, σ²)          encoder of log(1 + x), or of x where the model has no `log_variational`
    l = log Σ_g x_g                 or the encoded log library size, where the model has no `use_observed_lib_size`
    x̂_g = exp(l) ρ_g(t(z), s)       times 1 − π_g(t(z), s) where the likelihood is zero-inflated

with counts x of G genes, batch s, and t the identity, or softmax for `latent_distribution="ln"`. x̂ is the mean of the likelihood.

Source: Lopez, Regier, Cole, Jordan, Yosef, "Deep generative modeling for single-cell transcriptomics", Nature Methods 2018; for the
linear decoder Svensson, Gayoso, Yosef, Pachter, "Interpretable factor models of single-cell RNA-seq", Bioinformatics 2020.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ardtool import Posterior
from ardtool.errors import DataError, ModelFileError, PluginError, first_line

from .reading import SavedModel, read_model

__all__ = ["SingleCellAutoencoder", "build_model", "load_model"]

MODULES = {"SCVI": "VAE", "LinearSCVI": "LDVAE"}
DEFAULT_LIBRARY = 1e4  # counts a cell, the usual scale of single-cell data


class SingleCellAutoencoder(nn.Module):
    """A module of scvi-tools with the contract of ardtool.

    Arguments:
        module: a `scvi.module.VAE` or `scvi.module.LDVAE` without further covariates.
        build_record: JSON record of the module's class and arguments.

    Attributes:
        input_shape: (G + 1,): raw counts of G genes, then the batch index.
        latent_shape: (L,).
    """

    def __init__(self, module: Any, build_record: dict[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.build_record = build_record
        self.input_shape = (int(module.n_input) + 1,)
        self.latent_shape = (int(module.n_latent),)

    def encode(self, x: Tensor) -> Posterior:
        """q(z | x) of samples with shape (N, G + 1); the context with shape (N, 2) holds log library size and batch index.

        Raises:
            DataError: a batch index that the model does not know, or a cell without counts.
        """
        counts, batch = x[:, :-1], x[:, -1:]
        self._check(counts, batch)
        module = self.module
        inputs = torch.log1p(counts) if module.log_variational else counts
        categories = []
        if module.encode_covariates:
            inputs, categories = self._with_batch(inputs, batch)
        mean, variance = _normal(module.z_encoder, inputs, categories)
        if module.use_observed_lib_size:
            library = torch.log(counts.sum(1, keepdim=True))
        else:
            library, _ = _normal(module.l_encoder, inputs, categories)
        return Posterior(mean, torch.log(variance), torch.cat([library, batch], dim=1))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Expected counts and batch index with shape (N, G + 1) from codes (N, L).

        Without a context every cell is of batch 0 and has the mean log library size of that batch where the model stores it (no
        `use_observed_lib_size`), else log 10⁴.
        """
        context = self._default_context().to(z).expand(len(z), 2) if context is None else context.to(z)
        library, batch = context[:, :1], context[:, 1:]
        module = self.module
        inputs, categories = self._with_batch(module.z_encoder.z_transformation(z), batch)
        _, _, rate, dropout = module.decoder(module.dispersion, inputs, library, *categories)
        mean = rate * torch.sigmoid(-dropout) if module.gene_likelihood == "zinb" else rate
        return torch.cat([mean, batch], dim=1)

    def _with_batch(self, inputs: Tensor, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The batch as further columns of the input (an embedding) or as a category (a row of 0 and 1, which needs no look at values)."""
        if self.module.batch_representation == "embedding":
            return torch.cat([inputs, self.module.get_embedding("batch")(batch[:, 0].long())], dim=1), []
        return inputs, [(batch == torch.arange(self.module.n_batch, device=batch.device)).to(inputs)]

    def _default_context(self) -> Tensor:
        stored = getattr(self.module, "library_log_means", None)
        library = torch.tensor(math.log(DEFAULT_LIBRARY)) if stored is None else stored[0, 0]
        return torch.stack([library, torch.zeros_like(library)])[None]

    def _check(self, counts: Tensor, batch: Tensor) -> None:
        known = max(int(self.module.n_batch), 1)
        wrong = (batch != batch.round()) | (batch < 0) | (batch >= known)
        if bool(wrong.any()):
            raise DataError(
                f"The last column holds the batch index {batch[wrong][0].item():g}; the model knows whole numbers from 0 to {known - 1}.",
                "Number the batches as in the model's training data, in the order of their categories.",
            )
        empty = int((counts.sum(1) <= 0).sum())
        if self.module.use_observed_lib_size and empty:
            raise DataError(
                f"{empty} of {len(counts)} cells have no counts, so that their library size has no logarithm.",
                "Remove them, as `scanpy.pp.filter_cells(adata, min_counts=1)` does.",
            )


def _normal(encoder: Any, inputs: Tensor, categories: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of an encoder of scvi-tools, which itself would also draw from them."""
    hidden = encoder.encoder(inputs, *categories)
    return encoder.mean_encoder(hidden), encoder.var_activation(encoder.var_encoder(hidden)) + encoder.var_eps


def load_model(path: Path, device: Any) -> SingleCellAutoencoder:
    """The model of a model.pt in inference mode.

    Raises:
        ModelFileError: the file cannot be read or contradicts itself.
        PluginError: the model is of another class or needs covariates beside the batch.
    """
    saved = read_model(path)
    record = _record(saved, path)
    with torch.device("meta"):  # shapes are compared before anything of that size is made
        model = _built(record)
    expected = {name: tuple(value.shape) for name, value in model.module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in saved.state.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise ModelFileError(
                f"{path}: '{name}' is {_shape(found.get(name))} in the file; its settings say {_shape(expected.get(name))}.",
                "Load and save the model once with the installed scvi-tools.",
            )
    model.to_empty(device=device)
    model.module.load_state_dict(saved.state)
    return model.eval()


def build_model(record: dict[str, Any]) -> SingleCellAutoencoder:
    """The model of a `build_record` with random weights, in inference mode.

    Raises:
        ModelFileError: the record is not one that this plugin wrote.
    """
    if set(record) != {"class", "arguments"} or record["class"] not in MODULES.values() or not isinstance(record["arguments"], dict):
        raise ModelFileError("The file's record of the scvi model is damaged.", "Prune the original model again.")
    return _built(record).eval()


def _record(saved: SavedModel, path: Path) -> dict[str, Any]:
    """Class and arguments of the module, as JSON.

    Raises:
        PluginError: the plugin does not support this model.
    """
    if saved.model_name not in MODULES:
        raise PluginError(
            f"{path} is a {saved.model_name} model; ardtool-scvi reads {' and '.join(MODULES)}.",
            "Wrap its module in an `ardtool.ModulePair`, or in a plugin file of your own.",
        )
    for name, what in (("n_extra_categorical_covs", "categorical"), ("n_extra_continuous_covs", "continuous")):
        if saved.counts.get(name, 0):
            raise PluginError(f"{path} was trained with {saved.counts[name]} {what} covariate(s); ardtool-scvi supports the batch only.")
    if saved.size_factor is not None:
        raise PluginError(f"{path} was trained with size factors; ardtool-scvi supports the observed or encoded library size only.")
    missing = [name for name in ("n_vars", "n_batch") if name not in saved.counts]
    if missing:
        raise ModelFileError(f"{path} does not say {' and '.join(missing)}.", "Save the model again with scvi-tools 1.1 or newer.")
    arguments = {"n_input": saved.counts["n_vars"], "n_batch": saved.counts["n_batch"], **saved.parameters}
    if saved.model_name == "SCVI":
        arguments["n_labels"] = saved.counts.get("n_labels", 0)
    else:
        arguments["n_layers_encoder"] = arguments.pop("n_layers", 1)
    strange = [name for name, value in arguments.items() if not _is_json(value)]
    if strange:
        raise PluginError(f"{path}: the setting '{strange[0]}' is not a plain value; ardtool-scvi reads numbers, texts and their dicts.")
    return {"class": MODULES[saved.model_name], "arguments": arguments}


def _built(record: dict[str, Any]) -> SingleCellAutoencoder:
    from scvi import module as modules

    arguments = dict(record["arguments"])
    try:
        if not arguments.get("use_observed_lib_size", record["class"] == "VAE"):
            arguments["library_log_means"] = arguments["library_log_vars"] = torch.zeros(1, arguments["n_batch"], device="cpu").numpy()
        return SingleCellAutoencoder(getattr(modules, record["class"])(**arguments), record)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ModelFileError(
            f"The installed scvi-tools cannot build the model from its settings: {first_line(error)}.",
            "Load and save the model once with the installed scvi-tools.",
        ) from error


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
    if isinstance(value, list):
        return all(_is_json(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "×".join(map(str, shape)) or "a number"
