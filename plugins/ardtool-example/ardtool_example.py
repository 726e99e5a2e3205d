"""PCA models in .npz files: encode(x) = (x − mean) Vᵀ, decode(z) = z V + mean, with orthonormal rows V."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ardtool import PluginSpec


def matches(path: Path) -> bool:
    """A .npz file with the arrays `mean` and `components`; only names are read."""
    return path.suffix == ".npz" and {"mean.npy", "components.npy"} <= set(zipfile.ZipFile(path).namelist())


def load(path: Path, device: Any) -> Any:
    """The model as an `Autoencoder`; numpy and torch are imported here, not when ardtool looks for plugins."""
    import numpy as np
    import torch

    from ardtool import ModulePair

    with np.load(path, allow_pickle=False) as file:
        mean = torch.from_numpy(file["mean"]).float().to(device)
        components = torch.from_numpy(file["components"]).float().to(device)
    latent_dim, outputs = components.shape
    return ModulePair(
        encoder=lambda x: (x - mean) @ components.T,
        decoder=lambda z: z @ components + mean,
        input_shape=(outputs,),
        latent_dim=latent_dim,
    )


plugin = PluginSpec("example", "PCA models in .npz files", matches, load)
