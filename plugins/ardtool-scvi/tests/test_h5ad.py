"""Counts and batches of .h5ad files."""

import numpy as np
import pytest
import torch
from ardtool_scvi import open_data

from ardtool.errors import DataError

CELLS, GENES = 200, 30


def written(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    return path


def test_sparse_and_dense_counts_are_the_same(cells, tmp_path, h5ad):
    sparse = open_data(h5ad)
    cells.X = cells.X.toarray()
    dense = open_data(written(cells, tmp_path))
    assert sparse.shape == (GENES + 1,)
    assert sparse.values.dtype == torch.float32
    assert len(sparse) == CELLS
    assert torch.equal(sparse.values, dense.values)
    assert np.array_equal(sparse.values[:, :-1].numpy(), cells.X)
    assert sparse.scaling is None


def test_batches_are_numbered_as_scvi_numbers_them(cells, tmp_path, h5ad):
    import scvi

    scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
    expected = cells.obs["_scvi_batch"].to_numpy().astype(np.float32)
    by_category = open_data(h5ad)
    assert np.array_equal(by_category.values[:, -1].numpy(), expected)
    assert by_category.notes == ("Counts are X.", "The batch is the column 'batch': lane a = 0, lane b = 1.")
    cells.obs["batch"] = "one"
    by_scvi = open_data(written(cells, tmp_path))
    assert np.array_equal(by_scvi.values[:, -1].numpy(), expected)
    assert by_scvi.notes[1] == "The batch is the column '_scvi_batch'."


def test_the_order_of_categories_counts(cells, tmp_path):
    cells.obs["batch"] = cells.obs["batch"].cat.reorder_categories(["lane b", "lane a"])
    found = open_data(written(cells, tmp_path)).values[:, -1].numpy()
    assert np.array_equal(found, (cells.obs["batch"] == "lane a").to_numpy().astype(np.float32))


def test_without_batches_all_are_0(cells, tmp_path):
    del cells.obs["batch"]
    found = open_data(written(cells, tmp_path))
    assert not found.values[:, -1].any()
    assert found.notes[1] == "There is no column 'batch': all cells are of batch 0."


def test_the_layer_of_counts_is_taken_where_x_is_normalised(cells, tmp_path, h5ad):
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    found = open_data(written(cells, tmp_path))
    assert torch.equal(found.values, open_data(h5ad).values)
    assert found.notes[0] == "Counts are the layer 'counts'."


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (-1.0, r"holds no raw counts: X has negative values \(-1\)"),
        (0.5, r"holds no raw counts: X has values that are not whole numbers \(0.5\)"),
        (np.nan, "holds no raw counts: X has values that are not finite"),
    ],
)
def test_what_is_no_count_is_refused(cells, tmp_path, value, sentence):
    cells.X.data[7] = value
    path = written(cells, tmp_path)
    with pytest.raises(DataError, match=sentence):
        open_data(path)
    cells.layers["counts"] = cells.X.copy()
    with pytest.raises(DataError, match="the layer 'counts' has"):
        open_data(written(cells, tmp_path))


def test_cells_without_a_batch_are_refused(cells, tmp_path):
    cells.obs.loc["cell 3", "batch"] = np.nan
    with pytest.raises(DataError, match="1 cells have no value in the column 'batch'"):
        open_data(written(cells, tmp_path))


def test_files_that_are_no_anndata_give_a_line(tmp_path):
    (tmp_path / "x.h5ad").write_bytes(b"<html>")
    with pytest.raises(DataError, match="cannot be read as AnnData"):
        open_data(tmp_path / "x.h5ad")
    with pytest.raises(DataError, match="does not exist"):
        open_data(tmp_path / "y.h5ad")
