"""Drawing dSprites and 3D Shapes: its cost beside training, and pictures of both.

    python tests/benchmarks/rendering.py time --out docs/results/rendering.json     a batch drawn, over a training step on it
    python tests/benchmarks/rendering.py statistics                                 mean and standard deviation of 20,000 images
    python tests/benchmarks/rendering.py pictures --folder docs/images              dsprites_render.png and shapes3d_render.png

time: 100 images drawn at random indices with `DrawnImages.take`, against forward, backward and Adam of the paper's network for the same
data at L = 16 on images that are there already. Both alternate in one process, after a first of each that is not counted; the ratio is the
median of pairs. The goal is a ratio below 0.2. The first draw of 3D Shapes also makes its table; that is timed by itself.
statistics: means over images of the mean and of the standard deviation of an image's pixels in [0, 1], by channel.
pictures: one row for every factor that varies, ten values from first to last (repeated where it has fewer), the others held.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ardtool.data import dsprites_render, shapes3d_render
from ardtool.data.factors import DrawnImages
from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.images import image_grid, save_picture

BATCH, LATENT, COLUMNS, SAMPLE = 100, 16, 10, 20_000
DATA = {
    "dsprites": (dsprites_render.images, "paper-dsprites", (0, 2, 5, 4, 16, 16)),
    "shapes3d": (shapes3d_render.images, "paper-shapes3d", (6, 1, 9, 4, 0, 10)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "statistics", "pictures"])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    if options.what == "pictures":
        return pictures(options.folder)
    measure = {"time": lambda name: ratio(name, options.pairs, torch.device(options.device)), "statistics": moments}[options.what]
    results: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": options.device}
    results |= {name: measure(name) for name in DATA}
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def ratio(name: str, pairs: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of drawing and of a training step, medians; the median of their ratios, and all of them."""
    make, arch, _ = DATA[name]
    images = make()
    generator = torch.Generator().manual_seed(0)

    def indices() -> Tensor:
        return torch.randint(len(images), (BATCH,), generator=generator)

    first = seconds(lambda: images.take(indices(), device))
    step = training_step(arch, images, device)
    batch = images.take(indices(), device)
    step(batch)
    times = []
    for _ in range(pairs):
        index = indices()
        times.append((seconds(lambda index=index: images.take(index, device)), seconds(lambda: step(batch))))
    ratios = [drawing / training for drawing, training in times]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(each, 4) for each in ratios],
        "drawing_ms": round(1e3 * statistics.median(drawing for drawing, _ in times), 3),
        "step_ms": round(1e3 * statistics.median(training for _, training in times), 3),
        "first_draw_ms": round(1e3 * first, 1),
    }


def training_step(arch: str, images: DrawnImages, device: torch.device) -> Callable[[Tensor], None]:
    """One step of a VAE with fused Adam on uint8 images."""
    model = build_network(architecture_record(arch, images.image_shape, LATENT, value_range=(0.0, 1.0)), 0).to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    prior = torch.ones(LATENT, device=device)

    def step(pixels: Tensor) -> None:
        x = pixels.float() / 255
        posterior = model.encode(x)
        assert posterior.log_variance is not None
        z = posterior.mean + torch.exp(0.5 * posterior.log_variance) * torch.randn_like(posterior.mean)
        error = (model.decode(z) - x).square().sum() / len(x)
        optimiser.zero_grad(set_to_none=True)
        (error + kl_to_gaussian(posterior.mean, posterior.log_variance, prior).sum() / len(x)).backward()
        optimiser.step()

    return step


def seconds(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def moments(name: str) -> dict[str, list[float]]:
    images = DATA[name][0]()
    index = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    parts = [images[part].double().flatten(2) / 255 for part in index.split(1000)]
    means, deviations = (torch.cat(each).mean(dim=0) for each in ([p.mean(dim=2) for p in parts], [p.std(dim=2) for p in parts]))
    return {"mean": [round(each, 4) for each in means.tolist()], "standard_deviation": [round(each, 4) for each in deviations.tolist()]}


def pictures(folder: Path) -> None:
    for name, (make, _, held) in DATA.items():
        images = make()
        rows = []
        for factor in images.grid.varying:
            values = torch.linspace(0, images.grid.sizes[factor] - 1, COLUMNS).round().long()
            row = torch.tensor([held]).repeat(COLUMNS, 1)
            row[:, factor] = values
            rows.append(row)
        drawn = images.draw(torch.cat(rows))
        path = folder / f"{name}_render.png"
        save_picture(image_grid(drawn.permute(0, 2, 3, 1).numpy(), COLUMNS, scale=1), path)
        print(f"{path}: {path.stat().st_size:,} bytes; from top to bottom {', '.join(images.grid.names[k] for k in images.grid.varying)}")


if __name__ == "__main__":
    main()
