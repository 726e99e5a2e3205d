"""`prune`: remove latent axes that the decoder does not use, and prove that nothing else changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArdtoolError, ConfigError, ModelFileError
from ..latent.codes import LatentCodes
from ..latent.jacobian import inference_mode
from ..latent.pruning import Equality, fold_decoder_layer, keep_encoder_rows, measure_equality
from ..latent.sampling import draw_codes
from ..networks.build import NetworkAutoencoder, build_network
from ..storage.model_file import SavedModel, save_model
from .opening import ModelLike, choose_device, codes_for, data_for, encode_all, open_model
from .relevance import score_model

__all__ = ["PruneResult", "prune", "pruned_network"]

SCHEMA = "ardtool.prune/1"
LARGEST_DIFFERENCE = 1e-5
FRESH_CODES = 256


@dataclass(frozen=True)
class PruneResult:
    """A pruned model and the proof that it equals the original with dropped axes at their mean.

    Attributes:
        kept, dropped: axes of the original model, in ascending order.
        max_abs_difference: largest difference of any output on reference and fresh codes.
        output_scale: largest output there.
        output_change: mean squared difference per output to the full decoder with all axes free.
        mse: reconstruction error per output before and after, where data were given.
        parameters: numbers before and after.
    """

    kept: list[int]
    dropped: list[int]
    max_abs_difference: float
    output_scale: float
    output_change: float
    mse: dict[str, float] | None
    parameters: dict[str, int]
    files: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.prune/1`."""
        return {"schema": SCHEMA, **vars(self)}


def prune(
    model: ModelLike = None,
    *,
    out: str | Path,
    threshold: float = 0.99,
    keep: int | None = None,
    axes: Sequence[int] | None = None,
    data: Any = None,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
) -> PruneResult:
    """Write a smaller model that keeps the active axes, or the `keep` most relevant, or just `axes`.

    Raises:
        ConfigError: the axes asked for do not exist, or the output file does.
        ArdtoolError: the pruned decoder is not equal to the original; nothing is written then.
    """
    path = Path(out)
    if path.suffix.lower() != ".safetensors":
        raise ConfigError(f"--out is {path}; a pruned model is a .safetensors file.", f"Use --out {path.with_suffix('.safetensors')}.")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already.", "Choose another --out, or replace it with --force.")
    chosen = choose_device(device)
    opened = open_model(model, chosen)
    if not isinstance(opened.autoencoder, NetworkAutoencoder):
        raise ModelFileError("Only models that ardtool trained can be written pruned yet.", "Use ardtool.PrunedAutoencoder in Python.")
    codes = codes_for(opened)
    kept = _axes_to_keep(opened, codes, threshold, keep, axes, seed, chosen)
    mean = codes.statistics.mean
    network = pruned_network(opened.autoencoder, kept, mean)
    equality = _verify(opened.autoencoder, network, kept, codes, seed)
    data_set = None if data is None else data_for(opened, data, data_root)
    mse = None
    if data_set is not None:
        mse = {"before": _mse(opened.autoencoder, data_set, chosen), "after": _mse(network, data_set, chosen)}
    pruned = SavedModel(network, codes.axes(kept), _metadata(opened, kept, equality), path, opened.scaling)
    save_model(pruned, path)
    return PruneResult(
        kept=kept,
        dropped=[axis for axis in range(codes.latent_dim) if axis not in kept],
        max_abs_difference=equality.max_abs_difference,
        output_scale=equality.output_scale,
        output_change=equality.output_change,
        mse=mse,
        parameters={"before": _parameters(opened.autoencoder), "after": _parameters(network)},
        files=[str(path)],
    )


def pruned_network(network: NetworkAutoencoder, kept: list[int], mean: torch.Tensor) -> NetworkAutoencoder:
    """The network on kept axes: encoder rows removed, dropped axes folded into the decoder's first layer at their mean."""
    record = copy.deepcopy(network.record) | {"latent_dim": len(kept)}
    small = build_network(record).to(next(network.parameters()).device)
    encoder, decoder = copy.deepcopy(network.encoder), copy.deepcopy(network.decoder)
    last, first = encoder[-1], decoder[0]
    assert isinstance(last, nn.Linear) and isinstance(first, nn.Linear), "ardtool's networks have dense layers around the code"
    encoder[-1] = keep_encoder_rows(last, kept, network.latent_shape[0])
    decoder[0] = fold_decoder_layer(first, kept, mean)
    small.encoder.load_state_dict(encoder.state_dict())
    small.decoder.load_state_dict(decoder.state_dict())
    return small.eval()


def _axes_to_keep(
    model: SavedModel,
    codes: LatentCodes,
    threshold: float,
    keep: int | None,
    axes: Sequence[int] | None,
    seed: int,
    device: torch.device,
) -> list[int]:
    latent_dim = codes.latent_dim
    if keep is not None and axes is not None:
        raise ConfigError("--keep and --axes both choose what stays.", "Give one of them.")
    if axes is not None:
        wrong = [axis for axis in axes if not 0 <= axis < latent_dim]
        if wrong or not axes:
            raise ConfigError(
                f"--axes names {wrong or 'no axis'}; the model has axes 0 to {latent_dim - 1}.", "`ardtool relevance` lists them."
            )
        return sorted(set(axes))
    if keep is not None and not 1 <= keep <= latent_dim:
        raise ConfigError(f"--keep is {keep}; expected 1 to {latent_dim}.", "`ardtool relevance` shows how many axes are relevant.")
    if not 0 < threshold <= 1:
        raise ConfigError(f"--threshold is {threshold:g}; expected a share in (0, 1].", "0.99 is the paper's choice.")
    result = score_model(model, codes, threshold=threshold, seed=seed, device=device)
    ranked = [axis.axis for axis in result.axes]
    chosen = sorted(ranked[: result.active if keep is None else keep])
    if not chosen:
        raise ArdtoolError("No axis is relevant: the decoder ignores its code.", "Train longer or with a smaller --beta, or give --keep.")
    return chosen


def _verify(full: NetworkAutoencoder, small: NetworkAutoencoder, kept: list[int], codes: LatentCodes, seed: int) -> Equality:
    """Compare both decoders on reference codes and fresh ones, in float64 so that rounding hides nothing; refuse where they differ."""
    full, small = (copy.deepcopy(network).cpu().double() for network in (full, small))
    generator = torch.Generator().manual_seed(seed + 1)
    fresh = draw_codes(codes, FRESH_CODES, "full-gaussian", list(range(codes.latent_dim)), generator)
    reference = replace(codes.reference, mean=codes.reference.mean.double())
    with inference_mode(full):
        equality = measure_equality(full, small, kept, codes.statistics.mean, reference, fresh.double())
    if equality.relative > LARGEST_DIFFERENCE:
        raise ArdtoolError(
            f"The pruned decoder differs from the original by {equality.relative:.1e} of the output's scale; expected below "
            f"{LARGEST_DIFFERENCE:g}. Nothing was written.",
            "Please report this model.",
        )
    return equality


def _metadata(model: SavedModel, kept: list[int], equality: Equality) -> dict[str, Any]:
    """The original's description with the map of axes and the proof; axes count in the model that was trained."""
    original = model.original_axes
    saved = model.metadata.get("relevance")
    relevance = None
    if saved is not None:
        explained = [saved["explained"][axis] for axis in kept]
        total = sum(explained) or 1.0
        active = [kept.index(axis) for axis in saved["active_axes"] if axis in kept]
        relevance = saved | {"active_axes": active, "explained": [share / total for share in explained]}
    return model.metadata | {
        "relevance": relevance,
        "axes": {
            "kept": [original[axis] for axis in kept],
            "of": (model.metadata.get("axes") or {}).get("of", len(original)),
            "pruned_from_sha256": model.metadata.get("content_sha256"),
            "max_abs_difference": equality.max_abs_difference,
            "output_scale": equality.output_scale,
        },
    }


def _mse(network: NetworkAutoencoder, data: Any, device: torch.device) -> float:
    """Mean squared error per output of reconstructions from posterior means."""
    means = encode_all(network, data, device).mean
    total = 0.0
    with inference_mode(network):
        for index in torch.arange(len(data)).split(500):
            total += float((network.decode(means[index].to(device)) - data.batch(index, device)).square().double().sum())
    return total / (len(data) * data.values[0].numel())


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
