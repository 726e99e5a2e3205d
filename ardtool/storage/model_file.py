"""`model.safetensors`: a model with everything that its analysis needs, in one file that executes nothing.

Tensors: the network's own names, or for pruned and foreign networks these behind `network.`; `prior.a`, `prior.b`; `codes.mean`,
`codes.second_moment`, `codes.covariance`; `mixture.weights`, `mixture.means`, `mixture.covariances`; `reference.mean`,
`reference.log_variance`, `reference.context`; `data.mean`, `data.scale` for standardised vectors. The header holds one JSON string under
the key `ardtool`, described in docs/file-format.md. Reading builds the object from the metadata: ardtool's architectures from a closed
table, foreign models by the plugin that the metadata name, and what pruning changed from its record. Then it fills it, comparing names,
shapes and dtypes one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..autoencoder import Autoencoder, FlatLatents, Posterior, flat_latents
from ..data.dataset import Scaling
from ..errors import ArdtoolError, ModelFileError
from ..latent.axes import LatentAxes
from ..latent.codes import LatentCodes
from ..latent.mixture import Mixture
from ..latent.precision import GammaPosterior
from ..latent.pruning import PrunedModel, rebuild
from ..latent.statistics import CodeStatistics
from ..networks.build import NetworkAutoencoder, build_network
from ..registry import build_foreign, plugin_of_file
from .atomic import write_atomically
from .description import check_description
from .digest import content_hash
from .header import FORMAT_VERSION, METADATA_KEY, read_metadata

__all__ = ["SavedModel", "load_model", "save_model"]

RESERVED = ("prior.", "codes.", "mixture.", "reference.", "data.")
STRUCTURE = ("architecture", "foreign", "pruning")
MIXTURE = ("weights", "means", "covariances")
NETWORK = "network."  # before the names of a pruned or foreign network, which may be any


@dataclass(frozen=True)
class SavedModel:
    """A model with its codes, as a file holds it.

    Attributes:
        autoencoder: the network, or a foreign model adapted by a plugin.
        codes: moments, prior and reference batch; None for a foreign model before codes were given.
        metadata: the JSON description: architecture, method, settings, data, training, axes, relevance.
        path: where it was read from or will be written to.
        scaling: standardisation of vectors, or None.
        open_data: reads data in a foreign model's own format, from its plugin; None where there is no such format.
    """

    autoencoder: Autoencoder
    codes: LatentCodes | None
    metadata: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    scaling: Scaling | None = None
    open_data: Callable[[Path], Any] | None = None

    @property
    def latent_axes(self) -> LatentAxes:
        """What counts as an axis: the channels or the elements of a map, the numbers of a vector."""
        shape = getattr(self.autoencoder, "map_shape", self.autoencoder.latent_shape)
        return LatentAxes(tuple(shape), self.metadata.get("granularity", "channel"))

    @property
    def method(self) -> str:
        return str(self.metadata.get("method", "foreign"))

    @property
    def original_axes(self) -> list[int]:
        """For each axis its index in the model that was trained."""
        axes = self.metadata.get("axes")
        return list(axes["kept"]) if axes else list(range(self.latent_axes.count))


def save_model(model: SavedModel, path: Path) -> None:
    """Write a model file, atomically.

    Raises:
        ModelFileError: it is a foreign model that its plugin cannot build again; nothing is written then.
        StorageError: the file cannot be written.
    """
    assert model.codes is not None, "a model file is complete"
    tensors = _network_tensors(model.autoencoder)
    tensors |= _code_tensors(model.codes)
    if model.scaling is not None:
        tensors |= {"data.mean": model.scaling.mean, "data.scale": model.scaling.scale}
    tensors = _separate(tensors)
    metadata = {
        **{name: value for name, value in model.metadata.items() if name not in STRUCTURE},
        **_structure(model),
        "format": FORMAT_VERSION,
        "prior_mean": None if model.codes.prior is None else model.codes.prior.mean,
        "codes_count": model.codes.statistics.count,
    }
    metadata["content_sha256"] = _content_hash(tensors, metadata)
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False)}
    write_atomically(path, lambda aside: save_file(tensors, aside, metadata=header))


def load_model(
    path: str | Path, device: torch.device | str = "cpu", *, plugin: str | Path | None = None, trust: bool = False
) -> SavedModel:
    """Read a model file. The model has flat codes, and a `map_shape` where they are maps.

    Arguments:
        path: of a .safetensors file that ardtool wrote.
        device: where its tensors go.
        plugin: the name or file of the plugin that builds a foreign model; None for the one that the file names.
        trust: build models whose building can run foreign code.

    Raises:
        ModelFileError: the file is missing, truncated, of another kind, of a newer format, or its tensors do not fit its metadata.
        PluginError: the plugin that builds its model is missing, cannot, or is not trusted.
    """
    path = Path(path)
    metadata = read_metadata(path)
    check_description(metadata, path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
        weights = {name: value for name, value in tensors.items() if not name.startswith(RESERVED)}
        if metadata.get("foreign") is None:
            with torch.device("meta"):  # a wrong description could ask for any amount of memory
                _compare(_built(metadata, path, plugin, trust), weights, path)
        network = _built(metadata, path, plugin, trust)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged: {error}.", "Copy the file again, or train again.") from error
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its description is incomplete or wrong ({error!r}).", "Train again, or use another copy.") from error
    _compare(network, weights, path)
    network.load_state_dict({name.removeprefix(_prefix(network)): value for name, value in weights.items()})
    scaling = Scaling(tensors["data.mean"], tensors["data.scale"]) if "data.mean" in tensors else None
    network.to(device).eval()
    codes = _codes(tensors, metadata, network.latent_shape[0], path)
    if _content_hash(tensors, metadata) != metadata.get("content_sha256"):
        raise ModelFileError(f"{path} has changed since ardtool wrote it.", "Use an unchanged copy of the file.")
    return SavedModel(network, codes, metadata, path, scaling, _data_reader(metadata, path, plugin))


def _network_tensors(network: Any) -> dict[str, Tensor]:
    """One of ardtool's own networks under its own names, everything else under `network.`."""
    return {_prefix(network) + name: value for name, value in network.state_dict().items()}


def _prefix(network: Any) -> str:
    return "" if isinstance(network, NetworkAutoencoder) else NETWORK


def _structure(model: SavedModel) -> dict[str, Any]:
    """What the network is built from: its architecture or its plugin's record, and how it was pruned."""
    network: Any = model.autoencoder
    pruning = {"pruning": network.record} if isinstance(network, PrunedModel) else {}
    while isinstance(network, PrunedModel | FlatLatents):
        network = network.model
    if isinstance(network, NetworkAutoencoder):
        return {"architecture": network.record} | pruning
    foreign = model.metadata.get("foreign") or {}
    if foreign.get("record") is None:
        raise ModelFileError(
            f"A {type(network).__name__} cannot be saved {'pruned' if pruning else 'as a model file'}: its plugin cannot rebuild it.",
            "Export its decoder with --export pt2 or --export onnx.",
        )
    return {"foreign": foreign} | pruning


def _built(metadata: dict[str, Any], path: Path, plugin: str | Path | None, trust: bool) -> Any:
    """The structure that a description gives, with any weights."""
    foreign = metadata.get("foreign")
    if foreign is None:
        network = build_network(metadata["architecture"])
    else:
        network = flat_latents(_built_by_plugin(foreign, path, plugin, trust))
    return rebuild(network, metadata["pruning"]) if metadata.get("pruning") else network


def _built_by_plugin(foreign: dict[str, Any], path: Path, plugin: str | Path | None, trust: bool) -> Any:
    try:
        return build_foreign(foreign, str(path), plugin=plugin, trust=trust)
    except (ArdtoolError, KeyError):
        raise
    except Exception as error:  # whatever a foreign library raises
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelFileError(
            f"The plugin '{foreign['plugin']}' cannot rebuild the model of {path} ({type(error).__name__}: {reason}).",
            f"The file was written with version {foreign.get('version') or '?'} of the plugin; install what it needs.",
        ) from error


def _data_reader(metadata: dict[str, Any], path: Path, plugin: str | Path | None) -> Callable[[Path], Any] | None:
    """What reads data in a foreign model's own format."""
    foreign = metadata.get("foreign")
    return None if foreign is None else plugin_of_file(foreign, str(path), plugin).open_data


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own: tied weights are written twice."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        separate[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return separate


def _compare(network: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Raise `ModelFileError` unless a file's weights have the names, shapes and types of the network's."""
    expected = _network_tensors(network)
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
    if codes.mixture is not None:
        tensors |= {f"mixture.{name}": value for name, value in vars(codes.mixture).items()}
    return tensors


def _codes(tensors: dict[str, Tensor], metadata: dict[str, Any], latent_dim: int, path: Path) -> LatentCodes:
    try:
        statistics = CodeStatistics.from_moments(metadata["codes_count"], tensors["codes.mean"], tensors["codes.covariance"])
        prior = None
        if "prior.b" in tensors:
            prior = GammaPosterior(float(tensors["prior.a"]), tensors["prior.b"], metadata["prior_mean"] or 0.0)
        reference = Posterior(tensors["reference.mean"], tensors.get("reference.log_variance"), tensors.get("reference.context"))
        mixture = Mixture(**{name: tensors[f"mixture.{name}"] for name in MIXTURE}) if "mixture.means" in tensors else None
    except KeyError as error:
        raise ModelFileError(f"{path}: tensor {error} is missing.", "The file is incomplete; use another copy.") from error
    for name in ("codes.mean", "prior.b", "reference.mean", "mixture.means", "mixture.covariances"):
        if name in tensors and tensors[name].shape[-1] != latent_dim:
            raise ModelFileError(
                f"{path}: '{name}' is {_describe(tensors[name])} on disk; the model's codes have {latent_dim} numbers.", "Use another copy."
            )
    return LatentCodes(statistics, reference, prior, mixture=mixture)


def _content_hash(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    """Hash of every tensor and of the description without the hash itself: an edited file is recognised."""
    return content_hash(tensors, {name: value for name, value in metadata.items() if name != "content_sha256"})
