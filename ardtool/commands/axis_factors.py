"""Which known factor each axis of a model follows most: what its row of a traversal is likely to show.

    followed[l, k] = (I[l, k] − (B − 1)(V − 1) / (2N)) / H[k]

I is the mutual information of the posterior means of axis l, in B = 20 bins, and factor k, which has V values and the entropy H, in nats
as in `metrics/mutual_information.py`; N samples. What independent codes show on average is subtracted. An axis bears the name of the
factor that it follows most where that is at least 0.2, a fifth of what there is to know; below that several factors move it, or none.
"""

from __future__ import annotations

import torch

from ..data.dataset import DataSet
from ..metrics.disentanglement.table import FactorTable
from ..metrics.mutual_information import BINS, factor_entropies, mutual_information
from ..storage.model_file import SavedModel
from .opening import encode_all

__all__ = ["axis_factors"]

MOST_SAMPLES = 10_000
LEAST_FOLLOWED = 0.2


def axis_factors(model: SavedModel, data: DataSet, device: torch.device, seed: int) -> list[str | None] | None:
    """For every axis the name of the factor that it follows most, or None where it follows none.

    Continuous factors are cut into ten bins of equally many samples; of an axis with several elements their mean is looked at.

    Returns:
        None where fewer than two factors of the data are known and vary.
    """
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:MOST_SAMPLES]
    if data.factors is not None:
        values = data.factors[index]
    elif data.grid is not None:
        values = data.grid.factors_of(index)
    else:
        return None
    if int((values != values[:1]).any(dim=0).sum()) < 2:
        return None
    codes = model.latent_axes.mean(encode_all(model.autoencoder, data, device, index).mean)
    table = FactorTable.of_samples(values, codes, data.factor_names)
    by_chance = (BINS - 1) * table.factors.amax(dim=0) / (2 * len(index))
    followed = (mutual_information(codes, table.factors) - by_chance) / factor_entropies(table.factors)
    share, factor = followed.max(dim=1)
    return [table.names[k] if most >= LEAST_FOLLOWED else None for most, k in zip(share.tolist(), factor.tolist(), strict=True)]
