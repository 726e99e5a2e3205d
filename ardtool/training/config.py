"""Every setting of a training run, with its default, range and meaning in one place.

The command line, the YAML file and the Python API all end here; `docs/commands.md` and the option help read the same fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from ..errors import ConfigError

__all__ = ["CHECKPOINT_MINUTES", "TrainConfig", "config_from", "convert"]

CHECKPOINT_MINUTES = 10.0  # between checkpoints within an epoch; how a run is kept, no setting that makes it this run
GROUPED = 'rae={"variant": "gp"}'  # how options of a method may be given, as an example

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
    arch: str | None = _setting(
        None, "Network: auto, conv, dense, linear, maskaae, geco, locatello, paper or a paper-NAME; with /2, /4 or /8 behind it narrower."
    )
    beta: float | Literal["auto"] | None = _setting(None, "Weight of the KL on the summed squared error; auto (ard-vae) calibrates it.")
    target_mse: float | None = _setting(None, "Steer beta to this validation mean squared error.")
    beta_warmup: float = _setting(
        0.0, "Share of the epochs over which beta rises to its value, up to 0.5; keeps axes from being lost early."
    )
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
        """This configuration with every value in the type of its field, after checking types and ranges.

        Raises:
            ConfigError: naming the setting or flag, the value found and what is expected.
        """
        hints = typing.get_type_hints(TrainConfig)
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "options"}
        typed = dataclasses.replace(self, **{name: convert(name, value, hints[name], "the settings") for name, value in values.items()})
        typed._check_ranges()
        return typed

    def _check_ranges(self) -> None:
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
        _check_range(self, "beta_warmup", 0, 0.5)
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
        if self.beta_warmup and (self.beta == "auto" or self.target_mse is not None):
            moves = "--beta auto" if self.beta == "auto" else "--target-mse"
            raise ConfigError(f"--beta-warmup needs a beta to rise to, and {moves} moves it.", "Give one of them.")
        if not isinstance(self.options, Mapping):
            _refuse_options(self.options, "the settings")
        if self.likelihood == "bernoulli" and self.beta == "auto":
            raise ConfigError("--beta auto needs a Gaussian likelihood.", "Give --beta a number, or --likelihood gaussian.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name; options of the method under their dotted names."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "options"}
        return values | dict(self.options)


def config_from(settings: Mapping[str, Any], where: str) -> TrainConfig:
    """A validated configuration from names and values, which may be strings.

    Options of a method have a dotted name, `rae.variant`, or are grouped under its first part, `rae: {variant: gp}`; both may stand
    under `options`, as in `TrainConfig`. They are checked when the method is known, by `training.resolve.resolved`.

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
        if name == "options":
            if not isinstance(value, Mapping | None):
                _refuse_options(value, where)
            for inner, each in (value or {}).items():
                options |= _options(str(inner), each)
        elif "." in name or (name not in hints and isinstance(value, Mapping)):
            options |= _options(name, value)
        elif name in hints:
            values[name] = convert(name, value, hints[name], where)
        else:
            near = difflib.get_close_matches(name, hints, n=1)
            known = f"Known are {', '.join(hints)}; options of a method are given by --set rae.variant=gp, in Python by {GROUPED}."
            raise ConfigError(f"{where}: unknown setting '{raw_name}'.", f"Did you mean '{near[0]}'?" if near else known)
    return TrainConfig(**values, options=options).validated()


def _options(name: str, value: Any) -> dict[str, Any]:
    """Options of a method by dotted name, from one of them or from all under the first part of their names."""
    if isinstance(value, Mapping):
        return {f"{name}.{inner}".replace("-", "_"): each for inner, each in value.items()}
    return {name.replace("-", "_"): value}


def _refuse_options(value: Any, where: str) -> NoReturn:
    raise ConfigError(
        f'{where}: options is {value!r}; expected options of the method by name, such as options={{"rae.variant": "gp"}}.',
        f"Or group them: {GROUPED}; `ardtool train --list-methods` lists all.",
    )


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
        elif option is str and isinstance(value, str | int | os.PathLike) and not isinstance(value, bool):
            return str(value)
        elif option in (int, float) and not isinstance(value, bool):
            try:
                return option(value) if option is float or float(value) == int(float(value)) else _refuse(name, value, hint, where)
            except (TypeError, ValueError, OverflowError):
                continue
    return _refuse(name, value, hint, where)


def _refuse(name: str, value: Any, hint: Any, where: str) -> Any:
    if name == "data" and hasattr(value, "shape"):
        raise ConfigError(
            f"{where}: data is an array of shape {tuple(value.shape)}; expected the name of a data set or a path.",
            'Save it first, numpy.save("data.npy", array), and give that path: a run must find its data again.',
        )
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    kinds: list[str] = []
    for part in typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,):
        if typing.get_origin(part) is Literal:
            kinds += map(str, typing.get_args(part))
        elif part is not type(None):
            kinds.append(words[part])
    raise ConfigError(
        f"{where}: {name} is {reprlib.repr(value)}; expected {' or '.join(kinds)}.", "ardtool train --help lists all settings."
    )


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
