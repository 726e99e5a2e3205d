"""Where metrics are kept: a JSON file beside the model, which later calls on the same model and data add to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...storage.record import read_record, write_record
from .values import EvaluateResult

__all__ = ["metrics_path", "save"]

SAME = ("schema", "model", "model_sha256", "data", "data_sha256")


def metrics_path(model: Path | None) -> Path | None:
    """Where the metrics of a model file go: models that share a folder do not share a file."""
    if model is None:
        return None
    return model.parent / ("metrics.json" if model.name == "model.safetensors" else f"{model.stem}.metrics.json")


def save(result: EvaluateResult, path: Path) -> None:
    """Write the metrics, keeping those that were measured before by the same model on the same data.

    Numbers of one family go together: what an earlier call left of a family that was measured again is dropped, so that no two
    conventions or numbers of samples stand side by side in it.
    """
    record = result.to_dict()
    former = _former(path)
    if result.model_sha256 is not None and former is not None and all(former.get(name) == record[name] for name in SAME):
        again = {value.family for value in result.metrics.values()}
        kept = {name: value for name, value in _entries(former, "metrics", dict).items() if value.get("family", name) not in again}
        record["metrics"] = kept | record["metrics"]
        curves = _entries(former, "curves", list) | record.get("curves", {})
        record |= {"curves": curves} if curves else {}
    write_record(path, record)


def _former(path: Path) -> dict[str, Any] | None:
    try:
        return read_record(path)
    except (OSError, ValueError):
        return None


def _entries(record: dict[str, Any], name: str, kind: type) -> dict[str, Any]:
    """The entries of a mapping in a file that anyone may have written."""
    found = record.get(name)
    return {key: value for key, value in found.items() if isinstance(value, kind)} if isinstance(found, dict) else {}
