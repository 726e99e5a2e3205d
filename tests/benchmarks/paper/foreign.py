"""Autoencoders that other libraries made and trained, as ardtool sees them.

    python tests/benchmarks/paper/foreign.py --scale small

It needs the libraries beside ardtool's plugins: pip install ./plugins/ardtool-pythae ./plugins/ardtool-diffusers ./plugins/ardtool-scvi

Each model has its library's loss and default network (of diffusers a narrow one), and is trained and saved by its library. diffusers has
no trainer for autoencoders: there it is Adam on the squared error and 1e-6 × KL, as latent diffusion does. Then ardtool reads the folder:
active axes, principal directions, the local rank where a code is a vector, and the model pruned to its active axes. Data:

    sprites-4     10,000 drawn images of four factors, 32×32, for pythae (16 axes) and diffusers (channels of 4×4 maps)
    counts-3      3,000 cells of 200 genes whose log rates are linear in three factors, for scvi-tools (10 axes, its default)
"""

# the other libraries are there in the full run of CI alone
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import counted, main, plus_minus, table, where, whole_counts

NAME = "foreign"
PYTHAE = ("AE", "VAE", "BetaTCVAE", "RAE_GP", "WAE_MMD", "VAMP", "IWAE")
DIFFUSERS = (("AutoencoderKL", 4), ("AutoencoderKL", 16), ("AutoencoderTiny", 4), ("VQModel", 4))
SCVI = ("SCVI", "LinearSCVI")
TRUTH = {"sprites-4": 4, "counts-3": 3}
EPOCHS = {"small": {"pythae": 20, "diffusers": 4, "scvi-tools": 100}, "full": {"pythae": 200, "diffusers": 100, "scvi-tools": 400}}
CELLS, GENES, FACTORS = 3_000, 200, 3


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    models = [("pythae", name, "sprites-4", 16) for name in PYTHAE]
    models += [("diffusers", name, "sprites-4", latent) for name, latent in DIFFUSERS]
    models += [("scvi-tools", name, "counts-3", 10) for name in SCVI]
    return [
        {
            "library": library,
            "model": name,
            "data": data,
            "latent": latent,
            "epochs": EPOCHS[scale][library],
            "seed": seed,
        }
        for seed in range(seeds)
        for library, name, data, latent in models
    ]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import torch

    logging.disable(logging.INFO)
    torch.manual_seed(case["seed"])
    make = {"pythae": by_pythae, "diffusers": by_diffusers, "scvi-tools": by_scvi}[case["library"]]
    with tempfile.TemporaryDirectory() as name:
        folder, data = make(case, Path(name))
        return seen(folder, data, case, Path(name))


def seen(model: Path, data: str, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What ardtool says of a saved model."""
    import ardtool

    found = ardtool.relevance(model, data=data)
    principal = ardtool.relevance(model, data=data, basis="principal")
    pruned = ardtool.prune(model, data=data, out=folder / "pruned.safetensors")
    rank = None
    if case["library"] == "pythae":
        metrics = ardtool.evaluate(model, data=data, metrics=["local-rank"], out=folder / "metrics.json").metrics
        rank = [metrics["local_rank"].value, metrics["local_rank_gap"].value]
    return {
        "axes": found.active,
        "interval": list(found.active_interval),
        "principal": principal.active,
        "local_rank": rank,
        "mse": pruned.mse,
    }


def images(name: str) -> Any:
    """All images of a data set with shape (N, 3, 32, 32) in [0, 1]."""
    import torch

    import ardtool

    data = ardtool.open_data(name)
    return data.batch(torch.arange(len(data)))


def by_pythae(case: dict[str, Any], folder: Path) -> tuple[Path, str]:
    import pythae.models
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    config = next(each for each in (f"{case['model']}Config", f"{case['model']}_Config") if hasattr(pythae.models, each))
    x = images(case["data"])
    model = getattr(pythae.models, case["model"])(getattr(pythae.models, config)(input_dim=tuple(x.shape[1:]), latent_dim=case["latent"]))
    settings = BaseTrainerConfig(
        output_dir=str(folder), num_epochs=case["epochs"], seed=case["seed"], learning_rate=1e-3, per_device_train_batch_size=100
    )
    TrainingPipeline(model=model, training_config=settings)(x[: int(0.9 * len(x))], x[int(0.9 * len(x)) :])
    return next(folder.glob("*/final_model")), case["data"]


def by_diffusers(case: dict[str, Any], folder: Path) -> tuple[Path, str]:
    import diffusers
    import torch

    x, widths = 2 * images(case["data"]) - 1, (8, 16, 16, 16)
    size = x.shape[-1]
    if case["model"] == "AutoencoderTiny":
        blocks, even = (1,) * len(widths), (16,) * len(widths)
        settings: dict[str, Any] = {
            "encoder_block_out_channels": even,
            "decoder_block_out_channels": even,
            "num_encoder_blocks": blocks,
            "num_decoder_blocks": blocks,
        }
    else:
        settings = {
            "block_out_channels": widths,
            "down_block_types": ("DownEncoderBlock2D",) * len(widths),
            "up_block_types": ("UpDecoderBlock2D",) * len(widths),
            "norm_num_groups": 4,
            "sample_size": size,
        }
    model: Any = getattr(diffusers, case["model"])(latent_channels=case["latent"], **settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(case["epochs"]):
        for rows in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(50):
            optimizer.zero_grad()
            loss_of_diffusers(model, x[rows]).backward()
            optimizer.step()
    model.eval().save_pretrained(folder / "model")
    config = folder / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": size}))  # AutoencoderTiny's has none
    return folder / "model", case["data"]


def loss_of_diffusers(model: Any, x: Any) -> Any:
    name, found = type(model).__name__, model.encode(x)
    if name == "AutoencoderKL":
        posterior = found.latent_dist
        return (model.decode(posterior.sample()).sample - x).square().mean() + 1e-6 * posterior.kl().mean()
    if name == "VQModel":
        decoded = model.decode(found.latents)
        return (decoded.sample - x).square().mean() + decoded.commit_loss.mean()
    return (model.decode(found.latents).sample - x).square().mean()


def by_scvi(case: dict[str, Any], folder: Path) -> tuple[Path, str]:
    import anndata
    import numpy as np
    import scvi

    random = np.random.default_rng(case["seed"])
    factors = random.normal(size=(CELLS, FACTORS))
    rate = np.exp(0.5 + factors @ random.normal(scale=0.7, size=(FACTORS, GENES)))
    cells = anndata.AnnData(random.poisson(rate).astype(np.float32))
    cells.write_h5ad(folder / "cells.h5ad")
    scvi.settings.seed = case["seed"]
    of_class = getattr(scvi.model, case["model"])
    of_class.setup_anndata(cells)
    model = of_class(cells, n_latent=case["latent"])
    model.train(
        max_epochs=case["epochs"], accelerator="cpu", enable_progress_bar=False, plan_kwargs={"n_epochs_kl_warmup": case["epochs"] // 4}
    )
    model.save(folder / "model")
    return folder / "model", str(folder / "cells.h5ad")


def tables(records: list[dict[str, Any]]) -> str:
    rows, places = [], dict.fromkeys((run["case"]["library"], run["case"]["model"], run["case"]["latent"]) for run in records)
    for place in places:
        runs = where(records, library=place[0], model=place[1], latent=place[2])
        data = runs[0]["case"]["data"]
        ranks = [run["local_rank"] for run in runs if run["local_rank"]]
        cells = [counted(runs), whole_counts(run["principal"] for run in runs)]
        cells += [plus_minus([rank[number] for rank in ranks], digits) for number, digits in ((0, 0), (1, 1))]
        errors = [significant([run["mse"][name] for run in runs]) for name in ("before", "after")]
        rows.append([place[0], f"`{place[1]}`", data, TRUTH[data], place[2], *cells, *errors])
    header = ["library", "model", "data", "factors", "L", "active", "principal", "local rank", "its gap", "MSE", "MSE, pruned"]
    return table(header, rows)


def significant(values: list[float]) -> str:
    """Mean ± sample standard deviation, by digits that count: the errors of these models differ by orders of magnitude."""
    return f"{fmean(values):.2g}" + (f" ± {stdev(values):.2g}" if len(values) > 1 else "")


if __name__ == "__main__":
    main(sys.modules[__name__])
