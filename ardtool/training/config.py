"""Every setting of a training run, with its default, range and meaning in one place.

The command line, the YAML file and the Python API all end here; `docs/commands.md` and the option help read the same fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigError

__all__ = ["CHECKPOINT_MINUTES", "TrainConfig", "config_from", "convert"]

CHECKPOINT_MINUTES = 10.0  # between checkpoints within an epoch; how a run is kept, no setting that makes it this run

Likelihood = Literal["auto", "gaussian", "bernoulli"]
Prior = Literal["gaussian", "student-t"]
Precision = Literal["auto", "fp32", "tf32", "bf16"]
Compile = Literal["auto", "on", "off"]


def _setting(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one run. `None` means "what suits the data": the paper's value for its data sets, else ardtool's default."""

    data: str = _setting("sprites", "Data set name, or a path to a folder, .zip, .tar, .npy, .npz or .csv.")
    latent: int = _setting(16, "Number of latent axes L.")
    method: str = _setting("ard-vae", "Training method.")
    arch: str | None = _setting(None, "Network: auto, conv, dense, linear, maskaae, geco, locatello, paper or a paper-NAME.")
    beta: float | Literal["auto"] | None = _setting(None, "Weight of the KL on the summed squared error; auto calibrates it.")
    target_mse: float | None = _setting(None, "Steer beta to this validation mean squared error.")
    likelihood: Likelihood = _setting("auto", "Likelihood of the data given the code.")
    epochs: int | None = _setting(None, "Passes over the training data.")
    batch_size: int | None = _setting(None, "Samples in a gradient step, over all processes: 64 for mask-aae, else 100.")
    lr: float | None = _setting(
        None, "Learning rate: 5e-4 for networks from papers, else 2e-3; ae, dip-vae-ii and mask-aae have their own."
    )
    lr_patience: int = _setting(10, "Epochs without improvement of the validation loss before the rate is halved; 0: never.")
    precision: Precision = _setting("auto", "Arithmetic of the training steps; auto: bf16 on GPUs that have it, else fp32.")
    compile: Compile = _setting(
        "auto", "Steps as CUDA graphs (auto: on GPUs), with compiled layers (on), or one operation at a time (off)."
    )
    alpha_samples: int = _setting(10_000, "Samples held out each epoch to learn the prior (X_α); at most a fifth of the training data.")
    alpha_every: int = _setting(1, "Epochs between updates of the prior.")
    prior: Prior = _setting("gaussian", "Prior over codes: the Gaussian limit (Eq. 17) or the exact Student-t (Eq. 11).")
    student_t_draws: int = _setting(0, "Monte Carlo draws for the Student-t KL; 0 is quadrature.")
    prior_a0: float = _setting(0.0, "Hyperprior shape a0.")
    prior_b0: float = _setting(0.0, "Hyperprior rate b0.")
    prior_mean: float = _setting(0.0, "Location that deviations are summed about.")
    rao_blackwell: bool = _setting(False, "Estimate the prior from posterior moments instead of sampled codes.")
    image_size: str = _setting("auto", "auto, N or HxW.")
    val_fraction: float = _setting(0.1, "Share of the data held out for validation where there is no official split.")
    samples: int | None = _setting(None, "Train on so many random samples, validate on at most a ninth as many; left out: all.")
    threshold: float = _setting(0.99, "Share of the total relevance that the active axes exceed.")
    seed: int = _setting(0, "Seed of everything random.")
    options: Mapping[str, Any] = field(default_factory=dict, metadata={"help": "Options of the method by name, such as rae.variant."})

    def validated(self) -> TrainConfig:
        """This configuration, after checking every range.

        Raises:
            ConfigError: naming the flag, the value found and the range expected.
        """
        _check_range(self, "latent", 1, 100_000)
        _check_range(self, "epochs", 1, math.inf)
        _check_range(self, "batch_size", 1, math.inf)
        _check_range(self, "lr_patience", 0, math.inf)
        _check_range(self, "alpha_samples", 2, math.inf)
        _check_range(self, "alpha_every", 1, math.inf)
        _check_range(self, "student_t_draws", 0, 10_000)
        _check_range(self, "prior_a0", 0, math.inf)
        _check_range(self, "prior_b0", 0, math.inf)
        _check_range(self, "prior_mean", -1_000_000, 1_000_000)
        _check_range(self, "samples", 10, math.inf)
        _check_range(self, "seed", 0, 2**31 - 1)
        _check_open(self, "lr", 0, 1)
        _check_open(self, "val_fraction", 0, 1)
        _check_open(self, "target_mse", 0, math.inf)
        if self.beta != "auto":
            _check_open(self, "beta", 0, math.inf)
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"--threshold is {self.threshold:g}; expected a share in (0, 1].", "0.99 is the paper's choice.")
        if self.beta == "auto" and self.target_mse is not None:
            raise ConfigError("--beta auto and --target-mse both choose beta.", "Give one of them.")
        if self.likelihood == "bernoulli" and self.beta == "auto":
            raise ConfigError("--beta auto needs a Gaussian likelihood.", "Give --beta a number, or --likelihood gaussian.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """All settings by name; options of the method under their dotted names."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "options"}
        return values | dict(self.options)


def config_from(settings: Mapping[str, Any], where: str) -> TrainConfig:
    """A validated configuration from names and values, which may be strings.

    Options of a method have a dotted name, `rae.variant`, or are grouped under its first part, `rae: {variant: gp}`. They are checked
    when the method is known, by `training.resolve.resolved`.

    Arguments:
        settings: values by name; names may use dashes.
        where: where they were read, for the error.

    Raises:
        ConfigError: an unknown name (with the nearest known one) or a value of the wrong type.
    """
    hints = {name: hint for name, hint in typing.get_type_hints(TrainConfig).items() if name != "options"}
    values: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for raw_name, value in settings.items():
        name = str(raw_name).replace("-", "_")
        if "." in name:
            options[name] = value
            continue
        if name not in hints and isinstance(value, Mapping):
            options |= {f"{name}.{inner}".replace("-", "_"): each for inner, each in value.items()}
            continue
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            raise ConfigError(
                f"{where}: unknown setting '{raw_name}'.", f"Did you mean '{near[0]}'?" if near else f"Known are {', '.join(hints)}."
            )
        values[name] = convert(name, value, hints[name], where)
    return TrainConfig(**values, options=options).validated()


def convert(name: str, value: Any, hint: Any, where: str) -> Any:
    """`value` as the type that a field declares.

    Raises:
        ConfigError: it is of another type.
    """
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    for option in options:
        if option is type(None):
            if value is None or value == "":
                return None
        elif typing.get_origin(option) is Literal:
            words = typing.get_args(option)
            if isinstance(value, bool) and "on" in words:  # what YAML makes of a bare on or off
                return "on" if value else "off"
            if value in words:
                return value
        elif option is bool:
            if isinstance(value, bool):
                return value
            if str(value).lower() in ("true", "false"):
                return str(value).lower() == "true"
        elif option is str and isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
        elif option in (int, float) and not isinstance(value, bool):
            try:
                return option(value) if option is float or float(value) == int(float(value)) else _refuse(name, value, hint, where)
            except (TypeError, ValueError, OverflowError):
                continue
    return _refuse(name, value, hint, where)


def _refuse(name: str, value: Any, hint: Any, where: str) -> Any:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    kinds: list[str] = []
    for part in typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,):
        if typing.get_origin(part) is Literal:
            kinds += map(str, typing.get_args(part))
        elif part is not type(None):
            kinds.append(words[part])
    raise ConfigError(f"{where}: {name} is {value!r}; expected {' or '.join(kinds)}.", "ardtool train --help lists all settings.")


def _check_range(config: TrainConfig, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    if value is not None and not (low <= value <= high and math.isfinite(value)):
        limit = f"at least {low}" if math.isinf(high) else f"{low} to {high}"
        _refuse_range(name, value, limit)


def _check_open(config: TrainConfig, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    if value is not None and not low < value < high:
        _refuse_range(name, value, f"a number more than {low}" if math.isinf(high) else f"a number between {low} and {high}")


def _refuse_range(name: str, value: float, limit: str) -> None:
    default = getattr(TrainConfig, name)
    chosen = "Leave it out to let the data decide." if default is None else f"The default is {default}."
    raise ConfigError(f"--{name.replace('_', '-')} is {value}; expected {limit}.", chosen)
