"""Where the settings of a training run come from: options, then --set, then --config, then the defaults of `TrainConfig`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError, TrainingError, first_line
from ..training.config import TrainConfig, config_from

__all__ = ["Unfinished", "assignments", "merged", "read_yaml", "unfinished_run"]


@dataclass(frozen=True)
class Unfinished:
    """An interrupted run and its settings."""

    folder: Path
    settings: dict[str, Any]


def merged(options: Mapping[str, Any], assigned: Mapping[str, Any], config: Path | None) -> TrainConfig:
    """The configuration of all three sources; an option is "not given" where it is None.

    Raises:
        ConfigError: an unknown name or a wrong value, with where it was read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    sources = [("the command line", given), ("--set", assigned)]
    if config is not None:
        sources.append((str(config), read_yaml(config)))
    values: dict[str, Any] = {}
    for where, source in reversed(sources):
        for raw, value in source.items():
            config_from({raw: value}, where)
            values[str(raw).replace("-", "_")] = value
    return config_from(values, "the settings")


def assignments(texts: Iterable[str]) -> dict[str, str]:
    """Names and values from "key=value"."""
    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise typer.BadParameter(f"'{text}' is no key=value.", param_hint="'--set'")
        values[name.strip()] = value.strip()
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, such as a run's config.yaml.

    Raises:
        ConfigError: it does not exist, is no YAML, or holds no names and values.
    """
    import yaml

    try:
        settings = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}.", "Write one `name: value` a line."
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply for settings.", "Write one `name: value` a line.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text file.", "Give a YAML file such as a run's config.yaml.") from error
    except ValueError as error:  # a date that does not exist, say
        raise ConfigError(f"{path}: not valid YAML: {first_line(error)}.", "Write one `name: value` a line.") from error
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}.", "Give a YAML file such as a run's config.yaml.") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds a {type(settings).__name__}; expected names and values.", "Write one `name: value` a line.")
    return {str(name): value for name, value in settings.items()}


def unfinished_run(out: Path | None) -> Unfinished | None:
    """The run that `--resume` alone continues: the one in `out`, else the only unfinished one under runs/; None where there is none.

    Raises:
        TrainingError: there are several.
    """
    from ..storage.run_folder import RUNS, RunFolder

    folders = [out] if out is not None else sorted(path for path in RUNS.glob("*") if path.is_dir())
    unfinished = [path for path in folders if RunFolder(path).is_resumable]
    if len(unfinished) > 1:
        names = ", ".join(map(str, unfinished))
        raise TrainingError(f"{len(unfinished)} runs are unfinished: {names}.", f"Choose one: ardtool train --resume --out {unfinished[0]}")
    if not unfinished:
        return None
    return Unfinished(unfinished[0], RunFolder(unfinished[0]).checkpoint_record()["settings"])
