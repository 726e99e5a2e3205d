"""`model.safetensors`: a model with everything that its analysis needs, in one file that executes nothing.

Tensors: the network's own names; `prior.a`, `prior.b`; `codes.mean`, `codes.second_moment`, `codes.covariance`; `reference.mean`,
`reference.log_variance`, `reference.context`; `data.mean`, `data.scale` for standardised vectors. The header holds one JSON string under
the key `ardtool`, described in docs/file-format.md. Reading builds the object from the metadata (architectures from a closed table),
then fills it, comparing names, shapes and dtypes one by one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..autoencoder import Autoencoder, Posterior
from ..data.dataset import Scaling
from ..errors import ModelFileError
from ..latent.codes import LatentCodes
from ..latent.precision import GammaPosterior
from ..latent.statistics import CodeStatistics
from ..networks.build import NetworkAutoencoder, build_network
from .atomic import write_atomically
from .header import FORMAT_VERSION, METADATA_KEY, read_metadata

__all__ = ["SavedModel", "load_model", "save_model"]

RESERVED = ("prior.", "codes.", "reference.", "data.")


@dataclass(frozen=True)
class SavedModel:
    """A model with its codes, as a file holds it.

    Attributes:
        autoencoder: the network, or a foreign model adapted by a plugin.
        codes: moments, prior and reference batch; None for a foreign model before codes were given.
        metadata: the JSON description: architecture, method, settings, data, training, axes, relevance.
        path: where it was read from or will be written to.
        scaling: standardisation of vectors, or None.
    """

    autoencoder: Autoencoder
    codes: LatentCodes | None
    metadata: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    scaling: Scaling | None = None

    @property
    def method(self) -> str:
        return str(self.metadata.get("method", "foreign"))

    @property
    def original_axes(self) -> list[int]:
        """For each axis its index in the model that was trained."""
        axes = self.metadata.get("axes")
        return list(axes["kept"]) if axes else list(range(self.autoencoder.latent_shape[0]))


def save_model(model: SavedModel, path: Path) -> None:
    """Write a model file, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    network = model.autoencoder
    assert isinstance(network, NetworkAutoencoder) and model.codes is not None, "only ardtool's own networks have a file format here"
    tensors = dict(network.state_dict())
    tensors |= _code_tensors(model.codes)
    if model.scaling is not None:
        tensors |= {"data.mean": model.scaling.mean, "data.scale": model.scaling.scale}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {
        **model.metadata,
        "format": FORMAT_VERSION,
        "architecture": network.record,
        "prior_mean": None if model.codes.prior is None else model.codes.prior.mean,
        "codes_count": model.codes.statistics.count,
    }
    metadata["content_sha256"] = _content_hash(tensors, metadata)
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False)}
    write_atomically(path, lambda aside: save_file(tensors, aside, metadata=header))


def load_model(path: str | Path, device: torch.device | str = "cpu") -> SavedModel:
    """Read a model file.

    Raises:
        ModelFileError: the file is missing, truncated, of another kind, of a newer format, or its tensors do not fit its metadata.
    """
    path = Path(path)
    metadata = read_metadata(path)
    try:
        network = build_network(metadata["architecture"])
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged: {error}.", "Copy the file again, or train again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its description is incomplete or wrong ({error!r}).", "Train again, or use another copy.") from error
    _fill(network, {name: value for name, value in tensors.items() if not name.startswith(RESERVED)}, path)
    scaling = Scaling(tensors["data.mean"], tensors["data.scale"]) if "data.mean" in tensors else None
    network.to(device).eval()
    codes = _codes(tensors, metadata, path)
    if _content_hash(tensors, metadata) != metadata.get("content_sha256"):
        raise ModelFileError(f"{path} has changed since ardtool wrote it.", "Use an unchanged copy of the file.")
    return SavedModel(network, codes, metadata, path, scaling)


def _fill(network: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Pour tensors into a network, comparing each with what the network expects."""
    expected = network.state_dict()
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    for names, word in ((missing, "missing"), (unexpected, "not part of the network")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelFileError(f"{path}: tensor '{names[0]}'{more} is {word}.", "The file is incomplete or was edited; use another copy.")
    for name, value in expected.items():
        other = found[name]
        if other.shape != value.shape or other.dtype != value.dtype:
            raise ModelFileError(
                f"{path}: '{name}' is {_describe(other)} on disk, the description builds {_describe(value)}.",
                "The file was edited after training; use the copy that training wrote.",
            )
    network.load_state_dict(found)


def _describe(value: Tensor) -> str:
    return f"{'×'.join(map(str, value.shape)) or 'a number'} {str(value.dtype).removeprefix('torch.')}"


def _code_tensors(codes: LatentCodes) -> dict[str, Tensor]:
    tensors = {
        "codes.mean": codes.statistics.mean,
        "codes.second_moment": codes.statistics.second_moment,
        "codes.covariance": codes.statistics.covariance,
        "reference.mean": codes.reference.mean,
    }
    if codes.reference.log_variance is not None:
        tensors["reference.log_variance"] = codes.reference.log_variance
    if codes.reference.context is not None:
        tensors["reference.context"] = codes.reference.context
    if codes.prior is not None:
        tensors |= {"prior.a": torch.tensor(codes.prior.a, dtype=torch.float64), "prior.b": codes.prior.b}
    return tensors


def _codes(tensors: dict[str, Tensor], metadata: dict[str, Any], path: Path) -> LatentCodes:
    latent_dim = metadata["architecture"]["latent_dim"]
    try:
        statistics = CodeStatistics.from_moments(metadata["codes_count"], tensors["codes.mean"], tensors["codes.covariance"])
        prior = None
        if "prior.b" in tensors:
            prior = GammaPosterior(float(tensors["prior.a"]), tensors["prior.b"], metadata["prior_mean"] or 0.0)
        reference = Posterior(tensors["reference.mean"], tensors.get("reference.log_variance"), tensors.get("reference.context"))
    except KeyError as error:
        raise ModelFileError(f"{path}: tensor {error} is missing.", "The file is incomplete; use another copy.") from error
    for name in ("codes.mean", "prior.b", "reference.mean"):
        if name in tensors and tensors[name].shape[-1] != latent_dim:
            raise ModelFileError(
                f"{path}: '{name}' is {_describe(tensors[name])} on disk; the model has {latent_dim} axes.", "Use another copy."
            )
    return LatentCodes(statistics, reference, prior)


def _content_hash(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    """Hash of every tensor and of the description without the hash itself: an edited file is recognised."""
    description = {name: value for name, value in metadata.items() if name != "content_sha256"}
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
