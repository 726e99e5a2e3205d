"""Single-cell models of scvi-tools: the folder that `SCVI.save` or `LinearSCVI.save` writes, and counts in .h5ad files.

A sample is a row of G + 1 numbers: the raw counts of G genes and, last, the index of the cell's batch. `decode` gives the expected counts
and the same batch index. Nothing in a file is executed; scvi-tools is imported when a model is built.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ardtool import PluginSpec

__all__ = ["build", "load", "matches", "model_file", "open_data", "plugin"]

MARKS = (b"model_state_dict", b"attr_dict", b"scvi_version")  # keys that every file of scvi-tools ≥ 0.15 holds
READ_LIMIT = 64 * 2**20  # bytes of the pickle that are searched for them


def model_file(path: Path) -> Path:
    """`model.pt` of a folder, or the file itself."""
    return path / "model.pt" if path.is_dir() else path


def matches(path: Path) -> bool:
    """A folder with a model.pt, or such a file, with the keys of scvi-tools in it; they are searched as bytes, nothing is unpickled."""
    file = model_file(path)
    if file.suffix != ".pt" or not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            return False
        with archive.open(pickles[0]) as stream:
            start = stream.read(READ_LIMIT)
    return all(mark in start for mark in MARKS)


def load(path: Path, device: Any) -> Any:
    """The model in inference mode on a device; see `model.SingleCellAutoencoder`."""
    from .model import load_model

    return load_model(model_file(path), device)


def build(record: dict[str, Any]) -> Any:
    """The same model with any weights from its `build_record`."""
    from .model import build_model

    return build_model(record)


def open_data(path: Path) -> Any:
    """A .h5ad file as a `DataSet` of counts and batch indices with shape (N, G + 1), or None; see `h5ad.open_h5ad`."""
    if path.suffix != ".h5ad":
        return None
    from .h5ad import open_h5ad

    return open_h5ad(path)


plugin = PluginSpec("scvi", "single-cell models of scvi-tools (SCVI, LinearSCVI), counts in .h5ad files", matches, load, build, open_data)
