"""`evaluate`: how well a model reconstructs data, with all axes and with the active ones alone, and its evidence lower bound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..data.dataset import DataSet
from ..errors import ConfigError
from ..latent.codes import LatentCodes
from ..latent.gaussian import kl_to_gaussian
from ..latent.jacobian import inference_mode
from ..latent.pruning import full_codes
from ..latent.student_t import kl_to_student_t
from ..metrics.reconstruction import elbo, mean_and_stderr, squared_error
from ..storage.atomic import write_json
from ..storage.model_file import SavedModel
from .opening import ModelLike, choose_device, codes_for, data_for, encode_all, open_model
from .relevance import active_axes_of

__all__ = ["METRICS", "EvaluateResult", "MetricValue", "evaluate"]

SCHEMA = "ardtool.metrics/1"
METRICS = ("mse", "elbo")
BATCH = 500


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
    """Metrics by name."""

    model: str
    data: str
    metrics: dict[str, MetricValue]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.metrics/1`."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "data": self.data,
            "metrics": {name: asdict(value) for name, value in self.metrics.items()},
        }


def evaluate(
    model: ModelLike = None,
    *,
    data: Any,
    metrics: Sequence[str] = METRICS,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    plugin: str | None = None,
    data_root: Path | None = None,
) -> EvaluateResult:
    """Measure a model on data.

    `mse`: mean squared error per output of reconstructions from posterior means, in the range (images) or in standard deviations
    (vectors) of the training data, with all axes, and as `mse_active` with inactive axes held at the aggregate mean; lower is better.
    `elbo`: log-likelihood bound in nats per sample of the likelihood that was trained (a Gaussian of variance β/2 per output, or a
    Bernoulli), with `kl` and `reconstruction` (expected log-likelihood) beside it; higher is better. One draw of z per sample.

    Arguments:
        out: where metrics.json goes; None for beside the model.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ConfigError(f"Unknown metric '{unknown[0] if unknown else ''}'.", f"Known are {', '.join(METRICS)}.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin)
    data_set = data_for(opened, data, data_root)
    codes = opened.codes or codes_for(opened, data=data_set, seed=seed, device=chosen)
    posterior = encode_all(opened.autoencoder, data_set, chosen)
    values: dict[str, MetricValue] = {}
    if "mse" in metrics:
        active = sorted(active_axes_of(opened, codes, chosen)[0])
        held = full_codes(posterior.mean[:, active], active, codes.statistics.mean)
        values["mse"] = _metric(_errors(opened, data_set, posterior.mean, posterior, chosen), "all", "squared range per output")
        values["mse_active"] = _metric(_errors(opened, data_set, held, posterior, chosen), "active", "squared range per output")
    if "elbo" in metrics:
        values |= _elbo(opened, data_set, codes, posterior, seed, chosen)
    result = EvaluateResult(str(opened.path or type(opened.autoencoder).__name__), data_set.name, values)
    _save(result, opened, out)
    return result


def _metric(per_sample: Tensor, axes: str, unit: str) -> MetricValue:
    value, stderr = mean_and_stderr(per_sample)
    return MetricValue(value, stderr, len(per_sample), axes, unit)


def _errors(model: SavedModel, data: DataSet, z: Tensor, posterior: Posterior, device: torch.device) -> Tensor:
    """Mean squared error per output of each sample with shape (N,)."""
    parts = []
    with inference_mode(model.autoencoder):
        for index in torch.arange(len(data)).split(BATCH):
            context = None if posterior.context is None else posterior.context[index].to(device)
            parts.append(squared_error(model.autoencoder.decode(z[index].to(device), context), data.batch(index, device)).cpu())
    return torch.cat(parts) / data.values[0].numel()


def _elbo(
    model: SavedModel, data: DataSet, codes: LatentCodes, posterior: Posterior, seed: int, device: torch.device
) -> dict[str, MetricValue]:
    likelihood = model.metadata.get("likelihood") or {}
    if posterior.log_variance is None or (likelihood.get("beta") is None and likelihood.get("kind") != "bernoulli"):
        raise ConfigError("elbo needs a model with a posterior variance and a known likelihood.", "Use --metrics mse.")
    z = posterior.sample(torch.Generator().manual_seed(seed))
    kl = _kl(model, codes, posterior.mean.double(), posterior.log_variance.double())
    parts = []
    with inference_mode(model.autoencoder):
        for index in torch.arange(len(data)).split(BATCH):
            reconstruction = model.autoencoder.decode(z[index].to(device))
            parts.append(elbo(reconstruction, data.batch(index, device), likelihood["kind"], likelihood.get("beta")).cpu())
    expected = torch.cat(parts).double()
    unit = "nats per sample"
    return {
        "elbo": _metric(expected - kl, "all", unit),
        "reconstruction": _metric(expected, "all", unit),
        "kl": _metric(kl, "all", unit),
    }


def _kl(model: SavedModel, codes: LatentCodes, mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from the prior that was trained with, in nats per sample, shape (N,); the exact Student-t where that was it."""
    if codes.prior is None:
        return kl_to_gaussian(mean, log_variance, torch.ones(codes.latent_dim, dtype=torch.float64)).sum(dim=1)
    if model.metadata.get("settings", {}).get("prior") == "student-t":
        return kl_to_student_t(mean, log_variance, codes.prior.degrees_of_freedom, codes.prior.variance.sqrt()).sum(dim=1)
    return kl_to_gaussian(mean, log_variance, codes.prior.variance).sum(dim=1)


def _save(result: EvaluateResult, model: SavedModel, out: str | Path | None) -> None:
    """Write metrics.json, keeping metrics measured before on the same data."""
    if out is None and model.path is None:
        return
    path = Path(out) if out is not None else Path(str(model.path)).parent / "metrics.json"
    record = result.to_dict()
    try:
        former = json.loads(path.read_text())
    except (OSError, ValueError):
        former = {}
    if isinstance(former, dict) and all(former.get(name) == record[name] for name in ("schema", "model", "data")):
        record["metrics"] = former["metrics"] | record["metrics"]
    write_json(path, record)
