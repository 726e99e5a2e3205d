"""Records of results (relevance.json, metrics.json, …): JSON with a hash by which one that was changed, or read wrongly, is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import finite, write_text

__all__ = ["HASH", "read_record", "write_record"]

HASH = "content_sha256"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as readable JSON, atomically, its hash as the last entry; numbers that JSON cannot hold become null."""
    content = finite({name: value for name, value in record.items() if name != HASH})
    write_text(path, json.dumps(content | {HASH: _hash(content)}, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """A record as it was written, without its hash. One that has no hash, by another program or an earlier version, is taken as it is.

    Raises:
        ValueError: it is no JSON object, or is not what was written.
        OSError: it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    if HASH in record and record.pop(HASH) != _hash(record):
        raise ValueError("its content is not what was written")
    return record


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
