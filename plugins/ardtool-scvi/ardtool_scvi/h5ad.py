"""Counts and batch indices from an AnnData file (.h5ad).

Counts are `X` where it holds whole numbers ≥ 0, else the layer `counts`. The batch index is the column `_scvi_batch` of the cells, which
scvi-tools itself writes, else the codes of the column `batch`, whose categories are numbered as scvi-tools numbers them (in their stored
order; sorted where the column is not categorical), else 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ardtool.data.dataset import DataSet, name_of
from ardtool.errors import DataError, first_line

__all__ = ["open_h5ad"]

MOST_NAMED = 6  # batches listed in the note


def open_h5ad(path: Path) -> DataSet:
    """N cells with shape (N, G + 1), float32: counts of G genes, batch index.

    Raises:
        DataError: the file cannot be read, holds no raw counts, or has cells without a batch.
    """
    import anndata

    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Give the path of a .h5ad file.")
    try:
        cells = anndata.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise many kinds
        raise DataError(f"{path} cannot be read as AnnData: {first_line(error)}.", "Write it again with `adata.write_h5ad`.") from error
    counts, source = _counts(cells, path)
    batch, note = _batch(cells, path)
    values = np.empty((counts.shape[0], counts.shape[1] + 1), dtype=np.float32)
    values[:, :-1] = counts.toarray() if hasattr(counts, "toarray") else counts
    values[:, -1] = batch
    return DataSet(name_of(path), torch.from_numpy(values), notes=(f"Counts are {source}.", note))


def _counts(cells: Any, path: Path) -> tuple[Any, str]:
    """A matrix of raw counts (dense or sparse), and where it was."""
    problem = "is missing" if cells.X is None else _problem(cells.X)
    if problem is None:
        return cells.X, "X"
    if "counts" in cells.layers:
        problem_of_layer = _problem(cells.layers["counts"])
        if problem_of_layer is None:
            return cells.layers["counts"], "the layer 'counts'"
        raise DataError(f"{path} holds no raw counts: X {problem}, the layer 'counts' {problem_of_layer}.", "Store the raw counts in X.")
    raise DataError(f"{path} holds no raw counts: X {problem}.", "Store the raw counts in X or in the layer 'counts'.")


def _problem(matrix: Any) -> str | None:
    """Why a matrix does not hold counts, or None."""
    entries = matrix.data if hasattr(matrix, "toarray") else np.asarray(matrix)
    if not np.isfinite(entries).all():
        return "has values that are not finite"
    if (entries < 0).any():
        return f"has negative values ({entries.min():g})"
    parts = entries[entries != np.round(entries)]
    return f"has values that are not whole numbers ({parts.flat[0]:g})" if parts.size else None


def _batch(cells: Any, path: Path) -> tuple[np.ndarray[Any, Any], str]:
    """Batch indices with shape (N,), and a sentence about them."""
    if "_scvi_batch" in cells.obs:
        codes = cells.obs["_scvi_batch"].to_numpy()
        if not np.issubdtype(codes.dtype, np.integer):
            raise DataError(f"{path}: the column '_scvi_batch' holds no whole numbers.", "Remove it, or run `setup_anndata` again.")
        return codes, "The batch is the column '_scvi_batch'."
    if "batch" not in cells.obs:
        return np.zeros(cells.n_obs, dtype=np.int64), "There is no column 'batch': all cells are of batch 0."
    column = cells.obs["batch"].astype("category").cat
    codes = column.codes.to_numpy()
    if (codes < 0).any():
        raise DataError(f"{path}: {int((codes < 0).sum())} cells have no value in the column 'batch'.", "Name the batch of every cell.")
    names = [f"{name} = {code}" for code, name in enumerate(column.categories)]
    more = ", …" if len(names) > MOST_NAMED else ""
    return codes, f"The batch is the column 'batch': {', '.join(names[:MOST_NAMED])}{more}."
