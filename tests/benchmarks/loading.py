"""Images per second that reach a training step, as a ratio within one process: alternating measurements, the median of five pairs.

    python tests/benchmarks/loading.py --jpegs .../cifar10-jpeg/train.zip --out docs/results/loading.json
    python tests/benchmarks/loading.py                              the same with drawn images of 32×32 pixels

ours     batches of 100 random indices by `DataSet.batch`, float32 in [0, 1], of an .npy file and of a .zip whose images were decoded by an
         earlier run and come from the cache
other    torchvision's `ImageFolder` over the same JPEG files with `ToTensor`, in a `DataLoader` with 2 workers, which live on between
         epochs; one epoch comes before the first that is measured
Both deliver every image once, and the same numbers, which is checked. What comes before the first batch is in `opening`: seconds for the
first and for the second opening of the .zip.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from ardtool.data.catalogue import open_data
from ardtool.data.dataset import DataSet

PAIRS, BATCH, WORKERS = 5, 100, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jpegs", type=Path, help="a .zip of JPEG files of one size, one folder a class; drawn ones where left out")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["ARDTOOL_CACHE"] = str(folder / "cache")
        write_jpegs(folder / "jpegs", options.jpegs, options.images)
        results = compare(folder)
    source = "drawn" if options.jpegs is None else options.jpegs.name
    results = {"images": options.images, "source": source, "torch": torch.__version__, "threads": torch.get_num_threads()} | results
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def write_jpegs(folder: Path, source: Path | None, count: int) -> None:
    """So many JPEG files in folders: some of an archive's, evenly spread, or drawn ones."""
    if source is not None:
        with zipfile.ZipFile(source) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            archive.extractall(folder, names[:: max(1, len(names) // count)][:count])
        top = list(folder.iterdir())
        while len(top) == 1:  # ImageFolder takes the folders on top for classes
            top = [each.rename(folder / each.name) for each in top[0].iterdir()]
        for each in folder.iterdir():
            if each.is_dir() and not any(each.iterdir()):
                each.rmdir()
        return
    draw = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        waves = draw.normal(size=(4, 4, 3)).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray((128 + 40 * waves).clip(0, 255).astype(np.uint8)).save(place / f"{number:05}.jpg", quality=90)


def compare(folder: Path) -> dict[str, Any]:
    with zipfile.ZipFile(folder / "jpegs.zip", "w") as archive:
        for path in sorted((folder / "jpegs").rglob("*.jpg")):
            archive.write(path, path.relative_to(folder / "jpegs"))
    first, _ = timed(lambda: open_data(str(folder / "jpegs.zip")))
    second, kept = timed(lambda: open_data(str(folder / "jpegs.zip")))
    np.save(folder / "images.npy", kept.values.numpy())
    array = open_data(str(folder / "images.npy"))
    files = ImageFolder(str(folder / "jpegs"), transform=ToTensor())
    check_same(files, [kept, array])
    loader = DataLoader(files, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    other = lambda: deliver(batch for batch, _ in loader)  # noqa: E731
    return {
        "opening": {"first": round(first, 3), "second": round(second, 3)},
        "zip": pairs(lambda: deliver(batches(kept)), other),
        "npy": pairs(lambda: deliver(batches(array)), other),
    }


def check_same(files: ImageFolder, sets: list[DataSet]) -> None:
    """Stop unless both ways give the same numbers for all images."""
    stacked = torch.cat([batch for batch, _ in DataLoader(files, BATCH)])
    for data in sets:
        assert torch.equal(data.batch(slice(None)), stacked), "the two ways deliver different images"


def batches(data: DataSet) -> Iterable[Tensor]:
    return (data.batch(index) for index in torch.randperm(len(data)).split(BATCH))


def deliver(source: Iterable[Tensor]) -> float:
    """Images per second, all of them once."""
    seconds, count = timed(lambda: sum(len(batch) for batch in source))
    return count / seconds


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def pairs(ours: Callable[[], float], other: Callable[[], float]) -> dict[str, Any]:
    """Alternate both after one warm-up each; ratio: our images per second over the other's."""
    for warm_up in (ours, other):
        warm_up()
    values = [(ours(), other()) for _ in range(PAIRS)]
    ratios = [a / b for a, b in values]
    return {
        "ratio": round(statistics.median(ratios), 1),
        "ratios": [round(ratio, 1) for ratio in ratios],
        "ours": round(statistics.median(a for a, _ in values)),
        "other": round(statistics.median(b for _, b in values)),
    }


if __name__ == "__main__":
    main()
