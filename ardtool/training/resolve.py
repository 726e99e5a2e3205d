"""From settings and data to a run: fill in what the user left open, build the network and the objective.

Defaults where neither the user nor the data set says otherwise, chosen on `sprites` and on linear data of known rank
(docs/decisions/0002-default-settings.md): β = 0.2 for images in [0, 1], 1.4 for standardised vectors; as many epochs as make about
2,000 gradient steps on images and 4,000 on vectors, at least 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..data.dataset import DataSet, Scaling, split_indices
from ..errors import ConfigError, DataError, TrainingError
from ..networks.architectures import ARCHITECTURES, OWN_NETWORKS, network_named
from ..networks.build import architecture_record, build_network
from ..networks.specs import PAPER_NETWORKS
from ..objectives import ALIASES, OBJECTIVES
from ..objectives.objective import Setup
from .config import TrainConfig
from .loop import TrainingRun, hold_out_size
from .options import METHOD_SETTINGS, options_of, resolved_options
from .precision import resolved_precision
from .processes import Processes

__all__ = ["prepare_run", "resolved"]

IMAGE_BETA, VECTOR_BETA = 0.2, 1.4
PAPER_RATE, OWN_RATE = 5e-4, 2e-3
IMAGE_STEPS, VECTOR_STEPS = 2000, 4000
FEWEST_EPOCHS = 20
BATCH_SIZE = 100
GREY_LEVEL, VECTOR_FLOOR = 1 / 255, 1e-3
VARIANCE_SAMPLES = 2000


def resolved(config: TrainConfig, data: DataSet) -> TrainConfig:
    """The settings with every `None` filled in: the data set's own value, else the default.

    Raises:
        ConfigError: an unknown method or architecture.
    """
    config = replace(config, method=ALIASES.get(config.method, config.method))
    if config.method not in OBJECTIVES:
        raise ConfigError(f"Unknown method '{config.method}'.", f"Known are {', '.join(OBJECTIVES)}.")
    own = OBJECTIVES[config.method].values_for((data.paper_name or data.name) if data.settings else "")
    _check_settings(config, own)
    arch = _arch(config, data)
    likelihood = config.likelihood
    if likelihood == "auto":
        likelihood = data.settings.get("likelihood", "gaussian") if "likelihood" in OBJECTIVES[config.method].takes else "gaussian"
    if likelihood == "bernoulli" and data.value_range != (0.0, 1.0):
        raise ConfigError("--likelihood bernoulli needs images in [0, 1].", "Use --likelihood gaussian.")
    beta = config.beta
    if beta is None:
        beta = own.get("beta", _default_beta(config.method, data))
    batch_size = config.batch_size or own.get("batch_size", BATCH_SIZE)
    epochs = config.epochs or own.get("epochs") or data.settings.get("epochs") or _epochs(config, data, batch_size)
    lr = config.lr or own.get("lr") or (OWN_RATE if arch.partition("/")[0] in ("auto", *OWN_NETWORKS) else PAPER_RATE)
    options = resolved_options(config.method, config.options, own)
    return replace(config, arch=arch, likelihood=likelihood, beta=beta, epochs=epochs, batch_size=batch_size, lr=lr, options=options)


def _default_beta(method: str, data: DataSet) -> float | None:
    if "beta" not in OBJECTIVES[method].takes:
        return None
    return IMAGE_BETA if data.is_images else VECTOR_BETA


def _check_settings(config: TrainConfig, own: Mapping[str, Any]) -> None:
    """Refuse settings that the method does not have, unless they say what holds anyway."""
    takes = OBJECTIVES[config.method].takes
    for name in METHOD_SETTINGS:
        usual = (getattr(TrainConfig, name), own.get(name), "gaussian" if name == "likelihood" else None)
        if name not in takes and getattr(config, name) not in usual:
            having = ", ".join(method for method, objective in OBJECTIVES.items() if name in objective.takes)
            raise ConfigError(
                f"--{name.replace('_', '-')} is no setting of {config.method}.", f"Leave it out; methods that have it: {having}."
            )
    if config.beta == "auto" and not OBJECTIVES[config.method].calibrates:
        raise ConfigError(f"--beta is auto, and {config.method} does not calibrate it; expected a number.", "Or use --method ard-vae.")


def _arch(config: TrainConfig, data: DataSet) -> str:
    arch, slash, divisor = (config.arch or data.settings.get("arch", "auto")).partition("/")
    if arch == "paper":
        arch = f"paper-{data.paper_name or data.name}"
        if arch not in PAPER_NETWORKS:
            names = ", ".join(name.removeprefix("paper-") for name in PAPER_NETWORKS)
            raise ConfigError(
                f"The paper has no network for '{data.name}'; it has for {names}.", "Use --arch auto, or name one: --arch paper-mnist."
            )
    if arch not in ARCHITECTURES:
        raise ConfigError(f"Unknown architecture '{arch}'.", f"Known are {', '.join(ARCHITECTURES)}.")
    network_named(f"{'conv' if arch == 'auto' else arch}{slash}{divisor}")  # refuses a width that is none
    return f"{arch}{slash}{divisor}"


def _epochs(config: TrainConfig, data: DataSet, batch_size: int) -> int:
    training = min(len(data) - (data.validation or round(len(data) * config.val_fraction)), config.samples or len(data))
    steps_per_epoch = max(1, (training - hold_out_size(config.alpha_samples, training)) // batch_size)
    return max(FEWEST_EPOCHS, math.ceil((IMAGE_STEPS if data.is_images else VECTOR_STEPS) / steps_per_epoch))


def prepare_run(config: TrainConfig, data: DataSet, device: torch.device, processes: Processes | None = None) -> TrainingRun:
    """A run at epoch 0: data split and standardised, network and objective initialised from the seed.

    Arguments:
        config: resolved settings; the run's own say which precision `auto` became.
        data: as opened; vectors are standardised here by the training part's moments.
        processes: those that train together; None for this one alone.

    Raises:
        ConfigError: the network does not take these data, or the device has no such precision.
        DataError: too few samples, or fewer than `samples`.
        TrainingError: more latent axes than training samples.
    """
    config = replace(config, precision=resolved_precision(config.precision, device))
    train, validation = split_indices(data, config.val_fraction, config.seed, config.samples)
    if len(train) < 5:
        raise DataError(
            f"'{data.name}' leaves {len(train)} samples to train on; at least 5 are needed.", "Give a data set with more samples."
        )
    if config.latent > len(train):
        raise TrainingError(
            f"--latent is {config.latent}, more latent axes than the {len(train)} training samples of '{data.name}'.",
            f"Use --latent {max(1, min(len(train) // 10, 16))}, or more data.",
        )
    if not data.is_images:
        data = data.standardised(Scaling.fit(data.tensor[train]))
    method = OBJECTIVES[config.method]
    record = architecture_record(
        config.arch or "auto", data.shape, config.latent, value_range=data.value_range, stochastic=method.stochastic
    )
    variance = _variance(data, train)
    span = 1.0 if data.value_range is None else data.value_range[1] - data.value_range[0]
    floor = (GREY_LEVEL * span if data.is_images else VECTOR_FLOOR) ** 2
    samples = len(train) - (hold_out_size(config.alpha_samples, len(train)) if method.holds_out_codes else 0)
    options = options_of(config.method, config.options)
    setup = Setup(config.latent, math.prod(data.shape), samples, variance, floor, config.to_dict(), options)
    objective = method.made_for(setup)
    _check_batches(config, objective.fewest_samples, data, len(validation))
    network = build_network(record, config.seed)
    return TrainingRun(config, network, objective, data, train, validation, device, processes=processes or Processes())


def _check_batches(config: TrainConfig, fewest: int, data: DataSet, validation: int) -> None:
    """Refuse batches too small for a method that compares their samples."""
    needs = f"{config.method} compares the samples of a batch: it needs at least {fewest}"
    assert config.batch_size is not None, "the configuration is resolved before training"
    if config.batch_size < fewest:
        raise ConfigError(f"{needs}; found --batch-size {config.batch_size}.", f"Use --batch-size {fewest} or more.")
    if validation < fewest:
        raise DataError(
            f"{needs}, and '{data.name}' leaves {validation} for validation.", "Use a larger --val-fraction, or give more samples."
        )


def _variance(data: DataSet, train: Tensor) -> float:
    """Mean variance per output over (up to 2,000 of) the training samples: the error of predicting the mean.

    Raises:
        DataError: all samples are equal.
    """
    sample = data.batch(train[torch.linspace(0, len(train) - 1, min(len(train), VARIANCE_SAMPLES)).long()])
    variance = float(sample.var(dim=0, correction=0).mean())
    if variance <= 1e-12:
        raise DataError(f"'{data.name}' is constant: its samples are equal.", "There is nothing to encode; check the file.")
    return variance
