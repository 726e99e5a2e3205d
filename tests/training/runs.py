"""Small runs that tests of training share."""

from __future__ import annotations

import torch

from ardtool.data.dataset import DataSet
from ardtool.objectives import OBJECTIVES
from ardtool.training.config import config_from
from ardtool.training.loop import TrainingRun
from ardtool.training.resolve import prepare_run, resolved

CPU = torch.device("cpu")
# every method, and every option of one that changes what a step does
METHODS = [
    *({"method": method} for method in OBJECTIVES),
    {"method": "ard-vae", "prior": "student-t"},
    {"method": "ard-vae", "prior": "student-t", "student_t_draws": 3},
    {"method": "beta-tcvae", "tcvae.estimator": "stratified"},
    {"method": "rae", "rae.variant": "gp"},
    {"method": "rae", "rae.variant": "gp", "rae.penalty": "hutchinson"},
    {"method": "rae", "rae.variant": "sn"},
    {"method": "sigma-vae", "sigma.variance": "shared"},
    {"method": "geco-l0-arm-vae", "geco.gates": "example", "geco.multiplier": "exponential"},
    {"method": "mask-aae", "mask.cut": "lr", "mask.interval": 1},
]


def name_of(settings: dict[str, object]) -> str:
    return " ".join(map(str, settings.values()))


def pixels(n: int = 130, channels: int = 1) -> DataSet:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=generator)
    return DataSet("pixels", values, (0.0, 1.0))


def small_run(settings: dict[str, object], data: DataSet | None = None, device: torch.device = CPU) -> TrainingRun:
    """A run of two epochs with a few steps each; critics are small."""
    data = pixels() if data is None else data
    sizes = {"mask-aae": {"mask.units": 8}, "wae-gan": {"gan.units": 8}}.get(str(settings.get("method")), {})
    config = config_from({"latent": 3, "epochs": 2, "batch_size": 30} | sizes | settings, "test")
    return prepare_run(resolved(config, data), data, device)


def everything(run: TrainingRun) -> dict[str, torch.Tensor]:
    """All tensors of a run's state by name."""
    from ardtool.training.state import flatten_state

    return flatten_state({name: value for name, value in run.state().items() if name != "history"})[0]
