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

    with np.load(path, allow_pickle=False) as file:
        mean, components = torch.from_numpy(file["mean"]).float(), torch.from_numpy(file["components"]).float()
    latent_dim, outputs = components.shape
    model = build({"latent_dim": latent_dim, "outputs": outputs})
    encoder, decoder = {"weight": components, "bias": -components @ mean}, {"weight": components.T, "bias": mean}
    model.encoder.load_state_dict(encoder)
    model.decoder.load_state_dict(decoder)
    return model.to(device)


def build(record: dict[str, Any]) -> Any:
    """The same model with any weights, from the record that a pruned model's file holds."""
    from torch import nn

    from ardtool import ModulePair

    latent_dim, outputs = record["latent_dim"], record["outputs"]
    model = ModulePair(nn.Linear(outputs, latent_dim), nn.Linear(latent_dim, outputs), (outputs,), latent_dim)
    model.build_record = record
    return model


plugin = PluginSpec("example", "PCA models in .npz files", matches, load, build)
