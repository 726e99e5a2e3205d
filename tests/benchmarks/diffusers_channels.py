"""Time and memory of channel relevance for an AutoencoderKL with codes of 4×32×32 and images of 256×256, as one JSON object.

    python tests/benchmarks/diffusers_channels.py                       the default: `auto`, 2 threads, 200 images
    python tests/benchmarks/diffusers_channels.py --estimator exact     element by element: 4,096 derivatives a code

The model is random and saved as diffusers saves it; the images are random. It needs ardtool-diffusers. `seconds` counts everything that
`ardtool.relevance` does: loading, encoding, derivatives. `peak_mebibytes` is the largest resident memory of the whole process, and
`before_mebibytes` what it was before, with torch and diffusers imported. `processor_seconds` counts all threads; on a busy machine it says
more than `seconds` does.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ardtool

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--estimator", default="auto")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decode_seconds = save_model(folder / "model")
        save_images(folder / "images.npy", options.images)
        before = peak_mebibytes()
        start, start_of_work = time.perf_counter(), time.process_time()
        result = ardtool.relevance(
            folder / "model", data=str(folder / "images.npy"), estimator=options.estimator, samples=options.samples, device=options.device
        )
        seconds, work = time.perf_counter() - start, time.process_time() - start_of_work
    found = {
        "seconds": round(seconds, 1),
        "processor_seconds": round(work, 1),
        "peak_mebibytes": round(peak_mebibytes()),
        "before_mebibytes": round(before),
        "decode_seconds_per_image": round(decode_seconds, 4),
        "images": options.images,
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
        "estimator": result.estimator,
        "channels": [
            {"channel": axis.axis, "score": axis.score, "relative_stderr": axis.score_stderr / axis.score} for axis in result.axes
        ],
    }
    print(json.dumps(found, indent=2))


def save_model(folder: Path) -> float:
    """A random model in a folder; returns the seconds that it takes to decode one image, in batches of 4."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (16, 32, 32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "latent_channels": 4,
        "sample_size": SIZE,
    }
    model: Any = AutoencoderKL(**settings).eval()
    model.save_pretrained(folder)
    z = torch.randn(4, 4, SIZE // 8, SIZE // 8)
    with torch.no_grad():
        model.decode(z)
        start = time.perf_counter()
        model.decode(z)
    return (time.perf_counter() - start) / len(z)


def save_images(path: Path, count: int) -> None:
    """Images of random coloured patches, uint8."""
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, size=(count, 16, 16, 3), dtype=np.uint8)
    np.save(path, patches.repeat(SIZE // 16, axis=1).repeat(SIZE // 16, axis=2))


def peak_mebibytes() -> float:
    """The largest resident memory of this process so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
