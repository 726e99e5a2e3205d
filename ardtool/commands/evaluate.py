"""`evaluate`: how well a model reconstructs data, with all axes and with the active ones alone, and its evidence lower bound."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..data.dataset import DataSet
from ..errors import ConfigError
from ..latent.axes import Granularity
from ..latent.codes import LatentCodes
from ..latent.gaussian import kl_to_gaussian
from ..latent.jacobian import inference_mode
from ..latent.pruning import full_codes
from ..latent.student_t import kl_to_student_t
from ..metrics.likelihood import log_likelihood
from ..metrics.reconstruction import mean_and_stderr, squared_error
from ..networks.build import NetworkAutoencoder
from ..storage.atomic import finite, write_json
from ..storage.model_file import SavedModel
from .inputs import scaled_for, unscaled_for
from .memory import decoding_rows
from .opening import ModelLike, choose_device, codes_for, encode_all, open_model
from .relevance import active_axes_of

__all__ = ["METRICS", "EvaluateResult", "MetricValue", "evaluate"]

SCHEMA = "ardtool.metrics/1"
METRICS = ("mse", "elbo")
TRAINING_DATA = "These are the data that the model was trained on; new data tell more about how well it reconstructs."


@dataclass(frozen=True)
class MetricValue:
    """One number: its standard error over samples, how many samples, and which axes were used."""

    value: float
    stderr: float
    n: int
    axes: str
    unit: str


@dataclass(frozen=True)
class EvaluateResult:
    """Metrics by name.

    Attributes:
        model, data: their names.
        model_sha256: content hash of the model file, or None for a model that ardtool did not write.
        data_sha256: hash of the samples.
        note: what to keep in mind about these numbers, or None.
        file: where they were written, or None; no part of the JSON.
    """

    model: str
    data: str
    metrics: dict[str, MetricValue]
    model_sha256: str | None = None
    data_sha256: str | None = None
    note: str | None = None
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.metrics/1`; numbers that are not finite, such as the error of a single sample, are null."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "metrics": {name: finite(asdict(value)) for name, value in self.metrics.items()},
            **({} if self.note is None else {"note": self.note}),
        }


def evaluate(
    model: ModelLike = None,
    *,
    data: Any,
    metrics: Sequence[str] | None = None,
    out: str | Path | None = None,
    granularity: Granularity = "channel",
    seed: int = 0,
    device: str = "auto",
    plugin: str | None = None,
    trust: bool = False,
    data_root: Path | None = None,
) -> EvaluateResult:
    """Measure a model on data.

    `mse`: mean squared error per output of reconstructions from posterior means, in the range of pixels (images) or in standard deviations
    (vectors) of the training data, with all axes, and as `mse_active` with inactive axes held at the aggregate mean; lower is better.
    `elbo`: log-likelihood bound in nats per sample of the likelihood that was trained (a Gaussian of variance β/2 per output, or a
    Bernoulli), with `kl` and `reconstruction` (expected log-likelihood) beside it; higher is better. One draw of z per sample. Vectors are
    standardised first: in the user's own units the density differs by the sum of the logarithms of all standard deviations.

    Arguments:
        metrics: some of `METRICS`; None for all that the model has: without a known likelihood there is no `elbo`.
        out: where the numbers go as JSON; None for metrics.json beside model.safetensors, NAME.metrics.json beside another NAME.
    """
    unknown = [name for name in metrics or () if name not in METRICS]
    if unknown or (metrics is not None and not metrics):
        raise ConfigError(f"Unknown metric '{unknown[0] if unknown else ''}'.", f"Known are {', '.join(METRICS)}.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
    unscaled = unscaled_for(opened, data, data_root)
    data_set = scaled_for(opened, unscaled)
    codes = opened.codes
    if codes is None and len(data_set) > 1:
        codes = codes_for(opened, data=data_set, seed=seed, device=chosen)
    posterior = encode_all(opened.autoencoder, data_set, chosen)
    values: dict[str, MetricValue] = {}
    wanted = metrics if metrics is not None else METRICS if _has_elbo(opened, codes, posterior) else ("mse",)
    if "mse" in wanted:
        values |= _mse(opened, data_set, codes, posterior, chosen)
    if "elbo" in wanted:
        values |= _elbo(opened, data_set, codes, posterior, seed, chosen)
    path = _metrics_path(opened.path) if out is None else Path(out)
    result = _result(opened, unscaled, values, path)
    if path is not None:
        _save(result, path)
    return result


def _result(model: SavedModel, unscaled: DataSet, values: dict[str, MetricValue], path: Path | None) -> EvaluateResult:
    data_sha256 = unscaled.sha256()
    trained_on = (model.metadata.get("data") or {}).get("sha256")
    return EvaluateResult(
        model=str(model.path or type(model.autoencoder).__name__),
        data=unscaled.name,
        metrics=values,
        model_sha256=model.metadata.get("content_sha256"),
        data_sha256=data_sha256,
        note=TRAINING_DATA if data_sha256 == trained_on else None,
        file=None if path is None else str(path),
    )


def _mse(model: SavedModel, data: DataSet, codes: LatentCodes | None, posterior: Posterior, device: torch.device) -> dict[str, MetricValue]:
    unit = _unit(model, data)
    values = {"mse": _metric(_errors(model, data, posterior.mean, posterior, device), "all", unit)}
    if codes is not None:  # a foreign model and a single sample tell no active axes
        active = model.latent_axes.elements_of(sorted(active_axes_of(model, codes, device)[0]))
        held = full_codes(posterior.mean[:, active], active, codes.statistics.mean)
        values["mse_active"] = _metric(_errors(model, data, held, posterior, device), "active", unit)
    return values


def _unit(model: SavedModel, data: DataSet) -> str:
    """What squared errors are measured in."""
    if model.scaling is not None:
        return "standard deviations squared per output"
    return "squared pixel range per output" if len(data.shape) == 3 else "squared units of the data per output"


def _metric(per_sample: Tensor, axes: str, unit: str) -> MetricValue:
    value, stderr = mean_and_stderr(per_sample)
    return MetricValue(value, stderr, len(per_sample), axes, unit)


def _errors(model: SavedModel, data: DataSet, z: Tensor, posterior: Posterior, device: torch.device) -> Tensor:
    """Mean squared error per output of each sample with shape (N,)."""
    parts = []
    with inference_mode(model.autoencoder):
        for index in _parts(model.autoencoder, z, posterior, device):
            context = None if posterior.context is None else posterior.context[index].to(device)
            parts.append(squared_error(model.autoencoder.decode(z[index].to(device), context), data.batch(index, device)).cpu())
    return torch.cat(parts) / math.prod(data.shape)


def _parts(model: Autoencoder, z: Tensor, posterior: Posterior, device: torch.device) -> tuple[Tensor, ...]:
    """Indices of samples, as many at a time as can be decoded in bounded memory."""
    context = None if posterior.context is None else posterior.context[:1].to(device)
    return torch.arange(len(z)).split(decoding_rows(model, z[:1].to(device), context))


def _has_elbo(model: SavedModel, codes: LatentCodes | None, posterior: Posterior) -> bool:
    """Whether the model has a posterior variance and a known likelihood."""
    likelihood = model.metadata.get("likelihood") or {}
    known = likelihood.get("beta") is not None or likelihood.get("kind") == "bernoulli"
    return known and codes is not None and posterior.log_variance is not None


def _elbo(
    model: SavedModel, data: DataSet, codes: LatentCodes | None, posterior: Posterior, seed: int, device: torch.device
) -> dict[str, MetricValue]:
    if codes is None or posterior.log_variance is None or not _has_elbo(model, codes, posterior):
        raise ConfigError("elbo needs a model with a posterior variance and a known likelihood.", "Use --metrics mse.")
    likelihood = model.metadata["likelihood"]
    z = posterior.sample(torch.Generator().manual_seed(seed))
    kl = _kl(model, codes, posterior.mean.double(), posterior.log_variance.double())
    network, kind, beta = model.autoencoder, likelihood["kind"], likelihood.get("beta")
    logits = kind == "bernoulli" and isinstance(network, NetworkAutoencoder)
    decode = _raw(network) if logits else network.decode
    parts = []
    with inference_mode(network):
        for index in _parts(network, z, posterior, device):
            context = None if posterior.context is None else posterior.context[index].to(device)
            reconstruction = decode(z[index].to(device), context)
            variance = None if beta is None else beta / 2
            parts.append(log_likelihood(reconstruction, data.batch(index, device), kind, variance, logits=logits).cpu())
    expected = torch.cat(parts).double()
    unit = "nats per sample" if model.scaling is None else "nats per sample of standardised data"
    return {
        "elbo": _metric(expected - kl, "all", unit),
        "reconstruction": _metric(expected, "all", unit),
        "kl": _metric(kl, "all", "nats per sample"),
    }


def _raw(network: Autoencoder) -> Callable[[Tensor, Any], Tensor]:
    """`decode` without the output activation: logits."""
    assert isinstance(network, NetworkAutoencoder), "only ardtool's own networks give logits"
    own = network
    return lambda z, _: own.decode_raw(z)


def _kl(model: SavedModel, codes: LatentCodes, mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from the prior that was trained with, in nats per sample, shape (N,); the exact Student-t where that was it."""
    if codes.prior is None:
        return kl_to_gaussian(mean, log_variance, torch.ones(codes.latent_dim, dtype=torch.float64)).sum(dim=1)
    if model.metadata.get("settings", {}).get("prior") == "student-t":
        return kl_to_student_t(mean, log_variance, codes.prior.degrees_of_freedom, codes.prior.variance.sqrt()).sum(dim=1)
    return kl_to_gaussian(mean, log_variance, codes.prior.variance).sum(dim=1)


def _metrics_path(model: Path | None) -> Path | None:
    """Where the metrics of a model file go: models that share a folder do not share a file."""
    if model is None:
        return None
    return model.parent / ("metrics.json" if model.name == "model.safetensors" else f"{model.stem}.metrics.json")


def _save(result: EvaluateResult, path: Path) -> None:
    """Write the metrics, keeping those measured before by the same model on the same data."""
    record = result.to_dict()
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        former = None
    same = ("schema", "model", "model_sha256", "data", "data_sha256")
    if result.model_sha256 is not None and isinstance(former, dict) and all(former.get(name) == record[name] for name in same):
        metrics = former.get("metrics")
        if isinstance(metrics, dict):
            record["metrics"] = {name: value for name, value in metrics.items() if isinstance(value, dict)} | record["metrics"]
    write_json(path, record)
