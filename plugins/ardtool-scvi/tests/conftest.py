"""Models of scvi-tools on 200 cells × 30 genes from 2 batches, saved once for all tests."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

warnings.filterwarnings("ignore")
CELLS, GENES, LATENT = 200, 30, 4
SETUP = ("categorical_covariate_keys", "continuous_covariate_keys", "size_factor_key")


def make_cells() -> Any:
    """200 cells whose counts depend on two hidden factors and on the batch."""
    import anndata
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(0)
    factors = random.normal(size=(CELLS, 2))
    batch = random.integers(0, 2, CELLS)
    rate = np.exp(0.5 + factors @ random.normal(scale=0.7, size=(2, GENES)) + batch[:, None] * random.normal(scale=0.3, size=GENES))
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(["lane b", "lane a"])[batch]),
            "type": np.where(factors[:, 0] > 0, "t", "b"),
            "depth": rate.sum(1) / 50,
        },
        index=pd.Index([f"cell {i}" for i in range(CELLS)]),
    )
    return anndata.AnnData(csr_matrix(random.poisson(rate).astype(np.float32)), obs=obs)


def make_scvi(kind: str, **settings: Any) -> Any:
    """An untrained model of scvi-tools with batches, labels and statistics of its batch normalisation that are not 0 and 1."""
    import scvi

    setup = {name: settings.pop(name) for name in SETUP if name in settings}
    data, of_class = make_cells(), getattr(scvi.model, kind)
    of_class.setup_anndata(data, batch_key="batch", labels_key="type", **setup)
    torch.manual_seed(0)
    model = of_class(data, n_hidden=16, n_latent=LATENT, **settings)
    for name, value in model.module.named_buffers():
        if "running_mean" in name:
            value.copy_(0.1 * torch.randn_like(value))
        elif "running_var" in name:
            value.copy_(torch.rand_like(value) + 0.5)
    return model


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of an SCVI after one epoch, with the tables that training leaves in it."""
    folder = tmp_path_factory.mktemp("scvi") / "trained"
    model = make_scvi("SCVI")
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def h5ad(tmp_path_factory) -> Path:
    """The same cells as a file."""
    path = tmp_path_factory.mktemp("data") / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path


@pytest.fixture
def cells() -> Any:
    """The cells in memory, to be changed."""
    return make_cells()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """`make_scvi`: the untrained model of a class with settings."""
    return make_scvi
