"""Gradient steps beside other people's loops, as ratios within one process: alternating measurements, the median of five pairs.

    python tests/benchmarks/trainers.py sprites --out docs/results/trainers_sprites.json     the default network, where overhead shows
    python tests/benchmarks/trainers.py mnist --out docs/results/trainers_mnist.json         the paper's network, where arithmetic rules

All train the same network on the same random images with the same batch size, number of threads and fused Adam, in a process that keeps
freed memory as the command line does, from which all of them profit:

    bare         what one would write by hand: float images in memory, index batches, see `speed.py`
    dataloader   the same fed by a torch DataLoader over the uint8 images, with 2 workers that live on between epochs
    pythae       the trainer of pythae (`pip install pythae`) around its VAE, whose encoder and decoder are this network; its own DataLoader
                 over float images in memory, no workers, as it comes

A ratio is SGD samples per second of ardtool's step loop over those of the other, so above 1 ardtool is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from speed import BareLoop, make_run, pairs, plain_network, seconds
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ardtool.cli.allocator import keep_freed_memory
from ardtool.training.loop import TrainingRun

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist", "sprites", "images64"])
    parser.add_argument("--steps", type=int, default=0, help="gradient steps per measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    steps = options.steps or {"mnist": 8, "sprites": 60, "images64": 12}[options.data]
    run = make_run(options.data, torch.device(options.device))
    rest = run.train[: steps * run.batch_size]
    results: dict[str, Any] = {
        "data": options.data,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "samples_per_measurement": len(rest),
    }
    others: dict[str, Callable[[TrainingRun, Tensor], Callable[[], Any]]] = {"bare": bare, "dataloader": dataloader, "pythae": pythae}
    for name, other in others.items():
        epoch = other(run, rest)
        results[name] = pairs(lambda: ours(run, rest), lambda epoch=epoch: seconds(epoch), lambda a, b: b / a)
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def ours(run: TrainingRun, rest: Tensor) -> float:
    """Seconds of the step loop over these samples, with a callback after every step as the command line has one."""
    return run._gradient_steps(rest, lambda done, total: None)[2]


def bare(run: TrainingRun, rest: Tensor) -> Callable[[], Any]:
    loop = BareLoop(run)
    return lambda: loop(rest)


class _Images(Dataset):
    """Some images as float32, one at a time."""

    def __init__(self, run: TrainingRun, rest: Tensor) -> None:
        self.values, self.rest = run.data.tensor, rest

    def __len__(self) -> int:
        return len(self.rest)

    def __getitem__(self, number: int) -> Tensor:
        return self.values[self.rest[number]].float() / 255


def dataloader(run: TrainingRun, rest: Tensor) -> Callable[[], Any]:
    loop = BareLoop(run)
    loader = DataLoader(_Images(run, rest), run.batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True, drop_last=True)

    def epoch() -> None:
        for x in loader:
            loop.step(x.to(run.device))

    return epoch


def pythae(run: TrainingRun, rest: Tensor) -> Callable[[], Any]:
    from pythae.models import VAE, VAEConfig  # pyright: ignore[reportMissingImports]
    from pythae.models.base.base_utils import ModelOutput  # pyright: ignore[reportMissingImports]
    from pythae.models.nn import BaseDecoder, BaseEncoder  # pyright: ignore[reportMissingImports]
    from pythae.trainers import BaseTrainer, BaseTrainerConfig  # pyright: ignore[reportMissingImports]

    network = plain_network(run)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network.encoder

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.layers(2 * x - 1).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network.decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    model = VAE(VAEConfig(input_dim=run.data.shape, latent_dim=run.config.latent), Encoder(), Decoder())
    folder = tempfile.mkdtemp(prefix="ardtool-pythae-")
    settings = BaseTrainerConfig(
        output_dir=folder,
        per_device_train_batch_size=run.batch_size,
        learning_rate=run.lr,
        optimizer_cls="Adam",
        optimizer_params={"fused": True, "eps": 1e-7},
        no_cuda=run.device.type != "cuda",
    )
    from pythae.data.datasets import BaseDataset  # pyright: ignore[reportMissingImports]

    images = run.data.batch(rest)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = BaseTrainer(model, BaseDataset(images, torch.zeros(len(images))), training_config=settings)
        trainer.prepare_training()

    def epoch() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(1)

    return epoch


if __name__ == "__main__":
    main()
