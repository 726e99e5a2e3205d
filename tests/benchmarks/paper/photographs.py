"""Generated photographs, errors and counts of all methods on CIFAR-10 (main Tables 2, 3; supp. Tables 10-15).

    python tests/benchmarks/paper/photographs.py --scale full --data-root DIR       the paper's network and epochs, five seeds
    python tests/benchmarks/paper/photographs.py --scale small --data-root DIR      a quarter of the width, 20 epochs of 1,000 photographs

L = 128, of `ard-vae` and `rae` also larger, of `ard-vae` also 64, and the paper's options of each method, on DIR/cifar10-jpeg/train.zip,
JPEG copies of 50,000 images; 45,000 are trained with at full scale. Distances are by a random network (`photo_features.py`), not by
Inception's, so their size is not the paper's FID; precision and recall (Sajjadi) are by the same features. Every distance is for 1,000
photographs that no model has seen and 1,000 generated ones, of which the active axes vary, or all where it says so. The paper's own
distances by all axes are those of supp. Table 11, and of `rae` main Table 2 and supp. Table 14, whose values for L = 128 are others
(104.90 of `rae`, 85.25 of `ard-vae`). CelebA and ImageNet, its two other data sets of photographs, are not at hand.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import NOT_CONVERGED, history_of, main, plus_minus
from generation import METHODS, NARROW_CRITIC, compared, found_by, metric_of, size_of
from latent_sizes import path_of

NAME, OPTIONS = "photographs", " --data-root DIR"
NETWORK, LATENT, SAMPLES = "paper-cifar10", 128, 1_000
PARTS = {"small": {"epochs": 20, "samples": 1_000}, "full": {"epochs": 100, "samples": 45_000}}
# (network, method, L): ACTIVE, MSE, FID with those axes, FID with all, precision, recall; main Tables 2 and 3, supp. Tables 10, 11, 13-15
PAPER = {
    (NETWORK, "ard-vae", 64): ("60.40 ± 0.49", "–", "104.03 ± 1.33", "–", "–", "–"),
    (NETWORK, "ard-vae", 128): ("105.80 ± 1.33", "0.006 ± 0.000", "87.56 ± 1.21", "85.05 ± 0.84", "0.82 ± 0.03", "0.51 ± 0.02"),
    (NETWORK, "ard-vae", 256): ("116.40 ± 3.72", "–", "86.50 ± 1.43", "83.73 ± 2.76", "–", "–"),
    (NETWORK, "ard-vae", 512): ("117.80 ± 15.04", "–", "87.88 ± 1.80", "84.92 ± 0.92", "–", "–"),
    (NETWORK, "vae", 128): ("26.40 ± 0.49", "0.016 ± 0.000", "155.13 ± 1.45", "147.74 ± 0.81", "0.50 ± 0.03", "0.47 ± 0.02"),
    (NETWORK, "beta-tcvae", 128): ("16.20 ± 0.40", "0.021 ± 0.000", "186.03 ± 1.82", "180.94 ± 1.16", "0.30 ± 0.01", "0.41 ± 0.03"),
    (NETWORK, "rae", 128): ("125.00 ± 0.00", "0.006 ± 0.000", "92.66 ± 1.61", "94.34 ± 1.58", "0.74 ± 0.02", "0.47 ± 0.04"),
    (NETWORK, "rae", 256): ("–", "–", "–", "116.94", "–", "–"),
    (NETWORK, "rae", 512): ("–", "–", "–", "121.50", "–", "–"),
    (NETWORK, "wae-mmd", 128): ("127.00 ± 0.00", "0.007 ± 0.000", "136.79 ± 1.35", "140.49 ± 0.64", "0.42 ± 0.01", "0.31 ± 0.05"),
    (NETWORK, "geco-l0-arm-vae", 128): ("68.00 ± 2.97", "0.011 ± 0.001", "320.75 ± 45.09", "–", "0.02 ± 0.03", "0.04 ± 0.06"),
    (NETWORK, "mask-aae", 128): ("3.80 ± 0.40", "0.199 ± 0.199", "298.30 ± 8.44", "–", "0.07 ± 0.02", "0.04 ± 0.05"),
}
# where the paper has `ard-vae` alone, and where it compares it with `rae`
SMALLER, LARGER = 64, {"small": (256,), "full": (256, 512)}
NOT_OPTIONS = ("beta", "lr", "batch_size")


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    narrow = "/4" if scale == "small" else ""
    runs = [(method, LATENT) for method in METHODS] + [("ard-vae", SMALLER)]
    runs += [(method, latent) for latent in LARGER[scale] for method in ("ard-vae", "rae")]
    return [
        {"arch": f"{NETWORK}{narrow}", "method": method, "seed": seed, **PARTS[scale], **size_of(latent, LATENT)}
        for seed in range(seeds)
        for method, latent in runs
    ]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import torch

    import ardtool
    from ardtool.data.dataset import split_indices

    data = path_of("cifar10")
    photographs = ardtool.open_data(data)
    seen = torch.cat(split_indices(photographs, 0.1, case["seed"], case["samples"]))
    unseen = torch.ones(len(photographs), dtype=torch.bool)
    unseen[seen] = False
    settings = {name: case[name] for name in ("arch", "method", "seed", "epochs", "samples")} | paper_settings(case)
    with tempfile.TemporaryDirectory() as name:
        result = ardtool.train(data=data, latent=case.get("latent", LATENT), **settings, out=Path(name) / "run")
        history = history_of(Path(name) / "run")
        others = photographs.batch(unseen.nonzero()[: 2 * SAMPLES, 0])  # half of them to compare with, half for the floor
        return found_by(result, history, others, "photo_features:features", SAMPLES, case["seed"], Path(name))


def paper_settings(case: dict[str, Any]) -> dict[str, Any]:
    """What the paper has for a method on CIFAR-10, which a file of photographs does not bring with it."""
    from ardtool.objectives import OBJECTIVES

    method = OBJECTIVES[case["method"]]
    values = {name: value for name, value in method.values_for("cifar10").items() if name != "epochs"}
    options = {f"{method.prefix}.{name}": value for name, value in values.items() if name not in NOT_OPTIONS}
    if case["method"] == "mask-aae" and "/" in case["arch"]:
        options |= NARROW_CRITIC
    return {name: values[name] for name in NOT_OPTIONS if name in values} | ({"options": options} if options else {})


def tables(records: list[dict[str, Any]]) -> str:
    floor = plus_minus([metric_of(run, "fd_floor") for run in records])
    compare = compared(records, PAPER, LATENT, "FD of random features")
    return f"{compare}\n\nFD between photographs that no model has seen: {floor}. {NOT_CONVERGED}"


if __name__ == "__main__":
    main(sys.modules[__name__])
