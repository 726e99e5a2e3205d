"""A model of pythae as an `Autoencoder`.

Codes are what the decoder takes. For most models q(z|x) = N(embedding, exp(log_covariance)). Where the decoder takes something else than
a draw from that normal distribution, the code is the point that the embedding leads to, without a variance:

    VAE_LinNF, VAE_IAF   the embedding behind the normalising flow
    VQVAE                its nearest entries of the codebook
    SVAE                 its projection on the unit sphere
    PoincareVAE          the embedding in the Poincaré ball; its variance lives in a tangent space

HVAE and RHVAE move a draw by a few Hamiltonian steps before they decode it; here codes are those before these steps.

Data are in [0, 1], as pythae's own decoders end in a sigmoid, with the shape `input_dim`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pythae.models
import torch
from torch import Tensor, nn

from ardtool import Posterior
from ardtool.errors import ModelFileError, first_line
from ardtool.storage.checkpoint import read_tensors

from .folder import CONFIG, WEIGHTS, check_hashes, hashes, listed, pickles_of, read_config, require

__all__ = ["MODELS", "PythaeAutoencoder", "build_model", "load_model"]

# the class of pythae.models that each configuration in model_config.json describes
MODELS = {
    "AEConfig": "AE",
    "Adversarial_AE_Config": "Adversarial_AE",
    "BetaTCVAEConfig": "BetaTCVAE",
    "BetaVAEConfig": "BetaVAE",
    "CIWAEConfig": "CIWAE",
    "DisentangledBetaVAEConfig": "DisentangledBetaVAE",
    "FactorVAEConfig": "FactorVAE",
    "HVAEConfig": "HVAE",
    "INFOVAE_MMD_Config": "INFOVAE_MMD",
    "IWAEConfig": "IWAE",
    "MIWAEConfig": "MIWAE",
    "MSSSIM_VAEConfig": "MSSSIM_VAE",
    "PIWAEConfig": "PIWAE",
    "PoincareVAEConfig": "PoincareVAE",
    "RAE_GP_Config": "RAE_GP",
    "RAE_L2_Config": "RAE_L2",
    "RHVAEConfig": "RHVAE",
    "SVAEConfig": "SVAE",
    "VAEConfig": "VAE",
    "VAEGANConfig": "VAEGAN",
    "VAE_IAF_Config": "VAE_IAF",
    "VAE_LinNF_Config": "VAE_LinNF",
    "VAMPConfig": "VAMP",
    "VQVAEConfig": "VQVAE",
    "WAE_MMD_Config": "WAE_MMD",
}


class PythaeAutoencoder(nn.Module):
    """encode: samples (N, *input_dim) in [0, 1] to codes (N, L); decode: codes to reconstructions (N, *input_dim).

    Arguments:
        model: a model of pythae with `encoder` and `decoder`.
        record: what `build_model` takes.
    """

    def __init__(self, model: Any, record: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.build_record = record
        self.input_shape = tuple(record["config"]["input_dim"])
        self.eval()
        with torch.no_grad():
            self.latent_shape = tuple(self.encode(torch.zeros(2, *self.input_shape)).mean.shape[1:])

    def encode(self, x: Tensor) -> Posterior:
        found = self.model.encoder(x)
        point = _point(self.model, found.embedding)
        return Posterior(found.embedding, found.get("log_covariance")) if point is None else Posterior(point)

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        return self.model.decoder(z).reconstruction


def load_model(folder: Path) -> PythaeAutoencoder:
    """The model in a folder, on the CPU; networks that are not pythae's own are unpickled."""
    config = read_config(folder)
    require(folder, [WEIGHTS, *pickles_of(config)])
    weights = read_tensors(folder / WEIGHTS)  # whatever the networks are, the weights are plain tensors
    if pickles_of(config):
        return _unpickled(folder, config)
    model = _default(config, str(folder / CONFIG))
    _fill(model.model, weights, folder / WEIGHTS)
    return model


def build_model(record: dict[str, Any]) -> PythaeAutoencoder:
    """The model that a record describes, with any weights."""
    if "folder" not in record:
        return _default(record["config"], "The pruned model's record")
    folder = Path(record["folder"])
    check_hashes(folder, record["sha256"])
    return _unpickled(folder, record["config"])


def _default(config: dict[str, Any], where: str) -> PythaeAutoencoder:
    """A model with pythae's own networks and random weights."""
    _check_config(config, where)
    name = MODELS[config["name"]]
    settings = {key: value for key, value in config.items() if key != "name"}
    try:
        described = getattr(pythae.models, config["name"]).from_dict(settings)
        model = getattr(pythae.models, name)(described)
    except (AttributeError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{where}: pythae makes no {name} of it: {first_line(error)}.", "Copy the file again, or save again."
        ) from error
    return _adapted(model, {"config": config}, where)


def _unpickled(folder: Path, config: dict[str, Any]) -> PythaeAutoencoder:
    """A model whose networks pythae unpickles."""
    _check_config(config, str(folder / CONFIG))
    pickles = pickles_of(config)
    try:
        model = pythae.models.AutoModel.load_from_folder(str(folder))
    except Exception as error:  # whatever foreign pickles do
        raise ModelFileError(f"{folder}: pythae cannot load {listed(pickles)}: {first_line(error)}.", "Save the model again.") from error
    record = {"folder": str(folder.resolve()), "config": config, "sha256": hashes(folder, [CONFIG, WEIGHTS, *pickles])}
    return _adapted(model, record, str(folder))


def _adapted(model: Any, record: dict[str, Any], where: str) -> PythaeAutoencoder:
    try:
        return PythaeAutoencoder(model, record)
    except Exception as error:  # whatever a network of the user's own does
        shape = "×".join(map(str, record["config"]["input_dim"]))
        raise ModelFileError(
            f"{where}: the encoder fails on data of {shape}: {first_line(error)}.", f"Compare its input with `input_dim` in {CONFIG}."
        ) from error


def _check_config(config: dict[str, Any], where: str) -> None:
    """Raise `ModelFileError` for what is not an autoencoder with a known shape of data."""
    if config["name"] not in MODELS:
        raise ModelFileError(
            f"{where} describes '{config['name']}', which is none of pythae's autoencoders.",
            f"Known are {', '.join(sorted(MODELS.values()))}.",
        )
    if not config.get("input_dim"):
        raise ModelFileError(f"{where} does not say the shape of the data: `input_dim` is empty.", 'Add it, as "input_dim": [1, 28, 28].')


def _fill(model: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Pour weights into a model, comparing names and shapes."""
    expected = model.state_dict()
    problems = [f"'{name}' is missing" for name in expected if name not in found]
    problems += [f"'{name}' is not part of the model" for name in found if name not in expected]
    problems += [
        f"'{name}' is {_shape(value)}, the model has {_shape(expected[name])}"
        for name, value in found.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelFileError(f"{path} does not fit {CONFIG}: {'; '.join(problems[:3])}{more}.", "Copy both files again from one model.")
    model.load_state_dict(found)


def _point(model: Any, embedding: Tensor) -> Tensor | None:
    """What the decoder takes, where that is not a draw from a normal distribution about the embedding."""
    match type(model).__name__:
        case "VAE_IAF":
            return model.iaf_flow.inverse(embedding).out
        case "VAE_LinNF":
            for flow in model.net:
                embedding = flow(embedding).out
            return embedding
        case "SVAE":
            return embedding / embedding.norm(dim=-1, keepdim=True)
        case "PoincareVAE":
            return embedding
        case "VQVAE":
            as_map = embedding if embedding.dim() == 4 else embedding[:, None, None, :]  # a vector is a row of single numbers
            return model.quantizer(as_map.permute(0, 2, 3, 1)).quantized_vector.reshape(embedding.shape)
    return None


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"
