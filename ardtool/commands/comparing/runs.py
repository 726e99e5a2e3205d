"""Finished runs by the headers of their model files and by the metrics beside them; no weights are read and torch is not imported.

A model's description is taken at its word: the hash that would show an edit covers the weights too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import ModelFileError, first_line
from ...storage.header import identify, is_ardtool_file, read_metadata
from ...storage.record import read_record
from ...storage.run_folder import RunFolder, run_named_by

__all__ = ["KEYS", "UNFINISHED", "Found", "LeftOut", "MetricRecord", "Run", "find_runs"]

KEYS = ("method", "data", "latent", "seed", "compile")  # with a place of their own, or without a say in the result; `data` is a path
METRICS_SCHEMA = "ardtool.metrics/1"
MODEL = "model.safetensors"
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class MetricRecord:
    """One number of a metrics.json; `value` is None where it is not finite.

    Attributes:
        data, n: what it was measured on.
        convention: digest of how it was measured; "" where the file does not say.
    """

    name: str
    axes: str
    unit: str
    n: int
    data: str
    data_sha256: str
    value: float | None
    convention: str = ""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder as given, or the model file where that has another name.
        data, data_sha256: name and content of the data it was trained on.
        settings: all but `KEYS`, with the `convention` of its relevance scores.
        active: number of active axes by the common score; None where the file does not say.
        shares: of the relevance score, of all axes; empty where the file does not say.
        own_count: the method's own count, see `OwnCount`, or None.
        losses: validation terms of the last epoch by name.
        seconds: of all epochs.
    """

    path: str
    method: str
    data: str
    data_sha256: str
    latent: int
    seed: int
    settings: dict[str, Any]
    active: int | None
    own_count: dict[str, Any] | None
    losses: dict[str, float]
    epochs: int
    seconds: float
    converged: bool
    device: str
    metrics: tuple[MetricRecord, ...] = ()
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A path that does not count, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What paths hold: finished runs, and what does not count."""

    runs: list[Run]
    left_out: list[LeftOut]


def find_runs(paths: Sequence[Path]) -> Found:
    """The finished runs that paths name: run folders, model files, or folders that hold run folders.

    Unfinished runs, paths given again, and damaged files inside a folder of runs are left out and named.

    Raises:
        ModelFileError: a path that holds no run, or that names a file or run which cannot be read.
    """
    found = Found([], [])
    seen: set[Path] = set()
    for path in sorted(paths, key=lambda path: run_named_by(path) is not None):  # runs/* also gives runs/latest
        newest = run_named_by(path)
        for model, named in _models_of(newest or path):
            shown = _shown(model)
            if (same := model.resolve()) in seen:
                again = LeftOut(shown, "given more than once, counted once")
                found.left_out.extend([] if newest or again in found.left_out else [again])
                continue
            seen.add(same)
            if model.name == MODEL and RunFolder(model.parent).is_resumable:
                found.left_out.append(LeftOut(shown, UNFINISHED))
                continue
            try:
                run, problem = _run_of(model)
            except ModelFileError as error:
                if named:
                    raise
                found.left_out.append(LeftOut(shown, error.message.removeprefix(str(model)).strip(":. ")))
                continue
            found.runs.append(run)
            if problem:
                found.left_out.append(LeftOut(str(_metrics_path(model)), problem))
    return found


def _shown(model: Path) -> str:
    return str(model.parent if model.name == MODEL else model)


def _models_of(path: Path) -> list[tuple[Path, bool]]:
    """The model files of a path, and whether the path names each itself."""
    if not path.is_dir():
        return [(path, True)]
    if _is_run(path):
        return [(RunFolder(path).model, True)]
    models = [RunFolder(each).model for each in sorted(path.iterdir()) if each.is_dir() and _is_run(each)]
    if not models:
        raise ModelFileError(
            f"{path} holds no run; it is {identify(path).description}.", "Give run folders, model files, or a folder of run folders."
        )
    return [(model, False) for model in models]


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).is_finished or RunFolder(folder).is_resumable


def _run_of(model: Path) -> tuple[Run, str | None]:
    """What the description of a model file says about its run, with its metrics, or why these cannot be used.

    Raises:
        ModelFileError: it is no file of a finished run.
    """
    metadata = _description(model)
    try:
        if metadata.get("axes") is not None or "training" not in metadata:
            kind = "a pruned model" if metadata.get("axes") is not None else "a model that ardtool did not train"
            raise ModelFileError(f"{model} is no run; it is {kind}.", "Give the runs themselves, as `ardtool train` left them.")
        run = _read(metadata, _shown(model))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(
            f"{model}: its description is incomplete or wrong ({error!r}).", "Train again, or use another copy."
        ) from error
    metrics, problem = _metrics_of(model, metadata.get("content_sha256"))
    return replace(run, metrics=tuple(metrics)), problem


def _description(model: Path) -> dict[str, Any]:
    try:
        kind = identify(model).description  # refuses what is missing and what cannot be opened
        if is_ardtool_file(model):
            return read_metadata(model)
    except OSError as error:
        raise ModelFileError(f"{model} cannot be read: {error.strerror or error}.", "Check its path and its permissions.") from error
    raise ModelFileError(f"{model} is no run; it is {kind}.", "Give run folders, model files, or a folder of run folders.")


def _read(metadata: dict[str, Any], path: str) -> Run:
    settings, data, training = metadata["settings"], metadata["data"], metadata["training"]
    relevance = metadata.get("relevance") or {}
    active = relevance.get("active_axes")
    own = metadata.get("own_count")
    return Run(
        path=path,
        method=str(metadata["method"]),
        data=str(data["name"]),
        data_sha256=str(data["sha256"]),
        latent=int(settings["latent"]),
        seed=int(settings["seed"]),
        settings={name: value for name, value in settings.items() if name not in KEYS} | {"convention": relevance.get("convention")},
        active=None if active is None else len(active),
        own_count=None if own is None else own | {"notion": str(own["notion"]), "axes": list(own["axes"])},
        losses={str(name): float(value) for name, value in training["validation"].items()},
        epochs=int(training["epochs"]),
        seconds=float(training["seconds"]),
        converged=bool(training.get("converged")),
        device=str(training.get("device", "unknown")),
        shares=tuple(float(share) for share in relevance.get("explained") or ()),
    )


def _metrics_path(model: Path) -> Path:
    """Where `evaluate` leaves the metrics of a model file."""
    return model.parent / ("metrics.json" if model.name == MODEL else f"{model.stem}.metrics.json")


def _metrics_of(model: Path, content_sha256: str | None) -> tuple[list[MetricRecord], str | None]:
    """What `evaluate` measured, or why that cannot be used."""
    path = _metrics_path(model)
    if not path.is_file():
        return [], None
    try:
        record = read_record(path)
        if record["schema"] != METRICS_SCHEMA:
            return [], f"its schema is {record['schema']}, not {METRICS_SCHEMA}"
        if record["model_sha256"] != content_sha256:
            return [], "measured on another model than the one beside it"
        data, sha256 = str(record["data"]), str(record["data_sha256"])
        return [_metric(name, each, data, sha256) for name, each in record["metrics"].items()], None
    except (OSError, ValueError) as error:
        return [], f"cannot be read ({first_line(error)})"
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        return [], f"cannot be read ({type(error).__name__})"


def _metric(name: str, entry: dict[str, Any], data: str, sha256: str) -> MetricRecord:
    value, provenance = entry["value"], entry.get("provenance")
    convention = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:6] if provenance else ""
    number = None if value is None else float(value)
    return MetricRecord(name, str(entry["axes"]), str(entry.get("unit", "")), int(entry["n"]), data, sha256, number, convention)
